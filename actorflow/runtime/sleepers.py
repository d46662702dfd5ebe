"""Sleepers: the runs that this process is to wake when their time has come, and the one task that does.

Whoever puts a run to sleep until a time wakes it, as long as it lives. Others
find it by its marker: each process lists the hours that are due now and then,
whatever the number of those that sleep longer, and is late by a moment of its
own, so that many who look at the same store do not all claim the same run.
That a run was woken is a record like any other: who comes second finds it
awake, and nothing is done twice.
"""

from __future__ import annotations

import heapq
import logging
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope
from msgspec import Struct

from actorflow.errors import CommitUnknown, RunOwned, StoreError, StoreFull, StoreUnavailable
from actorflow.graph.graph import Graph
from actorflow.runtime import clock
from actorflow.runtime.claiming import EndedMeanwhile
from actorflow.runtime.listing import log_of
from actorflow.runtime.sleeping import is_asleep, sleeper_of
from actorflow.runtime.writer import first_due
from actorflow.store.keys import EARLIEST, Sleeper, encode_id
from actorflow.store.machine import machine_id

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from actorflow.engine.run import RunState
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.frames import Header
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.store import Store

GRACE = 1.0
"""Seconds within which whoever put a run to sleep has mostly woken it: others come after a part of them."""

WAKES_AT_ONCE = 16
"""How many runs are woken at once. The others wait for their turn."""

LOOKS_APART = 5
"""Scans for orphans between two looks for those whom nobody woke in time: mostly somebody does."""

AGAIN_AFTER = 60
"""Looks at the hours that are due, after which one look goes back to the beginning of time."""

HOUR = 3600.0
"""Seconds: so late may a marker be put without anybody looking for it at the beginning of time."""
_SLACK = 64
_TRY_AGAIN_AFTER = (0.05, 60.0)  # seconds, the first and the longest pause, while the store does not answer

_logger = logging.getLogger("actorflow.runtime")


class _Own(Struct, gc=False):
    """A run that was put to sleep here: what its next life goes on with."""

    seq: int
    graph: Graph[Any]
    context: Any
    awaited: bool
    due: bool  # it sleeps until a time
    others: tuple[str, ...]  # runs for which it waits, and its children


class Sleepers:
    """Whom to wake, and when. One for each runtime."""

    def __init__(self, lives: Lives, graphs: Mapping[str, Graph[Any]]) -> None:
        """Begin with nobody.

        Args:
            lives: where those live who are woken.
            graphs: by name, those that are registered.
        """
        self._lives = lives
        self._graphs = graphs
        self._known: tuple[Graph[Any], ...] = ()  # the graphs that were registered at the newest look
        self._heap: list[tuple[float, Sleeper, bool]] = []  # when, whom, and whether it was put to sleep here
        self._own: dict[str, _Own] = {}
        self._foreign: set[Sleeper] = set()  # their graphs are not registered here, or without the context they need
        self._swept: float | None = None  # nobody who was due before slept any more at the newest look
        self._failures: dict[Sleeper, int] = {}  # how often the store did not answer
        self._nap = CancelScope()

    def __len__(self) -> int:
        return len(self._own)

    def lay_down(self, life: Life) -> None:
        """A life is over because its run sleeps. If it does until a time, it is woken then."""
        header, due, others = life.actor.header, first_due(life.actor.run), others_of(life.actor.run)
        if life.error is None and is_asleep(header) and (due is not None or others):
            sleeper = sleeper_of(life.run_id, header)
            self._own[sleeper.run] = _Own(header.seq, life.graph, life.context, life.awaited, due is not None, others)
            if due is not None:
                self._push(due, sleeper, ours=True)

    def get_up(self, run_id: str) -> None:
        """A run lives here again, whatever for: it need not be woken any more."""
        self._own.pop(encode_id(run_id), None)

    def context_of(self, run_id: str) -> Any:
        """What the nodes of a run had for context before it was put to sleep here."""
        own = self._own.get(encode_id(run_id))
        return None if own is None else own.context

    def will_wake(self, run_id: str) -> bool:
        """Whether a run that sleeps goes on by itself, in this process: whoever waits for it may wait on."""
        return not self._lives.leaving and self._will_wake(run_id, set())

    def _will_wake(self, run_id: str, asked: set[str]) -> bool:
        own = self._own.get(encode_id(run_id))
        if own is None or run_id in asked:
            return False
        asked.add(run_id)
        return own.due or any(
            other in self._lives or self._lives.dispatcher.carries(other) or self._will_wake(other, asked)
            for other in own.others
        )

    def hurry(self) -> None:
        """Look again now, also at those who were none of ours: a graph was registered, or a context with it."""
        self._known = ()
        self._nap.cancel()

    async def turn(self, *, every: float | None, anywhere: bool) -> None:
        """Wake whoever is due, for ever.

        Args:
            every: seconds between two looks for those that others put to sleep; None: they are left alone.
            anywhere: also those last owned by another machine.
        """
        looks, next_look = 0, -math.inf
        limiter = anyio.CapacityLimiter(WAKES_AT_ONCE)
        async with anyio.create_task_group() as tasks:
            while True:
                self._nap = CancelScope()
                if self._known != (known := tuple(self._graphs.values())):
                    self._known, next_look = known, -math.inf
                    self._foreign.clear()
                if every is None or not known:
                    next_look = math.inf
                elif clock.monotonic() >= next_look:
                    looks += 1
                    await self._look(ahead=2 * every, wholly=looks % AGAIN_AFTER == 0)
                    next_look = clock.monotonic() + every * random.uniform(0.5, 1.5)
                while self._heap and self._heap[0][0] <= clock.now():
                    _, sleeper, ours = heapq.heappop(self._heap)
                    if not ours or self._is_own(sleeper):
                        tasks.start_soon(partial(self._wake, limiter, sleeper, anywhere=ours or anywhere))
                due = partial(clock.sleep_until, self._heap[0][0]) if self._heap else anyio.sleep_forever
                with self._nap:
                    await clock.rest(max(0.0, next_look - clock.monotonic()), until=due)

    def _push(self, when: float, sleeper: Sleeper, *, ours: bool) -> None:
        if len(self._heap) > 2 * len(self._own) + _SLACK:  # mostly of runs that got up before their time
            self._heap = [one for one in self._heap if not one[2] or self._is_own(one[1])]
            heapq.heapify(self._heap)
        heapq.heappush(self._heap, (when, sleeper, ours))
        if self._heap[0][0] == when:
            self._nap.cancel()

    def _is_own(self, sleeper: Sleeper) -> bool:
        own = self._own.get(sleeper.run)
        return own is not None and own.seq == sleeper.seq

    async def _look(self, *, ahead: float, wholly: bool) -> None:
        """Learn who is due, or will be within so many seconds."""
        now = clock.now()
        until, store, swept = now + ahead, self._lives.store, EARLIEST if wholly else self._swept
        try:
            found, self._swept = await self._lives.in_store(lambda: _due(store, now, until, swept))
        except StoreError as error:
            _logger.warning("could not look for sleeping runs that are due: %s", error)
            return
        expected = {sleeper for when, sleeper, _ in self._heap if when <= until + GRACE}
        for one in found:
            if one.due is None or one.due > until or one in self._foreign or one in expected:
                continue
            self._push(max(one.due, now) + random.uniform(0.0, GRACE), one, ours=False)

    async def _wake(self, limiter: anyio.CapacityLimiter, sleeper: Sleeper, *, anywhere: bool) -> None:
        lives = self._lives
        async with limiter:
            try:
                tip = None if lives.leaving else await lives.in_store(lambda: _newest(lives.store, sleeper))
                if tip is None or not (anywhere or tip.header.owner.machine == machine_id()):
                    self._drop(sleeper)
                    return
                own = self._own.get(sleeper.run)
                graph = self._graphs.get(tip.file.graph) or (None if own is None else own.graph)
                if graph is None or not lives.may_run(graph, tip.file.run_id):
                    self._foreign.add(sleeper)
                    return
                awaited = own is not None and own.awaited
                await lives.take_up(graph, tip.file.run_id, context=None, reopen=None, awaited=awaited)
            except (RunOwned, EndedMeanwhile):
                self._drop(sleeper)  # somebody else was faster
                self._failures.pop(sleeper, None)
            except (StoreUnavailable, StoreFull, CommitUnknown) as error:
                _logger.warning("run %r is not woken yet: %s", sleeper.run, error)
                failures = self._failures[sleeper] = self._failures.get(sleeper, 0) + 1
                first, longest = _TRY_AGAIN_AFTER
                pause = min(first * 2.0 ** min(failures, 32), longest)
                self._push(clock.now() + pause, sleeper, ours=self._is_own(sleeper))
            except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
                _logger.warning("run %r is not woken: %r", sleeper.run, error)
                self._drop(sleeper)

    def _drop(self, sleeper: Sleeper) -> None:
        self._failures.pop(sleeper, None)
        if self._is_own(sleeper):
            del self._own[sleeper.run]


def others_of(run: RunState) -> tuple[str, ...]:
    """The runs that this one waits for, and those that it has begun: it may go on because of what they do."""
    asks = (ask for activation in run.open.values() for ask in activation.asks.values())
    waited = (str(ask.payload) for ask in asks if ask.kind in ("reply", "child"))
    return tuple(dict.fromkeys((*waited, *run.mail.children)))


def _due(store: Store, now: float, until: float, swept: float | None) -> tuple[list[Sleeper], float]:
    """Those who are due, or will be until a moment; and before when nobody sleeps any more who was due then.

    What an earlier look said of that, here or elsewhere, is where this one begins: a hint, since who puts a marker
    may be late. So it is given an hour, and now and then somebody begins at the beginning.
    """
    markers = store.markers
    known = markers.swept() if swept is None else swept
    there = markers.asleep() if known is None else markers.due(until, since=known - HOUR)
    found = [one for one in there if one.due is not None and one.due <= until]
    empty = min([now - HOUR, *(float(one.due) for one in found if one.due is not None)])
    if (known is None and there) or (known is not None and empty // HOUR > known // HOUR):
        markers.put_swept(empty)
    return found, empty


def overdue(store: Store, busy: Collection[str], *, anywhere: bool) -> list[tuple[str, str]]:
    """Runs (id, graph) that sleep although their time has come. Blocks; one that can't be read is left out."""
    skipped = {encode_id(run_id) for run_id in busy}
    found: list[tuple[str, str]] = []
    now = clock.now()
    for one in store.markers.due(now):
        if one.run in skipped or one.due is None or one.due > now:
            continue
        try:
            tip = _newest(store, one)
        except Exception as error:  # noqa: BLE001 - as above
            _logger.warning("run %r can't be read, and stays as it is: %r", one.run, error)
            continue
        if tip is not None and (anywhere or tip.header.owner.machine == machine_id()):
            found.append((tip.file.run_id, tip.file.graph))
    return found


def _newest(store: Store, sleeper: Sleeper) -> Tip | None:
    """The newest commit of a run, if it is the one that it sleeps since; otherwise its marker goes.

    Or if it is a claim that was to wake it, and came to nothing.
    """
    log = log_of(store, sleeper.run)
    tip = None if log is None else log.tip()
    if tip is None:
        return None
    if tip.header.seq > sleeper.seq:
        store.markers.drop_asleep([sleeper])
        return tip if log is not None and _is_ours_in_vain(store, log, tip.header) else None
    return tip if tip.header.seq == sleeper.seq and is_asleep(tip.header) else None


def _is_ours_in_vain(store: Store, log: RunLog, header: Header) -> bool:
    """Whether this is a claim by this very process that no actor holds: it was made, and the reply was lost."""
    return header.kind == "claim" and header.owner.incarnation == store.incarnation.name and not log.is_owned(header)
