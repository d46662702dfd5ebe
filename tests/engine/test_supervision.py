"""Supervision as functions: every cell of the decision table, strategies, windows, escalation, backoff."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import msgpack

from actorflow.engine.policy import RestartPolicy, backoff
from actorflow.engine.records import Claimed, Released, decode_body
from actorflow.engine.rewinding import forked, rewound
from actorflow.engine.snapshot import dump, load
from actorflow.engine.supervision import (
    VERDICTS,
    Reason,
    RestartType,
    Strategy,
    Verdict,
    Window,
    affected,
    level,
    reason_of,
    verdict,
)
from actorflow.errors import (
    ActorflowError,
    Blocked,
    CommitUnknown,
    CorruptCheckpoint,
    Fenced,
    RunDeleted,
    RunOwned,
    StoreDenied,
    StoreFull,
    StoreUnavailable,
)
from tests.engine.test_fold import folded

TABLE = """
    reason        permanent  transient  temporary
    normal        restart    leave      leave
    shutdown      leave      leave      leave
    cancelled     leave      leave      leave
    failed        restart    leave      leave
    fenced        leave      leave      leave
    crashed       restart    restart    leave
    killed        restart    restart    restart
    poison        restart    restart    restart
    storage       stall      stall      stall
    incompatible  blocked    blocked    blocked
"""

HEAD, *ROWS = (line.split() for line in TABLE.strip().splitlines())
CELLS = [(row[0], kind, cell) for row in ROWS for kind, cell in zip(HEAD[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("reason", "restart", "expected"), CELLS)
def test_every_cell_of_the_decision_table(reason: Reason, restart: RestartType, expected: Verdict) -> None:
    """What becomes of a child is decided by why it exited and by its restart type, and by nothing else."""
    assert verdict(reason, restart) == expected


def test_the_table_has_every_reason_and_every_restart_type() -> None:
    """The set is closed: no exit is without a verdict, and this page tests them all."""
    reasons, kinds = set(get_args(Reason)), set(get_args(RestartType))

    assert set(VERDICTS) == {cell[0] for cell in CELLS} == reasons
    assert all(set(row) == kinds for row in VERDICTS.values())
    assert {cell[1] for cell in CELLS} == kinds


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (StoreUnavailable("p", "timed out"), "storage"),
        (CommitUnknown("p", "no reply"), "storage"),
        (Fenced("p", "epoch 3"), "fenced"),
        (RunOwned("x", "host", 7), "fenced"),
        (RunDeleted("x"), "fenced"),
        (Blocked("x", "newer"), "incompatible"),
        (CorruptCheckpoint("p", "bad digest"), "incompatible"),
        (StoreDenied("p", "read-only"), "incompatible"),
        (StoreFull("p", "no space"), "incompatible"),
        (ActorflowError("odd"), "incompatible"),
    ],
)
def test_only_a_store_that_does_not_answer_is_waited_for(error: Exception, reason: Reason) -> None:
    """No permission, no space and damage do not go away by waiting; another owner is not to be disturbed."""
    assert reason_of(error) == reason


@pytest.mark.parametrize(
    ("strategy", "exited", "expected"),
    [
        ("one_for_one", "b", "b"),
        ("one_for_all", "b", "abcd"),
        ("rest_for_one", "a", "abcd"),
        ("rest_for_one", "b", "bcd"),
        ("rest_for_one", "d", "d"),
    ],
)
def test_the_strategy_says_who_starts_again(strategy: Strategy, exited: str, expected: str) -> None:
    """In the order of their starts."""
    assert affected(strategy, "abcd", exited) == tuple(expected)


def test_a_window_counts_what_is_within_its_period() -> None:
    """Three restarts within a minute and no fourth; a minute after the first there is room for one more."""
    window = Window(max_restarts=3, period=60.0)
    for now in (0.0, 10.0, 20.0):
        assert not window.is_full(now)
        window.note(now)

    assert window.is_full(59.9)
    assert not window.is_full(60.0)
    assert window.total == 3


def test_a_window_of_no_restarts_is_always_full() -> None:
    """``max_restarts=0`` gives up at once."""
    assert Window(max_restarts=0, period=60.0).is_full(0.0)


def test_a_window_remembers_no_more_than_its_period() -> None:
    """However long a supervisor lives, what it remembers is bounded."""
    window = Window(max_restarts=9, period=1.0)
    for now in range(1000):
        window.note(float(now))

    assert window.times == (999.0,)
    assert window.total == 1000


def test_the_innermost_supervisor_with_room_takes_the_restart() -> None:
    """A full one exits, which is a crash to the one around it; with none left the top gives up."""
    inner, middle, top = (Window(max_restarts=most, period=60.0) for most in (1, 1, 0))

    assert level([inner, middle, top], 0.0) == 0
    inner.note(0.0)
    assert level([inner, middle, top], 1.0) == 1
    middle.note(1.0)
    assert level([inner, middle, top], 2.0) is None
    inner.clear()  # as it is when the one around has started it again
    assert level([inner, middle, top], 2.0) == 0


@given(times=st.lists(st.floats(0, 100), max_size=12).map(sorted), most=st.integers(0, 4), period=st.floats(0.1, 50))
def test_no_window_lets_more_than_its_limit_into_any_period(times: list[float], most: int, period: float) -> None:
    """Whenever restarts are asked for, no span of ``period`` seconds holds more than ``max_restarts``."""
    window, taken = Window(max_restarts=most, period=period), list[float]()
    for now in times:
        if not window.is_full(now):
            window.note(now)
            taken.append(now)

    assert all(sum(0 <= later - at < period for later in taken) <= most for at in taken)


@given(recent=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_backoff_doubles_up_to_its_limit_less_at_most_half(recent: int, chance: float) -> None:
    """So that what crashed together does not come back together."""
    policy = RestartPolicy(backoff=0.1, max_backoff=30.0)
    full = min(0.1 * 2.0 ** min(recent, 20), 30.0)

    assert full / 2 <= backoff(policy, recent, chance=chance) <= full


def test_whose_child_a_run_is_is_part_of_its_state() -> None:
    """A claim says it; later claims, snapshots and rewinds keep it, and a fork begins without."""
    run = folded(Claimed(2, 1, "shop/payments", "permanent"), Released(), Claimed(3, 1))
    assert (run.supervisor, run.restart) == ("shop/payments", "permanent")

    kept = load(dump(run))
    assert (kept.supervisor, kept.restart) == ("shop/payments", "permanent")
    then = folded()
    assert rewound(kept, then).supervisor == "shop/payments"
    copy = forked(load(dump(run)), "other", life=1)
    assert (copy.supervisor, copy.restart) == ("", None)


def test_a_claim_of_before_is_read_as_one_that_leaves_the_run_where_it_was() -> None:
    """Files that were written before there were supervisors stay readable."""
    old = msgpack.encode([[["claimed", 2, 1]], None])

    assert decode_body(old).records == (Claimed(2, 1),)
