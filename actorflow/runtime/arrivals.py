"""Arrivals: runs that nobody holds in memory are taken up for the messages that came for them.

Every process of a store hears of the same messages. Which of them takes up a
run that sleeps is settled by its claim; that not all of them try is settled by
a delay of a random length, and a look at the run after it.
"""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio

from actorflow.engine.records import ENDED
from actorflow.errors import RunOwned
from actorflow.runtime.claiming import EndedMeanwhile
from actorflow.runtime.listing import log_of
from actorflow.runtime.sleeping import is_asleep
from actorflow.store.lanes import news
from actorflow.store.machine import machine_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskGroup

    from actorflow.graph.graph import Graph
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.waking import Letters
    from actorflow.store.keys import Letter
    from actorflow.store.log import Tip

DELAY = 0.02
"""Seconds at most before a run is looked at, on a store of this machine; on a bucket ten times that."""

AT_ONCE = 8
"""How many runs are looked at and claimed at once; the others wait for their turn."""

MOST_TRIED = 10_000
"""So many runs are remembered that were taken up, so that one which does not take its messages is not again."""

_logger = logging.getLogger("actorflow.runtime")


class Arrivals:
    """Takes up runs that sleep, or whose owner is gone, for their messages. One for each runtime."""

    def __init__(self, lives: Lives, graphs: Mapping[str, Graph[Any]], tasks: TaskGroup, *, anywhere: bool) -> None:
        """Begin with nothing.

        Args:
            lives: where the runs live then.
            graphs: by name: a run of another one is left to a process that has it.
            tasks: of the runtime.
            anywhere: also runs last owned by another machine.
        """
        self._lives = lives
        self._graphs = graphs
        self._tasks = tasks
        self._anywhere = anywhere
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._looking: set[str] = set()
        self._tried: dict[str, frozenset[Letter]] = {}  # what a run was taken up for, and did not take

    @property
    def busy(self) -> bool:
        """Whether runs are just being looked at, or claimed."""
        return bool(self._looking)

    def notify(self, letters: Letters) -> None:
        """Messages are there for these runs (by encoded id), none of which lives here."""
        if self._lives.leaving:
            return
        for encoded, its in letters.items():
            if encoded not in self._looking and not frozenset(its) <= self._tried.get(encoded, frozenset()):
                self._looking.add(encoded)
                self._tasks.start_soon(self._take_up, encoded, frozenset(its))

    async def _take_up(self, encoded: str, letters: frozenset[Letter]) -> None:
        lives = self._lives
        delay = DELAY if lives.store.heartbeat is None else 10 * DELAY
        try:
            await anyio.sleep(random.uniform(0.0, delay))
            async with self._limiter:
                tip = await lives.in_store(partial(self._needing, encoded, letters))
                graph = None if tip is None else self._graphs.get(tip.file.graph)
                if tip is None or graph is None or lives.leaving or tip.file.run_id in lives:
                    return
                if tip.file.run_id in lives.blocked or not lives.may_run(graph, tip.file.run_id):
                    return  # its messages wait until it goes on, here or elsewhere
                if len(self._tried) >= MOST_TRIED:
                    self._tried.clear()
                # kept before: what comes during the claim is news to it
                self._tried[encoded] = letters
                await lives.take_up(graph, tip.file.run_id, context=None, reopen=None, awaited=False)
        except (RunOwned, EndedMeanwhile):
            self._tried.pop(encoded, None)  # somebody else was faster
        except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
            _logger.warning("run %r is not taken up for its messages: %r", encoded, error)
            self._tried.pop(encoded, None)
        finally:
            self._looking.discard(encoded)

    def _needing(self, encoded: str, letters: frozenset[Letter]) -> Tip | None:
        """The newest commit of a run that nobody owns and that has not taken all of these; else None. Blocks."""
        log = log_of(self._lives.store, encoded)
        tip = None if log is None else log.tip()
        if log is None or tip is None or tip.header.status in ENDED:
            return None
        if not self._anywhere and tip.header.owner.machine != machine_id():
            return None
        if not is_asleep(tip.header) and log.is_owned(tip.header) is not False:
            return None  # its owner hears of them, too
        return tip if news(tip.header.marks, letters) else None
