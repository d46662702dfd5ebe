"""Supervision: what is done when a child of a supervisor exits, and to whom. OTP's words and rules, as pure functions.

Why a child exited is one of a closed set of reasons. Its restart type and that
reason say what becomes of it (`verdict`), the strategy of its supervisor who
starts again with it (`affected`), and the windows of the supervisors above it
which of them takes the restart (`level`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

from msgspec import Struct

from actorflow.errors import CommitUnknown, Fenced, RunDeleted, RunOwned, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

RestartType = Literal["permanent", "transient", "temporary"]
"""Whether a child is started again always, only after a crash, or never."""

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
"""Who is started again with a child: nobody, all its siblings, or those that were started after it."""

Reason = Literal[
    "normal",  # the run finished
    "shutdown",  # its supervisor or its runtime stopped it
    "cancelled",  # somebody decided that it ends
    "failed",  # the run failed for good: its node had declared how often to try, or the error can't go away
    "fenced",  # another owner claimed it
    "crashed",  # an exception left a node
    "killed",  # its process died: found out by whoever claims the run next
    "poison",  # the message it crashed over again and again is set aside
    "storage",  # the store does not answer
    "incompatible",  # this process can't go on with it: newer schema, missing node, damage, no permission
]
"""Why an actor exited."""

Verdict = Literal["restart", "leave", "stall", "blocked"]
"""Start it again, leave it as it is, wait for the store, or leave it to a process that can run it."""

VERDICTS: dict[Reason, dict[RestartType, Verdict]] = {
    "normal": {"permanent": "restart", "transient": "leave", "temporary": "leave"},
    "shutdown": {"permanent": "leave", "transient": "leave", "temporary": "leave"},
    "cancelled": {"permanent": "leave", "transient": "leave", "temporary": "leave"},
    "failed": {"permanent": "restart", "transient": "leave", "temporary": "leave"},
    # its owner is alive elsewhere; should it die, the scan for orphaned runs finds that out
    "fenced": {"permanent": "leave", "transient": "leave", "temporary": "leave"},
    "crashed": {"permanent": "restart", "transient": "restart", "temporary": "leave"},
    # that a process died is no verdict on the runs in it: they survive (guarantee 1), whatever their type
    "killed": {"permanent": "restart", "transient": "restart", "temporary": "restart"},
    "poison": {"permanent": "restart", "transient": "restart", "temporary": "restart"},
    "storage": {"permanent": "stall", "transient": "stall", "temporary": "stall"},
    "incompatible": {"permanent": "blocked", "transient": "blocked", "temporary": "blocked"},
}
"""What is done, by why it exited and by its restart type."""


def verdict(reason: Reason, restart: RestartType) -> Verdict:
    """What is done about a child that exited."""
    return VERDICTS[reason][restart]


def reason_of(error: Exception) -> Reason:
    """Why an actor exited that could not go on with its run. What a node raised is `crashed`, and never asked here."""
    if isinstance(error, StoreUnavailable | CommitUnknown):
        return "storage"
    if isinstance(error, Fenced | RunOwned | RunDeleted):
        return "fenced"
    return "incompatible"


def affected(strategy: Strategy, members: Sequence[T], exited: T) -> tuple[T, ...]:
    """Who starts again when a member does, in the order of their starts; the others are stopped before, in reverse."""
    match strategy:
        case "one_for_one":
            return (exited,)
        case "one_for_all":
            return tuple(members)
        case "rest_for_one":
            return tuple(members[members.index(exited) :])


class Under(Struct, frozen=True):
    """Under which supervisor a run is to be, by its path, and as what: None is as usual there."""

    path: str
    restart: RestartType | None


class Window(Struct):
    """The restarts of a supervisor within its last ``period`` seconds: more than ``max_restarts`` are too many."""

    max_restarts: int
    period: float  # seconds
    times: tuple[float, ...] = ()  # on a monotonic clock
    total: int = 0  # ever

    def recent(self, now: float) -> int:
        """How many restarts there were within the period."""
        return sum(1 for at in self.times if now - at < self.period)

    def is_full(self, now: float) -> bool:
        """Whether one more restart would be one too many."""
        return self.recent(now) >= self.max_restarts

    def note(self, now: float) -> None:
        """Count a restart; those that are out of the period are forgotten."""
        self.times = (*(at for at in self.times if now - at < self.period), now)
        self.total += 1

    def clear(self) -> None:
        """Begin anew, as a supervisor does that was started again itself."""
        self.times = ()


def level(windows: Sequence[Window], now: float) -> int | None:
    """Which supervisor takes a restart, the innermost being first; None: all have had too many, and the top gives up.

    One whose window is full exits itself, and is a child that crashed to the one around it.
    """
    return next((index for index, window in enumerate(windows) if not window.is_full(now)), None)
