"""Retry: when another call is worth it, and how long the pause is."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.graph.retry import Retry


def test_pauses_grow_by_the_factor_up_to_the_limit() -> None:
    """The first pause is the backoff, each further one longer, none over max_backoff."""
    retry = Retry(backoff=0.5, factor=3.0, max_backoff=10.0, jitter=False)

    assert [retry.delay(attempt, 0.9) for attempt in range(1, 6)] == [0.5, 1.5, 4.5, 10.0, 10.0]


def test_a_pause_stays_at_the_limit_when_the_power_leaves_the_floats() -> None:
    """Ten thousand attempts are legal, and none of them overflows."""
    assert Retry(max_backoff=60.0, jitter=False).delay(10_000, 0.0) == 60.0
    assert Retry(backoff=0.0, jitter=False).delay(10_000, 0.0) == 0.0


@given(random=st.floats(0, 1, exclude_max=True), attempt=st.integers(1, 2_000))
def test_jitter_takes_at_most_half_of_a_pause_away(random: float, attempt: int) -> None:
    """A jittered pause is never longer than the plain one and never shorter than half of it."""
    plain = Retry(jitter=False).delay(attempt, random)

    jittered = Retry().delay(attempt, random)

    assert plain / 2 <= jittered <= plain


def test_jitter_is_what_chance_says() -> None:
    """Half of the largest part at half a chance, and nothing without one."""
    assert [Retry(backoff=8.0).delay(1, random) for random in (0.0, 0.5)] == [8.0, 6.0]


def test_types_say_which_exceptions_are_tried_again() -> None:
    """One type, or several, subclasses included."""
    assert Retry(on=OSError).applies(TimeoutError(), None)
    assert Retry(on=(KeyError, OSError)).applies(TimeoutError(), None)
    assert not Retry(on=(KeyError, OSError)).applies(ValueError(), None)
    assert Retry().applies(ValueError(), None)


def test_a_function_decides_by_exception_and_state() -> None:
    """``on`` may look at both."""
    retry = Retry(on=lambda error, state: str(error) == state)

    assert retry.applies(ValueError("again"), "again")
    assert not retry.applies(ValueError("again"), "enough")


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": 0},
        {"attempts": True},
        {"attempts": 2.0},
        {"backoff": -0.1},
        {"backoff": float("nan")},
        {"factor": 0.5},
        {"max_backoff": float("inf")},
        {"backoff": "1"},
    ],
)
def test_a_number_out_of_range_is_refused_and_named(wrong: dict[str, Any]) -> None:
    """A policy that makes no sense fails where it is written."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Retry(**wrong)


@pytest.mark.parametrize(
    "on", [(), KeyboardInterrupt, (ValueError, BaseException), "ValueError", (ValueError, "x"), int]
)
def test_a_condition_that_is_none_is_refused(on: Any) -> None:
    """Only Exception classes or a function say when to try again."""
    with pytest.raises(TypeError, match="on="):
        Retry(on=on)
