"""Contacting: how a node speaks with other runs, waits for what they say, and sets itself timers."""

# ruff: noqa: ASYNC109 - each timeout is for what outlives the process

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from actorflow.graph.graph import Graph
    from actorflow.graph.message import Envelope, Message
    from actorflow.graph.state import State

T = TypeVar("T")
M = TypeVar("M", bound="Message")
S = TypeVar("S", bound="State")


class HasId(Protocol):
    """A handle of a run, or whatever else says which one is meant."""

    @property
    def id(self) -> str:
        """Of the run."""
        ...


class Contacting(Protocol):
    """The part of `Context` that has to do with other runs. A run is named by its id, or by a handle of it.

    What a node sends, begins, monitors and sets goes out with the commit of its
    result, or not at all: nothing of an attempt that fails. What it waits for is
    durable, and the node is left meanwhile, and runs again from its start.
    """

    @property
    def message(self) -> Envelope:
        """Of a handler: what is known of the message that it handles, beside what it says."""
        ...

    async def send(self, run: str | HasId, message: Message) -> None:
        """Send a message to a run, which takes it once, in the order in which this run sends.

        It is kept with the commit of the node's result, and carried until the
        other run has it. If there is none, or it is over, it is a dead letter of this one.

        Raises:
            BadMessage: it is none, or a field does not fit.
            BadRunId: no run is called so.

        Example:
            >>> from actorflow import Context, Message, State, Update
            >>> class Deposit(Message, version=1):
            ...     amount: int
            >>> class Sale(State):
            ...     total: int
            >>> async def book(state: Sale, ctx: Context) -> Update:
            ...     await ctx.send("till-1", Deposit(amount=state.total))
            ...     return {}
        """
        ...

    @overload
    async def ask(
        self, run: str | HasId, message: Message, *, type: type[T], timeout: float | None = None, key: str | None = None
    ) -> T: ...
    @overload
    async def ask(
        self, run: str | HasId, message: Message, *, timeout: float | None = None, key: str | None = None
    ) -> Any: ...
    async def ask(
        self,
        run: str | HasId,
        message: Message,
        *,
        type: Any = Any,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Any:
        """Send a message and wait for the `Reply` of its handler. It is sent once, however often the node runs.

        Args:
            run: who is asked.
            message: see `send`.
            type: of the reply.
            timeout: seconds to wait.
            key: tells questions to one run apart that are asked side by side.

        Raises:
            AskFailed: the handler raised, there is no such run, or it ended before it came to the message.
            TimeoutError: nobody replied in time.
        """
        ...

    async def spawn(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        parent_close: Literal["cancel", "abandon"] = "cancel",
        tags: Mapping[str, str] | None = None,
        monitor: bool = False,
    ) -> str:
        """Begin a run, a child of this one; its id.

        It begins with the commit of the node's result, or, if that comes first,
        of what the node waits for next. It has a graph, a history and a
        supervisor of its own; the tag ``parent`` says whose child it is.

        Args:
            graph: of the child. A process that is to begin it knows it: `Runtime.register`.
            state: its input; by default the State with all defaults.
            id: by default one that is the same whenever this node runs. One that is there is taken as it is.
            parent_close: what becomes of it when this run has ended.
            tags: of the child.
            monitor: see `monitor`.

        Raises:
            GraphError, BadUpdate, BadRunId
            NoContext: its graph declares one, and was registered without.
        """
        ...

    @overload
    async def result(
        self, run: str | HasId, type: type[T], *, timeout: float | None = None, key: str | None = None
    ) -> T: ...
    @overload
    async def result(
        self, run: str | HasId, type: None = None, *, timeout: float | None = None, key: str | None = None
    ) -> Any: ...
    async def result(
        self,
        run: str | HasId,
        type: Any = None,
        *,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Any:
        """Wait until a run has ended, a child or another one; the state that it finished with.

        Args:
            run: which.
            type: its State; by default as its graph says, if that is known here, else a dict.
            timeout: seconds to wait.
            key: tells waits for one run apart that are side by side.

        Raises:
            ChildFailed: it ended otherwise, or there is none.
            TimeoutError: it did not end in time.

        Example:
            >>> from actorflow import Context, Graph, State, Update
            >>> class Part(State):
            ...     n: int
            >>> part = Graph("part", Part)
            >>> @part.node
            ... async def work(state: Part) -> Update:
            ...     return {"n": state.n * 2}
            >>> class Whole(State):
            ...     n: int = 0
            >>> async def delegate(state: Whole, ctx: Context) -> Update:
            ...     child = await ctx.spawn(part, Part(n=21))
            ...     return {"n": (await ctx.result(child, Part)).n}
        """
        ...

    @overload
    async def receive(
        self, message_type: type[M], *, where: Callable[[M], object] | None = None, key: str | None = None
    ) -> M: ...
    @overload
    async def receive(
        self,
        message_type: type[M],
        *,
        where: Callable[[M], object] | None = None,
        timeout: float | None,
        key: str | None = None,
    ) -> M | None: ...
    async def receive(
        self,
        message_type: Any,
        *,
        where: Callable[[Any], object] | None = None,
        timeout: float | None = None,
        key: str | None = None,
    ) -> Any:
        """Take the oldest message of a type out of the mailbox, or wait for one. Others stay for whoever wants them.

        Args:
            message_type: one of those that the graph says with ``messages=``.
            where: takes the message and says whether it is waited for. It has no effects: it is asked again.
            timeout: seconds after which the result is None; it is that then on every later attempt.
            key: tells waits for one type apart that are side by side.

        Raises:
            BadMessage: the graph does not say that its nodes receive these, or handles them.

        Example:
            >>> from actorflow import Context, Message, State, Update
            >>> class Approve(Message, version=1):
            ...     amount: int
            >>> class Order(State):
            ...     total: int
            ...     approved: bool = False
            >>> async def check(state: Order, ctx: Context) -> Update:
            ...     found = await ctx.receive(Approve, where=lambda msg: msg.amount >= state.total, timeout=86_400)
            ...     return {"approved": found is not None}
        """
        ...

    def monitor(self, run: str | HasId) -> None:
        """Be sent a `Down`, once, when a run has ended: at once if it has, or if there is none (status ``"noproc"``).

        Raises:
            BadMessage: the graph neither handles `Down` nor lets its nodes receive it.
        """
        ...

    def link(self, run: str | HasId) -> None:
        """Tie this run to another one: if either ends, and not as finished, the other one fails with `LinkedExit`."""
        ...

    def cancel_child(self, run: str | HasId) -> None:
        """Cancel a run that this one has begun.

        Raises:
            LookupError: it has not.
        """
        ...

    def set_timer(
        self, name: str, message: Message, *, at: datetime | float | None = None, after: float | None = None
    ) -> None:
        """Send this run a message at a time. It comes once, late if nobody ran the run then.

        Args:
            name: of the timer; one of this name that is set already is replaced.
            message: of a type that the graph handles, or that its nodes receive.
            at: a time with a time zone, or seconds since 1970.
            after: seconds from now, instead.

        Raises:
            BadMessage: the graph takes no such messages.

        Example:
            >>> from actorflow import Context, Message, State, Update
            >>> class Remind(Message, version=1): ...
            >>> class Trial(State):
            ...     days: int = 14
            >>> async def begin(state: Trial, ctx: Context) -> Update:
            ...     ctx.set_timer("reminder", Remind(), after=state.days * 86_400)
            ...     return {}
        """
        ...

    def cancel_timer(self, name: str) -> None:
        """Let a timer not fire. A message that it has sent already stays in the mailbox. No timer is no error."""
        ...
