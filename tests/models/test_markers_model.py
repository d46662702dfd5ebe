"""Markers find every run that must go on, whoever stops where, and each rule about them is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.explorer import LARGE, explore
from tests.models.markers import Markers, Rules

# What is exhausted, and how many states it has at least.
BOUNDS = [
    ({"workers": 2, "numbers": 7}, 60_000),
    ({"workers": 3, "numbers": 4}, 50_000),
    ({"workers": 4, "numbers": 6, "attempts": 1}, 100_000),
]
LARGE_BOUNDS = [
    ({"workers": 2, "numbers": 7, "attempts": 3}, 600_000),
    ({"workers": 3, "numbers": 6}, 1_000_000),
    ({"workers": 5, "numbers": 6, "attempts": 1}, 500_000),
]

MISTAKES = {
    "marker_before_commit": "opening 1 is open, but no scan finds it",
    "marker_names_opening": "opening 2 is open, but no scan finds it",
    "asleep_names_number": "opening 1 sleeps, but nothing will wake it",
    "reopening_counts": "opening 1 is open, but no scan finds it",
    "wake_counts": "opening 1 is open, but no scan finds it",
    "asleep_before_delete": "opening 1 sleeps, but nothing will wake it",
    "asleep_outlives_release": "opening 1 sleeps, but nothing will wake it",
    "void_occupies": "opening 1 is open, but no scan finds it",
    "void_takes_opening": "opening 1 is open, but no scan finds it",
    "looks_again": "opening 1 is open, but no scan finds it",
}


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(Markers(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.parametrize(("rule", "leads_to"), MISTAKES.items())
def test_every_mistake_is_found(rule: str, leads_to: str) -> None:
    """One rule broken is enough for a run that nothing will ever find again."""
    mistake = Rules(**{rule: False})

    found = explore(Markers(mistake, workers=2, numbers=5), limit=1_000_000)

    assert found.violation == leads_to, str(found)
    assert len(found.trace) == found.depth > 0


def test_every_rule_has_its_mistake() -> None:
    """No rule of the model is there that no planted mistake breaks."""
    assert MISTAKES.keys() == {field.name for field in fields(Rules)}
