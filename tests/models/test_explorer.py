"""The model checker itself: it visits everything, finds the nearest violation, and never stops early in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.models.explorer import BoundsTooLarge, explore

if TYPE_CHECKING:
    from collections.abc import Iterator


class Jugs:
    """Die Hard: measure so many litres with a jug of five and one of three."""

    def __init__(self, *, wanted: int) -> None:
        self.wanted = wanted

    def initial(self) -> tuple[int, int]:
        return (0, 0)

    def steps(self, state: tuple[int, int]) -> Iterator[tuple[str, tuple[int, int]]]:
        five, three = state
        yield "fill the five", (5, three)
        yield "fill the three", (five, 3)
        yield "empty the five", (0, three)
        yield "empty the three", (five, 0)
        poured = min(five, 3 - three)
        yield "pour into the three", (five - poured, three + poured)
        poured = min(5 - five, three)
        yield "pour into the five", (five + poured, three - poured)

    def violation(self, state: tuple[int, int]) -> str | None:
        return f"{self.wanted} litres" if state[0] == self.wanted else None


def test_the_shortest_trace_is_found() -> None:
    """Four litres take six moves, as every cinema-goer knows."""
    found = explore(Jugs(wanted=4), limit=100)

    assert found.violation == "4 litres"
    assert found.trace == (
        "fill the five",
        "pour into the three",
        "empty the three",
        "pour into the three",
        "fill the five",
        "pour into the three",
    )


def test_a_model_without_violation_is_exhausted() -> None:
    """Of the 24 pairs of amounts, 16 can be reached, and none of them is six litres."""
    found = explore(Jugs(wanted=6), limit=100)

    assert (found.violation, found.states, found.steps) == (None, 16, 16 * 6)


def test_a_model_over_its_limit_is_no_success() -> None:
    """Running out of the allowed states is an error, not a clean result."""
    with pytest.raises(BoundsTooLarge, match="more than 10 states"):
        explore(Jugs(wanted=6), limit=10)
