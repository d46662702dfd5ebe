"""Random nested graphs in random orders, through crashes, waits and pauses: each item once, each scope by itself."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.generator import MERGED
from tests.engine.nested import NestedSketch
from tests.engine.player import Played, play
from tests.engine.test_interleavings import MODES
from tests.engine.witness import demand

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = pytest.mark.no_cover  # thousands of times the same ways

SKETCHES = 150
BATCH = 75
_COLLECTED = {"gathered", "mixed"}


def played_in_all_modes(sketch: NestedSketch, seed: int, **options: Any) -> list[Played]:
    """One execution without trouble, and one with trouble in each durability."""
    return [
        play(sketch, 1000 * seed + number, durability=durability, troubled=troubled, **options)
        for number, (durability, troubled) in enumerate(MODES)
    ]


def compared(sketch: NestedSketch, plays: list[Played]) -> bool:
    """Hold executions of one graph against each other; whether their states were promised to be equal, too."""
    first, *others = plays
    if not first.witness.legs_are_ordered() or (sketch.loose and first.verdict != "finished"):
        return False
    for other in others:
        if sketch.loose:  # who came in time is timing, and so is what the others have not seen
            if other.verdict != "finished":
                return False
            continue
        demand(other.verdict == first.verdict, "two orders, two verdicts", first.verdict, other.verdict)
        if first.verdict == "finished":
            demand(other.keys == first.keys, "two orders, two sets of keys")
    if first.verdict != "finished" or any(first.witness.concurrent("reads", "writes")):
        return False
    loose = frozenset(first.witness.concurrent("writes", "writes")) & {*MERGED, *_COLLECTED}
    for other in others:
        demand(told(other, loose) == told(first, loose), "two orders, two states", told(first, loose))
    return True


def told(played: Played, loose: Iterable[str]) -> dict[str, Any]:
    """What is promised of the final state: of merged fields that are written concurrently, what has no order."""
    state = {name: getattr(played.state, name) for name in played.state.__struct_fields__}
    for name in loose:
        value = state[name]
        if name in {"log", "names", "facts", *_COLLECTED}:
            state[name] = sorted(map(repr, value))
        elif name == "latest":
            state[name] = len(value)
    return state


@pytest.mark.parametrize("start", range(0, SKETCHES, BATCH))
def test_every_order_gives_the_same(start: int) -> None:
    """Verdict, keys and, where it is promised, state do not depend on timing, crashes or durability."""
    seen: Counter[str] = Counter()
    for seed in range(start, start + BATCH):
        sketch = NestedSketch(seed)
        plays = played_in_all_modes(sketch, seed)
        seen[plays[0].verdict] += 1
        seen["same state"] += compared(sketch, plays)

    assert seen["finished"] >= BATCH / 4, seen
    assert seen["same state"] >= BATCH / 8, seen
