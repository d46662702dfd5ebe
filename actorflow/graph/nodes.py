"""Nodes: what a graph is declared to consist of: functions, handlers of messages, fan-outs and graphs inside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from actorflow.graph.declaration import (
    DeclaredFan,
    DeclaredInner,
    DeclaredNode,
    HandlerOptions,
    MapOptions,
    NodeOptions,
    SubgraphOptions,
)
from actorflow.graph.declaring import Declaring
from actorflow.graph.message import Message
from actorflow.graph.node import Answer, Outcome
from actorflow.graph.routing import NodeHandle, label
from actorflow.graph.signature import site_of_caller
from actorflow.graph.state import State

if TYPE_CHECKING:
    from actorflow.graph.context import Context
    from actorflow.graph.decorators import HandlerDecorator, NodeDecorator
    from actorflow.graph.graph import Graph

S = TypeVar("S", bound=State)
R = TypeVar("R", bound=Outcome | Awaitable[Outcome])
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Answer | Awaitable[Answer])
In = TypeVar("In")  # what a node takes: the state, or what is sent to it


class DeclaringNodes(Declaring[S]):
    """The part of a graph by which its nodes are declared."""

    @overload
    def node(self, fn: Callable[[S], R], /, **options: Unpack[NodeOptions]) -> Callable[[S], R]: ...
    @overload
    def node(self, fn: Callable[[S, Context], R], /, **options: Unpack[NodeOptions]) -> Callable[[S, Context], R]: ...
    @overload
    def node(
        self, fn: Callable[[In], R], /, *, takes: type[In], **options: Unpack[NodeOptions]
    ) -> Callable[[In], R]: ...
    @overload
    def node(
        self, fn: Callable[[In, Context], R], /, *, takes: type[In], **options: Unpack[NodeOptions]
    ) -> Callable[[In, Context], R]: ...
    @overload
    def node(self, /, **options: Unpack[NodeOptions]) -> NodeDecorator[S]: ...
    @overload
    def node(self, /, *, takes: type[In], **options: Unpack[NodeOptions]) -> NodeDecorator[In]: ...
    def node(
        self, fn: Callable[..., Any] | None = None, /, *, takes: Any = None, **options: Unpack[NodeOptions]
    ) -> Any:
        """Declare a node: as decorator, or as a call for a function that serves several graphs.

        The function takes the state and, if it has a second parameter, the
        `Context`. It is handed back unchanged.

        Args:
            fn: ``async def``, or a plain function, which runs in a worker thread.
            takes: for a node to which a `Send` sends: the type of what is sent, which it takes instead of the state.
            **options: the following.

                - ``name``: the function's own name by default.
                - ``after``: an edge from this node; from a tuple or list a join, which waits for all of them.
                - ``join``: how many of them open it: ``"all"`` (default), ``"any"``, or a number. The
                  others of the same round are taken in when they come, and open nothing.
                - ``defer``: open it only when nothing else goes on in the graph.
                - ``goto``: the targets that a returned `Goto` may name.
                - ``send``: the nodes that a returned `Send` may name.
                - ``limit``: where a `Send` sends to it: how many inputs are open at a time; by default 100.
                - ``entry``: start here. Needed only where the edges don't say it, as in a
                  graph whose first node is also the target of a loop.
                - ``retry``: a `Retry`, or several of which the first that applies counts. Overrides the
                  graph's; None is none.
                - ``timeout``: seconds for one attempt, or a `Timeout`. Overrides the graph's; None is none.
                - ``cache``: a `Cache`: its results are kept for later runs that would compute the same.
                - ``middleware``: around the function, inside of the graph's, the outermost first.
                - ``isolate``: ``"process"`` runs the function, sync or async, in a worker process. It is found
                  there by its import path, and can be stopped: a sync one may have a ``timeout``.
                - ``on_error``: what takes over when the node has failed for good: a function
                  ``(state, error) -> update``, whose result counts as the node's; or a node of the
                  graph, which goes on along edges of its own, with the error as ``ctx.error``.
                  Overrides the graph's; None is nothing.
                - ``catch``: the exceptions that it is for; by default all.
        """

        def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
            self._declare(DeclaredNode(fn=fn, takes=takes, **options))
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def on(
        self,
        message: type[M],
        fn: Callable[[S, M], A],
        /,
        *,
        validate: Callable[[S, M], None] | None = None,
        **options: Unpack[HandlerOptions],
    ) -> Callable[[S, M], A]: ...
    @overload
    def on(
        self,
        message: type[M],
        fn: Callable[[S, M, Context], A],
        /,
        *,
        validate: Callable[[S, M], None] | None = None,
        **options: Unpack[HandlerOptions],
    ) -> Callable[[S, M, Context], A]: ...
    @overload
    def on(
        self,
        message: type[M],
        /,
        *,
        validate: Callable[[S, M], None] | None = None,
        **options: Unpack[HandlerOptions],
    ) -> HandlerDecorator[S, M]: ...
    def on(
        self,
        message: Any,
        fn: Callable[..., Any] | None = None,
        /,
        *,
        validate: Callable[..., Any] | None = None,
        **options: Unpack[HandlerOptions],
    ) -> Any:
        """Declare a handler: what a run does with messages of a type, as decorator or as a call.

        The function takes the state, the message and, if it has a third
        parameter, the `Context`. Messages are handled one at a time, beside the
        nodes. What it returns is an update, `Reply`, `Goto`, `END` or nothing.

        Args:
            message: the type. It has one handler.
            fn: ``async def``, or a plain function, which runs in a worker thread.
            validate: ``(state, msg) -> None``, plain, pure and quick: if it raises, the message is refused, and
                whoever sends it gets the error. Nothing of it is kept then.
            **options: the following, each as for `node`, with one exception: the ``on_error`` of the graph is for
                its nodes, not for handlers.

                - ``name``: the function's own name by default.
                - ``goto``: the targets that a returned `Goto` may name. `END` may always be returned.
                - ``retry``, ``timeout``, ``middleware``, ``isolate``, ``on_error``, ``catch``.

        Example:
            >>> from actorflow import Graph, Message, Reply, State
            >>> class Account(State):
            ...     balance: int = 0
            >>> class Withdraw(Message, version=1):
            ...     amount: int
            >>> account = Graph("account", Account, lifetime="actor")
            >>> def covered(state: Account, msg: Withdraw) -> None:
            ...     if msg.amount > state.balance:
            ...         raise ValueError("there is not so much on it")
            >>> @account.on(Withdraw, validate=covered)
            ... async def withdraw(state: Account, msg: Withdraw) -> Reply:
            ...     left = state.balance - msg.amount
            ...     return Reply(left, update={"balance": left})
        """
        if not isinstance(message, type):
            raise TypeError(f"on() takes the type of the messages: @graph.on(Deposit), not {label(message)}")

        def declare(fn: Callable[..., Any]) -> Callable[..., Any]:
            self._declare(DeclaredNode(fn=fn, message=message, validate=validate, **options))
            return fn

        return declare if fn is None else declare(fn)

    def map(
        self,
        what: Callable[..., Any] | Graph[Any],
        /,
        *,
        over: str | int | Callable[[S], Any],
        into: str | Mapping[str, str] | None = None,
        **options: Unpack[MapOptions],
    ) -> NodeHandle:
        """Declare a fan-out: a function, or a graph, for each item of a list, side by side.

        A mapped function takes the item (and, as second parameter, the
        `Context`) and returns its result. Each result is durable on its own:
        after a crash only items that had not finished run again. When the last
        one is done, the results are merged into the state, in the order of the
        items, and the node is finished.

        Args:
            what: the function, or the graph.
            over: a field that is a list, a function of the state that returns one, or how many items there are.
            into: the field that takes the list of results; ``{field: inner field}`` fills several from a graph.
            **options: ``name``, ``after``, ``join``, ``defer`` and ``entry`` as for `node`, and

                - ``limit``: how many items are open at a time; by default 100; a number or a function of the state.
                - ``on_error``: ``"fail"`` (default): an item that fails, fails the run; ``"collect"``: it
                  is left out of the results and never runs again.
                - ``errors``: with ``"collect"``, a field that takes an `ItemError` for each of those; without it
                  the `ItemError` stands among the results.
                - ``on_empty``: ``"skip"`` (default) or ``"fail"`` if there are no items.
                - ``enter``: of a graph, its field that takes the item, or a function ``(item, state) -> State``;
                  by default the item is the inner State itself.
                - ``leave``: of a graph, the field that is the result, or a function of its last state; by default
                  that state.
                - ``retry``, ``timeout``, ``cache``, ``middleware``, ``isolate``: of each item, as for `node`. A
                  graph takes only ``retry``, which runs an item of it again as a whole.

        Example:
            >>> from actorflow import Graph, State
            >>> class Words(State):
            ...     words: list[str]
            ...     lengths: list[int] = []
            >>> graph = Graph("words", Words)
            >>> def measure(word: str) -> int:
            ...     return len(word)
            >>> graph.map(measure, over="words", into="lengths")
            <node 'measure'>
        """
        given: dict[str, Any] = dict(options)
        inner = isinstance(what, Declaring)
        if not inner and ("enter" in given or "leave" in given):
            raise TypeError("enter= and leave= are for a graph; a function takes the item and returns its result")
        return self._declare_handled(
            what,
            given,
            site_of_caller(),
            fan=DeclaredFan(over=over, into=into, **_taken(given, "limit", "on_error", "on_empty", "errors")),
            inner=DeclaredInner(graph=what, **_taken(given, "enter", "leave")) if inner else None,
        )

    def subgraph(self, graph: Graph[Any], /, **options: Unpack[SubgraphOptions]) -> NodeHandle:
        """Declare a graph as a node of this one, with a state of its own, in the same run and the same history.

        Args:
            graph: the inner graph.
            **options: ``name``, ``after``, ``join``, ``defer``, ``goto`` and ``entry`` as for `node`, and

                - ``enter``: what goes in: ``{inner: outer}`` or a list of names, or a function of the outer state
                  that returns the inner one; by default the fields of the same name, ``{}`` for nothing.
                - ``leave``: what comes out: ``{outer: inner}`` or a list of names, or a function of the inner
                  state that returns an update; by default the fields of the same name. Of a field only what was
                  written inside comes out; if it has the same reducer outside, each inner update is merged there.
                - ``lifetime``: ``"visit"`` (default): a new state each time; ``"run"``: it is kept for the next visit.
                - ``limit``: where a `Send` sends to it: how many inputs are open at a time; by default 100.

        Example:
            >>> from actorflow import Graph, State
            >>> class Text(State):
            ...     text: str = ""
            >>> inner, outer = Graph("inner", Text), Graph("outer", Text)
            >>> @inner.node
            ... def shout(state: Text):
            ...     return {"text": state.text.upper()}
            >>> outer.subgraph(inner)
            <node 'inner'>
        """
        given: dict[str, Any] = dict(options)
        inner = DeclaredInner(graph=graph, **_taken(given, "enter", "leave", "lifetime"))
        return self._declare_handled(graph, given, site_of_caller(), inner=inner)

    def _declare_handled(self, what: Any, options: dict[str, Any], site: str, **kind: Any) -> NodeHandle:
        """Declare a node that is referred to by what declaring it returns."""
        name = options.pop("name", None) or getattr(what, "name", None) or getattr(what, "__name__", None)
        handle = NodeHandle(name or "<lambda>")
        fn = _never_called if kind["inner"] is not None else what
        self._declare(DeclaredNode(fn=fn, name=name, handle=handle, site=site, **kind, **options))
        return handle


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of the options, which are taken out."""
    return {name: options.pop(name) for name in names if name in options}


def _never_called(*_: Any) -> None:
    """Stands for the function of a subgraph."""
