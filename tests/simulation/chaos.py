"""Chaos: anything befalls anybody at any time, as a seed decides; then it ends, and everything must come right."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import trio

from tests.simulation.scenes import begins, insists, survey, sweeps
from tests.simulation.world import LEASE, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow import Runtime
    from tests.simulation.network import Call
    from tests.simulation.world import Fate

RUNS = ("u", "v", "w", "x", "y", "z")
LASTS = 10 * LEASE
"""Virtual seconds of chaos."""

_FATES: dict[str, tuple[Fate, ...]] = {
    "begin": ("kill", "kill, lands late", "pause", "pause", "drop", "lands late"),
    "effect": ("kill", "pause", "pause", "lose the reply", "lose the reply"),
    "reply": ("kill", "pause"),
}


class Chaos:
    """The script of a world in which each point of each call may bring anything."""

    def __init__(self, seed: int) -> None:
        self._chance = Random(f"chaos {seed}")
        self._often = self._chance.choice((0.001, 0.003, 0.01))

    def __call__(self, call: Call, point: str) -> Fate | None:
        often = self._often * (20 if call.writes and "/log/" in call.key else 1)  # most calls only look around
        if call.process.world.now > LASTS or self._chance.random() > often:
            return None
        return self._chance.choice(_FATES[point])


def world_of(seed: int) -> World:
    """The world of this seed: three processes, replaced when they die, and six runs."""
    chance = Random(f"world {seed}")
    return World(
        seed,
        script=Chaos(seed),
        page=chance.choice((2, 5, 1000)),
        asleep=chance.uniform(1, 5) * LEASE,
        pace=chance.choice((3, 20, 40)),
        tidy=chance.random() < 0.7,
    )


async def scene(world: World) -> None:
    """Two processes want the runs, one of them both; a third lets go of history. After the chaos Z insists."""
    bodies = {"A": _stays(world, *RUNS[:4]), "B": _stays(world, *RUNS[3:]), "C": sweeps(world, *RUNS)}

    async def again_and_again(name: str) -> None:
        process = world.start(name, bodies[name], survey(world))
        while world.now < LASTS:
            await process.over.wait()
            await trio.sleep(world.chance.uniform(0, LEASE))
            process = world.start(name, bodies[name], survey(world))

    async with trio.open_nursery() as nursery:
        for name in bodies:
            nursery.start_soon(again_and_again, name)
        await trio.sleep(LASTS + 4 * LEASE)  # by now all who stood still have woken
        nursery.cancel_scope.cancel()
    last = world.start("Z", insists(world, *RUNS), survey(world))
    await last.over.wait()
    for process in world.processes:
        process.scope.cancel()


def _stays(world: World, *run_ids: str) -> Callable[[Runtime], Awaitable[None]]:
    begin = begins(world, *run_ids)

    async def body(runtime: Runtime) -> None:
        await begin(runtime)
        await trio.sleep_forever()

    return body
