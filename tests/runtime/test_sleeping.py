"""Sleeping: a run that only waits leaves memory, lies in the store under its due hour, and comes back by itself."""

from __future__ import annotations

import math
import re
import threading
from typing import TYPE_CHECKING, Any

import anyio.lowlevel
import pytest
from anyio import to_thread

from actorflow import Context, Graph, Retention, Runtime, Update
from actorflow.engine.decide import decide
from actorflow.engine.events import Stop, Suspended
from actorflow.engine.fold import fold
from actorflow.engine.records import Ask, Claimed
from actorflow.engine.spawn import spawn
from actorflow.errors import RunWaiting
from actorflow.runtime import clock as clocks
from actorflow.runtime import making, sleepers
from actorflow.runtime.life import Life
from actorflow.runtime.recovery import orphans
from actorflow.runtime.sleeping import is_asleep, lying_down
from actorflow.store.backend import whole
from actorflow.store.keys import active_key
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from actorflow.store.wrappers import WrappedBackend
from actorflow.testing import VirtualClock, assert_resumes_equal, explore
from tests.runtime.asking import asked, asker, commits
from tests.runtime.graphs import Trail, add
from tests.store.object_runs import Watched

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.frames import Header
    from actorflow.store.store import Store

DAY = 86_400


@pytest.fixture(params=["local", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str | Backend:
    """A store of each kind, which several runtimes share."""
    return str(tmp_path / "store") if request.param == "local" else Watched()


def sleepy(**how: Any) -> Graph[Trail]:
    """A node that asks, and takes the default after a day."""
    return asker(bool, timeout=DAY, default=False, **how)


def markers(place: str | Backend) -> tuple[list[tuple[str, int]], list[Any]]:
    """Active and asleep markers of a store."""
    store = open_store(place, readonly=True)
    found = store.markers.active(), store.markers.asleep()
    store.close()
    return found


# -- to sleep, and back -----------------------------------------------------------------


async def test_a_run_that_waits_for_a_time_sleeps_and_is_woken_then(place: str | Backend) -> None:
    """It is in nobody's memory meanwhile; the end is that of a run that was never put away."""
    async with VirtualClock() as clock, Runtime(place) as rt:
        run = await rt.spawn(sleepy(), id="x")
        clock.auto = False
        await asked(run)
        await clock.settle()

        assert rt.life_of("x") is None
        active, (sleeper,) = markers(place)
        assert (active, sleeper.run) == ([], "x")
        assert sleeper.due == pytest.approx(clock.now() + DAY, abs=1)
        clock.auto = True
        assert (await run.result()).trace == ["answer=False", "last"]
        assert clock.elapsed == pytest.approx(DAY, abs=2)

    assert markers(place) == ([], [])


async def test_waking_is_one_more_opening_and_loses_no_count(place: str | Backend) -> None:
    """The deletion of the last opening's marker may arrive at any time, and must hit nothing that lives."""
    async with VirtualClock(), Runtime(place) as rt:
        run = await rt.spawn(sleepy(), id="x")
        await run.result()

        openings = [one.opening async for one in run.history()]

    assert sorted(set(openings)) == [1, 2]


async def test_rt_run_waits_across_a_sleep() -> None:
    """Whoever wants the result gets it: the run goes on by itself, though nobody holds it in memory."""
    async with VirtualClock(), Runtime("memory://") as rt:
        assert (await rt.run(sleepy(), id="x")).trace == ["answer=False", "last"]


async def test_a_run_that_nothing_wakes_is_waited_for_by_nobody() -> None:
    """Without a time there is an answer or nothing; it lies where no look for due hours comes by."""
    async with VirtualClock(), Runtime("memory://") as rt:
        with pytest.raises(RunWaiting):
            await rt.run(asker(), id="x")
        (sleeper,) = rt.living().store.markers.asleep()
        assert sleeper.due is None
        assert rt.living().store.markers.due(clocks.now() + 1000 * DAY) == []


async def test_what_is_due_soon_is_not_put_away(store_url: str) -> None:
    """It would cost two commits and two markers for less than ``linger`` seconds."""
    async with VirtualClock(), Runtime(store_url, linger=2 * DAY) as rt:
        run = await rt.spawn(sleepy(), id="x")
        await run.result()

        assert [kind for _, kind, _ in await commits(run)].count("claim") == 1


async def test_the_context_of_a_run_outlasts_its_sleep() -> None:
    """What it was spawned with is what it is woken with."""
    graph = Graph("clients", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        await ctx.interrupt("Go on?", timeout=DAY, default=None)
        return {"trace": [ctx.context]}

    async with VirtualClock(), Runtime("memory://") as rt:
        run = await rt.spawn(graph, context="the client")

        assert (await run.result()).trace == ["the client"]


async def test_a_sleeping_run_is_answered_before_its_time(place: str | Backend) -> None:
    """Then its time means nothing any more: it is not woken twice."""
    async with VirtualClock() as clock, Runtime(place) as rt:
        run = await rt.spawn(sleepy(), id="x")
        clock.auto = False
        await asked(run)
        await clock.settle()

        await run.answer(value=True)
        assert (await run.result()).trace == ["answer=True", "last"]
        before = await commits(run)
        await clock.advance(2 * DAY)

        assert await commits(run) == before
    assert markers(place) == ([], [])


async def test_an_actor_that_sleeps_again_and_again_is_woken_each_time(place: str | Backend) -> None:
    """Each sleep has a marker of its own, and none is left behind."""
    graph = Graph("rounds", Trail)

    @graph.node
    async def wait(state: Trail, ctx: Context) -> Update:
        for number in range(5):
            await ctx.interrupt(f"Round {number}?", timeout=DAY, default=None)
        return {"trace": ["done"]}

    async with VirtualClock() as clock, Runtime(place) as rt:
        run = await rt.spawn(graph, id="x")

        assert (await run.result()).trace == ["done"]
        assert clock.elapsed == pytest.approx(5 * DAY, abs=10)
        assert max([one.opening async for one in run.history()]) == 6
    assert markers(place) == ([], [])


def test_being_woken_keeps_what_being_reopened_forgets() -> None:
    """Attempts that failed and the budget of activations are of the run, not of its sleep."""
    graph = sleepy()
    run = spawn(graph.plan, Trail(), run_id="x", life=1, durability="sync").run
    ((id_, activation),) = run.open.items()
    activation.attempt = 2
    run = decide(graph.plan, run, Suspended(id_, (Ask("k", "ask", "?", asked=0.0, due=5.0),), 3)).run
    budget = run.activations

    woken = fold(run, Claimed(2, 2))
    assert (woken.opening, woken.open[id_].attempt, woken.activations) == (2, 2, budget)

    ended = decide(graph.plan, woken, Stop("cancelled", None)).run
    reopened = fold(ended, Claimed(3, 3))
    assert (reopened.opening, reopened.open[id_].attempt, reopened.activations) == (3, 0, 0)


# -- others --------------------------------------------------------------------------------


async def _sleep_and_leave(place: str | Backend, *ids: str) -> None:
    """Runs that were put to sleep by a process that is gone."""
    async with Runtime(place, recover="never") as rt:
        for run_id in ids:
            await asked(await rt.spawn(sleepy(), id=run_id))


async def test_another_process_wakes_what_a_dead_one_put_to_sleep(place: str | Backend) -> None:
    """It finds it by the hours that are due."""
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x", "y")
        clock.auto = False

        async with Runtime(place, graphs=[sleepy()], recover="always") as rt:
            await clock.advance(DAY + sleepers.GRACE + 1)
            clock.auto = True
            for run_id in ("x", "y"):
                assert (await rt.get(run_id).result()).trace == ["answer=False", "last"]
    assert markers(place) == ([], [])


async def test_what_is_long_overdue_is_found_at_the_start(place: str | Backend) -> None:
    """Nobody looked for 400 days."""
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        clock.auto = False
        await clock.advance(400 * DAY)

        async with Runtime(place, graphs=[sleepy()], recover="always") as rt:
            clock.auto = True
            assert (await rt.get("x").result()).trace == ["answer=False", "last"]


async def test_recover_wakes_what_is_due_without_waiting_for_a_look(place: str | Backend) -> None:
    """Also in a runtime that does not look by itself."""
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x", "y")
        async with Runtime(place, graphs=[sleepy()], recover="never") as rt:
            assert await rt.recover() == []
            await clock.advance(DAY)

            assert sorted(run.id for run in await rt.recover()) == ["x", "y"]


async def test_a_graph_that_is_registered_later_wakes_its_runs_then() -> None:
    """They are looked for anew: at the first look nobody here could run them."""
    place = Watched()
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        async with Runtime(place, graphs=[_other()], recover="always") as rt:
            await clock.advance(2 * DAY)
            assert (await rt.get("x").status()) == "waiting"

            rt.register(sleepy())

            assert (await rt.get("x").result()).trace == ["answer=False", "last"]


def _other() -> Graph[Trail]:
    graph = Graph("other", Trail)
    add(graph, "only", after=None)
    return graph


async def test_two_processes_that_know_of_a_sleeper_wake_it_once(place: str | Backend) -> None:
    """Its node is called once more, and one of them claims it."""
    calls: list[str] = []
    graph = sleepy(calls=calls)
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        async with (
            Runtime(place, graphs=[graph], recover="always") as one,
            Runtime(place, graphs=[graph], recover="always"),
        ):
            await clock.advance(DAY + 5)
            assert (await one.get("x").result()).trace == ["answer=False", "last"]
            kinds = [kind for _, kind, _ in await commits(one.get("x"))]

    assert len(calls) == 1  # before that, in the process that is gone
    assert kinds.count("claim") == 2


async def test_who_looks_for_what_is_due_pays_for_nobody_else() -> None:
    """Of a thousand that sleep until tomorrow no log is read, and no folder of theirs is listed."""
    place = Watched()
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        store = open_store(place)
        now = int(clocks.now())
        for number in range(1000):
            whole(store.markers.putting_asleep(sleepers.Sleeper(f"s{number}", 3, now + 40 * DAY)))
        store.close()
        clock.auto = False
        seen: list[tuple[str, str]] = []
        async with Runtime(place, graphs=[sleepy()], recover="always"):  # looks for the first time, and says so
            await clock.advance(60)
        place.before = lambda kind, key: seen.append((kind, key))

        async with Runtime(place, graphs=[sleepy()], recover="always"):
            await clock.advance(DAY / 4)

    assert not any(re.search(r"/s\d", key) for _, key in seen)
    listed = {key for kind, key in seen if kind == "list" and key.startswith("asleep/")}
    assert listed
    assert "asleep/" not in listed
    assert len(listed) < 12  # a few hours, and the mark that says where to begin


# -- whoever dies where ------------------------------------------------------------------


def rounds() -> Graph[Trail]:
    """Sleeps twice, in two nodes."""
    graph = Graph("rounds", Trail)

    @graph.node
    async def one(state: Trail, ctx: Context) -> Update:
        return {"trace": [str(await ctx.interrupt("one?", timeout=5, default=1))]}

    @graph.node(after=one)
    async def two(state: Trail, ctx: Context) -> Update:
        return {"trace": [str(await ctx.interrupt("two?", timeout=5, default=2))]}

    return graph


async def test_a_run_that_sleeps_ends_the_same_wherever_its_processes_are_killed() -> None:
    """Between the release, its marker, the old marker's deletion, the next one, the claim: at every operation."""
    async with VirtualClock():
        report = await assert_resumes_equal(rounds(), operations=30, depth=1, time_limit=100.0)

    keys = [operation.key for operation in report.operations]
    assert any(key.startswith("asleep/") for key in keys)
    assert active_key("explored", 3) in keys


async def test_a_run_that_sleeps_ends_the_same_on_a_local_disk(tmp_path: Path) -> None:
    """At points between the system calls."""
    async with VirtualClock():
        await assert_resumes_equal(rounds(), folder=tmp_path, operations=6, time_limit=100.0)


async def test_deleting_the_active_marker_first_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: whoever dies between the two leaves a run that no marker leads to."""

    def planted(store: Store, run_id: str, header: Header) -> Steps[None]:
        store.markers.drop_active(run_id, header.opening)
        yield from lying_down(store, run_id, header)

    monkeypatch.setattr(making, "lying_down", planted)

    async with VirtualClock():
        report = await explore(rounds(), kinds=["before"], time_limit=100.0)

    assert any("no marker leads to it" in wrong for failure in report.failures for wrong in failure.wrong)


async def test_a_release_without_its_marker_is_laid_down_by_whoever_looks(place: str | Backend) -> None:
    """As its owner would have, had it lived; so are runs that an earlier version left waiting. Then it is woken."""
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        store = open_store(place)
        store.markers.put_active("x", 1)
        store.markers.drop_asleep(store.markers.asleep())
        store.close()

        async with Runtime(place, graphs=[sleepy()], recover="never") as rt:
            assert await rt.recover() == []

            active, asleep = markers(place)
            assert (active, [sleeper.run for sleeper in asleep]) == ([], ["x"])
            await clock.advance(DAY)
            assert [run.id for run in await rt.recover()] == ["x"]


async def test_a_release_without_its_marker_that_is_overdue_is_taken_up_at_once(place: str | Backend) -> None:
    """Its marker would lie in an hour in which nobody looks any more."""
    async with VirtualClock() as clock:
        await _sleep_and_leave(place, "x")
        store = open_store(place)
        store.markers.put_active("x", 1)
        store.markers.drop_asleep(store.markers.asleep())
        await clock.advance(3 * DAY)
        store.markers.put_swept(clock.now())

        found = orphans(store, (), anywhere=True, known={})
        store.close()

    assert found == [("x", "asker")]


# -- care ---------------------------------------------------------------------------------


async def test_sleepers_are_listed_deleted_and_tagged(place: str | Backend) -> None:
    """What is done to runs from outside finds them, and leaves no marker but theirs."""
    async with VirtualClock() as clock:
        clock.auto = False
        await _sleep_and_leave(place, "x", "y")
        async with Runtime(place, graphs=[sleepy()], recover="never") as rt:
            assert {(one.id, one.status) for one in await rt.runs()} == {("x", "waiting"), ("y", "waiting")}

            await rt.get("x").tag("here")
            await rt.delete("y")
            await rt.gc(Retention(last=1))

            assert [one.id for one in await rt.runs()] == ["x"]
            assert await rt.verify() == []
            tip = await rt.tip("x")
            assert is_asleep(tip.header)
    active, (sleeper,) = markers(place)
    assert (active, sleeper.run, sleeper.seq) == ([], "x", tip.header.seq)


async def test_a_marker_of_a_sleep_that_is_over_is_cleared_away(place: str | Backend) -> None:
    """By gc, or by verify; whoever died between a claim and the deletion left it."""
    async with VirtualClock() as clock:
        clock.auto = False
        await _sleep_and_leave(place, "x")
        async with Runtime(place, graphs=[sleepy()], recover="never") as rt:
            stale = rt.living().store.markers.asleep()
            await rt.get("x").answer(value=True)
            await rt.get("x").result()
            for way in ("gc", "verify"):
                whole(rt.living().store.markers.putting_asleep(stale[0]))
                assert [one.what for one in await rt.verify()] == [
                    "run 'x' has got up since commit 2, and a marker says that it sleeps"
                ]

                await (rt.gc(Retention()) if way == "gc" else rt.verify(repair=True))

                assert markers(place) == ([], [])


@pytest.mark.parametrize("poll", [(0.0, 1.0), (2.0, 1.0), (math.nan, 1.0)])
def test_a_pace_of_looks_that_is_none_is_refused(poll: tuple[float, float]) -> None:
    """By its name."""
    with pytest.raises(ValueError, match="poll"):
        Runtime("memory://", poll=poll)


@pytest.mark.parametrize("linger", [-1.0, math.nan])
def test_a_linger_that_is_no_time_is_refused(linger: float) -> None:
    """By its name."""
    with pytest.raises(ValueError, match="linger"):
        Runtime("memory://", linger=linger)


async def test_who_waits_for_a_run_that_lies_down_just_now_waits_on(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of its life and when it is known that it is to be woken, others may have their turn."""
    supervise = Life.supervise

    async def dawdling(life: Life, *how: Any) -> bool:
        try:
            return await supervise(life, *how)
        finally:
            for _ in range(20):
                await anyio.lowlevel.checkpoint()

    monkeypatch.setattr(Life, "supervise", dawdling)
    graph = Graph("sleepy", Trail)

    @graph.node
    async def rest(state: Trail, ctx: Context) -> Update:
        await ctx.sleep(3600)
        return {"trace": ["rested"]}

    async with VirtualClock(), Runtime(store_url, linger=0) as rt:
        assert (await rt.run(graph, Trail(), id="x")).trace == ["rested"]


class Dawdling(WrappedBackend):
    """Reads a commit when it is asked to, and once tells late what it has read."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.holds = False
        self.inside = threading.Event()
        self.open = threading.Event()

    def get(self, key: str) -> bytes:
        """Read, and wait."""
        data = super().get(key)
        if self.holds and "/log/" in key:
            self.holds = False
            self.inside.set()
            self.open.wait(30)
        return data


@pytest.mark.parametrize(("verb", "told"), [("result", Trail(trace=["answer=True", "last"])), ("wait", "finished")])
async def test_who_looks_while_a_run_gets_up_and_ends_looks_again(verb: str, told: object) -> None:
    """What was read is of before. Planted: who would be woken by the run's next life waits for one, and it is over."""
    store, heard = Dawdling(), list[object]()

    async def hear() -> None:
        with anyio.fail_after(DAY / 2):
            heard.append(await getattr(rt.get("x"), verb)())

    async with VirtualClock() as clock, Runtime(store, graphs=[sleepy()], recover="never") as rt:
        clock.auto = False
        run = await rt.spawn(sleepy(), id="x")
        await asked(run)
        await clock.advance(2)
        assert rt.life_of("x") is None
        store.holds = True
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hear)
            assert await to_thread.run_sync(store.inside.wait, 30)
            await run.answer(value=True)
            await run.result()
            store.open.set()
            clock.auto = True

    assert heard == [told]
