"""Schedules: each time begins one run, whoever was there, and however often."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Context, Graph, Runtime, State, Update
from actorflow.errors import RunEnded
from actorflow.store.memory import MemoryBackend
from actorflow.testing import VirtualClock

if TYPE_CHECKING:
    from actorflow.runtime.run import Run
    from actorflow.runtime.scheduling import Schedule

HOUR = 3600.0
START = datetime(2026, 1, 1, tzinfo=UTC)


class Report(State):
    """What is begun."""

    n: int = 0


def reporting(ran: list[str], *, takes: float = 0.0) -> Graph[Report]:
    """A graph whose runs say that they ran, and take so many seconds."""
    graph = Graph("report", Report)

    @graph.node
    async def write(state: Report, ctx: Context) -> Update:
        ran.append(ctx.run_id.removeprefix("schedule:report/"))
        await anyio.sleep(takes)
        return {"n": state.n + 1}

    return graph


async def look(schedule: Run[Schedule], field: str) -> Any:
    """A field of its state."""
    return getattr(await schedule.state(), field)


async def test_each_time_begins_one_run_named_after_it() -> None:
    """On the grid of the interval, with the state that was given."""
    ran: list[str] = []
    graph = reporting(ran)
    async with VirtualClock(START), Runtime("memory://") as rt:
        schedule = await rt.schedule(graph, Report(n=41), every=timedelta(hours=1))
        await anyio.sleep(3.5 * HOUR)

        assert ran == [f"2026-01-01T0{hour}:00:00Z" for hour in (1, 2, 3)]
        assert (await rt.get(f"schedule:report/{ran[0]}").state()).n == 42
        assert (await look(schedule, "begun"), await look(schedule, "running")) == (3, ())
        await schedule.cancel()


async def test_a_cron_line_is_followed() -> None:
    """Thursday the first of January; then Friday, and Monday."""
    ran: list[str] = []
    async with VirtualClock(START), Runtime("memory://") as rt:
        schedule = await rt.schedule(reporting(ran), cron="30 6 * * MON-FRI")
        await anyio.sleep(5 * 24 * HOUR)
        await schedule.cancel()

    assert ran == [f"2026-01-0{day}T06:30:00Z" for day in (1, 2, 5)]


async def test_times_that_nobody_was_there_for_are_late_and_not_lost() -> None:
    """The last one, and as many of those before it as are to be made up for."""
    ran: list[str] = []
    graph, store = reporting(ran), MemoryBackend()
    async with VirtualClock(START) as clock:
        async with Runtime(store) as rt:
            await rt.schedule(graph, every=HOUR, backfill=1)
        await clock.advance(5.5 * HOUR)
        assert ran == []

        async with Runtime(store, graphs=[graph], recover="always") as rt:
            await anyio.sleep(HOUR)
            schedule = rt.get("schedule:report")
            assert await look(schedule, "passed") == 3
            await schedule.cancel()

    assert ran == [f"2026-01-01T0{hour}:00:00Z" for hour in (4, 5, 6)]


@pytest.mark.parametrize(
    ("overlap", "made_up_for", "passed"),
    [("skip", [4, 5], 3), ("buffer", [4, 5], 3), ("allow", [4, 5], 3), ("cancel_other", [5], 4)],
)
async def test_what_was_missed_is_made_up_for(overlap: Any, made_up_for: list[int], passed: int) -> None:
    """Five hours that nobody was there, and one to be made up for besides the last; each run takes a quarter."""
    ran: list[str] = []
    graph, store = reporting(ran, takes=0.25 * HOUR), MemoryBackend()
    async with VirtualClock(START) as clock:
        async with Runtime(store) as rt:
            await rt.schedule(graph, every=HOUR, overlap=overlap, backfill=1)
        await clock.advance(5.1 * HOUR)

        async with Runtime(store, graphs=[graph], recover="always", drain="park") as rt:
            await anyio.sleep(0.1 * HOUR)
            at_once = len(ran)
            await anyio.sleep(0.6 * HOUR)
            schedule = rt.get("schedule:report")
            assert await look(schedule, "passed") == passed
            await schedule.cancel()

    assert sorted(ran) == [f"2026-01-01T0{hour}:00:00Z" for hour in made_up_for]
    assert at_once == (2 if overlap == "allow" else 1)


@pytest.mark.parametrize(
    ("overlap", "began", "passed"),
    [("skip", [1, 3], 1), ("buffer", [1, 2], 0), ("allow", [1, 2, 3], 0), ("cancel_other", [1, 2, 3], 0)],
)
async def test_what_becomes_of_a_time_while_the_run_before_goes_on(overlap: Any, began: list[int], passed: int) -> None:
    """Each run takes an hour and a half."""
    ran: list[str] = []
    async with VirtualClock(START), Runtime("memory://", drain="park") as rt:
        schedule = await rt.schedule(reporting(ran, takes=1.5 * HOUR), every=HOUR, overlap=overlap)
        await anyio.sleep(3.25 * HOUR)

        assert ran == [f"2026-01-01T0{hour}:00:00Z" for hour in began]
        assert await look(schedule, "passed") == passed
        first = await rt.get(f"schedule:report/{ran[0]}").status()
        assert first == ("cancelled" if overlap == "cancel_other" else "finished")
        await schedule.cancel()


async def test_a_schedule_may_be_replaced() -> None:
    """By the same id: what is begun, and when."""
    ran: list[str] = []
    graph = reporting(ran)
    async with VirtualClock(START), Runtime("memory://") as rt:
        schedule = await rt.schedule(graph, Report(n=1), every=HOUR)
        await anyio.sleep(1.5 * HOUR)
        again = await rt.schedule(graph, Report(n=2), every=10 * HOUR)
        await anyio.sleep(11 * HOUR)

        assert again.id == schedule.id
        assert ran == ["2026-01-01T01:00:00Z", "2026-01-01T11:30:00Z"]
        assert (await rt.get(f"schedule:report/{ran[1]}").state()).n == 3
        await schedule.cancel()
        with pytest.raises(RunEnded):
            await rt.schedule(graph, every=HOUR)


async def test_a_schedule_that_is_said_again_keeps_its_next_time() -> None:
    """As a program does that schedules what it needs each time it starts."""
    ran: list[str] = []
    graph = reporting(ran)
    async with VirtualClock(START), Runtime("memory://") as rt:
        for _ in range(4):
            schedule = await rt.schedule(graph, every=HOUR)
            await anyio.sleep(0.4 * HOUR)
        await schedule.cancel()

    assert ran == ["2026-01-01T01:00:00Z"]


async def test_a_paused_schedule_begins_nothing() -> None:
    """What was due meanwhile is late when it goes on."""
    ran: list[str] = []
    async with VirtualClock(START), Runtime("memory://") as rt:
        schedule = await rt.schedule(reporting(ran), every=HOUR)
        await schedule.pause()
        await anyio.sleep(2.5 * HOUR)
        assert ran == []
        await schedule.unpause()
        await anyio.sleep(0.25 * HOUR)
        await schedule.cancel()

    assert ran == ["2026-01-01T02:00:00Z"]


@pytest.mark.parametrize("overlap", ["skip", "allow"])
async def test_a_schedule_keeps_nothing_of_the_runs_that_are_over(overlap: Any) -> None:
    """It goes on for years: its snapshot is as small as it was after the first of them."""
    store = MemoryBackend()
    async with VirtualClock(START), Runtime(store) as rt:
        schedule = await rt.schedule(reporting([]), every=HOUR, overlap=overlap)
        await anyio.sleep(20.5 * HOUR)
        _, run = await rt.load(schedule.id)

        assert await look(schedule, "begun") == 20
        assert (run.mail.children, run.mail.lanes, run.mail.marks, run.mail.watchers) == ({}, {}, {}, {})
        assert run.mail.outbox == []
        await schedule.cancel()


@pytest.mark.parametrize("given", [{}, {"every": -1}, {"cron": "never"}, {"every": 1, "backfill": -1}])
async def test_what_can_never_be_due_is_refused_at_once(given: dict[str, Any]) -> None:
    """And nothing is begun."""
    async with Runtime("memory://") as rt:
        with pytest.raises(ValueError, match=r"say when|every=|cron=|backfill="):
            await rt.schedule(reporting([]), **given)
        assert await rt.runs() == []
