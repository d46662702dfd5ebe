"""Transfer: a run from one store to another, for ``Runtime.export`` and ``Runtime.import_run``. Blocking."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.engine.records import ENDED, Body, Imported, encode_body
from actorflow.errors import ImportUnfinished, NoSuchRun
from actorflow.runtime.claiming import EndedMeanwhile, check_there, end_unowned, near_ids
from actorflow.runtime.large import Joiner, referenced
from actorflow.runtime.replay import reading, replay
from actorflow.store.log import tip_of
from actorflow.store.markers import summary_of
from actorflow.store.transfer import IMPORTING, check_free, copy_blobs, copy_commits, end_copy

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.frames import Header
    from actorflow.store.log import Tip
    from actorflow.store.store import Store


def export_run(store: Store, run_id: str, to: Callable[[], Store], *, history: bool, move: bool) -> int:
    """Copy a run into the store that ``to`` opens; the number of the commit that ends the copy.

    Args:
        store: where it is.
        run_id: which run.
        to: opens the other store, when it is known that there is something to copy.
        history: all commits, or else those from the newest snapshot.
        move: claim the run first, and end it here, as cancelled, once all is copied and before anybody may go on
            with it there. A run that has ended is only copied.

    Raises:
        NoSuchRun, RunExists, CorruptCheckpoint, StoreError
        RunOwned: it is to be moved, and a live actor owns it.
        ImportUnfinished: it is a copy itself, of which a part is missing.
    """
    tip = _tip(store, run_id)
    other = to()
    try:
        return _transfer(store, other, run_id, ended=tip.header.status in ENDED, history=history, move=move)
    finally:
        other.close()


def import_run(store: Store, run_id: str, from_: Callable[[], Store], *, history: bool, move: bool) -> int:
    """`export_run` from the other end."""
    other = from_()
    try:
        tip = _tip(other, run_id)
        return _transfer(other, store, run_id, ended=tip.header.status in ENDED, history=history, move=move)
    finally:
        other.close()


def _tip(source: Store, run_id: str) -> Tip:
    tip = source.log(run_id).tip()
    if tip is None:
        raise NoSuchRun(run_id, near_ids(source, run_id))
    check_there(tip)
    if tip.header.status == IMPORTING:
        raise ImportUnfinished(run_id, tip.header.owner.host, tip.header.owner.pid)
    return tip


def _transfer(source: Store, target: Store, run_id: str, *, ended: bool, history: bool, move: bool) -> int:
    copies: list[Callable[[], int]] = []

    def copy() -> None:
        copies.append(copy_run(source, target, run_id, history=history))

    if ended or not move:
        copy()
    else:
        # It ends here before anybody may go on with it there: who dies in between leaves it in neither, to be copied
        # once more. The other way round it would be recovered in both.
        try:
            end_unowned(source, run_id, "cancelled", f"moved to {target.url}", before=copy)
        except EndedMeanwhile:
            copy()
    return copies[-1]()


def copy_run(
    source: Store, target: Store, run_id: str, *, history: bool = True, to_id: str | None = None
) -> Callable[[], int]:
    """Copy all but the commit that ends the copy; what puts that one, and returns its number. Then anybody may go on.

    Args:
        source: where the run is.
        target: where it is to be.
        run_id: which run.
        history: all commits, or else those from the newest snapshot.
        to_id: what it is to be called there; by default as here.

    Raises:
        NoSuchRun, RunDeleted, CorruptCheckpoint
        RunExists: that id is taken there.
    """
    there = to_id or run_id
    check_free(target, there)
    frames, _ = reading(
        source.log(run_id),
        lambda frames: copy_blobs(source, target, run_id, referenced(frames), to_id=there),
        first=0 if history else None,
    )
    if not frames:
        raise NoSuchRun(run_id)
    newest = frames[-1]
    check_there(tip_of(newest))
    frames = [replace(frame, file=replace(frame.file, run_id=there)) for frame in frames]
    placing = copy_commits(frames, source, target)
    # before the copy counts: what a resume would need is there, large values included, and can be read
    needed = [frame for frame in frames if frame.header.seq >= newest.header.snapshot]
    replay(needed, Joiner(target.blobs(there)))

    def end() -> int:
        body = encode_body(Body((Imported(source.uuid, newest.header.seq, newest.digest),)))
        tip = end_copy(placing, frames, target, body=body, is_unfinished=_is_unfinished)
        if not _is_unfinished(tip.header):
            target.markers.put_ended(summary_of(tip))
        return tip.header.seq

    return end


def _is_unfinished(header: Header) -> bool:
    return header.status not in ENDED
