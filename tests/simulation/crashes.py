"""Crash points: each call of a process, and each moment of it, at which something may befall that process."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tests.simulation.scenes import NODES
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tests.simulation.network import Call
    from tests.simulation.world import Fate

    Scene = Callable[[World], Awaitable[None]]
    At = tuple[str, int, str]  # the process, the number of its call, and the point of it

DEATHS: tuple[tuple[str, Fate], ...] = (
    ("begin", "kill"),
    ("begin", "kill, lands late"),
    ("effect", "kill"),
    ("reply", "kill"),
)
STOPS: tuple[tuple[str, Fate], ...] = (("begin", "pause"), ("effect", "pause"), ("reply", "pause"))
LOSSES: tuple[tuple[str, Fate], ...] = (("begin", "drop"), ("begin", "lands late"), ("effect", "lose the reply"))


def play(scene: Scene, fates: Mapping[At, Fate] | None = None, *, seed: int = 0, tidy: bool = False) -> World:
    """A world in which exactly this happens."""

    def script(call: Call, point: str) -> Fate | None:
        return (fates or {}).get((call.process.name, call.number, point))

    world = World(seed, script=script, tidy=tidy)
    world.run(scene)
    return world


def calls(world: World, name: str) -> list[Call]:
    """The calls of a process, in order."""
    return [call for call in world.calls if call.process.name == name]


def each(made: list[Call], fates: tuple[tuple[str, Fate], ...]) -> Iterator[tuple[At, Fate]]:
    """Every call with every fate. What changes nothing can't land late, and its moments are not told apart."""
    for call in made:
        for point, fate in fates:
            if call.writes or (point == "begin" and fate in ("kill", "drop", "pause")):
                yield (call.process.name, call.number, point), fate


def wrong(world: World, *run_ids: str) -> list[str]:
    """What is wrong in a world that has come to its end."""
    store = world.open()
    left = [f"the marker of {name}, opening {opening}, is left" for name, opening in store.markers.active()]
    ending = partial(world.told.wrong_trace, expected=NODES)
    return world.told.violations(store, world.bucket, run_ids, ending=ending) + left
