"""Declaration: what the user said about a graph, kept word for word until it is checked.

References are not resolved here, so nodes may be named before they exist and
every mistake can be reported at once, with the place where it was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from actorflow.graph.codec import Codec
from actorflow.graph.migrate import Migration
from actorflow.graph.retry import Retry
from actorflow.graph.routing import End, NodeRef, Target
from actorflow.graph.state import State


class DeclaredNode(Struct, frozen=True):
    """A call of `Graph.node`."""

    name: str | None  # None: the function's own
    fn: Callable[..., Any]
    after: NodeRef | Sequence[NodeRef] | None
    goto: Target | Sequence[Target]
    entry: bool
    retry: Retry | None
    timeout: float | None


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
    retry: Retry | None
    timeout: float | None
    max_activations: int
    moves: Mapping[str, str | End]
    migrations: list[Migration]
    types: tuple[Codec[Any], ...]
    nodes: list[DeclaredNode] = field(default_factory=list[DeclaredNode])
    edges: list[DeclaredEdge] = field(default_factory=list[DeclaredEdge])
    branches: list[DeclaredBranch] = field(default_factory=list[DeclaredBranch])
