"""Mailed: the verbs of a handle by which a run is sent messages, and by which one sees what became of them."""

from __future__ import annotations

from abc import ABC
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from actorflow.errors import AskFailed, MessageRejected
from actorflow.graph.codec import NO_CODECS
from actorflow.runtime.boxes import Boxes, DeadLetter, Letter
from actorflow.runtime.options import check_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.records import ErrorInfo
    from actorflow.errors import RunError
    from actorflow.graph.graph import Graph
    from actorflow.graph.message import Message
    from actorflow.runtime.starting import Starting

T = TypeVar("T")


class Mailed(ABC):
    """The part of `Run` that sends messages to the run.

    A run that sleeps, or that nobody has, is taken up for a message by this
    process if it knows the graph. Where another process has the run, the
    message waits in the store until that one takes it, which is soon.
    """

    id: str
    _runtime: Starting
    _given: Graph[Any] | None

    async def send(
        self,
        msg: Message,
        *,
        id: str | None = None,
        by: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any = None,
    ) -> None:
        """Send the run a message; back when it is kept durably.

        That it is kept does not say that it was handled: `ask` says that. What a
        run has not handled when it ends is in `dead_letters`.

        Args:
            msg: of a type that the graph handles, or that its nodes receive.
            id: names the message, so that it may be sent again by whoever does not know whether it was kept:
                as long as the run remembers the id (see `Mailbox`), it counts once.
            by: who sends it, for the history.
            timeout: seconds to wait for room while the mailbox is full; by default as long as that takes.
            context: for the nodes, if the run is taken up for this.

        Raises:
            BadMessage: the run takes no such messages, or a field does not fit.
            MessageRejected: the handler's ``validate=`` refused it. Of a run that lives elsewhere only `ask` is told;
                what was sent is a dead letter.
            MailboxFull: there was no room in time. The message was not kept.
            WindowFull: the run remembers as many ids as it can.
            IdempotencyConflict: another message was sent under this id.
            BadCallerId, NoSuchRun, RunDeleted, RunEnded, StoreError

        Example:
            >>> import anyio
            >>> from actorflow import Graph, Message, Runtime, State
            >>> class Account(State):
            ...     balance: int = 0
            >>> class Deposit(Message, version=1):
            ...     amount: int
            >>> account = Graph("account", Account, lifetime="actor")
            >>> @account.on(Deposit)
            ... async def deposit(state: Account, msg: Deposit):
            ...     return {"balance": state.balance + msg.amount}
            >>> async def main():
            ...     async with Runtime("memory://") as rt:
            ...         run = await rt.spawn(account, id="ada")
            ...         await run.send(Deposit(amount=5), id="payday")
            ...         await run.ask(Deposit(amount=1))
            ...         print((await run.state()).balance)
            >>> anyio.run(main)
            6
        """
        _check_by(by)
        await self._runtime.send(self.id, msg, id=id, by=by, timeout=timeout, context=context)

    @overload
    async def ask(
        self,
        msg: Message,
        *,
        type: type[T],
        id: str | None = None,
        by: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any = None,
    ) -> T: ...

    @overload
    async def ask(
        self,
        msg: Message,
        *,
        type: Any = Any,
        id: str | None = None,
        by: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any = None,
    ) -> Any: ...

    async def ask(
        self,
        msg: Message,
        *,
        type: Any = Any,
        id: str | None = None,
        by: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any = None,
    ) -> Any:
        """Send the run a message; what its handler replies, when that is durable. A handler replies with `Reply`.

        Of a type that nodes receive it is None, once a node has taken the message.

        Asked again under the same id, a run gives the same reply, and handles nothing.

        Args:
            msg: as for `send`.
            type: of the reply, which is checked; by default it is plain data.
            id: as for `send`.
            by: who asks, for the history.
            timeout: seconds to wait for the reply. The run is told nothing of it: it handles the message, and
                whoever asks again under the same id gets the reply.
            context: for the nodes, if the run is taken up for this.

        Raises:
            AskFailed: the handler failed, or the run ended before it came to the message.
            TimeoutError: there was no reply in time.
            What `send` raises.
        """
        _check_by(by)
        said = await self._runtime.ask_for_reply(self.id, msg, id=id, by=by, timeout=timeout, context=context)
        if (error := said.error) is not None:
            raise _failure(self.id, msg, error)
        life = self._runtime.life_of(self.id)
        graph = self._given or (None if life is None else life.graph)
        codecs = NO_CODECS if graph is None else graph.plan.schema.codecs
        try:
            return codecs.typed(said.value, type)
        except msgspec.ValidationError as error:
            raise AskFailed(self.id, f"its reply is not what was asked for: {error}") from error

    async def mailbox(self) -> list[Letter]:
        """The messages that wait for the run to handle them, oldest first, as of its newest commit.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
        """
        return await self._boxes(Boxes.waiting)

    async def dead_letters(self) -> list[DeadLetter]:
        """The messages that nobody handled, or will handle, and why; the oldest first.

        Those whose handler failed, those that were left when the run ended,
        those that no code here could read. The run keeps the last 1,000.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
        """
        return await self._boxes(Boxes.dead)

    async def _boxes(self, what: Callable[[Boxes], list[T]]) -> list[T]:
        newest, run = await self._runtime.load(self.id)
        graph = self._given or self._runtime.graph_named(newest.file.graph)
        limit = self._runtime.migration_timeout
        return await self._runtime.ask(lambda store: what(Boxes(store, run, graph, time_limit=limit)))


def _failure(run_id: str, msg: Message, error: ErrorInfo) -> RunError:
    """Why there is no reply. A run that lives elsewhere says as text that its handler does not want the message."""
    if error.type == MessageRejected.__name__:
        name = type(msg).schema_name
        before = str(MessageRejected(run_id, name, ""))
        return MessageRejected(run_id, name, error.message.removeprefix(before))
    return AskFailed(run_id, f"{error.type}: {error.message}", error.traceback)


def _check_by(by: str | None) -> None:
    if by is not None:
        check_texts("by", [by])
