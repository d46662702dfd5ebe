"""Idlers: live runs whose actors only wait, and own no task meanwhile. One task for all of them watches the clock."""

from __future__ import annotations

import heapq
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope

from actorflow.runtime import clock
from actorflow.runtime.writer import first_due

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from anyio.abc import TaskGroup

    from actorflow.runtime.life import Life

_SLACK = 64

_Idling = tuple[float, int, "Life"]
"""Until when, which of them all, and whose."""


class Idlers:
    """Whoever is idle here, and when each is to go on if nobody wants anything of it before."""

    def __init__(self, tasks: TaskGroup, carry: Callable[[Life], Coroutine[Any, Any, None]], *, linger: float) -> None:
        """Begin with nobody.

        Args:
            tasks: of the runtime.
            carry: the task of a life.
            linger: seconds after which one for whom nothing is due by then lies down.
        """
        self._tasks = tasks
        self._carry = carry
        self._linger = linger
        self._idle: dict[str, _Idling] = {}  # by run id
        self._count = 0
        self._due: list[_Idling] = []  # until a time of its run, on the clock of the records
        self._done: list[_Idling] = []  # until it has lingered for long enough, on the monotonic clock
        self._on_stirred = self._stirred  # made once, and not for each of thousands
        self._nap: CancelScope | None = None  # of the task, while there is one

    def __len__(self) -> int:
        return len(self._idle)

    def add(self, life: Life) -> None:
        """An actor owns no task from now on."""
        life.actor.stirred = self._on_stirred
        due = first_due(life.actor.run)
        if due is not None and due - clock.now() <= self._linger:
            self._push(self._due, due, life)
        else:
            self._push(self._done, clock.monotonic() + self._linger, life)
        if self._nap is None:
            self._nap = CancelScope()
            self._tasks.start_soon(self._watch)

    def stir(self) -> None:
        """Let all have tasks again, since the runtime is left: they see to it that their runs are released."""
        for heap in (self._due, self._done):
            for idling in list(heap):
                if self._lasts(idling):
                    idling[2].actor.nudge()

    def _stirred(self, run_id: str) -> None:
        _, _, life = self._idle.pop(run_id)
        self._tasks.start_soon(self._carry, life)

    def _lasts(self, idling: _Idling) -> bool:
        return self._idle.get(idling[2].run_id) is idling

    def _push(self, heap: list[_Idling], when: float, life: Life) -> None:
        if len(heap) > 2 * len(self._idle) + _SLACK:  # mostly of such as were stirred before their time
            heap[:] = filter(self._lasts, heap)
            heapq.heapify(heap)
        self._count += 1
        idling = self._idle[life.run_id] = (when, self._count, life)
        heapq.heappush(heap, idling)
        if self._nap is not None and heap[0] is idling:
            self._nap.cancel()

    async def _watch(self) -> None:
        while True:
            self._nap = CancelScope()
            for life in self._over(self._due, clock.now()):
                life.actor.nudge()
            for life in self._over(self._done, clock.monotonic()):
                life.actor.lie_down()
            due = partial(clock.sleep_until, self._due[0][0]) if self._due else anyio.sleep_forever
            rest = max(0.0, self._done[0][0] - clock.monotonic()) if self._done else float("inf")
            with self._nap, anyio.move_on_after(rest):
                await due()

    def _over(self, heap: list[_Idling], now: float) -> list[Life]:
        """Those whose time it is, and who are still idle."""
        found: list[Life] = []
        while heap and heap[0][0] <= now:
            idling = heapq.heappop(heap)
            if self._lasts(idling):
                found.append(idling[2])
        return found
