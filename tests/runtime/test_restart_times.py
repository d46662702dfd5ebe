"""When restarts come, and when they are too many: the rules of time, on a clock that the tests hold."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Context, Graph, RestartPolicy, Runtime, Update
from actorflow.errors import Fenced, RestartIntensity, RunFailed
from actorflow.store.ownership import Ownership
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail

if TYPE_CHECKING:
    from actorflow.store.frames import Draft


def crashing_after(pauses: dict[str, list[float]], calls: dict[str, list[float]], clock: VirtualClock) -> Graph[Trail]:
    """A node that crashes after each of the pauses of its run, and then finishes; it notes when it was called."""
    graph = Graph("crashing", Trail)

    @graph.node
    async def work(state: Trail, ctx: Context) -> Update:
        called = calls.setdefault(ctx.run_id, [])
        called.append(clock.elapsed)
        left = pauses[ctx.run_id]
        if len(called) <= len(left):
            await anyio.sleep(left[len(called) - 1])
            raise ConnectionError(f"{ctx.run_id}: {len(called)}")
        return {"n": len(called)}

    return graph


async def test_each_restart_waits_twice_as_long_less_at_most_half(store_url: str) -> None:
    """0.1, 0.2, 0.4 seconds, and so on to the limit: so that what is down is not asked over and over."""
    calls: dict[str, list[float]] = {}
    policy = RestartPolicy(max_restarts=9, backoff=0.1, max_backoff=1.0)
    async with VirtualClock() as clock, Runtime(store_url, recover="never", restarts=policy) as rt:
        await rt.run(crashing_after({"x": [0.0] * 6}, calls, clock), Trail(), id="x")

    waits = [later - at for at, later in zip(calls["x"], calls["x"][1:], strict=False)]
    for wait, full in zip(waits, [0.1, 0.2, 0.4, 0.8, 1.0, 1.0], strict=True):
        assert full / 2 - 1e-6 <= wait <= full + 1e-6


async def test_crashes_that_are_far_apart_are_never_too_many(store_url: str) -> None:
    """What counts is how many restarts there were within the period."""
    policy = RestartPolicy(max_restarts=1, period=60.0, backoff=0.0)
    async with VirtualClock() as clock, Runtime(store_url, recover="never", restarts=policy) as rt:
        final = await rt.run(crashing_after({"x": [61.0] * 5}, {}, clock), Trail(), id="x")

    assert final.n == 6


async def test_crashes_within_the_period_are_too_many(store_url: str) -> None:
    """The same crashes a second closer together: the second one fails the run."""
    policy = RestartPolicy(max_restarts=1, period=60.0, backoff=0.0)
    async with VirtualClock() as clock, Runtime(store_url, recover="never", restarts=policy) as rt:
        with pytest.raises(RunFailed, match="x: 2"):
            await rt.run(crashing_after({"x": [59.0] * 5}, {}, clock), Trail(), id="x")


async def test_runs_of_the_root_are_counted_apart(store_url: str) -> None:
    """The crashes of one are none of another's."""
    policy = RestartPolicy(max_restarts=1, backoff=0.0)
    pauses = {name: [1.0] for name in "abcde"}
    async with VirtualClock() as clock, Runtime(store_url, recover="never", restarts=policy) as rt:
        graph = crashing_after(pauses, {}, clock)
        runs = [await rt.spawn(graph, Trail(), id=name) for name in pauses]

        assert [(await run.result()).n for run in runs] == [2] * 5


@pytest.mark.parametrize(("apart", "survives"), [(61.0, True), (20.0, False)])
async def test_children_of_a_supervisor_are_counted_together_within_its_period(
    store_url: str, apart: float, survives: bool
) -> None:
    """One crash of each of three children: too many for two restarts within a minute, and not for three minutes."""
    pauses = {name: [apart * (place + 1)] for place, name in enumerate("abc")}
    async with VirtualClock() as clock, Runtime(store_url, recover="never") as rt:
        graph = crashing_after(pauses, {}, clock)
        gave_up = nullcontext() if survives else pytest.raises(RestartIntensity, match="run 'c' crashed")
        with gave_up:
            async with rt.supervise("group", max_restarts=2, period=60.0, backoff=0.0) as group:
                for name in pauses:
                    await group.spawn(graph, Trail(), id=name)


@pytest.mark.parametrize("supervised", [False, True])
async def test_who_crashed_together_does_not_come_back_together(store_url: str, *, supervised: bool) -> None:
    """Each takes something off its wait at random: what was down is not asked by all at once. Planted: no jitter."""
    calls: dict[str, list[float]] = {}
    pauses = {name: [5.0] for name in "abcdefgh"}
    policy = RestartPolicy(backoff=100.0, max_backoff=100.0)
    async with VirtualClock() as clock, Runtime(store_url, recover="never", restarts=policy) as rt:
        graph = crashing_after(pauses, calls, clock)
        async with rt.supervise("group", max_restarts=9, backoff=100.0, max_backoff=100.0) as group:
            spawn = group.spawn if supervised else rt.spawn
            for name in pauses:
                await spawn(graph, Trail(), id=name)

    again = [called[1] for called in calls.values()]
    assert all(55.0 <= at <= 105.1 for at in again)
    assert max(again) - min(again) > 1.0


async def test_the_members_of_a_group_wait_together(store_url: str) -> None:
    """Nobody of a `one_for_all` starts before the backoff of the one that crashed is over."""
    calls: dict[str, list[float]] = {}
    pauses = {"a": [], "b": [5.0], "c": []}
    async with VirtualClock() as clock, Runtime(store_url, recover="never") as rt:
        graph = crashing_after(pauses, calls, clock)
        slow = Graph("slow", Trail)

        @slow.node
        async def wait(state: Trail, ctx: Context) -> Update:
            calls.setdefault(ctx.run_id, []).append(clock.elapsed)
            await anyio.sleep(1000.0)
            return {}

        async with rt.supervise("group", strategy="one_for_all", backoff=100.0, max_backoff=100.0) as group:
            await group.spawn(slow, Trail(), id="a")
            await group.spawn(graph, Trail(), id="b")
            await group.spawn(slow, Trail(), id="c")

    assert [len(called) for called in calls.values()] == [2, 2, 2]
    assert all(55.0 <= called[1] <= 105.1 for called in calls.values())
    assert max(called[1] for called in calls.values()) - min(called[1] for called in calls.values()) < 1e-3


async def test_who_is_fenced_is_not_restarted_and_nobody_with_it(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its new owner lives elsewhere: claiming it back would start a war."""
    commit, claims = Ownership.committing, list[str]()

    def fenced(ownership: Ownership, draft: Draft) -> Any:
        if draft.file.run_id == "a" and draft.kind == "commit":
            claims.append("a")
            raise Fenced("runs/a", "another owner claimed this run")
        yield from commit(ownership, draft)

    async with VirtualClock() as clock, Runtime(store_url, recover="never") as rt:
        graph = Graph("two", Trail)

        @graph.node
        async def first(state: Trail) -> Update:
            await anyio.sleep(10.0)
            return {"n": 1}

        @graph.node(after=first)
        async def second(state: Trail) -> Update:
            return {"n": 2}

        calls: dict[str, list[float]] = {}
        async with rt.supervise("group", strategy="one_for_all", max_restarts=0) as group:
            beside = await group.spawn(crashing_after({"b": []}, calls, clock), Trail(), id="b")
            run = await group.spawn(graph, Trail(), id="a")
            monkeypatch.setattr(Ownership, "committing", fenced)

            with pytest.raises(Fenced):
                await run.result()

            assert [child.run_id for child in group.children()] == []
        monkeypatch.undo()

        assert claims == ["a"]
        assert (await beside.result()).n == 1
        assert len(calls["b"]) == 1
