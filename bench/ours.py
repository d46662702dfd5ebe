"""Our side: the same workloads as floors.py and peers.py, and what only we promise, through the public API alone."""

from __future__ import annotations

import functools
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.to_thread
from measure import UNSAVED, Answer, answer, clocked, median

from actorflow import END, Graph, Runtime, State, Update, extend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Ticks(State, version=1):
    """The state of the loop: how often it went round."""

    n: int = 0
    until: int


def loop(before_tick: Callable[[Ticks], None] = lambda state: None) -> Graph[Ticks]:
    """A graph of one trivial node that goes round."""
    graph = Graph("ticks", Ticks)

    @graph.node(entry=True)
    async def tick(state: Ticks) -> Update:
        before_tick(state)
        return {"n": state.n + 1}

    @graph.branch(after=tick, to=(tick, END))
    def again(state: Ticks) -> Any:
        return "tick" if state.n < state.until else END

    return graph


def sequential(root: Path, commits: int, backend: str) -> Answer:
    """One run of many activations, each committed before the next."""

    async def measure() -> Answer:
        async with Runtime(root) as rt:
            with clocked() as span:
                final = await rt.run(loop(), Ticks(until=commits), id="x")
        assert final.n == commits
        return {"wall": span.wall, "cpu": span.cpu}

    return anyio.run(measure, backend=backend)


def watched(root: Path, commits: int, backend: str, *, modes: list[str], kept: bool) -> Answer:
    """`sequential` with somebody who takes all events of these modes; with none, nobody does."""

    async def measure() -> Answer:
        heard = 0

        async def watch(run: Any) -> None:
            nonlocal heard
            async for _ in run.events(modes):
                heard += 1

        async with Runtime(root if kept else "memory://") as rt:
            with clocked() as span:
                async with anyio.create_task_group() as tasks:
                    handle = await rt.spawn(loop(), Ticks(until=commits), id="x")
                    if modes:
                        tasks.start_soon(watch, handle)
                    final = await handle.result()
        assert final.n == commits
        assert heard >= commits or not modes
        return {"wall": span.wall, "cpu": span.cpu}

    return anyio.run(measure, backend=backend)


def hops(root: Path, commits: int, backend: str) -> Answer:
    """Thread hops of a sequential run: entries into anyio's worker threads, the only ones the library uses."""
    entered = 0
    run_sync = anyio.to_thread.run_sync

    @functools.wraps(run_sync)
    async def counting(*args: Any, **options: Any) -> Any:
        nonlocal entered
        entered += 1
        return await run_sync(*args, **options)

    anyio.to_thread.run_sync = counting
    sequential(root, commits, backend)
    return {"hops": entered}


def concurrent(root: Path, runs: int, commits: int, backend: str) -> Answer:
    """Many runs at once in one process."""
    counts: list[int] = []

    async def run(rt: Runtime, graph: Graph[Ticks], name: str) -> None:
        handle = await rt.spawn(graph, Ticks(until=commits), id=name)
        counts.append((await handle.result()).n)

    async def measure() -> Answer:
        graph = loop()
        async with Runtime(root) as rt:
            with clocked() as span:
                async with anyio.create_task_group() as tasks:
                    for number in range(runs):
                        tasks.start_soon(run, rt, graph, f"run-{number}")
        assert counts == [commits] * runs
        return {"wall": span.wall, "cpu": span.cpu}

    return anyio.run(measure, backend=backend)


class Wide(State, version=1):
    """The state of a fan-out: what its branches bring, and what is made of that."""

    brought: Annotated[list[int], extend] = []
    total: int = 0


def wide(width: int) -> Graph[Wide]:
    """A graph of so many trivial branches and a join."""
    graph = Graph("wide", Wide)

    @graph.node
    async def start(state: Wide) -> Update:
        return {}

    def branch(number: int) -> None:
        async def bring(state: Wide) -> Update:
            return {"brought": [number]}

        graph.node(bring, name=f"branch-{number}", after=start)

    for number in range(width):
        branch(number)

    @graph.node(after=tuple(f"branch-{number}" for number in range(width)))
    async def join(state: Wide) -> Update:
        return {"total": sum(state.brought)}

    return graph


def fan_out(root: Path, width: int, repeat: int, backend: str) -> Answer:
    """Branches and a join, durable from the spawn to the end; the median of so many times, and the most commits."""

    async def measure() -> Answer:
        graph, spans, commits = wide(width), list[Answer](), 0
        async with Runtime(root) as rt:
            for number in range(repeat):
                with clocked() as span:
                    run = await rt.spawn(graph, Wide(), id=f"run-{number}")
                    final = await run.result()
                assert final.total == sum(range(width))
                spans.append({"wall": span.wall, "cpu": span.cpu})
                commits = max(commits, (await run.at()).seq + 1)
        return median(spans) | {"commits": commits}

    return anyio.run(measure, backend=backend)


class Items(State, version=1):
    """The results of the items of a map."""

    results: list[int] = []


def items(root: Path, count: int, limit: int, backend: str) -> Answer:
    """A map over many trivial items, each durable on its own; CPU, and how much memory it took at most."""

    async def item(number: int) -> int:
        return number

    async def measure() -> Answer:
        graph = Graph("items", Items)
        graph.map(item, over=count, into="results", limit=limit)
        async with Runtime(root) as rt:
            before = resident_bytes()
            with clocked() as span:
                final = await rt.run(graph, Items(), id="x")
        assert final.results == list(range(count))
        return {"wall": span.wall, "cpu": span.cpu, "bytes": resident_bytes() - before}

    return anyio.run(measure, backend=backend)


def unsaved(root: Path, nodes: int, backend: str) -> Answer:
    """A chain of trivial nodes that is not kept: the median of several runs in one process."""

    async def tick(state: Ticks) -> Update:
        return {"n": state.n + 1}

    async def measure() -> Answer:
        graph, spans = Graph("chain", Ticks), list[Answer]()
        for number in range(nodes):
            graph.node(tick, name=f"n{number}", after=f"n{number - 1}" if number else None)
        async with Runtime("memory://") as rt:
            for _ in range(UNSAVED):
                with clocked() as span:
                    run = await rt.spawn(graph, Ticks(until=nodes), durability="exit")
                    final = await run.result()
                assert final.n == nodes
                spans.append({"wall": span.wall, "cpu": span.cpu})
        return median(spans)

    return anyio.run(measure, backend=backend)


class Pages(State, version=1):
    """A state that grows by a page an activation."""

    cover: str
    until: int
    pages: Annotated[list[str], extend] = []


def growth(root: Path, activations: int, initial: int, page: int) -> Answer:
    """Bytes below ``runs/`` after a run whose list grew by a page an activation."""
    graph = Graph("pages", Pages)

    @graph.node(entry=True)
    async def write(state: Pages) -> Update:
        return {"pages": [f"{len(state.pages):08}".ljust(page, "p")]}

    @graph.branch(after=write, to=(write, END))
    def again(state: Pages) -> Any:
        return "write" if len(state.pages) < state.until else END

    async def measure() -> None:
        async with Runtime(root) as rt:
            final = await rt.run(graph, Pages(cover="c" * initial, until=activations), id="x")
        assert len(final.pages) == activations

    anyio.run(measure)
    return {"bytes": sum(file.stat().st_size for file in (root / "runs").rglob("*") if file.is_file())}


def leave_open(root: Path, commits: int) -> Answer:
    """Make a run of so many commits and die in its next activation; never answers."""

    def die_at_the_end(state: Ticks) -> None:
        if state.n == commits:
            os.kill(os.getpid(), signal.SIGKILL)

    async def begin() -> None:
        async with Runtime(root) as rt:
            await rt.run(loop(die_at_the_end), Ticks(until=commits + 1), id="x")

    anyio.run(begin)
    raise AssertionError("the run was to die")


def reopen(root: Path, commits: int) -> Answer:
    """What a successor opens until the first activation of a run left open by `leave_open` starts."""
    died = subprocess.run([sys.executable, __file__, "leave_open", str(root), f'{{"commits": {commits}}}'], check=False)
    assert died.returncode == -signal.SIGKILL, died
    opened: list[str] = []
    ready: list[tuple[int, float]] = []  # opens and moment, each time that the node starts

    def audit(event: str, args: tuple[Any, ...]) -> None:
        if event == "open" and isinstance(args[0], str) and args[0].endswith(".ckpt"):
            opened.append(args[0])

    sys.addaudithook(audit)

    async def resume() -> None:
        async with Runtime(root) as rt:
            graph = loop(lambda state: ready.append((len(opened), time.perf_counter())))
            final = await rt.run(graph, Ticks(until=commits + 1), id="x")
        assert final.n == commits + 1

    start = time.perf_counter()
    anyio.run(resume)
    opens, moment = ready[0]
    assert len(ready) == 1  # only the activation that had not committed ran
    return {"files": len({Path(name).name for name in opened[:opens]}), "opens": opens, "ready": moment - start}


class Halves(State, version=1):
    """The state of a run that is left half done."""

    done: int = 0


def halves(second: Callable[[], Awaitable[None]]) -> Graph[Halves]:
    """Two nodes in a row; the second first does what it is told."""
    graph = Graph("halves", Halves)

    @graph.node(entry=True)
    async def first(state: Halves) -> Update:
        return {"done": 1}

    @graph.node(after=first)
    async def last(state: Halves) -> Update:
        await second()
        return {"done": 2}

    return graph


def leave_orphans(root: Path, runs: int) -> Answer:
    """Bring so many runs to their second node, and die; never answers."""

    async def begin() -> None:
        waiting = 0
        all_wait = anyio.Event()

        async def wait() -> None:
            nonlocal waiting
            waiting += 1
            if waiting == runs:
                all_wait.set()
            await anyio.sleep_forever()

        graph = halves(wait)
        async with Runtime(root) as rt:
            async with anyio.create_task_group() as tasks:
                for number in range(runs):
                    tasks.start_soon(functools.partial(rt.spawn, graph, Halves(), id=f"run-{number}"))
            await all_wait.wait()
            os.kill(os.getpid(), signal.SIGKILL)

    anyio.run(begin)
    raise AssertionError("the runs were to be orphaned")


def recover(root: Path, runs: int, backend: str) -> Answer:
    """How long it takes to take up, and then to finish, the runs that `leave_orphans` left."""
    died = subprocess.run([sys.executable, __file__, "leave_orphans", str(root), f'{{"runs": {runs}}}'], check=False)
    assert died.returncode == -signal.SIGKILL, died

    async def nothing() -> None:
        return

    async def measure() -> Answer:
        with clocked() as finished:
            async with Runtime(root, graphs=[halves(nothing)], recover="never") as rt:
                with clocked() as taken:
                    found = await rt.recover()
        assert len(found) == runs
        return {"wall": taken.wall, "finished": finished.wall}

    return anyio.run(measure, backend=backend)


def memory(root: Path, few: int, many: int, together: int, files: int) -> Answer:
    """Resident memory after few and after many finished runs in one runtime, and the most files ever open.

    More runs are open together than the runtime may keep files open, or the second number would prove nothing.
    """
    most_open = 0
    resident: dict[int, int] = {}

    def count_open(_: Ticks) -> None:
        nonlocal most_open
        most_open = max(most_open, open_files())

    async def measure() -> None:
        graph = loop(count_open)
        async with Runtime(root, max_open_files=files) as rt:
            for first in range(0, many, together):
                async with anyio.create_task_group() as tasks:
                    for number in range(first, first + together):
                        tasks.start_soon(functools.partial(rt.run, graph, Ticks(until=1), id=f"run-{number}"))
                gc.collect()
                resident[first + together] = resident_bytes()

    anyio.run(measure)
    return {"few": resident[few], "many": resident[many], "most_open": most_open}


def open_files() -> int:
    """Descriptors of this process, the one that reads them included."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def resident_bytes() -> int:
    """What this process keeps in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    answer(
        {
            "sequential": sequential,
            "watched": watched,
            "hops": hops,
            "fan_out": fan_out,
            "items": items,
            "unsaved": unsaved,
            "concurrent": concurrent,
            "growth": growth,
            "leave_open": leave_open,
            "reopen": reopen,
            "leave_orphans": leave_orphans,
            "recover": recover,
            "memory": memory,
        }
    )
