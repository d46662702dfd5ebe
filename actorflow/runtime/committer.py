"""The committer: carries commits of many runs to the store with few thread hops.

Runs whose commits are ready together share a hop: a worker thread takes
several, one after the other, and up to 16 threads sync at once (measured:
docs/design/group-commit.md). A run that is alone commits inline while a sync
is measured to be cheaper than a hop, so that a linear graph pays none.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, Event, to_thread
from msgspec import Struct

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

THREADS = 16
INLINE_UNDER = 0.000_5
"""Seconds: commits inline while this is more than a commit lately took. A hop costs about 0.2 ms."""

_WEIGHT = 0.1  # of the newest commit in the moving average


class _Job(Struct):
    work: Callable[[], None]
    error: BaseException | None = None
    took: float = 0.0  # seconds

    def run(self) -> None:
        started = time.perf_counter()
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - raised again where the commit is awaited
            self.error = error
        self.took = time.perf_counter() - started

    def check(self) -> None:
        """Raise what the work raised."""
        if self.error is not None:
            raise self.error


class Committer:
    """Runs blocking store work for actors; one per runtime."""

    def __init__(self, tasks: TaskGroup) -> None:
        self._tasks = tasks
        self._limiter = CapacityLimiter(THREADS)
        self._calls = CapacityLimiter(THREADS)  # claims may migrate for long, and must not hold up commits
        self._waiting: list[tuple[_Job, Event]] = []
        self._carriers = 0
        self._average = 0.0  # seconds that a commit lately took
        if "trio" in sys.modules:
            # There a Ctrl-C is raised wherever the main thread is: not in the middle of a commit made inline.
            from trio.lowlevel import enable_ki_protection

            enable_ki_protection(_Job.run)

    async def commit(self, work: Callable[[], None], *, alone: bool) -> None:
        """Do the work, inline or in a thread; raises what it raises. It is done whole, whatever is cancelled.

        Args:
            work: blocking; one commit.
            alone: no other run of this runtime is live, so there is nobody to share a hop with.
        """
        job = _Job(work)
        if alone and self._average < INLINE_UNDER:
            job.run()
        else:
            with anyio.CancelScope(shield=True):  # bounded by the store's timeouts
                await self._hop(job, alone=alone)
        self._average += (job.took - self._average) * (_WEIGHT if self._average else 1.0)
        job.check()

    async def call(self, work: Callable[[], None]) -> None:
        """Do other blocking work of the store in a thread of its own."""
        await to_thread.run_sync(work, limiter=self._calls)

    async def _hop(self, job: _Job, *, alone: bool) -> None:
        if alone:
            await to_thread.run_sync(job.run, limiter=self._limiter)
            return
        done = Event()
        self._waiting.append((job, done))
        if self._carriers < THREADS:
            self._carriers += 1
            self._tasks.start_soon(self._carry)
        await done.wait()

    async def _carry(self) -> None:
        # shielded: a job that was taken is finished; bounded by the store's own timeouts
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    share = math.ceil(len(self._waiting) / THREADS)
                    batch, self._waiting = self._waiting[:share], self._waiting[share:]
                    await to_thread.run_sync(_run_all, [job for job, _ in batch], limiter=self._limiter)
                    for _, done in batch:
                        done.set()
            finally:
                self._carriers -= 1


def _run_all(jobs: list[_Job]) -> None:
    for job in jobs:
        job.run()
