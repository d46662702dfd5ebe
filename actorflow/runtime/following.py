"""Following: the runs of others as their commits have them, gone on with from what was seen of them before.

Who sends to a run that another process has must know what it has accepted,
and what it replied. The run is read whole once; then each look reads only
what was committed since. What is kept for that is bounded, and as good as a
cache: whatever does not follow on it is read whole again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from actorflow.errors import CorruptCheckpoint
from actorflow.runtime.large import Joiner
from actorflow.runtime.replay import advance, reading, replay, unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.engine.records import Record
    from actorflow.engine.run import RunState
    from actorflow.runtime.lives import Lives
    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip
    from actorflow.store.store import Store

MOST_BYTES = 8_000_000
"""Of the commits that the runs were read from: so much is kept, and the run that was asked for last, however large."""

MOST_RECORDS = 1_000
"""So many are folded in the event loop, at most; who is further behind is read whole again, in a thread."""


class _Seen(NamedTuple):
    """A run as of one of its commits."""

    run: RunState
    digest: bytes
    seq: int
    bytes: int


class _News(NamedTuple):
    """A commit that follows: its snapshot, if it begins with one, and what happened then."""

    frame: Frame
    snapshot: RunState | None
    records: Sequence[Record]


class Following:
    """The runs of others that were looked at last. One for each runtime."""

    def __init__(self, lives: Lives) -> None:
        """Begin with none.

        Args:
            lives: for the store.
        """
        self._lives = lives
        self._seen: dict[str, _Seen] = {}  # the one that was asked for last is the last

    async def run(self, run_id: str, tip: Tip) -> RunState:
        """A run as of this commit or a newer one: to be looked at before anything else is awaited, then it goes on.

        Raises:
            CorruptCheckpoint
        """
        store = self._lives.store
        before = self._seen.pop(run_id, None)  # whoever comes meanwhile reads for himself: it is folded in place
        seen = before
        if before is not None and before.digest != tip.digest:
            news = await self._lives.in_store(lambda: _news(store, run_id, before))
            seen = None if news is None else _advanced(before, news)
        if seen is None:
            seen = await self._lives.in_store(lambda: _whole(store, run_id, tip))
        self._seen[run_id] = seen
        while len(self._seen) > 1 and sum(one.bytes for one in self._seen.values()) > MOST_BYTES:
            del self._seen[next(iter(self._seen))]
        return seen.run


def _whole(store: Store, run_id: str, tip: Tip) -> _Seen:
    blobs = store.blobs(run_id)
    frames, run = reading(store.log(run_id), lambda frames: replay(frames, Joiner(blobs)), tip=tip)
    return _Seen(run, frames[-1].digest, frames[-1].header.seq, sum(frame.size for frame in frames))


def _news(store: Store, run_id: str, before: _Seen) -> list[_News] | None:
    """What was committed since. None: that is too much, or can't be told any more."""
    joiner = Joiner(store.blobs(run_id))
    try:
        frames = store.log(run_id).read(first=before.seq + 1)
        if not frames or frames[0].header.parent != before.digest:
            return None
        news = [_News(frame, *unpack(frame, joiner)) for frame in frames]
    except CorruptCheckpoint:  # or retention let go of it just now: who reads all will know
        return None
    return news if sum(len(one.records) for one in news) <= MOST_RECORDS else None


def _advanced(before: _Seen, news: list[_News]) -> _Seen:
    """The run after that; the one before is spent."""
    run, size = before.run, before.bytes
    for frame, snapshot, records in news:
        if snapshot is not None:
            run, size = snapshot, 0
        size += frame.size
        for record in records:
            run = advance(run, record, frame)
    return _Seen(run, news[-1].frame.digest, news[-1].frame.header.seq, size)
