"""The system under the store: no descriptors left, clocks that jump, an owner that is killed while it is stopped."""

from __future__ import annotations

import itertools
import os
import signal
import time

import pytest
from anyio import to_thread

from actorflow import END, Graph, Runtime, Update
from actorflow.errors import RunOwned
from actorflow.store.heartbeat import HeartbeatIncarnation
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail
from tests.store.children import Child, run
from tests.store.drafts import ACTOR, claiming, part

TEN_YEARS = 10 * 365 * 86_400.0

STARVED = """
import resource
import anyio
from actorflow import Runtime
from tests.runtime.graphs import Trail, counter

async def main():
    async with Runtime(url, recover="never") as runtime:
        assert (await runtime.run(counter(5), Trail(), id="a")).n == 5
        for free in range(12):
            taken = []
            try:
                while True:
                    taken.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                pass
            for fd in taken[:free]:
                os.close(fd)
            try:
                result = (await runtime.run(counter(5), Trail(), id=f"b{free}")).n
            except StoreError as error:
                result = type(error).__name__
            for fd in taken[free:]:
                os.close(fd)
            say(free, result, (await runtime.run(counter(5), Trail(), id=f"b{free}")).n)
        say("odd", *[finding.what for finding in await runtime.verify() if finding.broken])

resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
anyio.run(main, backend=sys.argv[2])
"""

HOLDER = """
store = open_store(url)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
say("owned")
sys.stdin.readline()
"""


async def test_without_descriptors_runs_fail_typed_and_go_on_when_there_are_some(
    store_url: str, anyio_backend: str
) -> None:
    """With 0, 1, 2 ... of them free; each run that could not begin or go on comes to its end afterwards."""
    status, lines = await to_thread.run_sync(lambda: run(STARVED, store_url, anyio_backend))

    assert status == 0
    assert [line.split()[2] for line in lines[:-1]] == ["5"] * 12
    assert [line.split()[1] for line in lines[:2]] == ["StoreUnavailable"] * 2
    assert lines[-2].split()[1] == "5"
    assert lines[-1] == "odd"


def test_an_error_of_the_system_that_is_not_translated_is_found(store_url: str) -> None:
    """Planted: the OSError travels as it is, and nobody who waits for a `StoreError` gets one."""
    plant = "from actorflow.store.faults import translated\ntranslated.__exit__ = lambda *args: None\n"

    status, lines = run(plant + STARVED, store_url, "asyncio")

    assert status != 0
    assert lines == []


@pytest.mark.parametrize("place", ["disk", "bucket"])
async def test_clocks_that_jump_change_nothing_but_what_people_read(
    store_url: str, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Ten years forward and back at every reading: the run ends as ever, in one history (guarantee 3)."""
    jumps, real = itertools.cycle((0.0, TEN_YEARS, -TEN_YEARS)), time.time
    store = store_url if place == "disk" else MemoryBackend()
    graph = Graph("counts", Trail)

    @graph.node(entry=True)
    async def step(state: Trail) -> Update:
        return {"n": state.n + 1, "trace": [str(state.n)]}

    graph.branch(lambda state: "step" if state.n < 6 else END, after=step, to=("step", END))

    monkeypatch.setattr(time, "time", lambda: real() + next(jumps))
    async with Runtime(store, drain="park") as runtime:
        await runtime.spawn(graph, Trail(), id="x")
    async with Runtime(store) as runtime:
        result = await runtime.run(graph, Trail(), id="x")
        history = [one async for one in runtime.get("x").views()]
        findings = [finding for finding in await runtime.verify("x") if finding.broken]

    assert result.trace == ["0", "1", "2", "3", "4", "5"]
    assert [one.seq for one in history] == sorted((one.seq for one in history), reverse=True)
    assert findings == []
    assert max(one.time for one in history) - min(one.time for one in history) > TEN_YEARS


@pytest.mark.parametrize("clock", ["monotonic", "time"])
def test_no_jump_of_the_clock_makes_a_living_owner_look_dead(monkeypatch: pytest.MonkeyPatch, clock: str) -> None:
    """An observer counts its own seconds. Planted: with the time of day the owner is dead after a jump."""
    backend, real = MemoryBackend(), time.time
    living = HeartbeatIncarnation(backend, "x", lease=15.0)
    living.take()
    jump = [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + jump[0])
    observer = HeartbeatIncarnation(backend, "x", lease=15.0, clock=getattr(time, clock))
    seen = [observer.is_dead(living.owner(b"a"), "r")]

    for jump[0] in (TEN_YEARS, 2 * TEN_YEARS, -TEN_YEARS):
        seen.append(observer.is_dead(living.owner(b"a"), "r"))

    assert (True in seen) == (clock == "time")
    living.close()


def test_an_owner_that_is_killed_while_it_is_stopped_is_followed_at_once(store_url: str) -> None:
    """Stopped, it keeps its lock for as long as it likes; dead, it keeps nothing."""
    with Child(HOLDER, store_url) as child:
        assert child.line() == "owned"
        child.signal(signal.SIGSTOP)
        store = open_store(store_url)
        with pytest.raises(RunOwned):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)

        os.kill(child.pid, signal.SIGKILL)
        child.wait()

        assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.epoch == 2
        store.close()
