"""The writer: what an actor decided becomes commits of its log, one after the other, with nothing missing between."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple, Protocol

import anyio
from anyio import Event

from actorflow.engine.merge import typed
from actorflow.errors import CommitRefused, CommitUnknown, StoreError
from actorflow.runtime.letters import marks_of
from actorflow.runtime.pending import Pending
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.store.frames import Draft, FilePart, Header, Kind
from actorflow.store.lanes import header_marks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from anyio.abc import TaskGroup

    from actorflow.engine.mail import Parcel
    from actorflow.engine.records import Record, Rewound
    from actorflow.engine.run import RunState
    from actorflow.graph.schema import Schema
    from actorflow.runtime.committer import Committer
    from actorflow.runtime.large import Splitter
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.validation import Validate
    from actorflow.store.backend import Steps
    from actorflow.store.blobs import Blob
    from actorflow.store.ownership import Ownership

_logger = logging.getLogger("actorflow.actor")


class OnSent(Protocol):
    """What is told of what a run has sent."""

    def __call__(self, run: RunState, parcels: tuple[Parcel, ...], *, over: bool) -> None:
        """All of it that others may not have, as of a commit, and whether the run ended with that."""
        ...


class Sealed(NamedTuple):
    """A commit to be carried to the store: the blobs come first."""

    blobs: tuple[Blob, ...]
    steps: Steps[None]
    draft: Draft
    short: bool  # its body holds nothing but records, and refers to nothing
    sent: tuple[Parcel, ...] = ()  # all that the run has sent and others do not have, as of this commit
    ended: bool = False  # the run is over with it


class Writer:
    """The log of a run in its owner's hands. After a commit that failed there is none."""

    __slots__ = (
        "_alone",
        "_carrying",
        "_committer",
        "_committing",
        "_observers",
        "_on_end",
        "_on_rest",
        "_on_sent",
        "_pending",
        "_schema",
        "_validate",
        "failure",
        "file",
        "large",
        "ownership",
    )  # there may be thousands

    def __init__(
        self,
        run: RunState,
        ownership: Ownership,
        *,
        schema: Schema,
        file: FilePart,
        committer: Committer,
        large: Splitter,
        validate: Validate | None,
        observers: Observers,
        alone: Callable[[], bool],
        on_end: Callable[[RunState, Header], None],
        on_rest: Callable[[RunState, Header], Steps[None]],
        on_sent: OnSent,
        rewound: Rewound | None,
    ) -> None:
        """Begin with nothing to commit, or with ``rewound``.

        Args:
            run: as loaded and adopted.
            ownership: the claim.
            schema: of its state.
            file: what new files say; another one than the claim's own forces a snapshot, as does a run renewed.
            committer: carries commits to the store.
            large: parts large values from what is committed.
            validate: the user's rule for commits.
            observers: those who watch the run here.
            alone: whether no other actor of the runtime is live.
            on_end: blocking work after the commit that ended the run: its markers.
            on_rest: blocking work, in steps, after a release of a run that has not ended: its markers.
            on_sent: told after each commit as of which something is in the outbox.
            rewound: says that the run is not as it was read; it is committed in full, with what comes next.
        """
        self.ownership = ownership
        self.file = file
        self.large = large
        self.failure: StoreError | None = None  # of a commit: nothing may follow the gap
        self._schema = schema
        self._committer = committer
        self._validate = validate
        self._observers = observers
        self._alone = alone
        self._on_end = on_end
        self._on_rest = on_rest
        self._on_sent = on_sent
        self._committing: Event | None = None
        self._carrying = 0  # commits that are on their way
        anew = file != ownership.file or run.renewed
        self._pending = Pending(
            large=large,
            snapshot=large.dump(run) if anew or rewound is not None else None,
            every=ownership.snapshot_every,
            commits=ownership.header.seq - ownership.header.snapshot,
        )
        if rewound is not None:
            self._pending.add([rewound])
        elif not anew:
            self._pending.snapshot_if_due(run)

    def __bool__(self) -> bool:
        """Whether records wait for their commit."""
        return bool(self._pending)

    @property
    def committed(self) -> bool:
        """Whether all that was decided is durable, as far as is known."""
        beside = self._committing is not None and not self._committing.is_set()
        return not (self._pending or self._carrying or beside) and self.failure is None

    @property
    def header(self) -> Header:
        """The newest header that was committed."""
        return self.ownership.header

    @property
    def alone(self) -> bool:
        """Whether no other run of this runtime is live: a commit may be made inline then, and lets nobody else run."""
        return self._alone()

    def add(self, records: Sequence[Record]) -> None:
        """Let these wait for the next commit."""
        self._pending.add(records)

    def is_much(self) -> bool:
        """Whether so much waits that it should be committed, whatever the durability."""
        return self._pending.is_much()

    async def settled(self) -> None:
        """Wait for the commit in flight, if there is one, and raise what it raised."""
        if self._committing is not None:
            await self._committing.wait()
            self._committing = None
        if self.failure is not None:
            raise self.failure

    async def commit(self, run: RunState, *, kind: Kind = "commit") -> None:
        """Commit all records that wait, and come back when they are durable.

        Raises:
            StoreError: this commit failed, or one before it.
        """
        await self.settled()
        while self._pending:
            await self._carry(run, self._seal(run, kind=kind))

    async def commit_beside(self, run: RunState, tasks: TaskGroup, wake: Callable[[], None]) -> None:
        """Begin to commit all records that wait, after the commit before; ``wake`` is called when it is over."""
        await self.settled()
        sealed = self._seal(run)
        while self._pending:  # more than one commit can hold
            await self._carry(run, sealed)
            sealed = self._seal(run)
        self._committing = Event()
        tasks.start_soon(self._finish, run, sealed, self._committing, wake)

    async def release(self, run: RunState, released: Record) -> None:
        """Commit that anybody may claim, with all records that were waiting."""
        if not self._pending:
            self._pending.forgo_snapshot()
        self._pending.add([released])
        await self.commit(run, kind="release")

    def tidy(self, tasks: TaskGroup) -> None:
        """Let the log be made smaller, if that is worth it."""
        if (work := self.ownership.tidying()) is not None:
            tasks.start_soon(self._tidy, work)

    async def _tidy(self, work: Callable[[], None]) -> None:
        try:
            await self._committer.call(work)
        except StoreError as error:
            _logger.warning("%s could not be made smaller, and is as it was: %s", self.ownership.path, error)

    async def _finish(self, run: RunState, sealed: Sealed, done: Event, wake: Callable[[], None]) -> None:
        try:
            with suppress(StoreError):  # kept as the failure, and raised by whoever owns the run
                await self._carry(run, sealed)
        finally:
            done.set()
            wake()

    async def _carry(self, run: RunState, sealed: Sealed) -> None:
        self._carrying += 1
        try:
            if sealed.blobs:
                # shielded like the commit that they belong to; bounded by the store's timeouts
                with anyio.CancelScope(shield=True):
                    await self._committer.call(lambda: self.large.blobs.put(sealed.blobs))
            await self._committer.commit(sealed.steps, alone=self.alone and self._committing is None)
        except BaseException as error:
            # a Ctrl-C inside an inline commit, too: what was sealed may be lost, and the end in it never happened
            broken = f"it was interrupted by {error!r}"
            self.failure = error if isinstance(error, StoreError) else CommitUnknown(self.ownership.path, broken)
            raise
        finally:
            self._carrying -= 1
        self._observers.committed(sealed.draft, self.ownership, short=sealed.short)
        if sealed.sent:
            self._on_sent(run, sealed.sent, over=sealed.ended)

    def _seal(self, run: RunState, *, kind: Kind = "commit") -> Sealed:
        """What waits, as what commits it; what one commit can't hold goes on waiting."""
        header = self.header
        sealed = self._pending.seal()
        rest = bool(self._pending)
        ended = run.ended and not rest
        released = ended or (kind == "release" and not rest)
        # a process that let go of it while it only waited has survived it: whoever dies from now on is counted anew
        survived = sealed.progressed or (released and run.standing == "waiting" and not run.mail.queue)
        draft = Draft(
            kind="release" if released else "commit",
            epoch=run.epoch,
            status="running" if rest else run.standing,
            due=due(run),
            opening=run.opening,
            crashes=0 if survived else header.crashes,
            file=self.file if sealed.snapshot else self.ownership.file,
            body=sealed.body,
            snapshot=sealed.snapshot,
            node=run.last_node,
            tags=header.tags,
            marks=header_marks(marks_of(run.mail)) if released and run.mail.marks else header.marks,
        )
        self._refuse_invalid(run, draft)
        sent = () if rest else tuple(run.mail.outbox)
        if ended:
            return Sealed(sealed.blobs, self._write_end(run, draft), draft, sealed.short, sent, ended=True)
        if draft.kind == "release":
            return Sealed(sealed.blobs, self._write_release(run, draft), draft, sealed.short, sent)
        if not rest:
            self._pending.snapshot_if_due(run)
        self.ownership.alone = self.alone
        return Sealed(sealed.blobs, self.ownership.committing(draft), draft, sealed.short, sent)

    def _refuse_invalid(self, run: RunState, draft: Draft) -> None:
        if self._validate is None:
            return
        state = typed(self._schema, run.root.values)
        commit = Commit(run.run_id, run.graph, self.header.seq + 1, run.status, draft.node, draft.tags, state)
        try:
            pass_or_refuse(self._validate, commit, path=self.ownership.path)
        except CommitRefused as error:
            self.failure = error
            raise

    def _write_end(self, run: RunState, draft: Draft) -> Steps[None]:
        yield from self.ownership.committing(draft)
        yield None  # others sync first: what changes now is no part of their commits
        try:
            self._on_end(run, self.header)
        except StoreError as error:
            # the run has ended, durably; its markers are an index, and a scan puts them right
            _logger.warning("the markers of run %r could not be changed: %s", run.run_id, error)
        self.ownership.close()  # here, in the thread: in the event loop it would hold up everybody

    def _write_release(self, run: RunState, draft: Draft) -> Steps[None]:
        yield from self.ownership.committing(draft)
        yield None  # others sync first: what changes now is no part of their commits
        try:
            yield from self._on_rest(run, self.header)
        except StoreError as error:
            # anybody may claim the run, durably; a scan that finds its old marker puts the new one
            _logger.warning("the markers of run %r could not be changed: %s", run.run_id, error)
        self.ownership.close()


def due(run: RunState) -> int | None:
    """When the first of the waits in a run is over, in whole seconds since the epoch, as headers have it."""
    exactly = first_due(run)
    return None if exactly is None else math.ceil(exactly)


def first_due(run: RunState) -> float | None:
    """When the first of the waits in a run is over, in seconds since the epoch."""
    if run.paused:
        return None  # nobody need come for it: it is seen to when the run goes on
    dues = [ask.due for activation in run.open.values() for ask in activation.asks.values() if ask.due is not None]
    dues += [timer.due for timer in run.mail.timers.values()]
    return min(dues, default=None)
