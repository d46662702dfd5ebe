"""Random graphs in random orders, through crashes and reopenings: one verdict, one state, one set of keys."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.generator import MERGED, Sketch
from tests.engine.player import Played, play
from tests.engine.witness import demand

if TYPE_CHECKING:
    from tests.engine.driver import Durability

pytestmark = pytest.mark.no_cover  # thousands of times the same ways

SKETCHES = 600
BATCH = 200
MODES: tuple[tuple[Durability, bool], ...] = (("sync", False), ("sync", True), ("async", True), ("exit", True))


def played_in_all_modes(sketch: Sketch, seed: int, **options: Any) -> list[Played]:
    """One execution without trouble, and one with trouble in each durability."""
    return [
        play(sketch, 1000 * seed + number, durability=durability, troubled=troubled, **options)
        for number, (durability, troubled) in enumerate(MODES)
    ]


def compared(sketch: Sketch, plays: list[Played]) -> bool:
    """Hold executions of one graph against each other; whether their states were promised to be equal, too."""
    first, *others = plays
    if not first.witness.legs_are_ordered():
        return False  # which round pairs with which is timing, and `check` warns about such joins
    for other in others:
        demand(other.verdict == first.verdict, "two orders, two verdicts", first.verdict, other.verdict)
        if first.verdict == "finished":
            demand(other.keys == first.keys, "two orders, two sets of keys")
    if first.verdict != "finished" or any(first.witness.concurrent(sketch.reads, sketch.writes)):
        return False
    loose = frozenset(first.witness.concurrent(sketch.writes, sketch.writes)) & set(MERGED)
    for other in others:
        demand(told(other, loose) == told(first, loose), "two orders, two states", told(first, loose))
    return True


def told(played: Played, loose: frozenset[str]) -> dict[str, Any]:
    """What is promised of the final state: of merged fields that are written concurrently, what has no order."""
    state = {name: getattr(played.state, name) for name in played.state.__struct_fields__}
    for name in loose:
        value = state[name]
        if name in {"log", "names"}:
            state[name] = sorted(value)
        elif name == "facts":
            state[name] = sorted(value)  # two rounds of one node may have written one key
        elif name == "latest":
            state[name] = len(value)
    return state


@pytest.mark.parametrize("start", range(0, SKETCHES, BATCH))
def test_every_order_gives_the_same(start: int) -> None:
    """Verdict, keys and, where it is promised, state do not depend on timing, crashes or durability."""
    seen: Counter[str] = Counter()
    for seed in range(start, start + BATCH):
        sketch = Sketch(seed)
        plays = played_in_all_modes(sketch, seed)
        seen[plays[0].verdict] += 1
        seen["same state"] += compared(sketch, plays)

    assert set(seen) == {"finished", "ConcurrentWrite", "JoinStarved", "same state"}, seen
    assert seen["same state"] >= BATCH / 4, seen


def test_the_plays_go_wrong_often_enough() -> None:
    """Crashes, failures, reopenings and lost suffixes do happen, so that surviving them means something."""
    seen: Counter[str] = Counter()
    for seed in range(60):
        played = play(Sketch(seed), seed, durability="exit", troubled=True)
        seen.update(type(record).__name__ for record in played.run.history)
        seen["lost"] += played.run.lost

    for kind in ("Finished", "Merged", "Attempted", "Failed", "Claimed", "Ended", "lost"):
        assert seen[kind] > 5, seen
