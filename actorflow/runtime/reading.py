"""Reading: the log of a run forwards, page by page, as events: however long it is, one page of it is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import CheckpointGone, CorruptCheckpoint, NoSuchRun, RunDeleted
from actorflow.runtime.checkpoint import check_told
from actorflow.runtime.claiming import near_ids
from actorflow.runtime.large import Joiner
from actorflow.store.deletion import DELETED

if TYPE_CHECKING:
    from actorflow.runtime.events import Event, Offset
    from actorflow.runtime.telling import Teller
    from actorflow.store.frames import Frame
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store


class Reader:
    """Reads what comes next, and lets it be told. Each call begins where the last one, or whoever else told, ended."""

    def __init__(self, run_id: str, teller: Teller, *, after: Offset | None) -> None:
        """Begin before anything is read.

        Args:
            run_id: which run.
            teller: makes events of commits.
            after: the last one that is not wanted; None: all that there is.
        """
        self._run_id = run_id
        self._teller = teller
        self._after = after
        self._told: list[Event] = []
        self._life: int | None = None

    def read(self, store: Store, *, to: int | None) -> bool:
        """Tell the next page; whether something may follow that is not later than commit ``to``. Blocking.

        Raises:
            NoSuchRun, RunDeleted, CorruptCheckpoint
            CheckpointGone: retention let go of what comes next.
            LookupError: the offset to begin after is one that the run never reached.
        """
        log = store.log(self._run_id)
        first = self._begin(store, log) if self._teller.seq is None else self._teller.seq + 1
        frames = log.page(first)
        if not frames:
            return False
        return self._tell_frames(store, log, frames, first=first, to=to)

    def tell(self, store: Store, frame: Frame) -> None:
        """Tell one commit that needs large values. Blocking."""
        self._tell_frames(store, store.log(self._run_id), [frame], first=frame.header.seq, to=None)

    def take(self) -> list[Event]:
        """What was told since this was last asked: also if it was cut off by a commit that can't be read."""
        told, self._told = self._told, []
        return told

    def _begin(self, store: Store, log: RunLog) -> int:
        """Where to begin so that what is wanted can be told: at a snapshot, or with the run."""
        tip = log.tip()
        if tip is None:
            raise NoSuchRun(self._run_id, near_ids(store, self._run_id))
        check_told(tip.header, self._run_id)
        self._life = tip.file.life
        if self._after is None:
            return self._beginning(log)
        wanted = self._after.seq
        if wanted > tip.header.seq:
            msg = f"run {self._run_id!r} has no commit {wanted}: its newest is {tip.header.seq}"
            raise LookupError(msg)
        frame = log.page(wanted)[0]
        if frame.file.life == self._life and frame.header.seq == wanted:
            return frame.header.snapshot
        oldest = self._beginning(log)
        if oldest != wanted + 1:
            raise CheckpointGone(self._run_id, wanted + 1, oldest)
        return oldest

    def _beginning(self, log: RunLog) -> int:
        """The oldest commit of this life that is kept: another run may have had the id before."""
        first = 0
        while frames := log.page(first):
            ours = [frame.header.seq for frame in frames if frame.file.life == self._life]
            if ours:
                return ours[0]
            first = frames[-1].header.seq + 1
        return first

    def _tell_frames(self, store: Store, log: RunLog, frames: list[Frame], *, first: int, to: int | None) -> bool:
        if frames[0].header.seq > first:
            raise CheckpointGone(self._run_id, first, frames[0].header.seq)
        joiner = Joiner(store.blobs(self._run_id))
        for frame in frames:
            if to is not None and frame.header.seq > to:
                return False
            if frame.header.status == DELETED or self._life not in (None, frame.file.life):
                raise RunDeleted(self._run_id)
            try:
                self._told += self._teller.tell(frame, joiner)
            except CorruptCheckpoint:
                kept = log.page(frame.header.seq)
                if kept and kept[0].header.seq > frame.header.seq:  # let go of meanwhile, and with it large values
                    raise CheckpointGone(self._run_id, frame.header.seq, kept[0].header.seq) from None
                raise
        return to is None or frames[-1].header.seq < to
