"""The committer: carries commits of many runs to the store with few thread hops.

Runs whose commits are ready together share a hop: a worker thread writes
several, then syncs them (measured: docs/design/group-commit.md). A run that is
alone commits inline while a sync is measured to be cheaper than a hop, so that
a linear graph pays none. On a bucket each commit is a request of its own, which
the client's thread sends: the event loop waits for its reply, and no worker
thread does.
"""

from __future__ import annotations

import math
import sys
import time
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CapacityLimiter, Event, to_thread
from msgspec import Struct, field

from actorflow.errors import CommitUnknown, StoreUnavailable
from actorflow.runtime import ctrl_c, replies
from actorflow.store.backend import REPLY_SECONDS, Steps

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextvars import Context

    from anyio.abc import TaskGroup

THREADS = 16
REQUESTS = 32
"""How many requests to a bucket are in flight at once."""

FEW_THREADS = 3
"""While the disk is quick, more threads than this only take the interpreter away from each other."""

QUICK_UNDER = 0.001
"""Seconds: the disk is quick while a sync lately took less than this longer than a write."""

INLINE_UNDER = 0.000_5
"""Seconds: commits inline while this is more than a commit lately took. A hop costs about 0.2 ms."""

_STALL = 4 * INLINE_UNDER
"""Seconds: a commit that took longer counts as if it had taken so long. One stall says little of those to come."""

_WEIGHT = 0.1  # of the newest commit, or of those that shared a hop, in the moving average


T = TypeVar("T")


class _Job(Struct):
    steps: Steps[Any]
    files: int = 1  # that it keeps open between two steps
    coming: Future[Any] | None = None  # the reply that the next step is to find
    sent: bool = False  # something, so that it may have taken effect
    value: Any = None
    error: BaseException | None = None

    def go_on(self) -> bool:
        """Take the next step; False if there is none left. What it raises is kept for whoever awaits the job."""
        try:
            self.coming = next(self.steps)
        except StopIteration as end:
            self.value = end.value
        except BaseException as error:  # noqa: BLE001 - raised again where the job is awaited
            self.error = error
        else:
            return True
        return False

    def go_on_blocking(self) -> bool:
        """`go_on` in a thread that may wait for the reply."""
        if self.coming is not None:
            wait((self.coming,), REPLY_SECONDS)
        return self.go_on()

    def give_up(self, error: Exception) -> None:
        """There is no thread for the next step. Whoever is told must be able to go on, so that nothing stays held."""
        self.steps.close()
        self.error = (CommitUnknown if self.sent else StoreUnavailable)("a worker thread", str(error))
        self.error.__cause__ = error

    def result(self) -> Any:
        """What the steps returned, or raise what they raised."""
        if self.error is not None:
            raise self.error
        return self.value


class _Shared(_Job):
    done: Event = field(default_factory=Event)  # by a carrier


class Committer:
    """Runs blocking store work for actors; one per runtime. Shared hops keep at most half of ``files`` open."""

    def __init__(self, tasks: TaskGroup, *, files: int, apart: bool) -> None:
        """Begin with nothing to do.

        Args:
            tasks: of the runtime; carriers run in it.
            files: how many descriptors may be kept open.
            apart: each commit is a request of its own, so that none gains from going with others: on a bucket.
        """
        self._tasks = tasks
        self._files = files
        self._few, self._many = (min(most, max(1, files // 2)) for most in (FEW_THREADS, THREADS))  # each opens one
        self.apart = apart
        self._requests = CapacityLimiter(REQUESTS)
        self._limiter = CapacityLimiter(REQUESTS if apart else THREADS)
        # other work may take long, and must not hold up commits
        self._calls = CapacityLimiter(REQUESTS if apart else THREADS)
        self._waiting: list[_Shared] = []
        self._carriers = 0
        self._average = 0.0  # seconds that a commit lately took
        self._disk = 0.0  # seconds of it that it waited for the disk
        # not in the middle of a commit made inline, nor where one was taken for a hop, which its owner waits for
        # behind a shield, nor in entering or leaving that
        ctrl_c.waits_for(_run_all, Committer._carry, Committer._send, Committer._commit, Committer.share)

    def commit(self, steps: Steps[None], *, alone: bool) -> Coroutine[Any, Any, None]:
        """Take the steps of a commit, inline or in a thread; raises what they raise.

        It is done whole, whatever is cancelled.

        Args:
            steps: one commit, as `Ownership.committing` has it; but for the first on a bucket, they block.
            alone: no other run of this runtime is live, so there is nobody to share a hop with.
        """
        if self.apart:
            return self._send(_Job(steps))
        return self._commit(_Job(steps)) if alone else self.share(steps)

    async def _commit(self, job: _Job) -> None:
        if self._average < INLINE_UNDER:
            self._learn(*_run_all([job]))
        else:
            with anyio.CancelScope(shield=True):  # bounded by the store's timeouts
                await self._hop([job])
        job.result()

    async def _send(self, job: _Job) -> None:
        """Take its steps here while each of them says which reply the next waits for, and the rest in a thread."""
        context = _as_in_a_thread()
        with anyio.CancelScope(shield=True):  # bounded by the store's timeouts
            try:
                async with self._requests:
                    while (more := context.run(job.go_on)) and job.coming is not None:
                        job.sent = True
                        with anyio.move_on_after(REPLY_SECONDS):
                            await replies.reply(job.coming)
            except anyio.get_cancelled_exc_class():  # by asyncio itself, which no shield of ours keeps off
                self._tasks.start_soon(self._finish, job)
                raise
            if more:
                await self._hop([job])
        job.result()

    async def _finish(self, job: _Job) -> None:
        with anyio.CancelScope(shield=True):  # as in `_send`
            await self._hop([job])

    async def share(self, steps: Steps[T], *, files: int = 1) -> T:
        """Take these steps beside those of others, in a thread; what they return or raise.

        They are all taken, whatever is cancelled.

        Args:
            steps: blocking, but brief: others share the hop.
            files: how many descriptors they keep open between two steps.
        """
        job = _Shared(steps, files)
        if self.apart:
            await self._finish(job)
        else:
            self._waiting.append(job)
            if self._carriers < self._most_carriers:
                self._carriers += 1
                self._tasks.start_soon(self._carry)
            try:
                await job.done.wait()
            except anyio.get_cancelled_exc_class():
                # Only who is cancelled needs a shield: one that stands by for each commit takes longer than to seal it.
                if not _is_cancelled():  # but by asyncio itself, which no shield of ours keeps off
                    raise
                with anyio.CancelScope(shield=True):  # bounded by the store's timeouts
                    await job.done.wait()
        result: T = job.result()
        return result

    async def call(self, work: Callable[[], None]) -> None:
        """Do other blocking work of the store in a thread of its own."""
        await to_thread.run_sync(work, limiter=self._calls)

    def _learn(self, writing: float, syncing: float) -> None:
        self._average += (min(writing + syncing, _STALL) - self._average) * _WEIGHT
        # who waits for the interpreter waits in both; a write does not wait for the disk
        self._disk += (syncing - writing - self._disk) * _WEIGHT

    @property
    def _most_carriers(self) -> int:
        return self._few if self._disk < QUICK_UNDER else self._many

    async def _carry(self) -> None:
        # shielded: a job that was taken is finished; bounded by the store's own timeouts
        with anyio.CancelScope(shield=True):
            try:
                while self._waiting:
                    batch = self._batch()
                    await self._hop(batch)
                    for job in batch:
                        job.done.set()
            finally:
                self._carriers -= 1

    async def _hop(self, batch: Sequence[_Job]) -> None:
        try:
            took = await to_thread.run_sync(_run_all, batch, limiter=self._limiter)
        except (RuntimeError, MemoryError) as error:  # no thread could be started
            for job in batch:
                job.give_up(error)
            return
        if all(job.files == 1 for job in batch):  # beginning a run takes longer than a commit
            self._learn(*took)

    def _batch(self) -> list[_Shared]:
        """A carrier's share of what waits, and no more than may be open."""
        most = self._most_carriers
        room = self._files // 2 // max(most, self._carriers)  # there are more than that since the disk was slower
        count = 0
        for job in self._waiting[: math.ceil(len(self._waiting) / most)]:
            room -= job.files
            if count and room < 0:
                break
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


def _is_cancelled() -> bool:
    """Whether a scope around here is cancelled, which says so again at the next chance."""
    return anyio.current_effective_deadline() == -math.inf


def _as_in_a_thread() -> Context:
    """This context, but that it does not say which event loop runs here: what is sent runs in one of its client's."""
    context = copy_context()
    loaded: dict[str, Any] = sys.modules
    if "sniffio" in loaded:  # by which anyio, and with it some clients, know
        context.run(loaded["sniffio"].current_async_library_cvar.set, None)
    return context


def _run_all(jobs: Sequence[_Job]) -> tuple[float, float]:
    """Take a step of each before the next of any: one entry in the file system's journal then serves many syncs.

    Returns:
        The seconds that the first steps took, and those that followed, for each job.
    """
    started = time.perf_counter()
    moving = [job for job in jobs if job.go_on_blocking()]
    written = time.perf_counter()
    while moving:
        moving = [job for job in moving if job.go_on_blocking()]
    return (written - started) / len(jobs), (time.perf_counter() - written) / len(jobs)
