"""Transfer: the copy of a run in another store, whatever kind of log that one has.

The commits keep their times and owners, and get digests of their own, since a
frame says whose it is. Nobody can go on with half a copy: until its last
commit every header says ``importing`` for its status (and keeps the one that
it had for a tag), and that last commit, a release, says the real one. So a copy
that was cut off is finished by asking for it again.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.errors import CorruptCheckpoint, RunExists
from actorflow.store.backend import Missing
from actorflow.store.keys import blobs_prefix, encode_id
from actorflow.store.log import Tip
from actorflow.store.placing import Commit, Placing, derived_nonce

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from actorflow.store.frames import FilePart, Frame, Header
    from actorflow.store.store import Store

IMPORTING = "importing"
"""The status in the headers of a copy that has not ended: nobody may claim that run."""

ORIGIN = "actorflow.origin"
"""The tag in the first header of a copy that names the store (its uuid) that the run came from."""

_STATUS = "actorflow.status"
"""The tag in the headers of a copy that keeps the status which they had."""

_FILE_SIZE = 16 * 1024 * 1024


def check_free(target: Store, run_id: str) -> None:
    """Refuse an id that is taken by anything but a copy that was cut off.

    Raises:
        RunExists: it is.
    """
    tip = target.log(run_id).tip()
    if tip is not None and tip.header.status != IMPORTING:
        raise RunExists(run_id)


def status_of(header: Header) -> str:
    """The status of the run as of this commit, also where it is a commit of a copy."""
    return header.tags.get(_STATUS, header.status) if header.status == IMPORTING else header.status


def tags_of(header: Header) -> dict[str, str]:
    """The tags of the run as of this commit, without what a copy keeps there."""
    return {key: value for key, value in header.tags.items() if key != _STATUS}


def copy_blobs(source: Store, target: Store, run_id: str, names: Iterable[str], *, to_id: str | None = None) -> None:
    """Copy large values, before the commits that refer to them; byte for byte, since their names are digests.

    Raises:
        CorruptCheckpoint: one is missing.
    """
    prefix, there = blobs_prefix(encode_id(run_id)), blobs_prefix(encode_id(to_id or run_id))
    for name in sorted(names):
        try:
            data = source.backend.get(prefix + name)
        except Missing:
            raise CorruptCheckpoint(prefix + name, "this blob is missing, and a commit refers to it") from None
        target.backend.put_new(there + name, data)


def copy_commits(frames: list[Frame], source: Store, target: Store) -> Placing:
    """Copy the commits of a run, whose large values are there; what `end_copy` takes.

    Args:
        frames: all commits that are kept, or those from a snapshot on; the first one gets number 0. They say under
            which id the run is to be.
        source: where they are from. It stays as it is.
        target: where the run is to be.

    Raises:
        RunExists: the target has a run of this id, and it is no copy of this one that was cut off.
    """
    placing = Placing(target, frames[0].file.run_id)
    for part, commits in _files(frames, source, target):
        placing.put(part, commits)
    return placing


def end_copy(
    placing: Placing, frames: list[Frame], target: Store, *, body: bytes, is_unfinished: Callable[[Header], bool]
) -> Tip:
    """Put the commit that ends a copy, with this body: from now on anybody may go on with the run there.

    ``is_unfinished`` says whether a marker must lead to a run with this header.
    """
    newest = frames[-1]
    end, part = _end(newest, frames[0].header.seq, target), _part(newest, target)
    if is_unfinished(end):
        target.markers.put_active(newest.file.run_id, end.opening)
    path = placing.put(part, [(end, body)])
    return Tip(header=end, file=part, digest=placing.parent, path=path)


def _files(frames: list[Frame], source: Store, target: Store) -> Iterator[tuple[FilePart, list[Commit]]]:
    """The commits as files of the target's kind of log: one each, or as an owner would have appended them."""
    appends = target.log(frames[0].file.run_id).appends
    commits: list[Commit] = []
    part, size = _part(frames[0], target), 0
    for frame in frames:
        begins = frame.header.snapshot == frame.header.seq or _part(frame, target) != part
        if commits and (begins or size > _FILE_SIZE or not appends):
            yield part, commits
            commits, size = [], 0
        part = _part(frame, target)
        commits.append((_header(frame, frames[0].header.seq, source, target), frame.body))
        size += frame.size
    yield part, commits


def _header(frame: Frame, first: int, source: Store, target: Store) -> Header:
    header = frame.header
    copied = replace(
        header,
        seq=header.seq - first,
        snapshot=header.snapshot - first,
        status=IMPORTING,
        nonce=derived_nonce(frame.digest, target.uuid),
        tags={**header.tags, _STATUS: status_of(header)},
    )
    if copied.seq > 0:
        return copied
    return replace(copied, kind="claim", tags={**copied.tags, ORIGIN: source.uuid.hex()})


def _end(newest: Frame, first: int, target: Store) -> Header:
    """The release after the copied commits: from now on anybody may claim the run."""
    header = newest.header
    return replace(
        header,
        kind="release",
        seq=header.seq - first + 1,
        snapshot=header.snapshot - first,
        nonce=derived_nonce(newest.digest, target.uuid, b"end"),
        owner=target.owner(os.urandom(16)),
        time=time.time(),
        tags=tags_of(header),
    )


def _part(frame: Frame, target: Store) -> FilePart:
    return replace(frame.file, store=target.uuid)
