"""Retention and merging hold for every interleaving, and each of their rules is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.explorer import LARGE, explore
from tests.models.retention import Retained, Rules

# What is exhausted, and how many states it has at least: fewer would mean that the model lost its teeth.
BOUNDS = [
    ({"numbers": 4}, 40_000),
    ({"numbers": 5, "writers": 1, "mergers": 2, "cleanings": 2}, 160_000),
]
LARGE_BOUNDS = [
    ({"numbers": 5}, 500_000),
    ({"numbers": 4, "mergers": 2}, 300_000),
    ({"numbers": 4, "mergers": 2, "cleanings": 2}, 300_000),
    ({"numbers": 4, "writers": 3}, 900_000),
]

# Each mistake with what it leads to.
MISTAKES = [
    (Rules(frees_claims=True), "was acknowledged, but is not"),
    (Rules(frees_newest=True), "no longer part of the history"),
    (Rules(merges_under="first"), "can't be read"),
    (Rules(deletes_after_put=False), "can't be read"),
    (Rules(floor_before_deletes=False), "can't be read"),
    (Rules(floor_at_snapshot=False), "continues what is gone"),
]


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(Retained(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.parametrize(("mistake", "leads_to"), MISTAKES, ids=lambda value: _changed(value) or "")
def test_every_mistake_is_found(mistake: Rules, leads_to: str) -> None:
    """One rule broken is enough for a trace that ends in a lost commit or a second history."""
    found = explore(Retained(mistake), limit=1_000_000)

    assert found.violation is not None
    assert leads_to in found.violation, str(found)
    assert len(found.trace) == found.depth > 0


def test_every_rule_has_its_mistake() -> None:
    """No rule of the model is there that no planted mistake breaks."""
    assert {_changed(mistake) for mistake, _ in MISTAKES} == {field.name for field in fields(Rules)}


def _changed(mistake: object) -> str | None:
    """The rule that this mistake breaks."""
    return next(
        (field.name for field in fields(Rules) if getattr(mistake, field.name, field.default) != field.default), None
    )
