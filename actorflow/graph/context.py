"""Context: what a node may know and use beside the state, as its optional second parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

from actorflow.graph.contacting import Contacting

if TYPE_CHECKING:
    import logging
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from random import Random
    from uuid import UUID

    from actorflow.errors import RemoteError
    from actorflow.graph.effects import Mode, Reconcile
    from actorflow.graph.retry import Retries
    from actorflow.graph.timeouts import Timeout

R = TypeVar("R")


class Context(Contacting, Protocol):
    """Who asks a node to run, and what the caller handed along. Valid during the attempt only.

    Annotate a node's second parameter with it; a test of a node may pass any
    object with these attributes.

    Example:
        >>> from actorflow import Context, State, Update
        >>> class Order(State):
        ...     total: int
        ...     receipt: str = ""
        >>> async def charge(state: Order, ctx: Context) -> Update:
        ...     return {"receipt": await ctx.context.bank.charge(state.total, key=ctx.idempotency_key)}
    """

    @property
    def run_id(self) -> str:
        """The id of the run."""
        ...

    @property
    def node(self) -> str:
        """The name of the node that runs."""
        ...

    @property
    def attempt(self) -> int:
        """Which call of this activation it is: 1 is the first."""
        ...

    @property
    def scope(self) -> str:
        """The path of the graph inside that the node is in; empty at the root."""
        ...

    @property
    def index(self) -> int | None:
        """Of an item of a fan-out: which one. None for any other activation."""
        ...

    @property
    def error(self) -> RemoteError | None:
        """What a node that was opened by an ``on_error=`` handles: the error of the node that failed, as text."""
        ...

    @property
    def idempotency_key(self) -> str:
        """The same on every attempt and after every restart of this activation, and no other's.

        An effect outside happens at least once (guarantee 6); hand this key to
        whoever can tell a repetition by it.
        """
        ...

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the run, the node and the attempt."""
        ...

    @property
    def context(self) -> Any:
        """The clients and settings given as ``context=`` to run, spawn or resume. Never stored."""
        ...

    async def interrupt(
        self,
        question: str,
        payload: Any = None,
        *,
        type: Any = Any,
        key: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - it limits whoever is asked, and outlives the process
        default: Any = None,
    ) -> Any:
        """Ask somebody outside; the answer, once there is one.

        Until then the node is left: the question is durable, others go on, and
        when nothing else does, the run waits, costs nothing, and may do so for
        weeks. When it is answered (`Run.answer`), the node runs again *from its
        start*, and gets the answers it had before at once. So do what must not
        be done twice after the question, or by its idempotency key.

        An answer belongs to the text of its question; of several with the same
        text, to the first, the second, and so on. No ``except Exception`` of the
        node takes the leaving for an error.

        Args:
            question: what is asked.
            payload: what whoever answers must know; anything that a State could hold.
            type: of the answer; another one is refused, and the question stays open.
            key: names the question instead of its text, for those that are asked side by side.
            timeout: seconds after which ``default`` is taken for an answer.
            default: see ``timeout``.

        Raises:
            BadAnswer: the answer that was given is not of this type: the code asks for another one by now.

        Example:
            >>> from actorflow import Context, State, Update
            >>> class Draft(State):
            ...     text: str
            ...     published: bool = False
            >>> async def review(state: Draft, ctx: Context) -> Update:
            ...     return {"published": await ctx.interrupt("Publish?", state.text, type=bool)}
        """
        ...

    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        mode: Mode = "at_least_once",
        reconcile: Reconcile | None = None,
        retry: Retries = None,
        timeout: float | Timeout | None = None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None = None,
        type: type[R],
    ) -> R: ...
    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., Awaitable[R]],
        /,
        *args: Any,
        key: str | None = None,
        mode: Mode = "at_least_once",
        reconcile: Reconcile | None = None,
        retry: Retries = None,
        timeout: float | Timeout | None = None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None = None,
        type: None = None,
    ) -> R: ...
    @overload
    async def step(
        self,
        name: str,
        fn: Callable[..., R],
        /,
        *args: Any,
        key: str | None = None,
        mode: Mode = "at_least_once",
        reconcile: Reconcile | None = None,
        retry: Retries = None,
        timeout: float | Timeout | None = None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None = None,
        type: None = None,
    ) -> R: ...
    async def step(
        self,
        name: str,
        fn: Callable[..., Any],
        /,
        *args: Any,
        key: str | None = None,
        mode: Mode = "at_least_once",
        reconcile: Reconcile | None = None,
        retry: Retries = None,
        timeout: float | Timeout | None = None,  # noqa: ASYNC109 - it may be of each attempt, or of all
        undo: str | Callable[..., Any] | None = None,
        type: type[Any] | None = None,
    ) -> Any:
        """Do something outside, and remember what came of it: it is not done again when this node runs again.

        The result is durable before it is returned, and what is returned is the
        decoded copy of it. A later attempt of this activation, in this process
        or another one, gets it at once. A crash between the effect and its
        record repeats the effect, under the same key (or, at most once, leaves
        it unknown): nothing makes a foreign system do something exactly once.

        A step is known by its name and ``key``, so steps may be added, removed
        and reordered. Of a name without ``key`` there is the first, the second,
        and so on, as in a loop; side by side, in several tasks, each needs a
        ``key``, else it is `AmbiguousStep`. What is done inside a step may be
        steps, too. What is remembered belongs to the activation: it is closed
        with it, and a rewind or a fork begins without.

        An exception leaves the step as it is, and nothing is remembered: the
        node's own `Retry`, or the restart after a crash, does it again. With
        ``retry`` used up, or at most once, it is final: `StepFailed`, now and
        on every later attempt, until the run is resumed.

        Args:
            name: says what it does.
            fn: async, or sync: it runs in a worker thread. If it has a parameter ``idempotency_key``, it is given
                the step's: the same each time, and no other step's.
            *args: for it. They are not compared with those of an earlier attempt.
            key: tells steps of one name apart.
            mode: ``"at_most_once"`` records the intent before it begins; if nobody recorded the outcome, the step
                is not run again: that is `OutcomeUnknown`, or what ``reconcile`` says.
            reconcile: is asked what became of it, with an `Intent`: `Done`, `NotDone` or `Unknown`. It is asked
                after a crash, and after an exception of the function.
            retry: how it is tried again at once. A pause of ``Graph(record_backoff_over=)`` or more is recorded.
            timeout: seconds for each attempt, or a `Timeout` (``attempt``, ``total``). Of async functions.
            undo: a function declared by `Graph.undo`, which undoes it if the run is rolled back.
            type: of the result; by default what ``fn`` is annotated with, and without that, plain values.

        Raises:
            AmbiguousStep, OutcomeUnknown, StepFailed, StepTimeout, BadStepResult, UnknownUndo, AttemptOver
            What ``fn`` raises.

        Example:
            >>> from actorflow import Context, State, Update
            >>> class Order(State):
            ...     total: int
            ...     receipt: str = ""
            >>> async def charge(total: int, idempotency_key: str = "") -> str:
            ...     return f"charged {total}"
            >>> async def pay(state: Order, ctx: Context) -> Update:
            ...     return {"receipt": await ctx.step("charge", charge, state.total)}
        """
        ...

    async def rollback(self) -> list[str]:
        """Undo what the steps of this run have done that said ``undo=``, the latest first, in whichever node they ran.

        Each is taken off the list by the record that says that it was undone,
        so that a crash in the middle goes on where it was. Only one node of a
        run rolls back at a time. The results of steps that are undone stay what
        they are for their activations.

        Returns:
            The names of the steps that this activation has undone, also before a crash.

        Raises:
            UnknownUndo: the code no longer declares one of the functions.
            What a function raises when its retries are used up; what is left stays to be undone.

        Example:
            >>> from actorflow import Context, State, Update
            >>> class Trip(State):
            ...     undone: list[str] = []
            >>> async def give_up(state: Trip, ctx: Context) -> Update:  # the on_error= of other nodes
            ...     return {"undone": await ctx.rollback()}
        """
        ...

    async def sleep(
        self,
        seconds: float = 0.0,
        /,
        *,
        minutes: float = 0.0,
        hours: float = 0.0,
        days: float = 0.0,
        until: datetime | None = None,
        key: str | None = None,
    ) -> None:
        """Wait, without keeping anything in memory: the node is left, and runs again from its start when it is time.

        The time is durable. If nobody runs the run then, it goes on as soon as
        somebody does; it never waits twice. What was done before in a `step` is
        not done again. Like a question, sleeps side by side need a ``key`` each.

        Args:
            seconds: and the following are added up.
            minutes: see ``seconds``.
            hours: see ``seconds``.
            days: of 24 hours.
            until: a time with a time zone, instead.
            key: tells sleeps apart that are side by side.

        Example:
            >>> from actorflow import Context, State, Update
            >>> class Trial(State):
            ...     reminded: bool = False
            >>> async def remind(state: Trial, ctx: Context) -> Update:
            ...     await ctx.sleep(days=14)
            ...     return {"reminded": True}
        """
        ...

    async def now(self) -> datetime:
        """The time, in UTC: the same on every later attempt. It is durable before it is returned, as a step is."""
        ...

    def uuid(self, name: str = "") -> UUID:
        """A UUID that is the same on every attempt, and no other's; of one name the first, the second, and so on."""
        ...

    @property
    def random(self) -> Random:
        """Random numbers that are the same on every attempt, from the first on, and other ones in other activations."""
        ...

    def emit(self, data: Any) -> None:
        """Hand something to whoever watches the run now, as a token of a text; it is not stored. See `Run.events`."""
        ...

    def progress(self, done: float, total: float | None = None) -> None:
        """Tell whoever watches the run how far the node is. It is not stored."""
        ...

    def heartbeat(self) -> None:
        """Show that the node is still at work; it and the two above reset an idle timeout."""
        ...
