"""Markers: where to look for unfinished runs, and an index of ended ones. Never trusted, never needed to be right.

``active`` says what must be recovered. It is put before the commit that opens
a run, under a name that no other opening has, so a late deletion hits nothing
that lives. ``asleep`` says when a run that nobody holds in memory is to go on;
it is put after the release by which the run lay down, and before its active
marker is deleted, under a name that no other sleep has. ``ended`` is an index
for listings, rebuilt by nobody's guarantee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, msgpack

from actorflow.store.backend import Missing, whole
from actorflow.store.crashpoints import reached
from actorflow.store.keys import (
    ACTIVE,
    ASLEEP,
    EARLIEST,
    ENDED,
    SWEPT,
    Sleeper,
    active_key,
    asleep_key,
    due_prefixes,
    encode_id,
    ended_key,
    parse_active,
    parse_asleep,
    parse_ended,
    parse_swept,
    shard,
    swept_key,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.log import Tip


class Summary(Struct, frozen=True, kw_only=True):
    """One ended run, as listings show it."""

    run_id: str
    graph: str
    status: str
    opening: int
    seq: int
    node: str | None
    ended: float  # seconds since 1970
    tags: dict[str, str] = {}
    error: str | None = None


def summary_of(tip: Tip) -> Summary:
    """The summary of a run whose newest commit ended it."""
    header = tip.header
    return Summary(
        run_id=tip.file.run_id,
        graph=tip.file.graph,
        status=header.status,
        opening=header.opening,
        seq=header.seq,
        node=header.node,
        ended=header.time,
        tags=header.tags,
    )


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Summary).decode  # made here and not at its first use, by two threads at once


class Markers:
    """The markers of one store. Thread-safe; calls block."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def put_active(self, run_id: str, opening: int) -> None:
        """Say that the run will be open. Durable, and before the commit that opens it. Idempotent."""
        whole(self.putting_active(run_id, opening))

    def putting_active(self, run_id: str, opening: int) -> Steps[None]:
        """`put_active` in steps."""
        reached("marker.before")
        yield from self._backend.putting_new(active_key(encode_id(run_id), opening), b"")
        reached("marker.after")

    def drop_active(self, run_id: str, opening: int) -> None:
        """Say that this opening is over.

        Only when the newest commit says a later opening, or this one and that it ended, or is this one's release
        and its asleep marker is there. Idempotent.
        """
        self._backend.delete([active_key(encode_id(run_id), opening)])

    def active(self) -> list[tuple[str, int]]:
        """Encoded id and opening of each run that may be unfinished. `Store.run_id` gives the id."""
        found = (parse_active(key) for key in self._backend.list(ACTIVE))
        return [marker for marker in found if marker is not None]

    def openings(self, run_id: str) -> list[int]:
        """The openings of one run that may be unfinished, the oldest first."""
        encoded = encode_id(run_id)
        found = (parse_active(key) for key in self._backend.list(f"{ACTIVE}{shard(encoded)}/"))
        return sorted(marker[1] for marker in found if marker is not None and marker[0] == encoded)

    def putting_asleep(self, sleeper: Sleeper) -> Steps[None]:
        """Say, in steps, when the run is to go on. Durable, and after the release that it sleeps since. Idempotent."""
        reached("asleep.before")
        yield from self._backend.putting_new(asleep_key(sleeper), b"")
        reached("asleep.after")

    def drop_asleep(self, sleepers: Iterable[Sleeper]) -> None:
        """Say that these sleeps are over: only of a run whose newest number is above theirs. Idempotent."""
        self._backend.delete([asleep_key(sleeper) for sleeper in sleepers])

    def asleep(self) -> list[Sleeper]:
        """Every run that may sleep. Lists them all: for people, not for waking."""
        return self._sleepers([ASLEEP])

    def unfinished(self) -> list[str]:
        """The encoded id of each run that may be unfinished, whether it is to be recovered or sleeps."""
        # asleep first: whoever gets up meanwhile has its active marker by then
        asleep = [sleeper.run for sleeper in self.asleep()]
        return list(dict.fromkeys([*(encoded for encoded, _ in self.active()), *asleep]))

    def due(self, until: float, *, since: float = EARLIEST) -> list[Sleeper]:
        """Those that may sleep until an hour between two moments, seconds since 1970.

        Costs a listing of these hours, however many sleep longer.
        """
        return self._sleepers(due_prefixes(until, since=since))

    def swept(self) -> int | None:
        """Up to when nobody slept any more when somebody looked: a hint where to begin. None: nobody said so yet."""
        marks = (parse_swept(key) for key in self._backend.list(SWEPT))
        return max((mark for mark in marks if mark is not None), default=None)

    def put_swept(self, until: float) -> None:
        """Say that nobody who was due before sleeps any more. Not durable; replaces what was said before."""
        key = swept_key(until)
        self._backend.put_new(key, b"", durable=False)
        self._backend.delete([other for other in self._backend.list(SWEPT) if other < key])

    def _sleepers(self, prefixes: list[str]) -> list[Sleeper]:
        found = (parse_asleep(key) for prefix in prefixes for key in self._backend.list(prefix))
        return [sleeper for sleeper in found if sleeper is not None]

    def put_ended(self, summary: Summary) -> None:
        """Put the run into the index. Not durable, and lost without harm."""
        reached("ended.before")
        key = ended_key(encode_id(summary.run_id), summary.ended)
        self._backend.put_new(key, _encode(summary), durable=False)
        reached("ended.after")

    def drop_stale(self, *, dry_run: bool = False) -> int:
        """Take out of the index what a later summary of the same run has replaced; how many."""
        seen: set[str] = set()
        stale: list[str] = []
        for key in reversed(self._backend.list(ENDED)):
            encoded = parse_ended(key)
            if encoded in seen:
                stale.append(key)
            elif encoded is not None:
                seen.add(encoded)
        if not dry_run:
            self._backend.delete(stale)
        return len(stale)

    def ended(self) -> list[Summary]:
        """The newest summary of each run, newest first. One that can't be read is left out: it is an index."""
        summaries: list[Summary] = []
        seen: set[str] = set()
        for key in reversed(self._backend.list(ENDED)):
            encoded = parse_ended(key)
            if encoded is None or encoded in seen:
                continue
            if (summary := self._summary(key, encoded)) is not None:
                seen.add(encoded)
                summaries.append(summary)
        return summaries

    def entries(self) -> Iterator[tuple[str, str | None, bool]]:
        """Every key of the index, with the encoded id in it, and whether a summary can be read there."""
        for key in self._backend.list(ENDED):
            encoded = parse_ended(key)
            yield key, encoded, encoded is not None and self._summary(key, encoded) is not None

    def _summary(self, key: str, encoded: str) -> Summary | None:
        try:
            summary = _decode(self._backend.get(key))
        except (Missing, msgspec.MsgspecError, ValueError):
            return None
        return summary if encode_id(summary.run_id) == encoded else None
