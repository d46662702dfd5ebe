"""Crash points, all of them: whatever happens to a process at whatever moment of whatever call, the guarantees hold."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import pytest

from tests.simulation.crashes import DEATHS, LOSSES, STOPS, calls, each, play, wrong
from tests.simulation.planted import BUGS
from tests.simulation.scenes import begins, followed, parks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.crashes import At, Scene
    from tests.simulation.world import Fate

SCENES = {
    "commit": followed(lambda world: begins(world, "x"), "x"),
    "release": followed(lambda world: parks(world, "x"), "x"),
}


def each_fate(scene: Scene) -> Iterator[dict[At, Fate]]:
    """Every single death, stop and loss of process A, and every loss that is followed by a stop."""
    made = calls(play(scene), "A")
    for (name, number, point), fate in each([call for call in made if call.writes], LOSSES):
        yield {(name, number, point): fate, (name, number + 1, "begin"): "pause"}
    for at, fate in each(made, DEATHS + STOPS + LOSSES):
        yield {at: fate}


def each_fate_of_the_heir(scene: Scene, died: str) -> Iterator[dict[At, Fate]]:
    """Process A dies at its claim, in the middle or at the end; then every death, stop and loss of B, who takes up."""
    puts = [call for call in calls(play(scene), "A") if call.key.startswith("runs/x/log/") and call.kind == "put"]
    call = puts[{"claim": 0, "middle": len(puts) // 2, "end": -1}[died]]
    first: dict[At, Fate] = {("A", call.number, "effect"): "kill"}
    looks = 4  # some of B's looks, before and after it finds an orphan
    for heirs in calls(play(scene, first), "B"):
        if heirs.key != "active/" or (looks := looks - 1) >= 0:
            for at, fate in each([heirs], DEATHS + STOPS + LOSSES):
                yield {**first, at: fate}


@pytest.mark.parametrize("name", SCENES)
def test_nothing_is_lost_wherever_a_process_dies_stops_or_hears_nothing(name: str) -> None:
    """What was acknowledged stays, nothing finished runs again, somebody finishes the run, and it has one history."""
    worlds = 0

    for fates in each_fate(SCENES[name]):
        world = play(SCENES[name], fates)
        assert wrong(world, "x") == [], fates
        assert world.told.results, fates
        worlds += 1

    assert worlds > 50


@pytest.mark.parametrize("died", ["claim", "middle", "end"])
def test_nothing_is_lost_wherever_the_one_who_recovers_dies_stops_or_hears_nothing(died: str) -> None:
    """Recovery itself may be cut off anywhere, and is taken up again (guarantee 8)."""
    takeovers = 0

    for fates in each_fate_of_the_heir(SCENES["commit"], died):
        world = play(SCENES["commit"], fates)
        assert wrong(world, "x") == [], fates
        takeovers += any(one.epoch > 1 for one in world.told.acknowledged)

    assert takeovers > 10 or died == "end"


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """A simulation that can't fail proves nothing: with each of these bugs some crash point breaks a guarantee."""
    scene = SCENES["commit"]
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)

        hunts = zip_longest(each_fate(scene), each_fate_of_the_heir(scene, "middle"))
        assert any(wrong(play(scene, fates), "x") for fates in chain.from_iterable(hunts) if fates is not None)
