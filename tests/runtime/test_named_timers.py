"""Timers: a run is sent a message by itself, at a time, once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import anyio
import pytest

from actorflow import Context, Graph, Message, Runtime, State, Update, extend
from actorflow.errors import BadMessage
from actorflow.testing import VirtualClock
from tests.runtime.correspondents import killed_everywhere, runtime, until


class Log(State, version=1):
    """What came."""

    heard: Annotated[list[str], extend] = []


class Ring(Message, version=1):
    """What timers send."""

    name: str


class Do(Message, version=1):
    """Says what is to be done with timers."""

    what: str
    name: str
    after: float = 0.0


def alarm() -> Graph[Log]:
    """An actor that sets and cancels timers as it is told."""
    graph = Graph("alarm", Log, lifetime="actor")

    @graph.on(Do)
    async def do(state: Log, msg: Do, ctx: Context) -> None:
        if msg.what == "set":
            ctx.set_timer(msg.name, Ring(name=f"{msg.name} {msg.after:g}"), after=msg.after)
        else:
            ctx.cancel_timer(msg.name)

    @graph.on(Ring)
    async def ring(state: Log, msg: Ring) -> Update:
        return {"heard": [msg.name]}

    return graph


async def heard(rt: Runtime, many: int) -> bool:
    """Whether so many timers have fired."""
    return len((await rt.get("alarm").state()).heard) >= many


async def test_timers_fire_when_they_are_due_in_that_order(store_url: str) -> None:
    """Not in that of being set."""
    async with VirtualClock() as clock, Runtime(store_url) as rt:
        run = await rt.spawn(alarm(), id="alarm")
        await run.send(Do(what="set", name="b", after=7200))
        await run.send(Do(what="set", name="a", after=3600))
        await anyio.sleep(3601)
        assert (await run.state()).heard == ["a 3600"]
        await anyio.sleep(3600)
        assert (await run.state()).heard == ["a 3600", "b 7200"]
        assert 7201 <= clock.elapsed < 7300
        await run.cancel()


async def test_a_timer_is_replaced_by_one_of_its_name_and_may_be_cancelled(store_url: str) -> None:
    """What is replaced or cancelled does not fire."""
    async with VirtualClock(), Runtime(store_url) as rt:
        run = await rt.spawn(alarm(), id="alarm")
        for what, name, after in (
            ("set", "a", 100),
            ("set", "b", 150),
            ("set", "a", 200),
            ("cancel", "b", 0),
            ("cancel", "unknown", 0),
            ("set", "c", 300),
        ):
            await run.send(Do(what=what, name=name, after=after))
        await anyio.sleep(301)
        assert (await run.state()).heard == ["a 200", "c 300"]
        await run.cancel()


async def test_a_timer_that_came_while_nobody_was_there_is_late_and_not_lost(store_url: str) -> None:
    """The next process to take the run up finds it due."""
    graph = alarm()
    async with VirtualClock() as clock:
        async with Runtime(store_url) as rt:
            run = await rt.spawn(graph, id="alarm")
            await run.ask(Do(what="set", name="a", after=60))
        await clock.advance(86_400)
        async with runtime(store_url, [graph]) as rt:
            await until(lambda: heard(rt, 1))
            assert (await rt.get("alarm").state()).heard == ["a 60"]
            await rt.get("alarm").cancel()


class OldBell(Message, version=1, name="Bell"):
    """As it was when the timer was set."""

    name: str


class Bell(Message, version=2):
    """As it is when it fires."""

    text: str


def tower(bell: type[OldBell | Bell]) -> Graph[Log]:
    """An actor whose code changes between the setting of a timer and its time."""
    graph = Graph("tower", Log, lifetime="actor")

    @graph.on(Do)
    async def do(state: Log, msg: Do, ctx: Context) -> None:
        ctx.set_timer(msg.name, OldBell(name=msg.name), after=msg.after)

    @graph.on(bell)
    async def ring(state: Log, msg: OldBell | Bell) -> Update:
        return {"heard": [msg.text if isinstance(msg, Bell) else msg.name]}

    @graph.migrate
    def as_text(old: OldBell) -> Bell:
        return Bell(text=f"the text of {old.name}")

    return graph


async def test_a_timer_brings_what_the_code_knows_when_it_fires(store_url: str) -> None:
    """Its message is migrated like any other that waits. Planted: the messages of timers stay as they were."""
    async with VirtualClock():
        async with Runtime(store_url, drain="park") as rt:
            run = await rt.spawn(tower(OldBell), id="alarm")
            await run.send(Do(what="set", name="noon", after=7200))

        async with Runtime(store_url, drain="park", graphs=[tower(Bell)], recover="always") as rt:
            await anyio.sleep(7300)
            await until(lambda: heard(rt, 1))
            assert (await rt.get("alarm").state()).heard == ["the text of noon"]


async def test_a_timer_fires_once_whoever_is_killed_when() -> None:
    """At every write to the store."""

    def graphs() -> list[Graph[Any]]:
        graph = alarm()

        @graph.node
        async def begin(state: Log, ctx: Context) -> None:
            ctx.set_timer("a", Ring(name="a"), after=0)

        return [graph]

    async def scene(rt: Runtime, its: list[Graph[Any]]) -> None:
        run = await rt.spawn(its[0], id="alarm", on_conflict="attach")
        await until(lambda: heard(rt, 1))
        await run.drain()
        assert (await run.state()).heard == ["a"]

    assert await killed_everywhere(graphs, scene) > 10


async def test_a_timer_wakes_a_node_that_receives_its_message(store_url: str) -> None:
    """As if somebody else had sent it."""
    graph = Graph("alarm", Log, messages=[Ring])

    @graph.node
    async def begin(state: Log, ctx: Context) -> None:
        ctx.set_timer("a", Ring(name="a"), at=(await ctx.now()).timestamp() + 3600)

    @graph.node(after=begin)
    async def wait(state: Log, ctx: Context) -> Update:
        return {"heard": [(await ctx.receive(Ring)).name]}

    async with VirtualClock(), Runtime(store_url) as rt:
        assert (await rt.run(graph)).heard == ["a"]


async def test_a_timer_needs_a_time_and_a_message_that_is_taken(store_url: str) -> None:
    """Otherwise it is refused where it is set."""
    graph = Graph("alarm", Log, messages=[Ring])

    @graph.node
    async def node(state: Log, ctx: Context) -> None:
        for how, problem in (
            ({}, "say one of them"),
            ({"at": 1.0, "after": 1.0}, "say one of them"),
            ({"after": -1.0}, "0 or more"),
            ({"after": float("nan")}, "0 or more"),
            ({"at": datetime(2026, 1, 1)}, "no time zone"),  # noqa: DTZ001
        ):
            with pytest.raises(ValueError, match=problem):
                ctx.set_timer("a", Ring(name="a"), **how)  # type: ignore[arg-type]
        with pytest.raises(BadMessage, match="Do"):
            ctx.set_timer("a", Do(what="", name=""), after=1)

    async with Runtime(store_url) as rt:
        await rt.run(graph)
