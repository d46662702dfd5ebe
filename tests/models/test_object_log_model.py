"""The rules of the object log hold for every interleaving, and each of them is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.explorer import LARGE, explore
from tests.models.object_log import ObjectLog, Rules

# What is exhausted, and how many states it has at least: fewer would mean that the model lost its teeth.
BOUNDS = [
    ({"writers": 2, "numbers": 5}, 100_000),
    ({"writers": 3, "numbers": 4, "attempts": 1}, 80_000),
    ({"writers": 3, "numbers": 4, "lost": 0, "late": 0}, 80_000),
    ({"writers": 4, "numbers": 4, "lost": 0, "late": 0, "attempts": 1}, 70_000),
]
LARGE_BOUNDS = [
    ({"writers": 2, "numbers": 7}, 1_000_000),
    ({"writers": 3, "numbers": 4}, 1_000_000),
    ({"writers": 3, "numbers": 5, "attempts": 1}, 450_000),
    ({"writers": 4, "numbers": 5, "lost": 0, "late": 0, "attempts": 1}, 500_000),
    ({"writers": 2, "numbers": 5, "lost": 2, "late": 2}, 200_000),
]

# Each mistake with what it leads to.
MISTAKES = [
    (Rules(put="overwrite"), "no longer part of the history"),
    (Rules(put="check, then write"), "no longer part of the history"),
    (Rules(second_listing=False), "was acknowledged, but is not"),
    (Rules(listing="any order"), "was acknowledged, but is not"),
    (Rules(listing="any order, twice the same"), "was acknowledged, but is not"),
    (Rules(frees_claims=True), "was acknowledged, but is not"),
    (Rules(frees_newest=True), "no longer part of the history"),
    (Rules(release_is_last=False), "was acknowledged, but is not"),
    (Rules(settles_by_nonce=False), "was acknowledged, but is not"),
    (Rules(reads_back=False), "was acknowledged, but is not"),
]


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(ObjectLog(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


def test_stubs_replace_the_order_of_listings() -> None:
    """Where no name ever comes free, a listing may answer in any order."""
    rules = Rules(listing="any order", frees_numbers=False)

    found = explore(ObjectLog(rules, writers=2, numbers=5), limit=1_000_000)

    assert found.violation is None, str(found)
    assert found.states >= 20_000


@pytest.mark.parametrize(("mistake", "leads_to"), MISTAKES, ids=lambda value: _changed(value) or "")
def test_every_mistake_is_found(mistake: Rules, leads_to: str) -> None:
    """One rule broken is enough for a trace that ends in a lost commit or a second history."""
    lost = int(not mistake.reads_back)

    found = explore(ObjectLog(mistake, writers=2, numbers=5, lost=lost, late=lost), limit=1_000_000)

    assert found.violation is not None
    assert leads_to in found.violation, str(found)
    assert len(found.trace) == found.depth > 0


def test_every_rule_has_its_mistake() -> None:
    """No rule of the model is there that no planted mistake breaks."""
    broken = {_changed(mistake) for mistake, _ in MISTAKES}

    assert broken | {"frees_numbers"} == {field.name for field in fields(Rules)}


def _changed(mistake: object) -> str | None:
    """The rule that this mistake breaks."""
    return next(
        (field.name for field in fields(Rules) if getattr(mistake, field.name, field.default) != field.default), None
    )
