"""Crash points, all of them: whatever happens to a process at whatever moment of whatever call, the guarantees hold."""

from __future__ import annotations

from itertools import chain, zip_longest
from typing import TYPE_CHECKING

import pytest

from actorflow.store import deletion
from tests.simulation.crashes import DEATHS, LOSSES, STOPS, calls, each, play, wrong
from tests.simulation.planted import BUGS, RETENTION_BUGS
from tests.simulation.scenes import begins, deletes, followed, parks, reuses

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.crashes import At, Scene
    from tests.simulation.world import Fate

SCENES: dict[str, Scene] = {
    "commit": followed(lambda world: begins(world, "x"), "x"),
    "release": followed(lambda world: parks(world, "x"), "x"),
    "retention": followed(lambda world: begins(world, "x"), "x", sweeping=True),
    "deletion": followed(lambda world: deletes(world, "x"), "x", ending=reuses),
}


def each_fate(scene: Scene) -> Iterator[dict[At, Fate]]:
    """Every single death, stop and loss of process A, and every loss that is followed by a stop."""
    made = calls(play(scene), "A")
    for (name, number, point), fate in each([call for call in made if call.writes], LOSSES):
        yield {(name, number, point): fate, (name, number + 1, "begin"): "pause"}
    for at, fate in each(made, STOPS + LOSSES + DEATHS):
        yield {at: fate}


def each_fate_of_the_heir(
    scene: Scene, died: str, fates: tuple[tuple[str, Fate], ...] = DEATHS + STOPS + LOSSES
) -> Iterator[dict[At, Fate]]:
    """Process A dies at its claim, in the middle or at the end; then everything that befalls B, who takes up."""
    puts = [call for call in calls(play(scene), "A") if call.key.startswith("runs/x/log/") and call.kind == "put"]
    call = puts[{"claim": 0, "middle": len(puts) // 2, "end": -1}[died]]
    first: dict[At, Fate] = {("A", call.number, "effect"): "kill"}
    made = calls(play(scene, first), "B")
    about_run = [call.number for call in made if "x" in call.key]
    for at, fate in each(made[about_run[0] - 3 : about_run[-1] + 1] if about_run else [], fates):
        yield {**first, at: fate}


@pytest.mark.parametrize("name", ["commit", "release"])
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

    for fates in each_fate_of_the_heir(SCENES["commit"], died, DEATHS + STOPS + LOSSES if died == "middle" else DEATHS):
        world = play(SCENES["commit"], fates)
        assert wrong(world, "x") == [], fates
        takeovers += any(one.epoch > 1 for one in world.told.acknowledged)

    assert takeovers > 10 or died == "end"


def each_fate_while_numbers_come_free(scene: Scene) -> Iterator[dict[At, Fate]]:
    """A stands still at each of its writes, and so does B when it claims; C sweeps, or dies while it sweeps."""
    made = calls(play(scene, tidy=True), "A")
    writes = [call for call in made if call.kind == "put" and call.key.startswith("runs/x/log/")]
    for at, fate in each(writes, STOPS[:2]):
        yield {at: fate}
        claims = [call for call in calls(play(scene, {at: fate}, tidy=True), "B") if call.key.startswith("runs/x/log/")]
        for call in [call for call in claims if call.kind == "put"][:1]:
            yield {at: fate, (call.process.name, call.number, "begin"): "pause"}
    sweeps = [call for call in calls(play(scene, tidy=True), "C") if "/log/" in call.key and call.writes]
    for at, fate in each(sweeps[:12], DEATHS + STOPS[:1] + LOSSES):
        yield {at: fate}


def test_nothing_is_lost_while_retention_frees_numbers() -> None:
    """Snapshots and merges after every other commit, and a third process that lets go of whatever it may."""
    freed = 0

    for fates in each_fate_while_numbers_come_free(SCENES["retention"]):
        world = play(SCENES["retention"], fates, tidy=True)
        assert wrong(world, "x") == [], fates
        freed += any(call.kind == "delete" and "/log/" in call.key for call in world.calls)

    assert freed > 10


def each_fate_of_the_deleter(scene: Scene) -> Iterator[dict[At, Fate]]:
    """Everything that befalls A from its deletion on, while Z deletes as well, and uses the id again."""
    made = calls(play(scene), "A")
    begun = next(index for index, call in enumerate(made) if call.key.startswith("ended/"))
    for at, fate in each([call for call in made[begun:] if "hosts/" not in call.key], STOPS + LOSSES[:2] + DEATHS[1:]):
        yield {at: fate}


def test_a_deletion_reaches_nothing_of_the_next_life() -> None:
    """Wherever a deleter dies or stalls, somebody finishes the deletion, and what is begun under the id again stays."""
    kept = worlds = 0

    for fates in each_fate_of_the_deleter(SCENES["deletion"]):
        world = play(SCENES["deletion"], fates)
        assert wrong(world, "x") == [], fates
        worlds += 1
        kept += bool(world.told.results)

    assert kept > worlds * 0.8 > 20


def test_a_deletion_that_looks_once_is_found() -> None:
    """Planted: a deleter that stalls does not ask whether the tombstone is still the newest commit."""
    scene = SCENES["deletion"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(deletion, "is_tombstone", lambda header: True)

        assert any(wrong(play(scene, fates), "x") for fates in each_fate_of_the_deleter(scene))


@pytest.mark.parametrize("bug", RETENTION_BUGS)
def test_a_bug_planted_in_retention_is_found(bug: str) -> None:
    """A stalled writer gets in where a number that must not come free did, or where a claim is not looked at twice."""
    scene = SCENES["retention"]
    with pytest.MonkeyPatch.context() as patch:
        RETENTION_BUGS[bug](patch)

        assert any(wrong(play(scene, fates, tidy=True), "x") for fates in each_fate_while_numbers_come_free(scene))


@pytest.mark.parametrize("bug", BUGS)
def test_a_planted_bug_is_found(bug: str) -> None:
    """A simulation that can't fail proves nothing: with each of these bugs some crash point breaks a guarantee."""
    scene = SCENES["commit"]
    with pytest.MonkeyPatch.context() as patch:
        BUGS[bug](patch)

        hunts = zip_longest(each_fate(scene), each_fate_of_the_heir(scene, "middle"))
        assert any(wrong(play(scene, fates), "x") for fates in chain.from_iterable(hunts) if fates is not None)
