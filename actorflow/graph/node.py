"""Node: one function of a graph, and what its signature must look like."""

from __future__ import annotations

import typing
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from actorflow.graph.cache import Cached
from actorflow.graph.fan import AT_ONCE, Fan
from actorflow.graph.inner import Inner
from actorflow.graph.middleware import Middleware
from actorflow.graph.remote import Remote
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, End, Goto, Reply, Send
from actorflow.graph.signature import (
    UNKNOWN,
    has_parameters,
    is_async,
    is_generator,
    placed,
    positional_of,
    resolve,
    signature_of,
    site_of,
)
from actorflow.graph.state import State, Update
from actorflow.graph.timeouts import Timeout

if TYPE_CHECKING:
    import inspect
    from collections.abc import Iterator


Outcome = Update | State | Goto | Send | Sequence[Send] | End | None
"""What a node may return: nothing, an update, a whole State (the fields that differ count), or routing."""

Answer = Update | State | Goto | Reply | End | None
"""What a handler of messages may return: what a node may, but no `Send`; and a `Reply`."""

MAX_NAME = 100  # characters: names go into every record


class Handler(Struct, frozen=True):
    """What takes over when a node has failed for good: a function in its place, or a node of the graph."""

    fn: Callable[..., Any] | None
    node: str | None
    catch: tuple[type[Exception], ...]
    is_async: bool = True
    takes_context: bool = False

    def catches(self, error: Exception) -> bool:
        """Whether it is for this error."""
        return isinstance(error, self.catch)


class Node(Struct, frozen=True, kw_only=True):
    """One box of the picture: a function, a fan-out of one, or a graph in a scope of its own."""

    name: str
    fn: Callable[..., Any]  # a sync one runs in a thread, unless it is isolated; of a subgraph never called
    is_async: bool = True
    takes_context: bool = False
    takes: Any = None  # the type of the input of an item or a `Send`; None: it takes the state
    message: str | None = None  # a handler: the schema name of the messages, which it takes beside the state
    validate: Callable[[Any, Any], None] | None = None  # of a handler: raises for a message that is to be refused
    retry: tuple[Retry, ...] = ()  # the first that applies to an error counts
    timeout: Timeout | None = None
    cache: Cached | None = None
    middleware: tuple[Middleware, ...] = ()  # around the function, the outermost first
    isolated: Remote | None = None  # how a worker process finds it, if it is to run there
    goto: tuple[str | End, ...] = ()  # what a returned Goto may name
    send: tuple[str, ...] = ()  # what a returned Send may name
    limit: int = AT_ONCE  # how many of the inputs that are sent to it are open at a time
    entry: bool = False  # marked as such; the entry of most graphs follows from its edges
    join: int | None = None  # how many legs of an inlet open it; None: all
    defer: bool = False  # opened when nothing else goes on in its scope
    on_error: Handler | None = None
    fan: Fan | None = None
    inner: Inner | None = None
    site: str = ""  # where it was declared, if not where its function stands

    @property
    def is_limited(self) -> bool:
        """Whether it matters when its first attempt began."""
        total = self.timeout is not None and self.timeout.total is not None
        return total or any(policy.deadline is not None for policy in self.retry)

    @property
    def place(self) -> str:
        """The node as messages name it, with where its function stands."""
        return placed(f"node {self.name!r}", self.site or site_of(self.fn))


def problems_of_name(name: object) -> Iterator[str]:
    """Why this can't be the name of a graph or a node."""
    if not isinstance(name, str):
        yield f"a name is a str, not {type(name).__name__}"
    elif not name:
        yield "the name is empty"
    elif len(name) > MAX_NAME:
        yield f"the name is longer than {MAX_NAME} characters"
    elif name == END.value:
        yield "this name stands for END"
    elif not name.isprintable():
        yield "the name has characters that can't be printed"
    elif not unicodedata.is_normalized("NFC", name):
        yield "the name is not in Unicode's normal form NFC, so two names could look alike"


def input_type(fn: Callable[..., Any]) -> Any:
    """The annotation of a function's first parameter: what its items or inputs are; ``Any`` if nothing says so."""
    signature = signature_of(fn)
    taken = [] if signature is None else positional_of(signature)
    annotation = resolve(taken[0].annotation, fn) if taken else UNKNOWN
    return Any if annotation is UNKNOWN else annotation


def takes_context(fn: Callable[..., Any], *, after: int = 1) -> bool:
    """Whether a function has a parameter more than what it is called with ``after`` all."""
    return has_parameters(fn, after + 1)


def problems_of_handler(fn: Callable[..., Any], state_type: type[State]) -> Iterator[str]:
    """Why this function can't take over for a node that failed: it is called with state and error."""
    if is_generator(fn):
        yield "it is a generator; it returns its update once"
    yield from problems_of_parameters(fn, state_type, ("state", "error", "ctx"))


def problems_of_function(
    fn: Callable[..., Any],
    state_type: type[State],
    *,
    takes: Literal["state", "input", "item"] = "state",
    message: type[State] | None = None,
) -> Iterator[str]:
    """Why this function can't be a node over ``state_type``. What can't be known before it runs is no problem.

    Args:
        fn: the function.
        state_type: of its graph.
        takes: what it is called with: the state, the input of a `Send`, or an item of a map, whose result is free.
        message: of a handler: the type of the messages, which it is called with beside the state.
    """
    if is_generator(fn):
        yield "it is a generator; a node returns its result once"
    names = (takes, "ctx") if message is None else (takes, "msg", "ctx")
    yield from problems_of_parameters(fn, state_type if takes == "state" else None, names, message)
    signature = signature_of(fn)
    if signature is None or takes == "item":
        return
    returned = resolve(signature.return_annotation, fn)
    for kind in _classes_in(returned):
        if issubclass(kind, State) and not issubclass(state_type, kind):
            yield f"it returns a {kind.__name__}, but the graph's state is {state_type.__name__}"
        elif not (_is_outcome(kind, message) or (issubclass(kind, Awaitable) and not is_async(fn))):
            who, kinds = ("a node", "Send") if message is None else ("a handler", "Reply")
            yield f"it returns {kind.__name__}; {who} returns None, an update (a dict), its State, Goto, {kinds} or END"


def problems_of_parameters(
    fn: Callable[..., Any],
    state_type: type[State] | None,
    names: tuple[str, ...],
    message: type[State] | None = None,
) -> Iterator[str]:
    """Why a function can't be called with what these names say: the state (None: something else), a message, ..."""
    signature = signature_of(fn)
    if signature is None:
        yield "its parameters can't be read; wrap it in a def"
        return
    positional, wanted = positional_of(signature), f"({', '.join(names)})"
    parameters = signature.parameters.values()
    needed = len(names) - (names[-1] == "ctx")  # whoever does not ask for the context is called without
    if len(positional) < needed and not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        taken = f"only {positional[0].name!r}" if positional else "no positional parameter"
        yield f"it takes {taken}; it is called as {wanted}"
    if excess := [parameter.name for parameter in positional[len(names) :] if parameter.default is parameter.empty]:
        yield f"it also asks for {', '.join(map(repr, excess))}; it is called as {wanted}"
    for parameter in parameters:
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.default is parameter.empty:
            yield f"it asks for the keyword {parameter.name!r}; it is called as {wanted}"
    if positional and state_type is not None:
        yield from _problems_of_state(positional[0], fn, state_type)
    if message is not None and len(positional) > 1:
        expected = resolve(positional[1].annotation, fn)
        if _is_plain_class(expected) and not issubclass(message, expected):
            yield f"it takes a {expected.__name__}, but handles {message.__name__}"
    if names[-1] == "ctx" and len(positional) >= len(names):
        yield from _problems_of_context(positional[len(names) - 1], fn)


def _problems_of_state(parameter: inspect.Parameter, fn: Callable[..., Any], state_type: type[State]) -> Iterator[str]:
    expected = resolve(parameter.annotation, fn)
    if _is_plain_class(expected) and not issubclass(state_type, expected):
        yield f"it takes a {expected.__name__}, but the graph's state is {state_type.__name__}"


def _problems_of_context(parameter: inspect.Parameter, fn: Callable[..., Any]) -> Iterator[str]:
    expected = resolve(parameter.annotation, fn)
    if (
        _is_plain_class(expected)
        and expected is not object
        and (issubclass(expected, State) or expected.__module__ == "builtins")
    ):
        yield f"its parameter {parameter.name!r} is the Context, not a {expected.__name__}"


def _is_plain_class(annotation: Any) -> typing.TypeGuard[type[Any]]:
    """Whether it is a class that issubclass() can be asked about: no Protocol, no TypedDict, nothing unknown."""
    return (
        isinstance(annotation, type)
        and annotation is not UNKNOWN
        and annotation is not Any
        and typing.get_origin(annotation) is None
        and not getattr(annotation, "_is_protocol", False)
        and not typing.is_typeddict(annotation)
    )


def _classes_in(annotation: Any) -> Iterator[type[Any]]:
    """The plain classes that an annotation names, alone or in a union; None as its type."""
    if typing.get_origin(annotation) in (typing.Union, UnionType):
        for member in typing.get_args(annotation):
            yield from _classes_in(member)
    elif annotation is None:
        yield NoneType
    elif _is_plain_class(annotation):
        yield annotation


def _is_outcome(kind: type[Any], message: type[State] | None) -> bool:
    routing = Goto | Send | End if message is None else Goto | Reply | End
    return kind is object or issubclass(kind, NoneType | Mapping | State | routing)
