"""The restart policy, as a table."""

from __future__ import annotations

import pytest

from actorflow.engine.policy import PERMANENT, GiveUp, Restart, RestartPolicy, after_crash
from actorflow.errors import (
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    NodeTimeout,
    ReducerError,
    TooManyActivations,
    UndeclaredTarget,
    UnknownNode,
)

DEFAULT = RestartPolicy()


@pytest.mark.parametrize(
    ("policy", "restarts", "now", "chance", "expected"),
    [
        (DEFAULT, (), 0.0, 0.0, Restart(0.1)),
        (DEFAULT, (99.0,), 100.0, 0.0, Restart(0.2)),
        (DEFAULT, (98.0, 99.0), 100.0, 0.0, Restart(0.4)),
        (DEFAULT, (98.0, 99.0), 100.0, 1.0, Restart(0.2)),
        (DEFAULT, (97.0, 98.0, 99.0), 100.0, 0.0, GiveUp("3 restarts within 60 s")),
        (DEFAULT, (39.9, 98.0, 99.0), 100.0, 0.0, Restart(0.4)),
        (DEFAULT, (40.0, 98.0, 99.0), 100.0, 0.0, Restart(0.4)),
        (DEFAULT, (1.0, 2.0, 3.0), 100.0, 0.0, Restart(0.1)),
        (RestartPolicy(max_restarts=0), (), 0.0, 0.0, GiveUp("0 restarts within 60 s")),
        (RestartPolicy(max_restarts=99), (0.0,) * 20, 1.0, 0.0, Restart(30.0)),
        (RestartPolicy(max_restarts=9, max_backoff=1.0), (0.0,) * 5, 1.0, 0.0, Restart(1.0)),
        (RestartPolicy(max_restarts=9999), (0.0,) * 2000, 1.0, 0.0, Restart(30.0)),
        (RestartPolicy(max_restarts=9999, backoff=0.0), (0.0,) * 2000, 1.0, 0.0, Restart(0.0)),
        (RestartPolicy(period=float("inf")), (0.0, 0.0, 0.0), 1e9, 0.0, GiveUp("3 restarts within inf s")),
    ],
)
def test_restart_or_give_up(
    policy: RestartPolicy, restarts: tuple[float, ...], now: float, chance: float, expected: Restart | GiveUp
) -> None:
    """Backoff doubles with each restart within the period; at the limit the run is given up."""
    assert after_crash(policy, RuntimeError(), restarts, now=now, chance=chance) == expected


@pytest.mark.parametrize(
    "error",
    [
        BadUpdate("n", "wrong"),
        ConcurrentWrite("n", ["f"]),
        JoinStarved({"d": ["c"]}),
        ReducerError("n", "f", "raised"),
        TooManyActivations(1),
        UndeclaredTarget("n", "x", []),
        UnknownNode("n", "g"),
    ],
)
def test_what_cannot_go_away_by_itself_is_not_restarted(error: Exception) -> None:
    """A restart would only come to the same end."""
    assert isinstance(error, PERMANENT)
    assert after_crash(DEFAULT, error, (), now=0.0, chance=0.0) == GiveUp(
        f"{type(error).__name__} can't go away by itself"
    )


def test_a_timeout_may_go_away() -> None:
    """The next call may be quicker."""
    assert isinstance(after_crash(DEFAULT, NodeTimeout("n", 1.0), (), now=0.0, chance=0.0), Restart)


def test_the_users_own_errors_can_be_named() -> None:
    """Subclasses count, as with except."""
    policy = RestartPolicy(never_restart=(LookupError,))

    assert after_crash(policy, KeyError(), (), now=0.0, chance=0.0) == GiveUp("KeyError is never restarted")
    assert isinstance(after_crash(policy, ValueError(), (), now=0.0, chance=0.0), Restart)


@pytest.mark.parametrize("name", ["max_restarts", "period", "backoff", "max_backoff"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_policy_is_checked_when_it_is_made(name: str, value: float) -> None:
    """The message says which setting is wrong."""
    with pytest.raises(ValueError, match=name):
        RestartPolicy(**{name: value})
