"""Care: what is done to the runs of a store from outside: retention over all of them, and deletion of one.

Everything here blocks, needs no graph, and may be done from any process at any
time. A run that a live actor owns can lose old commits, but is not deleted.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, field

from actorflow.engine.fold import fold
from actorflow.engine.mail import Mail
from actorflow.engine.records import ENDED, Body, Claimed, Ended, Released, Tagged, encode_body
from actorflow.engine.run import ROOT, Scope
from actorflow.engine.snapshot import dump
from actorflow.errors import ActorflowError, NoSuchRun, RunOwned
from actorflow.runtime import clock
from actorflow.runtime.claiming import EndedMeanwhile, Tombstone, check_there, near_ids
from actorflow.runtime.large import Joiner, referenced
from actorflow.runtime.letters import marks_of
from actorflow.runtime.listing import log_of
from actorflow.runtime.parting import check_begun, take_leave
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import got_up, is_asleep, lying_down, mark_getting_up, next_opening
from actorflow.store.backend import whole
from actorflow.store.cache import ResultCache
from actorflow.store.deletion import DELETED, clear_away, is_tombstone
from actorflow.store.frames import Draft
from actorflow.store.lanes import header_marks, past
from actorflow.store.retention import Retention, floor_of
from actorflow.store.transfer import IMPORTING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from actorflow.engine.run import RunState
    from actorflow.store.frames import Header, Kind
    from actorflow.store.keys import Letter, Sleeper
    from actorflow.store.lanes import Marks
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store

_NOT_OURS = (DELETED, IMPORTING)
"""The status of runs whose commits and large values are left alone: of a half copy everything is still needed."""

_logger = logging.getLogger("actorflow.runtime")


class Collected(Struct, frozen=True):
    """What a `Runtime.gc` did, or (``dry_run``) would have done."""

    looked: int = 0  # runs
    files: int = 0  # of logs: deleted, or shrunk to a stub
    blobs: int = 0  # large values that nothing kept refers to
    deleted: tuple[str, ...] = ()  # runs that ended long enough ago
    summaries: int = 0  # of listings, replaced by later ones
    failed: dict[str, str] = field(default_factory=dict[str, str])  # runs that were left as they are, and why
    trimmed: dict[str, int] = field(default_factory=dict[str, int])  # how many of the files were of which run
    cached: int = 0  # results in the cache that were out of date, or damaged


def collect(store: Store, policy: Retention, busy: Collection[str], *, dry_run: bool) -> Collected:
    """Apply a policy to every run that a marker leads to. One bad run never stops the others (guarantee 8).

    Args:
        store: where they are.
        policy: what to keep.
        busy: ids that live in this process: nothing of them is claimed.
        dry_run: only say what would be done.
    """
    blobs = 0
    deleted: list[str] = []
    failed: dict[str, str] = {}
    trimmed: dict[str, int] = {}
    now = clock.now()
    runs = _led_to(store, failed)
    sleepers = store.markers.asleep()
    for run_id in runs:
        try:
            log = store.log(run_id)
            tip = log.tip()
            if tip is None or _is_left(store, policy, tip, dry_run=dry_run):
                continue
            if _is_long_over(policy, tip, now):
                if dry_run:
                    check_may_go(store, log, tip)
                else:
                    delete_run(store, run_id, by=None, seen=tip)
                deleted.append(run_id)
                continue
            if files := _trim(store, policy, log, tip, now, dry_run=dry_run):
                trimmed[run_id] = files
            if run_id not in busy:
                blobs += sweep_unowned(store, log, dry_run=dry_run)
        except (RunOwned, EndedMeanwhile):
            continue  # it goes on: next time
        except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
            _logger.warning("run %r is left as it is: %r", run_id, error)
            failed[run_id] = str(error)
    if not dry_run:
        store.markers.drop_asleep(_that_got_up(store, sleepers))
    return Collected(
        len(runs),
        sum(trimmed.values()),
        blobs,
        tuple(deleted),
        store.markers.drop_stale(dry_run=dry_run),
        failed,
        trimmed,
        ResultCache(store.backend, store=store.uuid, sealing=store.sealing).sweep(now=now, dry_run=dry_run),
    )


def _led_to(store: Store, failed: dict[str, str]) -> list[str]:
    """The id of every run that a marker leads to. What can't be told goes to ``failed``."""
    names = [summary.run_id for summary in store.markers.ended()]
    for encoded in store.markers.unfinished():
        try:
            run_id = store.run_id(encoded)
        except ActorflowError as error:
            failed[encoded] = str(error)
        else:
            names += [] if run_id is None else [run_id]
    return list(dict.fromkeys(names))


def _that_got_up(store: Store, sleepers: list[Sleeper]) -> Iterator[Sleeper]:
    """Those whose sleep is over: their runs have a newer commit."""
    for sleeper in sleepers:
        with suppress(ActorflowError):  # told with the run
            log = log_of(store, sleeper.run)
            tip = None if log is None else log.tip()
            if tip is not None and tip.header.seq > sleeper.seq:
                yield sleeper


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
        _commit(ownership, "release", Body((Ended(DELETED, by),), left), snapshot=True)
    finally:
        ownership.close()


def _unread(run: RunState, letters: Iterable[Letter]) -> list[Letter]:
    """What other runs have sent to one that was not over, and it has not taken. Of one that was, they are told so."""
    marks = run.mail.marks
    return [
        one for one in letters if not one.from_caller and (one.generation, one.number) > marks.get(one.sender, (1, 0))
    ]


def check_may_go(store: Store, log: RunLog, tip: Tip) -> None:
    """Refuse now what `delete_run` would refuse later, after much work.

    Raises:
        ChildNotBegun: it has spawned another run, which nobody has begun yet.
        CorruptCheckpoint: it is damaged.
    """
    run, _ = _leaving(store, log, tip, tip.header.opening + 1)
    check_begun(store, run)


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


def sweep_unowned(store: Store, log: RunLog, *, dry_run: bool) -> int:
    """Delete the blobs of a run that nobody owns to which no commit that is kept refers; how many.

    Only an owner may sweep, so if there are any the run is claimed, and released as it was.
    """
    blobs = store.blobs(log.run_id)
    names = blobs.names()
    stale = set(names) - referenced(log.read(first=0)) if names else set[str]()
    if not stale or dry_run:
        return len(stale)

    ownership = claim_as_is(store, log)
    try:
        gone = blobs.sweep(referenced(log.read(first=0)), epoch=ownership.header.epoch)
        release_as_is(store, ownership)
    finally:
        ownership.close()
    return len(gone)


def claim_as_is(store: Store, log: RunLog) -> Ownership:
    """Claim a run that nobody owns, only so that nobody goes on with it for a while.

    Raises:
        RunOwned: a live actor owns it.
        CorruptCheckpoint: it is damaged.
        EndedMeanwhile: it was deleted, or is being imported.
    """
    before: dict[bytes, Header] = {}

    def draft_for(tip: Tip | None) -> Draft:
        if tip is None or tip.header.status in _NOT_OURS:
            raise EndedMeanwhile(f"run {log.run_id!r} was deleted meanwhile, or is being imported")
        log.read(tip=tip)  # no claim follows a damaged commit (guarantee 7)
        before[tip.digest] = header = tip.header
        opening = next_opening(header)
        mark_getting_up(store, log.run_id, header)
        return Draft(
            kind="claim",
            epoch=header.epoch + 1,
            status=header.status,
            opening=opening,
            crashes=header.crashes + (header.kind != "release"),
            file=tip.file,
            body=encode_body(Body((Claimed(header.epoch + 1, opening),))),
            node=header.node,
            tags=header.tags,
            due=header.due,
            marks=header.marks,
        )

    ownership = log.claim(draft_for, actor=os.urandom(16))
    got_up(store, log.run_id, before[ownership.header.parent])
    return ownership


def release_as_is(store: Store, ownership: Ownership, record: Tagged | None = None) -> None:
    """Let go of a run that was claimed so: it is what it was before, but for this record."""
    _commit(ownership, "release", Body((Released(),) if record is None else (record, Released())))
    if is_asleep(ownership.header):
        whole(lying_down(store, ownership.file.run_id, ownership.header))


def tag_as_is(store: Store, run_id: str, record: Tagged) -> int:
    """Name a commit of a run that nobody owns, which stays as it is otherwise; the commit that says so.

    Raises:
        NoSuchRun, RunDeleted, RunOwned, CorruptCheckpoint
    """
    log = store.log(run_id)
    tip = log.tip()
    if tip is None:
        raise NoSuchRun(run_id, near_ids(store, run_id))
    check_there(tip)
    ownership = claim_as_is(store, log)
    try:
        release_as_is(store, ownership, record)
        return ownership.header.seq
    finally:
        ownership.close()


def _commit(ownership: Ownership, kind: Kind, body: Body, *, snapshot: bool = False) -> None:
    """One more commit under the header that the claim had."""
    header = ownership.header
    ownership.commit(
        Draft(
            kind=kind,
            epoch=header.epoch,
            status=header.status,
            opening=header.opening,
            crashes=header.crashes,
            file=ownership.file,
            body=encode_body(body),
            snapshot=snapshot,
            node=header.node,
            tags=header.tags,
            due=header.due,
            marks=header.marks,
        )
    )


def _trim(store: Store, policy: Retention, log: RunLog, tip: Tip, now: float, *, dry_run: bool) -> int:
    """Let go of a run's oldest commits; how many files are gone or shrunk."""
    floor = floor_of(policy, tip, log.snapshots(tip), now=now)
    if floor and (named := _named(store, log)) < floor:
        floor = floor_of(policy, tip, log.snapshots(tip), now=now, named=named)
    return log.let_go(floor, dry_run=dry_run).files if floor else 0


def _named(store: Store, log: RunLog) -> float:
    """The number of the oldest commit with a name; infinity: there is none. The newest state knows, no header does."""
    _, run = reading(log, lambda frames: replay(frames, Joiner(store.blobs(log.run_id))))
    return min(run.tags.values(), default=math.inf)


def _is_left(store: Store, policy: Retention, tip: Tip, *, dry_run: bool) -> bool:
    """Whether nothing is let go of here. What a deletion has left goes all the same, and a summary that came late."""
    if tip.header.status == DELETED and not dry_run:
        delete_run(store, tip.file.run_id, by=None)
    return tip.header.status in _NOT_OURS or policy.spares(tip.header)


def _is_long_over(policy: Retention, tip: Tip, now: float) -> bool:
    return policy.ended is not None and tip.header.status in ENDED and tip.header.time < now - policy.ended
