"""Bugs in supervision: who is stopped, started again and counted, and what is no crash at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.engine.records import Claimed
from actorflow.runtime import claiming, supervisor
from actorflow.runtime.blocked import BlockedRuns
from actorflow.runtime.life import Life
from tests.planted.registry import found_by

if TYPE_CHECKING:
    import pytest

    from actorflow.engine.supervision import Under, Window
    from actorflow.errors import StoreError

SUPERVISORS = "runtime/test_supervisors.py"


@found_by(f"{SUPERVISORS}::test_one_for_all_stops_in_reverse_and_starts_in_order")
def a_group_stops_in_the_order_of_its_starts(patch: pytest.MonkeyPatch) -> None:
    """Who needs the one before it finds it gone; and starts again before it is back."""
    recalled = supervisor.recalled
    patch.setattr(supervisor, "recalled", lambda children: recalled(children[::-1]))


@found_by(
    # On one loop: with this bug each of them waits for as long as it can.
    f"{SUPERVISORS}::test_children_are_counted_together_and_one_crash_too_many_stops_all[asyncio]",
    f"{SUPERVISORS}::test_the_outermost_gives_up_when_it_had_to_restart_another_too_often[asyncio]",
)
def no_restart_is_one_too_many(patch: pytest.MonkeyPatch) -> None:
    """A group that can't live crashes for ever."""

    def innermost(windows: list[Window], now: float) -> int:
        return 0

    patch.setattr(supervisor, "level", innermost)


@found_by(f"{SUPERVISORS}::test_children_are_counted_together_and_one_crash_too_many_stops_all")
def the_scan_takes_up_what_a_supervisor_stopped(patch: pytest.MonkeyPatch) -> None:
    """A moment after their supervisor gave up its children run again, under nobody's eyes."""

    def forget(self: BlockedRuns, run_id: str, path: str) -> None:
        """Nothing is set aside."""

    patch.setattr(BlockedRuns, "set_aside", forget)


@found_by(f"{SUPERVISORS}::test_a_recovered_run_joins_the_supervisor_of_its_name")
def a_claim_does_not_say_whose_child_the_run_is(patch: pytest.MonkeyPatch) -> None:
    """After a crash of the process all are the root's."""

    def bare(epoch: int, opening: int, under: Under | None) -> Claimed:
        return Claimed(epoch, opening)

    patch.setattr(claiming, "_claimed", bare)


@found_by("runtime/test_outages.py::test_an_outage_that_lasts_too_long_reaches_whoever_waits")
def a_claim_is_taken_for_progress(patch: pytest.MonkeyPatch) -> None:
    """A store that takes claims and no commits lets nodes run again and again, without an end."""
    stall = Life._stall

    def hopeful(self: Any, error: StoreError) -> float:
        self.stalls = 0
        return stall(self, error)

    patch.setattr(Life, "_stall", hopeful)
