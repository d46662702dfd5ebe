"""Bugs in inboxes: messages that are taken out of turn, twice or never."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.store import callers, lanes
from actorflow.store.dead_letters import DeadLetters
from actorflow.store.inbox import Inbox
from tests.planted.registry import everywhere, found_by

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest

    from actorflow.store.keys import Letter
    from actorflow.store.lanes import Mark, Marks, Taking


@found_by(
    "store/test_lanes.py::test_only_the_number_after_the_mark_is_taken",
    "store/test_lanes.py::test_the_code_decides_as_the_model_does",
)
def a_gap_in_a_lane_is_passed_over(patch: pytest.MonkeyPatch) -> None:
    """The message in it comes later, and is behind the mark."""

    def eager(mark: Mark, letter: Letter) -> bool:
        if letter.generation == mark.generation:
            return letter.number > mark.number
        return letter.generation > mark.generation and letter.number == 1

    patch.setattr(lanes, "_follows", eager)


@found_by("store/test_inbox.py::test_a_mark_outlives_its_messages")
def marks_are_forgotten_with_the_last_message(patch: pytest.MonkeyPatch) -> None:
    """Nothing waits in the lane, so why keep its mark?"""
    take = lanes.take

    def pruned(marks: Marks, listing: Iterable[Letter], *, limit: int | None = None) -> Taking:
        there = list(listing)
        senders = {letter.sender for letter in there}
        kept = lanes.Marks({sender: mark for sender, mark in marks.lanes.items() if sender in senders})
        return take(kept, there, limit=limit)

    everywhere(patch, take, pruned)


@found_by("store/test_inbox.py::test_a_switch_is_decided_by_a_second_listing")
def a_newer_generation_is_followed_at_once(patch: pytest.MonkeyPatch) -> None:
    """The listing had passed the place of an older message before that was put."""
    patch.setattr(Inbox, "_listed", lambda self, run_id, marks: self.letters(run_id))


@found_by(
    "store/test_inbox.py::test_a_dead_letter_is_kept_before_its_file_goes",
    "store/test_inbox.py::test_a_lane_goes_on_behind_a_damaged_message",
)
def what_can_not_be_taken_is_dropped(patch: pytest.MonkeyPatch) -> None:
    """No dead letter is kept of it."""
    patch.setattr(DeadLetters, "keep", lambda self, letter, message, **why: None)


@found_by(
    "store/test_lanes.py::test_a_full_window_refuses_rather_than_forgets",
    "store/test_inbox.py::test_a_full_window_leaves_messages_where_they_are",
)
def a_full_window_forgets_its_oldest_id(patch: pytest.MonkeyPatch) -> None:
    """It was used a moment ago, and its sender tries again."""

    def oldest(ids: dict[str, object], *, before: float, present: object, most: int) -> list[str]:
        return list(ids)[: len(ids) - most]

    patch.setattr(callers, "_forgettable", oldest)


@found_by("store/test_inbox.py::test_the_same_message_may_be_sent_again_and_another_may_not")
def two_messages_under_one_number_are_one(patch: pytest.MonkeyPatch) -> None:
    """The sender is told that its message is kept, and another one is."""
    patch.setattr(Inbox, "_is_kept", lambda self, letter, message: True)
