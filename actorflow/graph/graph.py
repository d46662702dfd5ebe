"""Graph: nodes over one State type and what leads from one to the next. Declared in code, checked before it runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, Unpack, overload

from actorflow.errors import GraphError
from actorflow.graph.check import Finding, warnings_of
from actorflow.graph.compile import compile_graph
from actorflow.graph.declaration import (
    Declaration,
    DeclaredBranch,
    DeclaredEdge,
    DeclaredFan,
    DeclaredInner,
    DeclaredNode,
    HandlerOptions,
    MapOptions,
    NodeOptions,
    SubgraphOptions,
)
from actorflow.graph.draw import Format, draw
from actorflow.graph.message import Mailbox, Message
from actorflow.graph.migrate import Migration, Plain, migrate, migrations_of, register
from actorflow.graph.nesting import problems_inside, warnings_inside
from actorflow.graph.node import Answer, Outcome
from actorflow.graph.routing import End, NodeHandle, NodeRef, Target, label
from actorflow.graph.schema import Schema, schema_of
from actorflow.graph.signature import site_of_caller
from actorflow.graph.state import State, Version
from actorflow.graph.undo import DeclaredUndo

if TYPE_CHECKING:
    from actorflow.graph.codec import Codec
    from actorflow.graph.context import Context
    from actorflow.graph.declaration import Catch, OnError
    from actorflow.graph.middleware import Middleware
    from actorflow.graph.plan import Lifetime, Plan
    from actorflow.graph.progress import Progress
    from actorflow.graph.retry import Retries
    from actorflow.graph.timeouts import Timeout

S = TypeVar("S", bound=State)
R = TypeVar("R", bound=Outcome | Awaitable[Outcome])
B = TypeVar("B", bound=Target | Sequence[Target])
M = TypeVar("M", bound=Message)
A = TypeVar("A", bound=Answer | Awaitable[Answer])
U = TypeVar("U", bound=Callable[..., Any])
In = TypeVar("In")  # what a node takes: the state, or what is sent to it


class _NodeDecorator(Protocol[In]):
    """What ``@graph.node(...)`` is: it hands the function back as it was."""

    @overload
    def __call__(self, fn: Callable[[In], R], /) -> Callable[[In], R]: ...
    @overload
    def __call__(self, fn: Callable[[In, Context], R], /) -> Callable[[In, Context], R]: ...


class _HandlerDecorator(Protocol[S, M]):
    """What ``@graph.on(...)`` is."""

    @overload
    def __call__(self, fn: Callable[[S, M], A], /) -> Callable[[S, M], A]: ...
    @overload
    def __call__(self, fn: Callable[[S, M, Context], A], /) -> Callable[[S, M, Context], A]: ...


class _BranchDecorator(Protocol[S]):
    """What ``@graph.branch(...)`` is."""

    def __call__(self, fn: Callable[[S], B], /) -> Callable[[S], B]: ...


def _taken(options: dict[str, Any], *names: str) -> dict[str, Any]:
    """Those of the options, which are taken out."""
    return {name: options.pop(name) for name in names if name in options}


def _never_called(*_: Any) -> None:
    """Stands for the function of a subgraph."""


class Graph(Generic[S]):
    """A named set of nodes over one `State` type.

    Nothing is checked while you declare: `check` and `plan` report all problems
    at once. A node is referred to by its function or by its name, which may be
    declared later.

    Args:
        name: what runs of this graph are known by in a store.
        state_type: the class of the state.
        retry: for functions that don't say their own; a node says ``retry=None`` for none.
        timeout: seconds for an attempt, or a `Timeout`, for functions that don't say their own and can be
            stopped (async ones, and those with ``isolate=``); a node says ``timeout=None`` for none.
        on_error: what takes over for nodes that don't say their own, see `node`; a node says ``on_error=None``
            for nothing.
        catch: the exceptions that it is for; by default all.
        middleware: around each function of the graph, the outermost first; see `actorflow.graph.middleware`.
        record_backoff_over: a pause before a retry that is at least so many seconds long is recorded, so
            that it is not begun anew after a restart.
        max_activations: the run fails with `TooManyActivations` after so many,
            counted since it was last opened: a loop without an end comes to one.
        max_items: a fan-out of more fails with `TooManyItems`.
        max_steps: a node that has more steps, in all of its attempts, fails with `TooManySteps`.
        max_state: bytes that the state may take; a node whose update would make it larger fails with
            `StateTooLarge`, and there is a warning in the log when four fifths are reached. An estimate: what
            each value takes encoded.
        migrations: in addition to those of the State and of the types of messages, as is `migrate`.
        moves: old node names and what became of them: the new name, or `END`.
        context: the type of ``context=`` that run, spawn, resume and register take; another one is `BadContext`.
        types: a `Codec` for each type in the state that msgspec does not know.
        interrupt_before: nodes before which a run waits until it is answered; ``"*"`` is each of them.
        interrupt_after: nodes after which it does, their update merged and where they lead still to be asked.
        lifetime: ``"run"``: a run is over when none of its nodes goes on; meanwhile it handles messages.
            ``"actor"``: it then waits for messages, until a handler returns `END` or it is cancelled.
        messages: the types of messages that nodes receive, beside those that `on` handles.
        mailbox: how much may wait to be handled.

    Example:
        >>> from actorflow import Graph, State, Update
        >>> class Count(State):
        ...     n: int = 0
        >>> count = Graph("count", Count)
        >>> @count.node
        ... def add(state: Count) -> Update:
        ...     return {"n": state.n + 1}
        >>> @count.node(after=add)
        ... def double(state: Count) -> Update:
        ...     return {"n": state.n * 2}
        >>> print(count.draw("text"), end="")
        count: 2 nodes
        * add
            → double
          double
    """

    def __init__(
        self,
        name: str,
        state_type: type[S],
        *,
        retry: Retries = None,
        timeout: float | Timeout | None = None,
        on_error: OnError = None,
        catch: Catch = Exception,
        middleware: Sequence[Middleware] = (),
        record_backoff_over: float = 1.0,
        max_activations: int = 100_000,
        max_items: int = 100_000,
        max_steps: int = 10_000,
        max_state: int | None = None,
        migrations: Iterable[Migration] = (),
        moves: Mapping[str, str | End] | None = None,
        context: type[Any] | None = None,
        types: Iterable[Codec[Any]] = (),
        interrupt_before: NodeRef | Sequence[NodeRef] = (),
        interrupt_after: NodeRef | Sequence[NodeRef] = (),
        lifetime: Lifetime = "run",
        messages: Sequence[type[Message]] = (),
        mailbox: Mailbox = Mailbox(),  # noqa: B008 - it is frozen
    ) -> None:
        self.state_type = state_type
        self.context_type = context
        self._declaration = Declaration(
            name=name,
            state_type=state_type,
            retry=retry,
            timeout=timeout,
            on_error=on_error,
            catch=catch,
            middleware=middleware,
            record_backoff_over=record_backoff_over,
            max_activations=max_activations,
            max_items=max_items,
            max_steps=max_steps,
            max_state=max_state,
            moves=dict(moves or {}),
            migrations=list(migrations),
            types=tuple(types),
            interrupt_before=interrupt_before,
            interrupt_after=interrupt_after,
            lifetime=lifetime,
            messages=messages,
            mailbox=mailbox,
        )
        self._compiled: tuple[Plan, tuple[str, ...]] | None = None
        self._sound: Plan | None = None  # the compiled plan, once the graphs inside were checked, too

    def __repr__(self) -> str:
        count = len(self._declaration.nodes)
        return f"<Graph {self.name!r} over {label(self.state_type)}: {count} node{'s' * (count != 1)}>"

    @property
    def name(self) -> str:
        """What runs of this graph are known by in a store."""
        return self._declaration.name

    @property
    def migrations(self) -> tuple[Migration, ...]:
        """Those registered on this graph; the own ones of the State and of messages are not among them."""
        return tuple(self._declaration.migrations)

    @property
    def moves(self) -> Mapping[str, str | End]:
        """Old node names and what became of them."""
        return self._declaration.moves

    @property
    def schema(self) -> Schema:
        """The State as the engine sees it, with the codecs of this graph."""
        return schema_of(self.state_type, self._declaration.types)

    @property
    def plan(self) -> Plan:
        """The graph as the engine runs it. Compiled when first asked for, and again after a change.

        Raises:
            GraphError: with all errors that `check` finds.
        """
        plan, problems = self.compiled()
        if problems:
            raise GraphError(self.name, problems)
        if self._sound is not plan:
            if inside := list(problems_inside(self)):
                raise GraphError(self.name, inside)
            self._sound = plan
        return plan

    def compiled(self) -> tuple[Plan, tuple[str, ...]]:
        """The plan, and what is wrong with this graph alone; with any problem it must not be run."""
        if self._compiled is None:
            self._compiled = compile_graph(self._declaration)
        return self._compiled

    def check(self) -> list[Finding]:
        """Everything that is wrong with the graph, or else what is doubtful about it; empty for a sound one.

        Warnings take a look at every decision together with every join, so
        `plan`, which starts runs, does not ask for them.
        """
        plan, problems = self.compiled()
        if problems := (*problems, *problems_inside(self)):
            return [Finding("error", problem) for problem in problems]
        return [Finding("warning", problem) for problem in (*warnings_of(plan), *warnings_inside(self))]

    def draw(self, format: Format = "mermaid", *, expand: bool = True, run: Progress | None = None) -> str:
        """A picture of the graph. Nothing of it is run.

        Args:
            format: ``"mermaid"``, a flowchart; ``"text"``, lines for a terminal; ``"svg"``, an image that needs
                nothing else; ``"dot"``, for Graphviz.
            expand: draw the graphs inside it in full; one that contains itself is drawn so only once.
            run: how far a run has come, as ``await run.progress()`` says; `Run.picture` does both.

        Raises:
            GraphError: as `plan`.
        """
        return draw(self.plan, format, expand=expand, run=run)

    def svg(self, *, expand: bool = True, run: Progress | None = None) -> str:
        """`draw` as an SVG: light or dark as its reader's system is, and without anything to be loaded.

        Raises:
            GraphError: as `plan`.
        """
        return draw(self.plan, "svg", expand=expand, run=run)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        """What a notebook shows of it; of one that can't run its name, as `check` says what is wrong with it."""
        formats: dict[str, Format] = {"text/plain": "text", "image/svg+xml": "svg", "text/vnd.mermaid": "mermaid"}
        try:
            return {kind: self.draw(format) for kind, format in formats.items()}
        except GraphError:
            return {"text/plain": repr(self)}

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
    def node(self, /, **options: Unpack[NodeOptions]) -> _NodeDecorator[S]: ...
    @overload
    def node(self, /, *, takes: type[In], **options: Unpack[NodeOptions]) -> _NodeDecorator[In]: ...
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
    ) -> _HandlerDecorator[S, M]: ...
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
        inner = isinstance(what, Graph)
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

    def _declare(self, node: DeclaredNode) -> None:
        self._compiled = None
        self._declaration.nodes.append(node)

    def edge(self, source: NodeRef | Sequence[NodeRef], target: Target) -> None:
        """Declare an edge; from several sources a join, as with ``after=``. Loops are edges like any other."""
        self._compiled = None
        self._declaration.edges.append(DeclaredEdge(source, target, site_of_caller()))

    @overload
    def branch(
        self, fn: Callable[[S], B], /, *, after: NodeRef, to: Target | Sequence[Target] | None = None
    ) -> Callable[[S], B]: ...
    @overload
    def branch(self, /, *, after: NodeRef, to: Target | Sequence[Target] | None = None) -> _BranchDecorator[S]: ...
    def branch(
        self,
        fn: Callable[[S], Any] | None = None,
        /,
        *,
        after: NodeRef,
        to: Target | Sequence[Target] | None = None,
    ) -> Any:
        """Declare a branch: a function that names the next nodes when ``after`` has finished.

        It is a plain function of the state with the node's update merged, pure
        and quick, and returns one target or a list of them. All branches and
        edges of a node contribute.

        Args:
            fn: the function, if this is not used as a decorator.
            after: the node after which it is asked.
            to: its targets, where the annotation (``-> Literal["publish", "revise"]``) does not say them.
        """

        def declare(fn: Callable[[S], Any]) -> Callable[[S], Any]:
            self._compiled = None
            self._declaration.branches.append(DeclaredBranch(fn, after, to))
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def undo(self, fn: U, /, *, name: str | None = None, retry: Retries = None) -> U: ...
    @overload
    def undo(self, /, *, name: str | None = None, retry: Retries = None) -> Callable[[U], U]: ...
    def undo(self, fn: Any = None, /, *, name: str | None = None, retry: Retries = None) -> Any:
        """Declare a function that undoes what a step did: see ``undo=`` of `Context.step`.

        It takes the result of the step and, if it has a second parameter, a
        `Context`, whose ``idempotency_key`` is this undoing's own. A run finds it
        by its name, after any restart and under newer code: no code is stored.

        Args:
            fn: sync (it runs in a worker thread) or async. What it returns does not matter.
            name: the function's own by default; unique among the graphs of a run.
            retry: how it is tried again; a step whose undoing fails stays to be undone.

        Example:
            >>> from actorflow import Graph, State
            >>> class Trip(State):
            ...     city: str
            >>> trip = Graph("trip", Trip)
            >>> @trip.undo
            ... async def cancel_hotel(booking: str) -> None:
            ...     print("cancelled", booking)
        """

        def declare(fn: Any) -> Any:
            self._compiled = None
            self._declaration.undos.append(DeclaredUndo(fn, name, retry))
            return fn

        return declare if fn is None else declare(fn)

    @overload
    def migrate(self, function: Callable[[Any], Any], /) -> Migration: ...
    @overload
    def migrate(self, /, *, from_: Version, to: Version) -> Callable[[Callable[[Plain], Plain]], Migration]: ...
    def migrate(
        self,
        function: Callable[[Any], Any] | None = None,
        /,
        *,
        from_: Version | None = None,
        to: Version | None = None,
    ) -> Any:
        """Declare a migration and register it on this graph; else as the function `migrate`.

        Raises:
            DuplicateMigration: there is one between these versions already.
        """

        def declare(migration: Migration) -> Migration:
            migrations = [*self._declaration.migrations, migration]
            gives = migration.gives
            schema = schema_of(gives) if gives is not None and issubclass(gives, Message) else self.schema
            register(schema, migrations_of(schema, migrations))
            self._compiled = None
            self._declaration.migrations = migrations
            return migration

        if function is not None:
            return declare(migrate(function))
        if from_ is None or to is None:
            raise TypeError("say from_= and to=, or type the function from one versioned State to another")
        between = migrate(from_=from_, to=to)

        def declare_plain(plain: Callable[[Plain], Plain]) -> Migration:
            return declare(between(plain))

        return declare_plain
