"""Random worlds: as many seeds as there is time for; a seed that fails is named, and fails again."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation.chaos import RUNS, scene, world_of
from tests.simulation.crashes import wrong
from tests.simulation.planted import BUGS, RETENTION_BUGS

SECONDS = float(os.environ.get("ACTORFLOW_SIMULATE", "6"))
"""How long to look for a seed that fails. ``ACTORFLOW_SEED`` plays one seed alone."""

ALL_BUGS = {**BUGS, **RETENTION_BUGS}
FIRST = 99
"""From here on Python 3.11 finds each planted bug within ten worlds. Others play other worlds, and may need 300."""

EVENTS = ("killed", "paused", "woken", "lands late", "RunOwned")

ROOT = Path(__file__).parents[2]


def wrong_in(seed: int) -> list[str]:
    """How a guarantee is broken in the world of this seed."""
    world = world_of(seed)
    world.run(scene)
    return wrong(world, *RUNS)


def test_no_seed_breaks_a_guarantee() -> None:
    """Kills, pauses, lost and late packets at random, over three processes and three runs."""
    chosen = os.environ.get("ACTORFLOW_SEED")
    seed = int(chosen) if chosen else random.SystemRandom().randrange(10**9)
    ends = time.monotonic() + (0 if chosen else SECONDS)

    while True:
        assert wrong_in(seed) == [], f"ACTORFLOW_SEED={seed} breaks it again"
        seed += 1
        if time.monotonic() >= ends:
            return


def test_random_worlds_are_no_idle_ones() -> None:
    """They kill, pause and lose, owners are fenced, runs change hands, and all get finished all the same."""
    seen: Counter[str] = Counter()
    for seed in range(8):
        world = world_of(seed)
        world.run(scene)
        seen += Counter(word for line in world.trace for word in EVENTS if word in line)
        seen["taken over"] += sum(one.epoch > 1 for one in world.told.acknowledged)
        seen["refused"] += len(world.told.refused)
        assert world.told.results.keys() == set(RUNS)

    assert all(seen[event] for event in (*EVENTS, "taken over", "refused")), seen


@pytest.mark.parametrize("bug", [bug for bug in ALL_BUGS if bug != "swallows an error in recovery"])
def test_random_worlds_find_a_planted_bug(bug: str) -> None:
    """All but one, which needs the one request of a recovery to fail that reads the newest commit."""
    with pytest.MonkeyPatch.context() as patch:
        ALL_BUGS[bug](patch)

        assert any(wrong_in(seed) for seed in range(FIRST, FIRST + 300))


def test_a_seed_is_one_world() -> None:
    """The same seed gives the same trace, twice here and in another process; others give others."""
    code = "from tests.simulation.test_seeds import digest; print(digest(3))"

    elsewhere = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": hashes},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hashes in ("1", "2")
    ]

    assert [digest(3), digest(3)] == elsewhere
    assert len({digest(seed) for seed in range(4)}) == 4


def digest(seed: int) -> str:
    """Of all that happens in the world of this seed."""
    world = world_of(seed)
    world.run(scene)
    return world.digest
