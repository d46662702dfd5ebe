"""Crash points among correspondents: whoever dies wherever, each message counts once, and has all its consequences."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING

import pytest

from tests.simulation.correspondence import alarm, entry, forward, hire, scene, sends, wrong_mail
from tests.simulation.crashes import DEATHS, LOSSES, STOPS, calls
from tests.simulation.ledger import AGENT, LEDGER
from tests.simulation.planted_mail import BUGS
from tests.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.correspondence import Sent
    from tests.simulation.crashes import At, Scene
    from tests.simulation.network import Call
    from tests.simulation.world import Fate

EVERY = "ACTORFLOW_EVERY_FATE"
"""Set, not a few but all other fates are played, too: it takes some minutes, pytest --timeout 1000."""

A_FEW = 12
"""Fates other than death that are played each time, others each time."""

KILLED: tuple[str, Fate] = ("effect", "kill")
STOPPED: tuple[str, Fate] = ("begin", "pause")


def _scene(own: list[Sent], others: list[Sent]) -> Scene:
    return scene(
        {
            "A": lambda world: sends(world, *own, begins=[LEDGER], stays=True),
            "B": lambda world: sends(world, *others, begins=[AGENT], stays=True),
        },
        knowing=("A", "B"),
    )


SMALL = _scene(
    [entry("entry-1", asks=True), alarm("alarm-1", 8.0)],
    [entry("entry-2"), forward("agent-1"), entry("entry-3", asks=True, large=True)],
)
"""A has the ledger, and sets it an alarm; B has the agent, which forwards; both ask. Either takes over."""

WHOLE = _scene(
    [hire("clerk-1"), entry("bad-1")],
    [entry("entry-1", asks=True), forward("agent-1", asks=True)],
)
"""The ledger also begins a run, and hears of its end; that sends, sleeps and asks itself."""


def play(scene: Scene, fates: dict[At, Fate], *, seed: int = 0) -> World:
    """A world in which exactly this happens."""

    def script(call: Call, point: str) -> Fate | None:
        return fates.get((call.process.name, call.number, point))

    world = World(seed, script=script, tidy=True, poll=(1.0, 5.0), blob=400)
    world.run(scene)
    return world


def each_fate(scene: Scene, *fates: tuple[str, Fate], whose: str = "BA", seed: int = 0) -> Iterator[dict[At, Fate]]:
    """Of A and of B, at each thing that they write; also when they only show that they live."""
    world = play(scene, {}, seed=seed)
    for call in [call for name in whose for call in calls(world, name)]:
        if call.kind == "put" or (call.kind == "delete" and not call.key.startswith("hosts")):
            for point, fate in fates:
                yield {(call.process.name, call.number, point): fate}


@pytest.mark.parametrize("whose", ["A", "B"])
def test_each_message_counts_once_wherever_a_process_dies(whose: str) -> None:
    """In the state, in its lane's order; what is replied, and a timer, come once, too."""
    taken_over = replied = worlds = 0

    for fates in each_fate(SMALL, KILLED, whose=whose):
        world = play(SMALL, fates)
        assert wrong_mail(world) == [], fates
        replied += bool(world.heard.receipts)
        taken_over += any(one.run_id == LEDGER and one.epoch > 1 for one in world.told.acknowledged)
        worlds += 1

    assert worlds > 10
    assert min(taken_over, replied) > worlds / 4


def test_each_message_counts_once_wherever_a_process_dies_stops_or_hears_nothing() -> None:
    """A few fates of all, others each time; word of a child's end comes once, too."""
    fates = list(each_fate(WHOLE, *DEATHS, *STOPS, *LOSSES))

    for fate in fates if EVERY in os.environ else random.SystemRandom().sample(fates, A_FEW):
        assert wrong_mail(play(WHOLE, fate)) == [], fate


HUNTS: dict[str, tuple[Scene, str, tuple[str, Fate]]] = {
    "marks are dropped at takeover": (SMALL, "B", KILLED),
    "what is sent is counted anew at takeover": (WHOLE, "A", KILLED),
    "the outbox is dropped at takeover": (SMALL, "B", KILLED),
    "ids of callers are lost with a snapshot": (SMALL, "B", KILLED),
    "a message is delivered before it is put": (SMALL, "B", KILLED),
    "a reply is told before its commit": (SMALL, "A", STOPPED),
    "a message is acknowledged before its commit": (SMALL, "A", STOPPED),
    "a message is deleted before its commit": (SMALL, "B", KILLED),
    "the last words of a run are forgotten": (WHOLE, "A", KILLED),
    "a run sleeps through its timers": (SMALL, "B", KILLED),
}
"""Where each planted bug is looked for: it is found within some worlds there."""


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """Worlds that can't be wrong prove nothing."""
    scene, whose, fate = HUNTS[bug]
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)

        assert any(wrong_mail(play(scene, fates)) for fates in each_fate(scene, fate, whose=whose))
