"""Care: retention over all runs of a store, and a claim of one that nobody owns which leaves it as it is.

Everything here blocks, needs no graph, and may be done from any process at any
time. A run that a live actor owns can lose old commits; nothing else is done to it.
"""

from __future__ import annotations

import logging
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from msgspec import Struct, field

from actorflow.engine.records import ENDED, Body, Claimed, Released, Tagged, encode_body
from actorflow.errors import ActorflowError, NoSuchRun, RunOwned
from actorflow.runtime import clock
from actorflow.runtime.claiming import EndedMeanwhile, check_there, commit_release, near_ids
from actorflow.runtime.deletion import check_may_go, delete_run
from actorflow.runtime.large import Joiner, referenced
from actorflow.runtime.listing import log_of
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import got_up, is_asleep, lying_down, mark_getting_up, next_opening
from actorflow.store.backend import whole
from actorflow.store.cache import ResultCache
from actorflow.store.deletion import DELETED
from actorflow.store.frames import Draft
from actorflow.store.retention import Retention, floor_of
from actorflow.store.transfer import IMPORTING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from actorflow.store.frames import Header
    from actorflow.store.keys import Sleeper
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
    commit_release(ownership, Body((Released(),) if record is None else (record, Released())))
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


def _is_left(store: Store, policy: Retention, tip: Tip, *, dry_run: bool) -> bool:
    """Whether nothing is let go of here. What a deletion has left goes all the same, and a summary that came late."""
    if tip.header.status == DELETED and not dry_run:
        delete_run(store, tip.file.run_id, by=None)
    return tip.header.status in _NOT_OURS or policy.spares(tip.header)


def _is_long_over(policy: Retention, tip: Tip, now: float) -> bool:
    return policy.ended is not None and tip.header.status in ENDED and tip.header.time < now - policy.ended


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


def _that_got_up(store: Store, sleepers: list[Sleeper]) -> Iterator[Sleeper]:
    """Those whose sleep is over: their runs have a newer commit."""
    for sleeper in sleepers:
        with suppress(ActorflowError):  # told with the run
            log = log_of(store, sleeper.run)
            tip = None if log is None else log.tip()
            if tip is not None and tip.header.seq > sleeper.seq:
                yield sleeper
