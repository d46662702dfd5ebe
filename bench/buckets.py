"""A store on an S3 server: our commits, and the same bytes put by the same client without us."""

from __future__ import annotations

import functools
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
from mail import newest
from measure import Answer, answer, clocked
from ours import Ticks, loop

from actorflow import END, Graph, MetricsBackend, Runtime, Update
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.s3 import S3Backend
from actorflow.store.memory import MemoryBackend

if TYPE_CHECKING:
    from pathlib import Path

COMMIT = os.urandom(450)  # bytes, as many as a commit of `ours` has


def floor(root: Path, url: str, options: dict[str, Any], puts: int, threads: int) -> Answer:
    """Conditional puts to keys that are free, in so many threads."""
    del root
    backend = S3Backend(parse_place(f"{url}/floor-{os.urandom(4).hex()}"), options)
    backend.put_new("warm", COMMIT)

    def put(number: int) -> None:
        assert backend.put_new(f"{number:020}", COMMIT)

    with ThreadPoolExecutor(threads) as pool, clocked() as span:
        if threads == 1:
            for number in range(puts):
                put(number)
        else:
            list(pool.map(put, range(puts)))
    return {"wall": span.wall, "cpu": span.cpu}


class Gate:
    """Where so many wait for each other, until it is opened."""

    def __init__(self, runs: int) -> None:
        self.missing = runs
        self.full, self.open = anyio.Event(), anyio.Event()

    async def wait(self) -> None:
        """One more is here."""
        self.missing -= 1
        if not self.missing:
            self.full.set()
        await self.open.wait()


def gated(first: Gate, last: Gate, commits: int) -> Graph[Ticks]:
    """A graph of one trivial node that goes round, and waits before it does so first, and after so many commits."""
    graph = Graph("gated", Ticks)

    @graph.node(entry=True)
    async def tick(state: Ticks) -> Update:
        if state.n in (0, commits):
            await (last if state.n else first).wait()
        return {"n": state.n + 1}

    @graph.branch(after=tick, to=(tick, END))
    def again(state: Ticks) -> Any:
        return "tick" if state.n <= commits else END

    return graph


def ours(root: Path, url: str, options: dict[str, Any], *, runs: int, commits: int, backend: str) -> Answer:
    """So many runs at once, of so many activations each: the time from when all have begun until all is committed.

    ``whole`` is that of all, with the requests that begin and end a run.
    """
    del root

    async def measure() -> Answer:
        first, last = Gate(runs), Gate(runs)
        graph = gated(first, last, commits)
        async with Runtime(f"{url}/ours-{os.urandom(4).hex()}", storage_options=options) as rt:
            await rt.run(loop(), Ticks(until=1), id="warm")
            with clocked() as whole:
                async with anyio.create_task_group() as tasks:
                    for number in range(runs):
                        tasks.start_soon(functools.partial(rt.run, graph, Ticks(until=commits), id=f"run-{number}"))
                    await first.full.wait()
                    with clocked() as span:
                        first.open.set()
                        await last.full.wait()
                    last.open.set()
        return {"wall": span.wall, "cpu": span.cpu, "whole": whole.wall}

    return anyio.run(measure, backend=backend)


def requests(root: Path, commits: int, behind: int, backend: str) -> Answer:
    """What a bucket is asked to begin a run, for each commit, and to take up a run with so many commits behind it."""
    del root
    bucket = MetricsBackend(MemoryBackend())
    said: dict[str, Counter[str]] = {}

    def asked() -> Counter[str]:
        return Counter({kind: calls.calls for kind, calls in bucket.statistics().items()})

    def note(state: Ticks) -> None:
        """How much it was asked until that activation began; of the run that is taken up, until the first there."""
        said.setdefault("resumed" if state.n >= behind else f"{state.n}", asked())

    async def measure() -> Answer:
        async with Runtime(bucket, drain="park", lease=3600.0, recover="never") as rt:
            await rt.run(loop(), Ticks(until=1), id="warm")
            before = asked()
            await rt.run(loop(note), Ticks(until=commits + 1), id="short")
            run = await rt.spawn(loop(), Ticks(until=10**9), id="long")
            while await newest(run) < behind:  # noqa: ASYNC110 - it goes on by itself
                await anyio.sleep(0.1)
        async with Runtime(bucket, drain="park", lease=3600.0, recover="never") as rt:
            await rt.run(loop(), Ticks(until=1), id="warm again")
            resuming = asked()
            await rt.resume(loop(note), "long")
            while "resumed" not in said:  # noqa: ASYNC110 - as above
                await anyio.sleep(0.1)
        spans = {
            "begin": said["0"] - before,
            "commits": said[f"{commits}"] - said["0"],
            "resume": said["resumed"] - resuming,
        }
        return {f"{what}_{kind}": float(calls[kind]) for what, calls in spans.items() for kind in before}

    return anyio.run(measure, backend=backend)


if __name__ == "__main__":
    answer({"floor": floor, "ours": ours, "requests": requests})
