"""Crash points of two runs that are linked: wherever a process dies, the end of one takes the other along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from actorflow import Context, Graph, Message, State
from actorflow.engine import posting, turns
from actorflow.engine.mail import Parcel
from actorflow.errors import NoSuchRun, RunEnded, RunExists
from actorflow.runtime.replay import replay
from tests.simulation.correspondence import insist
from tests.simulation.crashes import calls, play
from tests.simulation.world import LEASE, SCAN, here

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest

    from actorflow import Runtime
    from actorflow.engine.run import RunState
    from tests.simulation.crashes import At
    from tests.simulation.world import Fate, World

LEFT, RIGHT = "left", "right"


class Tied(State, version=1):
    """Nothing is said of it."""


class Nudge(Message, version=1):
    """Nobody sends it."""


def tied(name: str) -> Graph[Tied]:
    """Waits for ever; the left one is linked to the right one."""
    graph = Graph(name, Tied, messages=[Nudge])

    @graph.node
    async def begin(state: Tied, ctx: Context) -> None:
        await here().running()
        if name == LEFT:
            ctx.link(RIGHT)

    @graph.node(after=begin)
    async def wait(state: Tied, ctx: Context) -> None:
        await here().running()
        await ctx.receive(Nudge)

    return graph


def _run(world: World, name: str) -> RunState:
    return replay(world.open().log(name).read())


async def _insist(world: World, step: Callable[[], Awaitable[object]]) -> None:
    await insist(world, step, over=(RunExists, RunEnded, NoSuchRun))


async def _begin(world: World, runtime: Runtime, name: str) -> None:
    if world.newest(name) < 0:
        await _insist(world, lambda: runtime.spawn(tied(name), id=name))


async def scene(world: World) -> None:
    """A begins the left one, B the right one, which it then cancels; Z sees to what the dead left."""
    known = tied(LEFT), tied(RIGHT)

    async def left(runtime: Runtime) -> None:
        while world.newest(RIGHT) < 0:  # noqa: ASYNC110 - waiting costs no time here
            await trio.sleep(0.1)
        await _begin(world, runtime, LEFT)
        await trio.sleep_forever()

    async def right(runtime: Runtime) -> None:
        await _begin(world, runtime, RIGHT)
        while world.newest(LEFT) < 0:  # noqa: ASYNC110 - as above
            await trio.sleep(0.1)
        await _insist(world, runtime.get(RIGHT).cancel)
        await trio.sleep_forever()

    async def concludes(runtime: Runtime) -> None:
        for name in (RIGHT, LEFT):
            await _begin(world, runtime, name)
        if not _run(world, RIGHT).ended:
            await _insist(world, runtime.get(RIGHT).cancel)
        ends = world.now + 8 * LEASE
        while not _run(world, LEFT).ended and world.now < ends:  # noqa: ASYNC110 - as above
            await trio.sleep(SCAN / 2)
        await world.quiet()

    begun = [world.start("A", left, *known), world.start("B", right, *known)]
    await trio.sleep(LEASE)
    await world.start("Z", concludes, *known).over.wait()
    for process in begun:
        process.scope.cancel()
        await process.over.wait()


def wrong(world: World) -> list[str]:
    """What is wrong when all is over."""
    store, (one, other) = world.open(), (_run(world, LEFT), _run(world, RIGHT))
    found = world.told.violations(store, world.bucket, (LEFT, RIGHT), ending=lambda run_id, frames: [])
    found += [f"the marker of {name}, opening {opening}, is left" for name, opening in store.markers.active()]
    found += [] if other.status == "cancelled" else [f"{RIGHT} is {other.status}"]
    why = None if one.error is None else one.error.type
    return found + ([] if (one.status, why) == ("failed", "LinkedExit") else [f"{LEFT} is {one.status}: {why}"])


def each_death() -> Iterator[dict[At, Fate]]:
    """Of A and of B, at each thing that they write, but that they live."""
    world = play(scene)
    for call in [*calls(world, "A"), *calls(world, "B")]:
        if call.writes and not call.key.startswith("hosts"):
            yield {(call.process.name, call.number, "effect"): "kill"}


def test_the_end_of_a_run_takes_the_linked_one_along_wherever_a_process_dies() -> None:
    """It fails with `LinkedExit`, and nothing is left that somebody would go on with."""
    worlds = 0

    for fates in each_death():
        assert wrong(play(scene, fates)) == [], fates
        worlds += 1

    assert worlds > 20


def test_planted_a_link_that_is_only_told_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: word of a bad end does not end who is linked."""
    hear = turns.hear_of_end

    def deaf(decision: Any, event: Any) -> None:
        event.values["linked"] = False
        hear(decision, event)

    for module in (turns, posting):
        monkeypatch.setattr(module, "hear_of_end", deaf)

    assert wrong(play(scene))


def test_planted_a_number_that_is_never_filled_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a link that stands in the inbox of a run which has ended is in the way of what fills its number."""
    monkeypatch.setattr(Parcel, "says_nothing", False)

    assert any(wrong(play(scene, fates)) for fates in each_death())
