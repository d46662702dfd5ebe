"""Chaos among correspondents: killed, stopped and misled as a seed decides; in the end every message must add up."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING

import trio

from tests.simulation.chaos import LASTS, Chaos
from tests.simulation.correspondence import alarm, concludes, entry, forward, hire, sends
from tests.simulation.ledger import AGENT, LEDGER, REFUSED, graphs
from tests.simulation.scenes import looks_after, sweeps
from tests.simulation.world import LEASE, World

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow import Runtime
    from tests.simulation.correspondence import Sent
    from tests.simulation.network import Call
    from tests.simulation.world import Fate

ROUNDS = 2
"""How often a sender begins anew, with other messages, after it has sent all that it had."""


class MailChaos(Chaos):
    """Anything, and now and then a clock that is off."""

    def __call__(self, call: Call, point: str) -> Fate | None:
        """What befalls a call."""
        fate = super().__call__(call, point)
        if fate is None and "/inbox/" not in call.key and call.writes and self._chance.random() < self._often * 3:
            return "jump"
        return fate


def world_of(seed: int) -> World:
    """The world of this seed: three processes that send and two that may own, replaced when they die."""
    chance = Random(f"correspondence {seed}")
    return World(
        seed,
        script=MailChaos(seed),
        page=chance.choice((10, 1000)),
        asleep=chance.uniform(1, 5) * LEASE,
        pace=chance.choice((1, 5, 20)),
        tidy=chance.random() < 0.7,
        poll=(1.0, 5.0),
        blob=chance.choice((400, 10**6)),
    )


async def scene(world: World) -> None:
    """A and B have the graphs, A and D send, C lets go of history; after the chaos Z concludes."""
    known = graphs(world)
    made = {"A": 0, "D": 0}

    async def sender(name: str, runtime: Runtime) -> None:
        for _ in range(ROUNDS):
            made[name] += 1
            letters = _letters(world, f"{name}{made[name]}")
            begins = (LEDGER, AGENT) if name == "A" else ()
            await sends(world, *letters, begins=begins, twice=0.2, at_once=world.chance.random() < 0.5)(runtime)
            await trio.sleep(world.chance.uniform(0, LEASE))
        await trio.sleep_forever()

    bodies: dict[str, Callable[[Runtime], Awaitable[None]]] = {
        "A": partial(sender, "A"),
        "B": looks_after,
        "C": sweeps(world, LEDGER, AGENT),
        "D": partial(sender, "D"),
    }

    async def again_and_again(name: str) -> None:
        its = known if name in ("A", "B") else ()
        process = world.start(name, bodies[name], *its)
        while world.now < LASTS:
            await process.over.wait()
            await trio.sleep(world.chance.uniform(0, LEASE))
            process = world.start(name, bodies[name], *its)

    async with trio.open_nursery() as nursery:
        for name in bodies:
            nursery.start_soon(again_and_again, name)
        await trio.sleep(LASTS + 4 * LEASE)  # by now all who stood still have woken
        nursery.cancel_scope.cancel()
    last = world.start("Z", concludes(world), *known)
    await last.over.wait()
    for process in world.processes:
        process.scope.cancel()


def _letters(world: World, name: str) -> list[Sent]:
    """Some of each kind, in any order, with labels that nobody else has."""
    choice = world.chance
    letters = [
        entry(f"entry-{name}1", large=choice.random() < 0.3),
        entry(f"entry-{name}2", asks=True),
        forward(f"agent-{name}1"),
        forward(f"agent-{name}2", asks=choice.random() < 0.5),
        hire(f"clerk-{name.lower()}"),
        alarm(f"alarm-{name}", choice.uniform(0, LEASE)),
        entry(f"{REFUSED}-{name}", asks=choice.random() < 0.5),
    ]
    choice.shuffle(letters)
    return letters[: choice.randint(3, 7)]
