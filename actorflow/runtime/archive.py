"""Archive: a run goes, whole, into a store of its own for what is over, and is deleted where it was. Blocking.

First it is claimed, so that nobody goes on with it. Then all of it is copied
and read back, the copy is ended, and the run deleted. So whoever dies in
between leaves the run where it was, to be gone on with by anybody, or the
archive whole, or both; and whoever asks again finishes it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from actorflow.engine.records import Claimed, Imported, Released, decode_body
from actorflow.errors import (
    CorruptCheckpoint,
    ImportUnfinished,
    NoSuchRun,
    NoSuchStore,
    RunDeleted,
    RunOwned,
    StoreError,
)
from actorflow.runtime.care import claim_as_is, release_as_is
from actorflow.runtime.checkpoint import Checkpoint, Wanted, tell_checkpoints
from actorflow.runtime.claiming import EndedMeanwhile, near_ids
from actorflow.runtime.deletion import check_may_go, delete_run
from actorflow.runtime.large import references
from actorflow.runtime.transfer import copy_run
from actorflow.store.crashpoints import reached
from actorflow.store.deletion import DELETED
from actorflow.store.keys import encode_id
from actorflow.store.transfer import IMPORTING

if TYPE_CHECKING:
    from actorflow.store.frames import Frame
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.store import Store


class Opening(Protocol):
    """Opens the archive. It is made if it is not there, unless somebody only looks."""

    def __call__(self, *, readonly: bool) -> Store:
        """The open store."""
        ...


class Archived(Struct, frozen=True):
    """Where an archived run is: in the store at ``url``, under ``archive_id``. ``checkpoints`` are newest first."""

    run_id: str
    life: int
    url: str
    archive_id: str
    checkpoints: list[Checkpoint]


def archive_run(store: Store, run_id: str, to: Opening, *, by: str | None) -> Archived:
    """Archive a run that no live actor owns; finish what was begun of it.

    Args:
        store: where it is.
        run_id: which run.
        to: see there.
        by: who asked for it; kept in the tombstone.

    Raises:
        NoSuchRun: there is no such run.
        RunDeleted: it was deleted, and the archive does not have it.
        RunOwned: a live actor owns it.
        BadRunId: its id is too long for what it would be called in the archive.
        ImportUnfinished: it is a copy itself, of which a part is missing.
        CorruptCheckpoint: it is damaged, and nothing is written after a damaged commit.
        ChildNotBegun: it has spawned another run, which nobody has begun yet.
    """
    log = store.log(run_id)
    tip = log.tip()
    if tip is None:
        raise NoSuchRun(run_id, near_ids(store, run_id))
    if tip.header.status == DELETED:
        return _finish_deletion(store, run_id, to, tip)
    if tip.header.status == IMPORTING:
        raise ImportUnfinished(run_id, tip.header.owner.host, tip.header.owner.pid)
    encode_id(f"{run_id}@{tip.file.life}")  # before anything is made of it
    check_may_go(store, log, tip)
    target = to(readonly=False)
    try:
        archive_id, claim = _copy(store, log, target)
        archived = _told(target, archive_id, run_id, tip.file.life)
        try:
            delete_run(store, run_id, by=by, seen=claim)
        except EndedMeanwhile as error:
            raise _owned(log, claim) from error
        return archived
    finally:
        target.close()


def _finish_deletion(store: Store, run_id: str, to: Opening, tip: Tip) -> Archived:
    try:
        target = to(readonly=True)
    except NoSuchStore:
        raise RunDeleted(run_id) from None
    try:
        whole = [name for name in _names(target, run_id, tip.file.life) if _is_whole(target, name)]
        if not whole:
            raise RunDeleted(run_id)
        delete_run(store, run_id, by=None)
        return _told(target, whole[-1], run_id, tip.file.life)
    finally:
        target.close()


def _copy(store: Store, log: RunLog, target: Store) -> tuple[str, Tip]:
    """Claim the run, and see that all of it is in the archive: as what, and up to which commit of ours."""
    try:
        ownership = claim_as_is(store, log)
    except EndedMeanwhile as error:
        raise RunDeleted(log.run_id) from error
    try:
        reached("archive.after_claim")
        frames = log.read(first=0)
        free, whole = _place(target, frames)
        if whole is None:
            end = copy_run(store, target, log.run_id, to_id=free)
            _verify(target, free, frames)
            reached("archive.after_copy")
            _check_ours(log, frames[-1])
            end()
            reached("archive.after_end")
        return whole or free, _check_ours(log, frames[-1])
    except BaseException:
        with suppress(StoreError):  # as without it: the claim counts as that of a process which died
            release_as_is(store, ownership)
        raise
    finally:
        ownership.close()


def _place(target: Store, frames: list[Frame]) -> tuple[str, str | None]:
    """The name for a copy of these commits, and that of one which holds them all already."""
    file = frames[0].file
    *copies, free = _names(target, file.run_id, file.life)
    whole = (name for name in copies if _is_whole(target, name) and _holds_all(target.log(name).read(), frames))
    return free, next(whole, None)


def _names(target: Store, run_id: str, life: int) -> list[str]:
    """The names that copies of this life have in the archive, and the next one.

    One is the rule. There is a second if a run was gone on with after an
    archiving that was cut off between the last two of its steps.
    """
    names = [f"{run_id}@{life}"]
    while _is_taken(target, names[-1]):
        names.append(f"{run_id}@{life}.{len(names) + 1}")
    return names


def _is_taken(target: Store, name: str) -> bool:
    tip = target.log(name).tip()
    return tip is not None and tip.header.status != IMPORTING


def _is_whole(target: Store, name: str) -> bool:
    tip = target.log(name).tip()
    return tip is not None and tip.header.status not in (IMPORTING, DELETED)


def _holds_all(copied: list[Frame], frames: list[Frame]) -> bool:
    """Whether a copy holds all that happened to the run: since then it may have been claimed and released."""
    ends = [record for record in decode_body(copied[-1].body).records if isinstance(record, Imported)]
    digests = [frame.digest for frame in frames]
    if not ends or ends[0].digest not in digests:
        return False
    since = frames[digests.index(ends[0].digest) + 1 :]
    return all(isinstance(record, Claimed | Released) for frame in since for record in decode_body(frame.body).records)


def _verify(target: Store, archive_id: str, frames: list[Frame]) -> None:
    """Read back what was copied, before anything is deleted for it: each commit, and each large value.

    Raises:
        CorruptCheckpoint: it is not what was copied.
    """
    copied = target.log(archive_id).read(first=0)
    if [frame.body for frame in copied] != [frame.body for frame in frames]:
        path = copied[-1].path if copied else archive_id
        raise CorruptCheckpoint(path, "the archive does not hold what was copied into it; nothing was deleted")
    blobs = target.blobs(archive_id)
    for ref in {name: ref for frame in copied for name, ref in references(frame.body).items()}.values():
        blobs.get([ref])


def _check_ours(log: RunLog, claim: Frame) -> Tip:
    """Refuse to go on if somebody has claimed the run meanwhile; its newest commit.

    Raises:
        RunOwned: naming who.
    """
    tip = log.tip()
    if tip is None or tip.digest != claim.digest:
        raise _owned(log, tip)
    return tip


def _owned(log: RunLog, tip: Tip | None) -> RunOwned:
    tip = log.tip() or tip
    owner = None if tip is None else tip.header.owner
    return RunOwned(log.run_id, "?" if owner is None else owner.host, 0 if owner is None else owner.pid)


def _told(target: Store, archive_id: str, run_id: str, life: int) -> Archived:
    told = [one for piece in tell_checkpoints(target, archive_id, Wanted()) for one in piece]
    return Archived(run_id, life, target.url, archive_id, told)
