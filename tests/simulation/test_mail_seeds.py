"""Random worlds of correspondents: as many seeds as there is time for; a seed that fails is named, and fails again."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

from tests.simulation.correspondence import wrong_mail
from tests.simulation.mail_chaos import scene, world_of

SECONDS = float(os.environ.get("ACTORFLOW_SIMULATE", "5"))
"""How long to look for a seed that fails. ``ACTORFLOW_SEED`` plays one seed alone."""

EVENTS = ("killed", "paused", "woken")


def test_no_seed_loses_or_doubles_a_message() -> None:
    """Two senders and two owners, kills, pauses, clocks that jump, lost and late packets at random."""
    chosen = os.environ.get("ACTORFLOW_SEED")
    seed = first = int(chosen) if chosen else random.SystemRandom().randrange(10**9)
    ends = time.monotonic() + (0.001 if chosen else SECONDS)
    while time.monotonic() < ends:
        world = world_of(seed)
        world.run(scene)
        assert wrong_mail(world) == [], f"ACTORFLOW_SEED={seed} breaks it again"
        seed += 1

    assert seed > first


def test_random_worlds_are_no_idle_ones() -> None:
    """In a few of them everything that may happen does, and much is kept all the same."""
    seen: Counter[str] = Counter()
    for seed in range(2):
        world = world_of(seed)
        world.run(scene)
        seen += Counter(word for line in world.trace for word in EVENTS if word in line)
        seen["taken over"] += sum(one.epoch > 1 for one in world.told.acknowledged)
        seen["jumped"] += any(process.skew for process in world.processes)
        seen["kept"] += len(world.heard.kept)
        seen["replied"] += len(world.heard.receipts)

    assert all(seen[event] for event in (*EVENTS, "taken over", "jumped", "replied")), seen
    assert seen["kept"] > 20


def test_a_seed_is_one_world() -> None:
    """Numbers that callers draw included: the same seed gives the same trace."""
    worlds = [world_of(21), world_of(21)]

    for world in worlds:
        world.run(scene)

    assert worlds[0].digest == worlds[1].digest
