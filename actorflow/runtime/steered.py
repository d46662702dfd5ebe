"""Steered: the verbs of a handle by which somebody outside changes a run, or answers it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from msgspec import Struct

from actorflow.engine.events import Answering, Inputting, Pausing, Tagging, Updating
from actorflow.engine.waits import name_of, questions
from actorflow.graph.state import State
from actorflow.runtime.mailed import Mailed
from actorflow.runtime.options import check_texts, check_word

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.engine.events import Asking
    from actorflow.runtime.life import Life
    from actorflow.runtime.run import Run
    from actorflow.runtime.starting import Starting
    from actorflow.runtime.view import View

S = TypeVar("S", bound=State)

OnPending = Literal["error", "queue", "discard"]
"""What `Run.input` does while the run still works on what it was given before."""


class Interrupt(Struct, frozen=True):
    """A question that a run waits with. ``id`` names it for `Run.answer`, the same after every restart."""

    id: str
    kind: Literal["ask", "before", "after"]  # a node asks, or the graph before or after it
    question: str
    payload: Any
    node: str
    scope: str  # the path of the scope that the node is in; "" is the root
    index: int | None  # of the item of a fan-out
    schema: Any  # what an answer must look like, as JSON schema; None: anything
    asked: float  # seconds since 1970
    due: float | None  # seconds since 1970, when the default is taken for an answer
    default: Any


class Steered(Mailed, ABC, Generic[S]):
    """The part of `Run` that changes the run. Each verb is back when what it did is durable.

    What is refused changes nothing. ``by`` is kept in the history. A run that
    waits, is paused or is over is taken up for it, by this process, whose
    runtime must know its graph; ``context`` is for its nodes then.
    """

    id: str
    _runtime: Starting
    _life: Life | None

    async def interrupts(self) -> list[Interrupt]:
        """The questions that the run waits with, oldest activation first; those that are committed.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
        """
        _, run = await self._runtime.load(self.id)
        return [
            Interrupt(
                name_of(one, ask),
                cast("Literal['ask', 'before', 'after']", ask.kind),
                ask.question,
                ask.payload,
                one.node,
                one.scope,
                one.index,
                ask.schema,
                ask.asked,
                ask.due,
                ask.default,
            )
            for one, ask in questions(run)
        ]

    async def answer(
        self, value: Any = None, to: str | None = None, *, by: str | None = None, context: Any = None
    ) -> int:
        """Answer a question of the run, which goes on with it; the commit that holds the answer.

        Args:
            value: the answer; for a run that waits before or after a node, nothing.
            to: which question: its ``id``, its text, or its node, where that is enough. By default the only one.
            by: who answers.
            context: for the nodes, if the run is taken up for this.

        Raises:
            NotWaiting: it has no such question.
            AmbiguousTarget: several could be meant; ``choices`` has their ids.
            BadAnswer: that is not what was asked for.
            NoSuchRun, RunOwned, RunEnded, Blocked, UnknownGraph
        """
        return await self._steer(Answering(value, to, by), by, context)

    async def update(
        self, values: Mapping[str, Any], *, as_node: str | None = None, by: str | None = None, context: Any = None
    ) -> int:
        """Merge an update from outside into the state; the commit that holds it.

        Whatever runs meanwhile keeps what it sees; if it overwrites a field of
        the update, it runs again, having seen it. Nodes that have not begun see
        it at once. A run that is over goes on from there: a failed one tries
        again what failed, a finished one is finished again.

        Args:
            values: as a node would return them, merged by the reducers.
            as_node: as if this node had finished with them: what follows it is opened. Inside a subgraph it is
                ``scope/node``; of several activations ``node@key`` names one. The run must wait or be paused.
            by: who says so.
            context: for the nodes, if the run is taken up for this.

        Raises:
            BadUpdate, ReducerError: the values don't fit.
            NoSuchTarget, AmbiguousTarget, NotPaused: see ``as_node``.
            NoSuchRun, RunOwned, Blocked, UnknownGraph
        """
        return await self._steer(Updating(dict(values), as_node, by), by, context)

    async def input(
        self,
        values: Mapping[str, Any],
        *,
        on_pending: OnPending = "error",
        by: str | None = None,
        context: Any = None,
    ) -> int:
        """Give more input, as the next turn of a conversation: it is merged, and the entry of the graph opens again.

        Args:
            values: merged by the reducers, as an update.
            on_pending: while the run still works: refuse it, let it wait for its turn, or end first what goes on.
            by: who gives it.
            context: for the nodes, if the run is taken up for this.

        Raises:
            InputPending: see ``on_pending``.
            BadUpdate, ReducerError: the values don't fit.
            NoSuchRun, RunOwned, Blocked, UnknownGraph
        """
        check_word("on_pending", on_pending, OnPending)
        return await self._steer(Inputting(dict(values), on_pending, by), by, context)

    async def pause(self, *, by: str | None = None) -> int:
        """Begin nothing new in the run. What runs just now is finished and committed. A second time is no error.

        Raises:
            NoSuchRun, RunOwned, RunEnded, UnknownGraph
        """
        return await self._steer(Pausing(on=True, by=by), by, None)

    async def unpause(self, *, by: str | None = None, context: Any = None) -> int:
        """Let a paused run go on. One that is not paused is no error.

        Raises:
            NoSuchRun, RunOwned, RunEnded, Blocked, UnknownGraph
        """
        return await self._steer(Pausing(on=False, by=by), by, context)

    async def drain(self, *, by: str | None = None) -> str:
        """Pause the run, and wait until nothing runs in it any more; its status then.

        Raises:
            NoSuchRun, RunOwned, RunEnded, UnknownGraph
        """
        await self.pause(by=by)
        return await self.wait()

    async def tag(self, name: str, at: int | None = None, *, by: str | None = None) -> int:
        """Give a commit of the run a name, by which `rewind` and `fork` find it, and which retention keeps.

        Args:
            name: anything but a number. A name that is taken moves.
            at: which commit; by default the newest.
            by: who names it.

        Raises:
            ValueError: the name is empty or a number.
            LookupError: the run has no such commit; CheckpointGone: not any more.
            NoSuchRun, RunOwned, UnknownGraph
        """
        check_texts("name", [name])
        if at is not None and type(at) is not int:
            raise TypeError(f"at={at!r}: give the number of a commit")
        if not name or name.replace(".", "").isdigit():
            msg = f"name={name!r}: a number means a commit, so a name can't be one"
            raise ValueError(msg)
        seq = (await self._runtime.tip(self.id)).header.seq if at is None else (await self.at(at)).seq
        return await self._steer(Tagging(name, seq, by), by, None)

    async def untag(self, name: str, *, by: str | None = None) -> int:
        """Take a name away again; one that is not there is no error.

        Raises:
            NoSuchRun, RunOwned, UnknownGraph
        """
        return await self._steer(Tagging(name, None, by), by, None)

    async def rewind(
        self,
        at: int | str,
        *,
        update: Mapping[str, Any] | None = None,
        as_node: str | None = None,
        keep_keys: bool = False,
        by: str | None = None,
        context: Any = None,
    ) -> int:
        """Go back, and on from there, in a new commit: history is never rewritten. The commit that says so.

        State, frontier and waits are as they were; what runs is cancelled, unrecorded. What goes on does so
        under keys of its own, and asks its questions again.

        Args:
            at: a commit, ``"12.1"`` for a record in it, or a tag.
            update: merged in the same commit.
            as_node: see `update`.
            keep_keys: nodes that run again keep their idempotency keys, so that effects are taken for the same ones.
            by: who wants it.
            context: for the nodes.

        Raises:
            CheckpointGone: retention let go of it.
            LookupError: the run has no such commit or tag.
            NoSuchRun, RunOwned, Blocked, UnknownGraph; and what `update` raises
        """
        if by is not None:
            check_texts("by", [by])
        change = None if update is None and as_node is None else Updating(dict(update or {}), as_node, by)
        done = await self._runtime.rewind(self.id, at, update=change, keep_keys=keep_keys, by=by, context=context)
        self._life = done.life or self._life
        return done.seq

    async def fork(
        self,
        at: int | str | None = None,
        *,
        id: str | None = None,
        update: Mapping[str, Any] | None = None,
        as_node: str | None = None,
        tags: Mapping[str, str] | None = None,
        reuse: bool = False,
        by: str | None = None,
        context: Any = None,
    ) -> Run[S]:
        """Begin a new run as this one was, and let both go on; a handle of the new one.

        The two share nothing: large values are copied. The first commit of the new one says where it is from.

        Args:
            at: see `rewind`; by default as the run is now.
            id: of the new run; by default one that sorts by time.
            update: merged in the same commit.
            as_node: see `update`.
            tags: of the new run.
            reuse: whether a deleted run's id may be used again.
            by: who wants it.
            context: for the nodes.

        Raises:
            RunExists, BadRunId: about the new id.
            What `rewind` raises.
        """
        if by is not None:
            check_texts("by", [by])
        change = None if update is None and as_node is None else Updating(dict(update or {}), as_node, by)
        life = await self._runtime.fork(
            self.id, at, new_id=id, update=change, tags=dict(tags or {}), by=by, context=context, reuse=reuse
        )
        return self._handle(life)

    @abstractmethod
    async def wait(self) -> str:
        """See `Run.wait`."""

    @abstractmethod
    async def at(self, seq: int | str | None = None) -> View[S]:
        """See `Run.at`."""

    @abstractmethod
    def _handle(self, life: Life) -> Run[S]:
        """A handle of another run of the same graph."""

    async def _steer(self, event: Asking, by: str | None, context: Any) -> int:
        if by is not None:
            check_texts("by", [by])
        done = await self._runtime.steer(self.id, event, context=context)
        self._life = done.life or self._life  # whose end has the node's own exception
        return done.seq
