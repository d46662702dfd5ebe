"""Deletion: a run that nobody owns is claimed as deleted, takes leave of others, and is cleared away.

Everything here blocks, needs no graph, and may be done from any process at any
time. A deletion that was cut off is finished by asking for it again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from actorflow.engine.fold import fold
from actorflow.engine.mail import Mail
from actorflow.engine.records import ENDED, Body, Claimed, Ended, encode_body
from actorflow.engine.run import ROOT, Scope
from actorflow.engine.snapshot import dump
from actorflow.errors import NoSuchRun
from actorflow.runtime.claiming import EndedMeanwhile, Tombstone, commit_release, near_ids
from actorflow.runtime.large import Joiner
from actorflow.runtime.letters import marks_of
from actorflow.runtime.parting import check_begun, take_leave
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import got_up
from actorflow.store.deletion import DELETED, clear_away, is_tombstone
from actorflow.store.frames import Draft
from actorflow.store.lanes import header_marks, past

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.run import RunState
    from actorflow.store.frames import Header
    from actorflow.store.keys import Letter
    from actorflow.store.lanes import Marks
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.store import Store


def delete_run(store: Store, run_id: str, *, by: str | None, seen: Tip | None = None) -> None:
    """Delete a run that no live actor owns; finish a deletion that was cut off.

    Args:
        store: where it is.
        run_id: which run.
        by: who asked for it; kept in the tombstone.
        seen: the end that the caller saw; if the run was reopened since, it stays.

    Raises:
        NoSuchRun: there is no such run.
        RunOwned: a live actor owns it.
        CorruptCheckpoint: it is damaged, and nothing is written after a damaged commit.
        EndedMeanwhile: it is another end than the one that was seen.
        ChildNotBegun: it has spawned another run, which nobody has begun yet.
    """
    log = store.log(run_id)
    tip = log.tip()
    if tip is None:
        raise NoSuchRun(run_id, near_ids(store, run_id))
    if not is_tombstone(tip.header):
        _bury(store, log, by, seen)
    clear_away(store, run_id)


def tombstone_of(store: Store, run_id: str) -> Tombstone | None:
    """The tombstone of a deleted run, with everything below it cleared away; None: it was not deleted."""
    log = store.log(run_id)
    tip = log.tip()
    if tip is None or tip.header.status != DELETED:
        return None
    delete_run(store, run_id, by=None)
    tip = log.tip()
    if tip is None:
        return None
    _, run = reading(log, lambda frames: replay(frames, Joiner(store.blobs(run_id))), tip=tip)
    return Tombstone(tip, run.mail.marks)


def check_may_go(store: Store, log: RunLog, tip: Tip) -> None:
    """Refuse now what `delete_run` would refuse later, after much work.

    Raises:
        ChildNotBegun: it has spawned another run, which nobody has begun yet.
        CorruptCheckpoint: it is damaged.
    """
    run, _ = _leaving(store, log, tip, tip.header.opening + 1)
    check_begun(store, run)


def _bury(store: Store, log: RunLog, by: str | None, seen: Tip | None) -> None:
    """Claim the run as deleted, and commit its tombstone."""
    before: dict[bytes, tuple[RunState, Header, Marks, list[Letter]]] = {}

    def draft_for(tip: Tip | None) -> Draft:
        if tip is None or is_tombstone(tip.header):
            raise EndedMeanwhile(f"run {log.run_id!r} was deleted by somebody else meanwhile")
        if seen is not None and seen.digest != tip.digest:
            raise EndedMeanwhile(f"run {log.run_id!r} went on meanwhile")
        header = tip.header
        opening = header.opening if header.status == DELETED else header.opening + 1
        run, was_over = _leaving(store, log, tip, opening)
        letters = store.inbox.letters(log.run_id)
        marks = past(marks_of(run.mail), letters)
        if header.status != DELETED:
            check_begun(store, run)
        before[tip.digest] = run, header, marks, [] if was_over else _unread(run, letters)
        if opening > header.opening:
            store.markers.put_active(log.run_id, opening)
        body = encode_body(Body((Claimed(header.epoch + 1, opening), Ended(DELETED, by))))
        return Draft(
            kind="claim",
            epoch=header.epoch + 1,
            status=DELETED,
            opening=opening,
            crashes=0,
            file=tip.file,
            body=body,
            marks=header_marks(marks) if marks.lanes else header.marks,
        )

    try:
        ownership = log.claim(draft_for, actor=os.urandom(16))
    except EndedMeanwhile:
        if seen is not None:
            raise
        return
    try:
        run, header, marks, unread = before[ownership.header.parent]
        got_up(store, log.run_id, header)
        run = fold(run, Claimed(ownership.header.epoch, ownership.header.opening))
        run = fold(run, Ended(DELETED, by))
        left = dump(_emptied(run, marks))
        take_leave(store, run, unread)
        commit_release(ownership, Body((Ended(DELETED, by),), left), snapshot=True)
    finally:
        ownership.close()


def _unread(run: RunState, letters: Iterable[Letter]) -> list[Letter]:
    """What other runs have sent to one that was not over, and it has not taken. Of one that was, they are told so."""
    marks = run.mail.marks
    return [
        one for one in letters if not one.from_caller and (one.generation, one.number) > marks.get(one.sender, (1, 0))
    ]


def _leaving(store: Store, log: RunLog, tip: Tip, opening: int) -> tuple[RunState, bool]:
    """A run that is to be deleted in this opening: its outbox has what others do not have yet. Whether it was over."""
    frames, run = reading(log, lambda frames: replay(frames, Joiner(store.blobs(log.run_id))), tip=tip)
    statuses = [frame.header.status for frame in frames if frame.header.status != DELETED]
    ended = bool(statuses) and statuses[-1] in ENDED
    if ended and not any(number < opening for number in store.markers.openings(log.run_id)):
        run.mail.outbox.clear()
    return run, ended


def _emptied(run: RunState, marks: Marks) -> RunState:
    """What is left of a deleted run: everything but the user's data. What a later life goes on from stays."""
    return msgspec.structs.replace(
        run,
        scopes={ROOT: Scope(path=ROOT, values={})},
        open={},
        turn=None,
        digest=b"",
        last_node=None,
        failed_in=None,
        error=None,
        queue=[],
        saga=[],
        mail=Mail(marks={sender: (mark.generation, mark.number) for sender, mark in marks.lanes.items()}),
    )
