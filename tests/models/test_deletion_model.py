"""Deletion and the next life hold for every interleaving, and each of their rules is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.deletion import Lives, Rules
from tests.models.explorer import LARGE, explore

# What is exhausted, and how many states it has at least: fewer would mean that the model lost its teeth.
BOUNDS = [({}, 15_000), ({"lives": 3, "messages": 1}, 6_500)]
LARGE_BOUNDS = [({"deleters": 3}, 650_000), ({"lives": 3, "messages": 3}, 20_000)]

# Each mistake with what it leads to.
MISTAKES = [
    (Rules(lists_before_looking=False), "a message of the next life was deleted"),
    (Rules(values_by_epoch=False), "its large value is gone"),
    (Rules(numbers_below_tombstone=False), "the newest commit is gone"),
    (Rules(keeps_claims=False), "a claim's number is free"),
    (Rules(marker_before_claim=False), "nobody finishes it"),
    (Rules(marker_last=False), "something is left that no marker leads to"),
    (Rules(keeps_marks=False), "was applied twice"),
    (Rules(openings_go_on=False), "follows opening"),
]


@pytest.mark.timeout(0 if LARGE else 60)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(Lives(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.parametrize(("mistake", "leads_to"), MISTAKES, ids=lambda value: _changed(value) or "")
def test_every_mistake_is_found(mistake: Rules, leads_to: str) -> None:
    """One rule broken is enough for a trace that loses what lives, or keeps what was deleted."""
    found = explore(Lives(mistake), limit=1_000_000)

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
