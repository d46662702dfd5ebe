"""No sweep takes a blob that a commit needs, whoever stops where, and each rule about it is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.blobs import Blobs, Rules
from tests.models.explorer import LARGE, explore

# What is exhausted, and how many states it has at least.
BOUNDS = [
    ({"writers": 2, "numbers": 6, "blobs": 2}, 20_000),
    ({"writers": 2, "numbers": 4, "blobs": 2, "looks": 2}, 5_000),
    ({"writers": 3, "numbers": 5, "blobs": 1}, 40_000),
]
LARGE_BOUNDS = [
    ({"writers": 2, "numbers": 5, "blobs": 3, "looks": 2}, 180_000),
    ({"writers": 3, "numbers": 5, "blobs": 2}, 500_000),
]

MISTAKES = [field.name for field in fields(Rules)]


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(Blobs(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.parametrize("rule", MISTAKES)
def test_every_mistake_is_found(rule: str) -> None:
    """One rule broken is enough for a commit that can't be read."""
    mistake = Rules(**{rule: False})

    found = explore(Blobs(mistake, writers=2, numbers=5, blobs=2), limit=1_000_000)

    assert found.violation == "a commit refers to a blob that is not there", str(found)
    assert len(found.trace) == found.depth > 0
