"""When a schedule is due: the same times whoever asks, and whenever."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorflow.runtime.times import LONGEST, Times, stamp

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> float:
    """A wall clock time in Berlin, in seconds since the epoch."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()


@given(st.integers(1, 1000), st.lists(st.integers(0, 5000), min_size=1, max_size=10))
def test_an_interval_keeps_its_grid_however_often_one_looks(every: int, looks: list[int]) -> None:
    """All times up to the last look, each once."""
    times, found, due = Times(every=every), list[float](), 0.0
    for now in sorted(looks):
        more, due = times.until(due, now)
        found += more

    assert found == [n * every for n in range(max(looks) // every + 1)]
    assert due == found[-1] + every


def test_a_cron_line_is_read_in_its_time_zone() -> None:
    """Six o'clock stays six o'clock when the clocks change."""
    times = Times(cron="0 6 * * *", timezone="Europe/Berlin")

    found, due = times.until(at("2026-03-28T06:00"), at("2026-03-30T07:00"))

    assert found == [at("2026-03-28T06:00"), at("2026-03-29T06:00"), at("2026-03-30T06:00")]
    assert due == at("2026-03-31T06:00")


def test_a_time_that_the_clocks_leave_out_comes_after_the_gap() -> None:
    """Once, and not on another day."""
    times = Times(cron="30 2 * * *", timezone="Europe/Berlin")

    assert times.after(at("2026-03-28T12:00")) == at("2026-03-29T03:00")


def test_after_years_only_the_newest_times_are_looked_at() -> None:
    """The list is bounded."""
    found, due = Times(every=1).until(0.0, 1e9)

    assert (len(found), found[-1], due) == (LONGEST, 1e9, 1e9 + 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "say when"),
        ({"every": 1, "cron": "* * * * *"}, "say when"),
        ({"every": 0}, "at least"),
        ({"every": float("nan")}, "at least"),
        ({"cron": "* * *"}, "cron="),
        ({"cron": "0 0 31 2 *"}, "cron="),
        ({"cron": "* * * * *", "timezone": "Mars/Base"}, "Mars/Base"),
    ],
)
def test_what_can_never_be_due_is_refused(given: dict[str, object], message: str) -> None:
    """When it is said, and not when it should happen."""
    with pytest.raises(ValueError, match=message):
        Times(**given)  # type: ignore[arg-type]


def test_stamps_sort_as_their_times_do() -> None:
    """They are parts of ids that people read."""
    assert stamp(0.0) == "1970-01-01T00:00:00Z"
    assert stamp(0.5) == "1970-01-01T00:00:00.500Z"
