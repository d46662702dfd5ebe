"""Markers: where to look for unfinished runs, and an index of ended ones. Never trusted, never needed to be right.

``active`` says what must be recovered. It is put before the commit that opens
a run, under a name that no other opening has, so a late deletion hits nothing
that lives. ``ended`` is an index for listings, rebuilt by nobody's guarantee.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, msgpack

from actorflow.store.backend import Missing, whole
from actorflow.store.crashpoints import reached
from actorflow.store.keys import ACTIVE, ENDED, active_key, encode_id, ended_key, parse_active, parse_ended

if TYPE_CHECKING:
    from collections.abc import Iterator

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

        Only when the newest commit says a later opening, or this one and that it ended. Idempotent.
        """
        self._backend.delete([active_key(encode_id(run_id), opening)])

    def active(self) -> list[tuple[str, int]]:
        """Encoded id and opening of each run that may be unfinished. `Store.run_id` gives the id."""
        found = (parse_active(key) for key in self._backend.list(ACTIVE))
        return [marker for marker in found if marker is not None]

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
