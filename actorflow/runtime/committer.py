"""The committer: carries commits of many runs to the store with few thread hops.

Runs whose commits are ready together share a hop: a worker thread writes
several, then syncs them (measured: docs/design/group-commit.md). A run that is
alone commits inline while a sync is measured to be cheaper than a hop, so that
a linear graph pays none.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Generator
from itertools import islice
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, Event, to_thread
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

THREADS = 16
FEW_THREADS = 2
"""While the disk is quick, more threads than this only take the interpreter away from each other."""

QUICK_UNDER = 0.001
"""Seconds: the disk is quick while a sync lately took less than this longer than a write."""

INLINE_UNDER = 0.000_5
"""Seconds: commits inline while this is more than a commit lately took. A hop costs about 0.2 ms."""

_WEIGHT = 0.1  # of the newest commit, or of those that shared a hop, in the moving average


class _Job(Struct):
    steps: Generator[None]
    error: BaseException | None = None

    def go_on(self, steps: int | None = None) -> None:
        """Take so many steps, or all that are left. What they raise is kept for whoever awaits the commit."""
        try:
            for _ in islice(self.steps, steps):
                pass
        except BaseException as error:  # noqa: BLE001 - raised again where the commit is awaited
            self.error = error

    def check(self) -> None:
        """Raise what the steps raised."""
        if self.error is not None:
            raise self.error


class Committer:
    """Runs blocking store work for actors; one per runtime. Shared hops keep at most half of ``files`` open."""

    def __init__(self, tasks: TaskGroup, *, files: int) -> None:
        self._tasks = tasks
        self._files = files
        self._limiter = CapacityLimiter(THREADS)
        self._calls = CapacityLimiter(THREADS)  # claims may migrate for long, and must not hold up commits
        self._waiting: list[tuple[_Job, Event]] = []
        self._carriers = 0
        self._average = 0.0  # seconds that a commit lately took
        self._disk = 0.0  # seconds of it that it waited for the disk
        if "trio" in sys.modules:
            # There a Ctrl-C is raised wherever the main thread is: not in the middle of a commit made inline.
            from trio.lowlevel import enable_ki_protection

            enable_ki_protection(_run_all)

    async def commit(self, steps: Generator[None], *, alone: bool) -> None:
        """Take the steps of a commit, inline or in a thread; raises what they raise.

        It is done whole, whatever is cancelled.

        Args:
            steps: blocking; one commit, as `Ownership.committing` has it.
            alone: no other run of this runtime is live, so there is nobody to share a hop with.
        """
        job = _Job(steps)
        if alone and self._average < INLINE_UNDER:
            self._learn(*_run_all([job]))
        else:
            with anyio.CancelScope(shield=True):  # bounded by the store's timeouts
                if alone:
                    self._learn(*await to_thread.run_sync(_run_all, [job], limiter=self._limiter))
                else:
                    await self._share(job)
        job.check()

    async def call(self, work: Callable[[], None]) -> None:
        """Do other blocking work of the store in a thread of its own."""
        await to_thread.run_sync(work, limiter=self._calls)

    def _learn(self, writing: float, syncing: float) -> None:
        self._average += (writing + syncing - self._average) * (_WEIGHT if self._average else 1.0)
        # who waits for the interpreter waits in both; a write does not wait for the disk
        self._disk += (syncing - writing - self._disk) * _WEIGHT

    @property
    def _most_carriers(self) -> int:
        return FEW_THREADS if self._disk < QUICK_UNDER else THREADS

    async def _share(self, job: _Job) -> None:
        """Wait until a carrier has taken the job along."""
        done = Event()
        self._waiting.append((job, done))
        if self._carriers < self._most_carriers:
            self._carriers += 1
            self._tasks.start_soon(self._carry)
        await done.wait()

    async def _carry(self) -> None:
        # shielded: a job that was taken is finished; bounded by the store's own timeouts
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    most = self._most_carriers
                    share = min(math.ceil(len(self._waiting) / most), max(1, self._files // 2 // most))
                    batch, self._waiting = self._waiting[:share], self._waiting[share:]
                    jobs = [job for job, _ in batch]
                    self._learn(*await to_thread.run_sync(_run_all, jobs, limiter=self._limiter))
                    for _, done in batch:
                        done.set()
            finally:
                self._carriers -= 1


def _run_all(jobs: list[_Job]) -> tuple[float, float]:
    """All are written before the first is synced: one entry in the file system's journal then serves many syncs.

    Returns:
        The seconds that writing and syncing took, for each.
    """
    started = time.perf_counter()
    for job in jobs:
        job.go_on(steps=1)
    written = time.perf_counter()
    for job in jobs:
        job.go_on()
    return (written - started) / len(jobs), (time.perf_counter() - written) / len(jobs)
