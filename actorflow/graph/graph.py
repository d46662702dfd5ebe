"""Graph: nodes over one State type and what leads from one to the next. Declared in code, checked before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.errors import GraphError
from actorflow.graph.check import Finding, warnings_of
from actorflow.graph.compile import compile_graph
from actorflow.graph.declaration import Declaration
from actorflow.graph.draw import Format, draw
from actorflow.graph.message import Mailbox, Message
from actorflow.graph.nesting import problems_inside, warnings_inside
from actorflow.graph.nodes import DeclaringNodes
from actorflow.graph.routing import End, NodeRef, label
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actorflow.graph.codec import Codec
    from actorflow.graph.declaration import Catch, OnError
    from actorflow.graph.middleware import Middleware
    from actorflow.graph.migrate import Migration
    from actorflow.graph.plan import Lifetime, Plan
    from actorflow.graph.progress import Progress
    from actorflow.graph.retry import Retries
    from actorflow.graph.timeouts import Timeout

S = TypeVar("S", bound=State)


class Graph(DeclaringNodes[S]):
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
        context: the type of ``context=`` that run, spawn, resume and register take; another one is `BadContext`. A
            process that was given none leaves the runs of this graph to one that was, but where None is of the type.
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
        declaration = Declaration(
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
        super().__init__(state_type, declaration)
        self.context_type = context
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
