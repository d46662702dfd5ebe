"""Declaration: what the user said about a graph, kept word for word until it is checked.

References are not resolved here, so nodes may be named before they exist and
every mistake can be reported at once, with the place where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypedDict

from msgspec import UNSET, Struct, UnsetType, field

from actorflow.graph.cache import Cache
from actorflow.graph.codec import Codec
from actorflow.graph.fan import AT_ONCE
from actorflow.graph.message import Mailbox
from actorflow.graph.middleware import Middleware
from actorflow.graph.migrate import Migration
from actorflow.graph.retry import Retries
from actorflow.graph.routing import End, NodeHandle, NodeRef, Target
from actorflow.graph.state import State
from actorflow.graph.timeouts import Timeout
from actorflow.graph.undo import DeclaredUndo

Join = int | Literal["all", "any"]
"""How many legs of a join open it."""

OnError = NodeRef | Callable[..., Any] | None
"""What takes over when a node has failed for good: a node of the graph, or a function."""

Catch = type[Exception] | tuple[type[Exception], ...]
"""The exceptions that ``on_error`` is for."""


class FlowOptions(TypedDict, total=False):
    """What every kind of node takes: where it stands in the graph."""

    name: str | None
    after: NodeRef | Sequence[NodeRef] | None
    entry: bool
    join: Join
    defer: bool


class NodeOptions(FlowOptions, total=False):
    """What `Graph.node` takes beside the function; each is described there."""

    goto: Target | Sequence[Target]
    send: NodeRef | Sequence[NodeRef]
    limit: int
    retry: Retries
    timeout: float | Timeout | None
    cache: Cache | None
    middleware: Sequence[Middleware]
    isolate: Literal["process"] | None
    on_error: OnError
    catch: Catch


class HandlerOptions(TypedDict, total=False):
    """What `Graph.on` takes beside the type, the function and validate; each is described there."""

    name: str | None
    goto: Target | Sequence[Target]
    retry: Retries
    timeout: float | Timeout | None
    middleware: Sequence[Middleware]
    isolate: Literal["process"] | None
    on_error: OnError
    catch: Catch


class MapOptions(FlowOptions, total=False):
    """What `Graph.map` takes beside what it maps, over and into; each is described there."""

    limit: int | Callable[[Any], int]
    on_error: Literal["fail", "collect"]
    on_empty: Literal["skip", "fail"]
    errors: str | None
    enter: str | Callable[..., Any] | None
    leave: str | Callable[..., Any] | None
    retry: Retries
    timeout: float | Timeout | None
    cache: Cache | None
    middleware: Sequence[Middleware]
    isolate: Literal["process"] | None


class SubgraphOptions(FlowOptions, total=False):
    """What `Graph.subgraph` takes beside the graph; each is described there."""

    goto: Target | Sequence[Target]
    limit: int
    enter: Mapping[str, str] | Sequence[str] | Callable[..., Any] | None
    leave: Mapping[str, str] | Sequence[str] | Callable[..., Any] | None
    lifetime: Literal["visit", "run"]
    on_error: OnError
    catch: Catch


class DeclaredFan(Struct, frozen=True, kw_only=True):
    """What `Graph.map` says about its items."""

    over: str | int | Callable[..., Any]
    into: str | Mapping[str, str] | None
    limit: int | Callable[..., Any] = AT_ONCE
    on_error: str = "fail"
    on_empty: str = "skip"
    errors: str | None = None


class DeclaredInner(Struct, frozen=True, kw_only=True):
    """The graph that a node runs in a scope of its own, and what goes in and out."""

    graph: Any  # a Graph
    enter: Any = None
    leave: Any = None
    lifetime: str = "visit"


class DeclaredNode(Struct, frozen=True, kw_only=True):
    """A call of `Graph.node`, `Graph.on`, `Graph.map` or `Graph.subgraph`."""

    fn: Callable[..., Any]  # of a subgraph never called
    name: str | None = None  # None: the function's own
    takes: Any = None  # the type of what is sent to it; None: it takes the state
    message: Any = None  # the type of the messages that it handles; None: it is a node
    validate: Callable[..., Any] | None = None  # of a handler
    after: NodeRef | Sequence[NodeRef] | None = None
    goto: Target | Sequence[Target] = ()
    send: NodeRef | Sequence[NodeRef] = ()
    limit: int | UnsetType = UNSET  # of what is sent to it
    entry: bool = False
    join: Join = "all"
    defer: bool = False
    retry: Retries | UnsetType = UNSET  # not said: as the graph says; so are the next, and on_error
    timeout: float | Timeout | UnsetType | None = UNSET
    cache: Cache | None = None
    middleware: Sequence[Middleware] = ()
    isolate: str | None = None
    on_error: OnError | UnsetType = UNSET
    catch: Catch = Exception
    fan: DeclaredFan | None = None
    inner: DeclaredInner | None = None
    handle: NodeHandle | None = None  # what it is referred to by as well
    site: str = ""


class DeclaredEdge(Struct, frozen=True):
    """A call of `Graph.edge`: a join if there are several sources."""

    source: NodeRef | Sequence[NodeRef]
    target: Target
    site: str


class DeclaredBranch(Struct, frozen=True):
    """A call of `Graph.branch`."""

    fn: Callable[..., Any]
    source: NodeRef
    to: Target | Sequence[Target] | None  # None: the return annotation says it


class Declaration(Struct):
    """All that was said about one graph, in the order in which it was said."""

    name: str
    state_type: type[State]
    retry: Retries
    timeout: float | Timeout | None
    max_activations: int
    moves: Mapping[str, str | End]
    migrations: list[Migration]
    types: tuple[Codec[Any], ...]
    max_items: int = 100_000
    max_steps: int = 10_000
    max_state: int | None = None
    on_error: OnError = None
    catch: Catch = Exception
    middleware: Sequence[Middleware] = ()
    record_backoff_over: float = 1.0
    interrupt_before: NodeRef | Sequence[NodeRef] = ()
    interrupt_after: NodeRef | Sequence[NodeRef] = ()
    lifetime: str = "run"
    messages: Sequence[Any] = ()  # types that nodes receive
    mailbox: Mailbox = Mailbox()
    nodes: list[DeclaredNode] = field(default_factory=list[DeclaredNode])
    edges: list[DeclaredEdge] = field(default_factory=list[DeclaredEdge])
    branches: list[DeclaredBranch] = field(default_factory=list[DeclaredBranch])
    undos: list[DeclaredUndo] = field(default_factory=list[DeclaredUndo])
