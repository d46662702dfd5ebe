"""Workers: the worker processes of one runtime. They are started when first needed and kept until it closes."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, to_thread

from actorflow.errors import NestedWorkers
from actorflow.runtime.workers.process import WorkerProcess
from actorflow.runtime.workers.worker import IMPORTING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from actorflow.graph.node import Node
    from actorflow.graph.remote import Remote

CLOSE_GRACE = 2.0
"""Seconds that an idle worker process may take to end by itself when the runtime is left."""

STARTING = 4
"""How many worker processes are started or killed at once, each in a thread."""


class Workers:
    """Up to ``limit`` worker processes. One that died or was killed is replaced when the next one is needed."""

    def __init__(self, limit: int) -> None:
        """Nothing is started yet."""
        self._seats = CapacityLimiter(limit)
        self._threads = CapacityLimiter(STARTING)
        self._idle: list[WorkerProcess] = []
        self._renewed = 0  # times

    @asynccontextmanager
    async def one(self, node: Node, remote: Remote) -> AsyncGenerator[WorkerProcess]:
        """A process for one call, that has imported what the node needs. Waits until one is free.

        Raises:
            NestedWorkers: this is a worker process, and it is importing a module.
            WorkerDied: it ended while it was importing.
            What importing raised.
        """
        if IMPORTING.get():
            raise NestedWorkers(node.name)
        async with self._seats:
            renewed = self._renewed
            worker = await self._free(remote)
            try:
                await worker.load(node, remote)
                yield worker
            finally:
                if worker.is_fit() and renewed == self._renewed:
                    self._idle.append(worker)
                else:
                    await self._end(worker)

    async def renew(self) -> None:
        """Let what is called from now on be imported anew, in new processes: the code has changed."""
        self._renewed += 1
        await self.close()

    async def close(self) -> None:
        """End them all; nobody uses one any more."""
        idle, self._idle = self._idle, []
        for worker in idle:
            worker.dismiss()
        late = time.monotonic() + CLOSE_GRACE
        for worker in idle:
            await self._end(worker, max(0.0, late - time.monotonic()))

    async def _free(self, remote: Remote) -> WorkerProcess:
        """An idle process, best one that has imported what is needed; else a new one."""
        self._idle.sort(key=lambda worker: worker.has(remote))
        while self._idle:
            worker = self._idle.pop()
            if worker.is_fit():
                return worker
            await self._end(worker)  # it died while it was idle
        # shielded, as a thread is not interrupted: bounded by the start of a process
        backend = anyio.get_cancelled_exc_class().__module__.partition(".")[0]
        return await to_thread.run_sync(WorkerProcess, backend, limiter=self._threads)

    async def _end(self, worker: WorkerProcess, grace: float = 0.0) -> None:
        with anyio.CancelScope(shield=True):  # bounded: what is killed is gone
            await to_thread.run_sync(lambda: worker.end(grace=grace), limiter=self._threads)
