"""A store on an S3 server: our commits, and the same bytes put by the same client without us."""

from __future__ import annotations

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import anyio
from measure import Answer, answer, clocked
from ours import Ticks, loop

from actorflow import Runtime
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.s3 import S3Backend

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


def ours(root: Path, url: str, options: dict[str, Any], *, runs: int, commits: int, backend: str) -> Answer:
    """So many runs at once, of so many activations each; the first one, which opens the store, does not count."""
    del root

    async def measure() -> Answer:
        graph = loop()
        async with Runtime(f"{url}/ours-{os.urandom(4).hex()}", storage_options=options) as rt:
            await rt.run(graph, Ticks(until=1), id="warm")
            with clocked() as span:
                async with anyio.create_task_group() as tasks:
                    for number in range(runs):
                        work = functools.partial(rt.run, graph, Ticks(until=commits), id=f"run-{number}")
                        tasks.start_soon(work)
        return {"wall": span.wall, "cpu": span.cpu}

    return anyio.run(measure, backend=backend)


if __name__ == "__main__":
    answer({"floor": floor, "ours": ours})
