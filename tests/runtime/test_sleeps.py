"""Sleeps: a node that waits for a time is left, and goes on then: late is immediate, and never twice."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actorflow import Context, Graph, RestartPolicy, Runtime, Update
from actorflow.errors import NotWaiting, RunFailed
from actorflow.store.memory import MemoryBackend
from tests.runtime.graphs import Trail


def sleeper(calls: list[int], *args: Any, **how: Any) -> Graph[Trail]:
    """A node that sleeps once, and notes each call of it."""
    graph = Graph("sleeper", Trail)

    @graph.node
    async def node(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        await ctx.sleep(*args, **how)
        return {"trace": ["awake"]}

    return graph


async def test_a_node_that_sleeps_runs_again_when_it_is_time() -> None:
    """From its start, and not before; it is no attempt that failed."""
    calls: list[int] = []

    async with Runtime("memory://") as rt:
        began = time.time()
        state = await rt.run(sleeper(calls, 0.1))

    assert (state.trace, calls) == (["awake"], [1, 1])
    assert time.time() - began >= 0.1


async def test_a_run_that_sleeps_waits_and_its_header_says_until_when() -> None:
    """Whoever looks at the newest file knows when somebody must come for it; nobody is asked anything."""
    calls: list[int] = []
    store = MemoryBackend()
    async with Runtime(store, drain="park") as rt:
        run = await rt.spawn(sleeper(calls, hours=3, minutes=1), id="x")
        await rt.spawn(sleeper(calls, days=1), id="y")

    async with Runtime(store, recover="never") as rt:
        tip = await rt.tip("x")
        assert tip.header.status == "waiting"
        assert tip.header.due is not None
        assert tip.header.due - time.time() == pytest.approx(3 * 3600 + 60, abs=60)
        run = rt.get("x")
        assert await run.interrupts() == []
        rt.register(sleeper(calls, 1))
        with pytest.raises(NotWaiting):
            await run.answer("wake up")
    assert calls == [1, 1]


async def test_late_is_immediate() -> None:
    """Nobody ran it when its time came: whoever does next goes on at once, and it does not sleep again."""
    calls: list[int] = []
    store = MemoryBackend()
    graph = sleeper(calls, 0.05)
    async with Runtime(store, drain="park") as rt:
        await rt.spawn(graph, id="x")
    time.sleep(0.06)  # noqa: ASYNC251 - nothing runs

    began = time.time()
    async with Runtime(store) as rt:
        state = await rt.run(graph, id="x")

    assert (state.trace, calls) == (["awake"], [1, 1])
    assert time.time() - began < 30


async def test_a_time_that_is_over_is_not_waited_for() -> None:
    """Nothing is recorded, and the node is not left."""
    calls: list[int] = []

    async with Runtime("memory://") as rt:
        await rt.run(sleeper(calls, until=datetime.now(UTC) - timedelta(days=1)))
        await rt.run(sleeper(calls, 0))

    assert calls == [1, 1]


async def test_sleeps_one_after_the_other_and_steps_between_them() -> None:
    """What was done before a sleep is not done after it again."""
    done: list[int] = []
    graph = Graph("sleeper", Trail)

    @graph.node
    async def node(state: Trail, ctx: Context) -> Update:
        for n in range(3):
            await ctx.step("do", done.append, n)
            await ctx.sleep(0.01)
        return {"trace": [str(done)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(graph)

    assert state.trace == ["[0, 1, 2]"]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ({"hours": -1}, "not negative"),
        ({"days": 1e9}, "at most a century"),
        ({"minutes": float("nan")}, "not negative"),
        ({"until": datetime(2030, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is what is wrong with it
        ({"until": datetime(2030, 1, 1, tzinfo=UTC), "hours": 1}, "say one of them"),
    ],
)
async def test_what_is_no_time_is_refused(how: dict[str, Any], match: str) -> None:
    """Before anything is recorded."""
    async with Runtime("memory://", restarts=RestartPolicy(max_restarts=0)) as rt:
        with pytest.raises(RunFailed, match=match):
            await rt.run(sleeper([], **how))
