"""Runs that sleep in a store: what a process pays that does not need them, and what waking one takes."""

from __future__ import annotations

import functools
import gc
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import anyio
from measure import Answer, answer

from actorflow import Context, Graph, Runtime, State, Update

MONTH = 30 * 86_400
TOGETHER = 200
WAKES = 50


class Trial(State, version=1):
    """Nearly nothing."""

    n: int = 0


def waiter() -> Graph[Trial]:
    """Asks, and takes the default after a month."""
    graph = Graph("waiter", Trial)

    @graph.node
    async def wait(state: Trial, ctx: Context) -> Update:
        return {"n": await ctx.interrupt("Go on?", type=int, timeout=MONTH, default=0)}

    return graph


def put_to_sleep(root: Path, runs: int) -> Answer:
    """Begin so many runs, all of which sleep for a month."""

    async def begin() -> None:
        graph = waiter()
        async with Runtime(root, recover="never") as rt:
            for first in range(0, runs, TOGETHER):
                async with anyio.create_task_group() as tasks:
                    for number in range(first, min(first + TOGETHER, runs)):
                        tasks.start_soon(functools.partial(rt.spawn, graph, id=f"run-{number}"))

    anyio.run(begin)
    return {"runs": runs}


def start(root: Path, runs: int) -> Answer:
    """Enter a runtime, and let it look for what is due: on an empty store, then on one where so many sleep."""
    if runs:
        subprocess.run([sys.executable, __file__, "put_to_sleep", str(root), f'{{"runs": {runs}}}'], check=True)

    async def measure() -> Answer:
        gc.collect()
        before, began = resident_bytes(), time.perf_counter()
        async with Runtime(root, graphs=[waiter()], recover="always", drain="park") as rt:
            await rt.recover()  # what the runtime does by itself within a moment
            wall = time.perf_counter() - began
            gc.collect()
            return {"wall": wall, "bytes": resident_bytes() - before}

    return anyio.run(measure)


def wake(root: Path, runs: int) -> Answer:
    """Answer runs that sleep among so many, one after the other; beside reading one."""
    put_to_sleep(root, runs)

    async def measure() -> Answer:
        woken: list[float] = []
        read: list[float] = []
        async with Runtime(root, graphs=[waiter()], recover="never", drain="park") as rt:
            for number in range(0, runs, max(1, runs // WAKES)):
                run = rt.get(f"run-{number}")
                began = time.perf_counter()
                await run.state()
                read.append(time.perf_counter() - began)
                began = time.perf_counter()
                await run.answer(1)
                woken.append(time.perf_counter() - began)
                await run.result()
        return {"wake": statistics.median(woken), "read": statistics.median(read)}

    return anyio.run(measure)


def resident_bytes() -> int:
    """What this process keeps in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    answer({"put_to_sleep": put_to_sleep, "start": start, "wake": wake})
