"""Lanes bring each message to its end once, whoever stops where, and each rule about them is needed."""

from __future__ import annotations

from dataclasses import fields

import pytest

from tests.models.explorer import LARGE, explore
from tests.models.lanes import Lanes, Rules, State

# What is exhausted, and how many states it has at least.
BOUNDS = [
    ({"numbers": 2, "late": 1}, 100_000),
    ({"numbers": 2, "damages": 1}, 150_000),
    ({"numbers": 2, "lives": 1}, 150_000),
]
LARGE_BOUNDS = [
    ({"numbers": 2, "late": 1, "damages": 1}, 700_000),
    ({"numbers": 2, "late": 1, "lives": 1}, 600_000),
    ({"numbers": 3, "late": 1}, 1_000_000),
]

KEPT_BUT_DEAD = "message 1.1 was kept, and ends as a dead letter"
MISTAKES = {
    "sender_waits": ({}, "message 1.2 was kept, and ends as a dead letter"),
    "rewind_keeps_outbox": ({"rewinds": 1}, "message 1.1 never comes to its end"),
    "only_next": ({}, "message 1.1 never comes to its end"),
    "rest_before_switch": ({}, KEPT_BUT_DEAD),
    "lists_again": ({}, KEPT_BUT_DEAD),
    "mark_names_generation": ({}, "message 2.1 never comes to its end"),
    "refuses_older": ({}, "message 2.2 never comes to its end"),
    "damaged_goes_on": ({"damages": 1}, "message 1.1 never comes to its end"),
    "dead_before_delete": ({"damages": 1}, "message 1.1 never comes to its end"),
    "dead_before_mark": ({"damages": 1}, "message 1.1 never comes to its end"),
    "commit_before_delete": ({}, "message 1.1 was kept, and is gone"),
    "mark_with_effect": ({}, "message 1.1 is applied twice"),
    "marks_outlive_life": ({"lives": 1}, "message 1.2 never comes to its end"),
    "deletion_passes": ({"lives": 1}, "message 1.2 never comes to its end"),
    "rewind_keeps_marks": ({"rewinds": 1}, "message 1.1 is applied twice"),
}


@pytest.mark.slow
@pytest.mark.timeout(0 if LARGE else 300)
@pytest.mark.parametrize(("bounds", "at_least"), LARGE_BOUNDS if LARGE else BOUNDS)
def test_the_protocol_has_no_violation(bounds: dict[str, int], at_least: int) -> None:
    """Every state within the bounds was looked at, and none is wrong."""
    found = explore(Lanes(Rules(), **bounds), limit=20_000_000)

    assert found.violation is None, str(found)
    assert found.states >= at_least


@pytest.mark.parametrize("rule", MISTAKES)
def test_every_mistake_is_found(rule: str) -> None:
    """One rule broken is enough to lose a message, to apply one twice, or to let a lane stand still."""
    budget, leads_to = MISTAKES[rule]

    found = explore(Lanes(Rules(**{rule: False}), numbers=2, **budget), limit=300_000)

    assert found.violation == leads_to, str(found)
    assert len(found.trace) == found.depth > 0


@pytest.mark.parametrize(
    ("rules", "budget"),
    [(Rules(marks_outlive_life=False), {"lives": 1}), (Rules(refuses_older=False), {})],
    ids=["forgets its marks", "goes back to an older generation"],
)
def test_what_stops_a_lane_may_also_apply_a_message_twice(rules: Rules, budget: dict[str, int]) -> None:
    """The shortest trace is not the only one: who looks only for what is applied twice finds that too."""

    class Twice(Lanes):
        def violation(self, state: State) -> str | None:
            return state.wrong or None

    found = explore(Twice(rules, numbers=1, **budget), limit=300_000)

    assert found.violation == "message 1.1 is applied twice", str(found)


def test_every_rule_has_its_mistake() -> None:
    """No rule of the model is there that no planted mistake breaks."""
    assert MISTAKES.keys() == {field.name for field in fields(Rules)}
