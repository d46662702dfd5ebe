"""The committer: carries commits of many runs to the store with few thread hops.

Runs whose commits are ready together share a hop: a worker thread takes
several, one after the other, and up to 16 threads sync at once (measured:
docs/design/group-commit.md). A run that is alone commits inline while a sync
is measured to be cheaper than a hop, so that a linear graph pays none.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, Event, to_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

THREADS = 16
INLINE_UNDER = 0.000_5
"""Seconds: commits inline while this is more than a commit lately took. A hop costs about 0.2 ms."""

_MEMORY = 0.1  # weight of the newest commit in the moving average
_SLOW_PROBE = 64  # after this many hops on a store that was slow, try inline again


@dataclass(slots=True)
class _Job:
    work: Callable[[], None]
    done: Event = field(default_factory=Event)
    error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - raised again where the commit is awaited
            self.error = error


class Committer:
    """Runs blocking store work for actors; one per runtime."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._limiter = CapacityLimiter(THREADS)
        self._waiting: list[_Job] = []
        self._carriers = 0
        self._average = 0.0
        self._hops_since_inline = 0

    async def commit(self, work: Callable[[], None], *, alone: bool) -> None:
        """Do the work, inline or in a thread; raises what it raises. Not to be cancelled: shield it.

        Args:
            work: blocking; one commit.
            alone: no other run of this runtime is live, so nobody waits for the loop.
        """
        if alone and self._inline_pays():
            started = time.perf_counter()
            try:
                work()
            finally:
                self._learn(time.perf_counter() - started)
            return
        self._hops_since_inline += 1
        job = _Job(work)
        self._waiting.append(job)
        if self._carriers < THREADS:
            self._carriers += 1
            self._tasks.start_soon(self._carry)
        await job.done.wait()
        if job.error is not None:
            raise job.error

    async def call(self, work: Callable[[], None]) -> None:
        """Do other blocking work of the store in a thread of its own."""
        await to_thread.run_sync(work, limiter=self._limiter)

    def _inline_pays(self) -> bool:
        return self._average < INLINE_UNDER or self._hops_since_inline >= _SLOW_PROBE

    def _learn(self, seconds: float) -> None:
        self._hops_since_inline = 0
        self._average += (seconds - self._average) * (_MEMORY if self._average else 1.0)

    async def _carry(self) -> None:
        # shielded: a job that was taken is finished; bounded by the store's own timeouts
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    share = math.ceil(len(self._waiting) / THREADS)
                    batch, self._waiting = self._waiting[:share], self._waiting[share:]
                    await to_thread.run_sync(_run_all, batch, limiter=self._limiter)
                    for job in batch:
                        job.done.set()
            finally:
                self._carriers -= 1


def _run_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.run()
