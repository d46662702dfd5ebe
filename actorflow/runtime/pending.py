"""Pending: the records that wait for their commit, and the snapshot that is to go with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.engine.records import Body, Finished, ItemDone, ItemFailed, Merged, Posted, Record, Stepped, encode_body
from actorflow.graph.schema import MAX_VALUE
from actorflow.runtime.large import BLOB_MIN
from actorflow.store.blobs import Blob

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.engine.run import RunState
    from actorflow.runtime.large import Snapshot, Splitter

SNAPSHOT_FACTOR = 4
"""A snapshot is due when the records since the last one take this many times its size."""

SNAPSHOT_FLOOR = 64 * 1024
"""Bytes of records that are never worth a snapshot: reading them costs less than one new file."""

MUCH = 1024 * 1024
"""Bytes of records that force a commit under ``exit``."""


_PROGRESS = frozenset({Finished, Merged, ItemDone, ItemFailed, Stepped})
"""Records of work that is not done again, however many processes die with the run."""


class Sealed(Struct, frozen=True):
    """What one commit takes: a body, and what the header says of it."""

    body: bytes
    short: bool  # its records say all that is new, and refer to no blobs
    blobs: tuple[Blob, ...]  # to be put before
    snapshot: bool
    progressed: bool  # it says that some work was done: whoever owned the run got on with it


class Pending:
    """Records in the order in which they were decided, until they are sealed into commits."""

    __slots__ = (
        "_commits",
        "_ends",
        "_every",
        "_large",
        "_must",
        "_parted",
        "_records",
        "_sends",
        "_since",
        "_size",
        "_snapshot",
        "_weighed",
        "_weight",
    )  # there may be thousands

    def __init__(
        self, *, large: Splitter, snapshot: Snapshot | None, every: int | None = None, commits: int = 0
    ) -> None:
        """Begin with nothing.

        Args:
            large: parts large values from what is sealed.
            snapshot: the run as it is now, if the next commit must begin with it: the
                files before are in another schema or of another topology.
            every: commits from one snapshot to the next, at most; None: their weight alone decides.
            commits: how many there are since the newest snapshot.
        """
        self._records: list[Record] = []
        self._ends: list[int] = []  # how many records there are up to the end of each decision
        self._weighed = 0  # how many of them have been weighed
        self._weight = 0  # bytes of those
        self._sends = False  # some of them say that something was sent
        self._parted = False  # some of them may refer to blobs
        self._large = large
        self._snapshot = snapshot
        self._must = snapshot is not None  # and not merely due
        self._size = SNAPSHOT_FLOOR // SNAPSHOT_FACTOR  # bytes of the last snapshot, or of what it would have been
        self._since = 0  # bytes sealed since the last snapshot
        self._every = every
        self._commits = commits

    def __bool__(self) -> bool:
        return bool(self._records)

    def add(self, records: Sequence[Record]) -> None:
        """Let these wait, too: what was decided together, and is kept together or not at all (guarantee 5)."""
        if records:
            self._records += records
            self._ends.append(len(self._records))

    def is_much(self) -> bool:
        """Whether so much waits that it should be committed, whatever the durability; what is sent waits for that."""
        fresh = tuple(self._records[self._weighed :])
        self._weighed = len(self._records)
        self._weight += len(encode_body(Body(fresh)))
        self._sends = self._sends or Posted in map(type, fresh)
        return self._sends or self._weight > MUCH

    def forgo_snapshot(self) -> None:
        """The next commit has no content, so the files stay in the schema they are in."""
        if self._must:
            self._snapshot = None

    def seal(self) -> Sealed:
        """Everything that waits, for one commit; what does not fit into it goes on waiting."""
        records, body, blobs = self._fitting()
        self._records = self._records[len(records) :]
        self._ends = [end - len(records) for end in self._ends if end > len(records)]
        self._weighed = self._weight = 0
        self._sends = False
        short = not (self._must or self._parted)
        snapshot, self._snapshot, self._must = self._snapshot, None, False
        self._since += len(body) + sum(blob.ref.size for blob in blobs)
        self._commits += 1
        if snapshot is not None:
            self._since, self._commits, self._size = 0, 0, snapshot.weight
            self._large.sealed(snapshot)
            blobs += snapshot.blobs
        self._parted = self._parted and bool(self._records)
        progressed = not _PROGRESS.isdisjoint(map(type, records))
        return Sealed(body, short, blobs, snapshot is not None, progressed)

    def snapshot_if_due(self, run: RunState) -> None:
        """Take a snapshot for the next commit, once what would be read again has outgrown it, or is in many files.

        Called when nothing waits, since a frame's snapshot is the run before
        its records. What a snapshot takes is known only by making one, so it is
        made whenever it would have been due at its last size.
        """
        many = self._every is not None and self._commits + 1 >= self._every
        if many or self._since > max(SNAPSHOT_FLOOR, SNAPSHOT_FACTOR * self._size):
            snapshot = self._large.dump(run)
            self._size = snapshot.weight
            if (many or SNAPSHOT_FACTOR * self._size < self._since) and len(snapshot.data) < MAX_VALUE:
                self._snapshot = snapshot

    def _fitting(self) -> tuple[list[Record], bytes, tuple[Blob, ...]]:
        """As many of the records as one commit can hold, its body, and the blobs that this refers to.

        Where it does not fit otherwise, the snapshot is left out. No decision is parted.
        """
        records = self._records
        blobs: tuple[Blob, ...] = ()
        body = self._body(records)
        if len(body) - len(self._snapshot.data if self._snapshot else b"") >= BLOB_MIN:
            records, blobs = self._large.records(records)
            self._records, body, self._parted = records, self._body(records), True
        while len(body) > MAX_VALUE:
            if self._snapshot is not None and not self._must:
                self._snapshot = None
            elif ends := [end for end in self._ends if end < len(records)]:
                half = len(records) // 2
                records = records[: max((end for end in ends if end <= half), default=ends[0])]
            else:
                break  # refused by the log
            body = self._body(records)
        return records, body, blobs

    def _body(self, records: list[Record]) -> bytes:
        return encode_body(Body(tuple(records), None if self._snapshot is None else self._snapshot.data))
