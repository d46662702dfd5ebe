"""Checkpoint: what the header of one commit says. What history is a list of; no state is read for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import NoSuchRun, RunDeleted
from actorflow.runtime.claiming import near_ids
from actorflow.store.deletion import DELETED
from actorflow.store.frames import Kind, Owner
from actorflow.store.transfer import status_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.frames import FilePart, Header
    from actorflow.store.store import Store


class Checkpoint(Struct, frozen=True):
    """A run as of one commit, as far as its header tells. ``run.at(seq)`` has the state, the frontier and the waits.

    ``kind`` is that of the commit: a ``claim``, by which a process became the owner, a ``commit``
    of its, or the ``release`` by which it let go or ended the run.
    """

    run_id: str
    seq: int
    parent: int | None  # the commit that it was built on; None: the run began with it
    kind: Kind
    status: str  # of the run, as of this commit
    node: str | None  # the last one that had finished by then
    time: float  # seconds since 1970, when it was committed; for people
    tags: dict[str, str]
    life: int
    opening: int
    epoch: int
    crashes: int  # unclean claims since the last commit that finished an activation
    owner: Owner
    graph: str
    schema: str
    version: int | str | None
    snapshot: int  # the commit with the snapshot that this one is read from
    size: int  # bytes of the frame; 0 if it was let go of
    pruned: bool = False
    """Retention let go of it, and only its header is left: `Run.at` does not find it any more.

    A local disk keeps the first and the last header of each file that was let go of, a bucket none.
    """


class Wanted(Struct, frozen=True, kw_only=True):
    """Which checkpoints of a history are asked for: those of which all of it holds."""

    kind: Kind | None = None
    node: str | None = None
    status: str | None = None
    tag: str | Mapping[str, str] | None = None
    since: float | None = None
    before: int | None = None

    def __contains__(self, found: Checkpoint) -> bool:
        """Whether this is one of them."""
        return (
            self.kind in (None, found.kind)
            and self.node in (None, found.node)
            and self.status in (None, found.status)
            and self._has_tag(found)
            and (self.since is None or found.time >= self.since)
            and (self.before is None or found.seq < self.before)
        )

    def _has_tag(self, found: Checkpoint) -> bool:
        if self.tag is None or isinstance(self.tag, str):
            return self.tag is None or self.tag in found.tags
        return self.tag.items() <= found.tags.items()


def tell_checkpoints(store: Store, run_id: str, wanted: Wanted) -> Iterator[list[Checkpoint]]:
    """The checkpoints of a run, newest first, in pieces; each is read when it is asked for. Blocking.

    Raises:
        NoSuchRun, RunDeleted
        CorruptCheckpoint: the next piece is damaged. All that is newer has been told.
    """
    log, life = store.log(run_id), None
    for frames in log.backwards(keyless=True):
        check_told(frames[-1].header, run_id)
        life = frames[-1].file.life
        told = [_checkpoint(frame.header, frame.file, size=frame.size) for frame in reversed(frames)]
        yield [one for one in told if one in wanted]
    if life is None:
        raise NoSuchRun(run_id, near_ids(store, run_id))
    for stub in log.stubs():
        if stub.file.life == life:
            headers = [stub.last] if stub.first == stub.last else [stub.last, stub.first]
            gone = [_checkpoint(header, stub.file, size=0, pruned=True) for header in headers]
            yield [one for one in gone if one in wanted]


def check_told(header: Header, run_id: str) -> None:
    """Refuse to tell of a deleted run.

    Raises:
        RunDeleted: naming it.
    """
    if header.status == DELETED:
        raise RunDeleted(run_id)


def _checkpoint(header: Header, file: FilePart, *, size: int, pruned: bool = False) -> Checkpoint:
    return Checkpoint(
        run_id=file.run_id,
        seq=header.seq,
        parent=parent_of(header),
        kind=header.kind,
        status=status_of(header),
        node=header.node,
        time=header.time,
        tags=tags_of(header),
        life=file.life,
        opening=header.opening,
        epoch=header.epoch,
        crashes=header.crashes,
        owner=header.owner,
        graph=file.graph,
        schema=file.schema,
        version=file.version,
        snapshot=header.snapshot,
        size=size,
        pruned=pruned,
    )


def parent_of(header: Header) -> int | None:
    """The number of the commit before; a claim that holds a snapshot begins a life of its id, on a tombstone."""
    begins = header.seq == 0 or (header.kind == "claim" and header.snapshot == header.seq)
    return None if begins else header.seq - 1
