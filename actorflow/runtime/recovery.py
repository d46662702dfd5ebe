"""Recovery: taking up the runs that nobody looks after.

Level-triggered: each look begins with the markers, and what an earlier one
found is not believed for ever, so nothing is missed for good. Many processes
look at the same store: each at moments of its own, in an order of its own, and takes no
more at once than a share, so that a dead process's runs are spread.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import anyio

from actorflow.engine.records import ENDED
from actorflow.errors import RunOwned, StoreError
from actorflow.runtime import clock
from actorflow.runtime.claiming import EndedMeanwhile, end_markers
from actorflow.runtime.deletion import delete_run
from actorflow.runtime.large import Joiner
from actorflow.runtime.listing import log_of
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleepers import overdue
from actorflow.runtime.sleeping import is_asleep, lying_down
from actorflow.store.backend import whole
from actorflow.store.deletion import DELETED
from actorflow.store.frames import Owner
from actorflow.store.keys import encode_id
from actorflow.store.machine import machine_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.frames import Header
    from actorflow.store.heartbeat import HeartbeatIncarnation
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store

SCAN_EVERY = 2.0
"""Seconds between two looks, on a store of this machine."""

SHARE = 256
"""How many runs one look of the scan takes up at most; the next look may take more."""

CLAIMS_AT_ONCE = 16
"""How many runs are claimed at once on a bucket, where a claim mostly waits for answers."""

CLAIMS_ON_DISK = SHARE
"""And on this machine's disk, where so many share the hops of a few threads; see `Committer`."""

_LOOK_ANYWAY = 1 / 8
"""The chance that a run's log is read although who owned it at an earlier look lives."""

Known = dict[str, Owner]
"""By a run's name in keys: who owns it."""

_logger = logging.getLogger("actorflow.runtime")


async def scan(lives: Lives, graphs: Mapping[str, Graph[Any]], *, every: float, anywhere: bool) -> None:
    """Look again and again, about ``every`` so many seconds; never returns."""
    known: Known = {}
    while True:
        pause = every * random.uniform(0.5, 1.5)
        if (heartbeat := lives.store.heartbeat) is not None:
            pause = min(pause, heartbeat.missed_in())  # so that a takeover takes a lease and one scan, and not two
        await clock.rest(pause)
        if graphs and not lives.leaving:
            try:
                await recover(lives, graphs, anywhere=anywhere, awaited=False, known=known, most=SHARE)
            except StoreError as error:
                _logger.warning("could not look for orphaned runs: %s", error)


async def beat(heartbeat: HeartbeatIncarnation) -> None:
    """Show again and again that this process lives; never returns. Runs live elsewhere if it fails for a lease."""
    thread = anyio.CapacityLimiter(1)  # of its own: users may hold all others for longer than a lease
    while True:
        await clock.rest(heartbeat.beat_every)
        try:
            await anyio.to_thread.run_sync(heartbeat.beat, limiter=thread)
        except StoreError as error:
            _logger.warning("could not show that this process lives: %s", error)


async def recover(
    lives: Lives,
    graphs: Mapping[str, Graph[Any]],
    *,
    anywhere: bool,
    awaited: bool,
    known: Known | None = None,
    most: int | None = None,
) -> list[Life]:
    """Take up every orphaned run of these graphs; those that were.

    Args:
        lives: what lives here already, and where the new lives go.
        graphs: by name.
        anywhere: also runs last owned by another machine.
        awaited: somebody asks: leaving the runtime waits for the runs, and those
            that this process was found unable to run are tried again.
        known: see `orphans`.
        most: how many to take up at most.
    """
    found: list[Life] = []
    busy = {*lives, *(() if awaited else lives.blocked)}
    seen: Known = {} if known is None else known
    unsent: list[RunState] = []
    orphaned = await lives.in_store(lambda: orphans(lives.store, busy, anywhere=anywhere, known=seen, unsent=unsent))
    for run in unsent:
        lives.dispatcher.told(run, tuple(run.mail.outbox), over=True)
    if awaited:
        orphaned += await lives.in_store(lambda: overdue(lives.store, busy, anywhere=anywhere))
    named = [(run_id, graphs[name]) for run_id, name in orphaned if name in graphs]
    ours = [(run_id, graph) for run_id, graph in named if lives.may_run(graph, run_id)][:most]
    limiter = anyio.CapacityLimiter(CLAIMS_ON_DISK if lives.store.heartbeat is None else CLAIMS_AT_ONCE)

    async def take(run_id: str, graph: Graph[Any]) -> None:
        async with limiter:
            passed_over = not awaited and run_id in lives.blocked  # perhaps since it was looked for
            if run_id not in lives and not (passed_over or lives.leaving):
                life = await _take_up(lives, graph, run_id, awaited=awaited)
                found.extend([] if life is None else [life])

    async with anyio.create_task_group() as tasks:
        for run_id, graph in ours:
            tasks.start_soon(take, run_id, graph)
    return found


async def _take_up(lives: Lives, graph: Graph[Any], run_id: str, *, awaited: bool) -> Life | None:
    try:
        life = await lives.take_up(graph, run_id, context=None, reopen=None, awaited=awaited)
    except (RunOwned, EndedMeanwhile):
        return None  # somebody else was faster
    except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
        _logger.warning("run %r is not recovered: %r", run_id, error)
        return None
    _logger.info("run %r is taken up: its owner is gone", run_id)
    return life


def orphans(
    store: Store,
    busy: Collection[str],
    *,
    anywhere: bool,
    known: Known,
    unsent: list[RunState] | None = None,
) -> list[tuple[str, str]]:
    """Unfinished runs (id, graph) whose owner is gone, in random order; puts right the markers of others.

    What is over needs none. What its last owner let go of to sleep, and died, is laid down.

    Args:
        store: where to look. Blocks.
        busy: ids that live here, or are being claimed.
        anywhere: also those last owned by another machine.
        known: what an earlier look found of which run (by its name in keys), to be kept for the next. As
            long as its owner lives, the run's log is mostly not read. But now and then
            it is: that process may have let go of the run, or lost it to one that has died since, and live on.
        unsent: takes the runs that have ended, and have sent what others may not have yet.
    """
    found: list[tuple[str, str]] = []
    skipped = {encode_id(run_id) for run_id in busy}
    markers = store.markers.active()
    random.shuffle(markers)
    for name in known.keys() - {encoded for encoded, _ in markers}:
        del known[name]
    for encoded, opening in markers:
        if encoded in skipped:
            continue
        try:
            before = known.get(encoded) if random.random() >= _LOOK_ANYWAY else None
            if before is not None and store.incarnation.is_dead(before, encoded) is False:
                continue
            log = log_of(store, encoded)
            tip = None if log is None else log.tip()
            if log is None or tip is None:
                continue  # about to be spawned, or its spawner died: a marker without its commit stays
            if tip.header.kind != "release":
                known[encoded] = tip.header.owner
            if _is_over(tip.header, opening):
                left = _clear(store, log, opening)
                if left is not None and unsent is not None:
                    unsent.append(left)
            elif _goes_on(store, log, tip.header, opening) and (anywhere or tip.header.owner.machine == machine_id()):
                found.append((tip.file.run_id, tip.file.graph))
        except Exception as error:  # noqa: BLE001 - one bad run never stops the recovery of others (guarantee 8)
            _logger.warning("run %r can't be read, and stays as it is: %r", encoded, error)
    return found


def _goes_on(store: Store, log: RunLog, header: Header, opening: int) -> bool:
    """Whether somebody must take up the run now. One that only waits is laid down, had its owner died first.

    Nobody looks for it in an hour that is long over, so if it has slept too long it is taken up at once.
    """
    if not is_asleep(header):
        return _is_orphan(log, header, opening)
    if header.opening < opening:
        return False  # somebody is about to wake it
    whole(lying_down(store, log.run_id, header))
    return header.due is not None and header.due <= clock.now()


def _is_over(header: Header, opening: int) -> bool:
    return header.opening > opening or (header.opening == opening and header.status in ENDED)


def _is_orphan(log: RunLog, header: Header, opening: int) -> bool:
    return header.opening == opening and log.is_owned(header) is False


def _clear(store: Store, log: RunLog, opening: int) -> RunState | None:
    """What the owner that ended the run would have done next, had it lived; the run, if that does not end here."""
    tip = log.tip()
    if tip is not None and tip.header.status == DELETED:
        if not log.is_owned(tip.header):
            delete_run(store, log.run_id, by=None)
        return None
    frames, run = reading(log, lambda frames: replay(frames, Joiner(store.blobs(log.run_id))))
    if run.ended and run.opening == opening:
        end_markers(store, run, frames[-1].header)
        return run if run.mail.outbox else None
    store.markers.drop_active(run.run_id, opening)
    return None
