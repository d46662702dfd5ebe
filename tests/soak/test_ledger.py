"""What the oracle of a soak says of ledgers: each message once, none lost, each courier's in order."""

from __future__ import annotations

import pytest

from tests.soak.ledger import STOPS, Book
from tests.soak.told import Line

COURIER = [f"c:{number + 1}" for number in range(STOPS)]


def book(**places: int) -> Book:
    """Everything that is named was sent, and is known to be kept: with this place, or 0 if nobody asked."""
    told = Book()
    for label, place in places.items():
        for what in ("sent", "kept"):
            told.note(Line(what=what, who=1, at=0.0, run="r", text=label, seq=place))  # type: ignore[arg-type]
    return told


def test_what_was_kept_and_is_written_once_is_no_problem() -> None:
    """Nor is what still waits, or what was sent, and whose sender died before he knew."""
    told = book(a=1, b=0, late=0)
    told.note(Line(what="sent", who=1, at=0.0, run="r", text="unknown"))

    assert list(told.problems("r", ["a", "b", "unknown", *COURIER[:5]], waiting=["late"], dead=[], ended=False)) == []


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        (["a", *COURIER], "b was kept, and is lost"),
        (["a", "b", "a", *COURIER], "a counts 2 times"),
        (["a", "b", "x", *COURIER], "x counts, and nobody has sent it"),
        (["b", "a", *COURIER], "a was told to have place [1], and has not"),
        (["a", "b", *COURIER[:2], *COURIER[3:]], "from c came 1, 2, 4"),
        (["a", "b", *COURIER[1::-1], *COURIER[2:]], "from c came 2, 1"),
        (["a", "b", *COURIER[:-1]], f"from c came only {STOPS - 1}"),
    ],
)
def test_what_is_wrong_with_a_ledger_is_found(entries: list[str], problem: str) -> None:
    """Lost, doubled, nobody's, told wrongly, a gap in a lane, out of order, cut off."""
    found = list(book(a=1, b=0).problems("r", entries, waiting=[], dead=[], ended=True))

    assert len(found) == 1
    assert found[0].startswith(f"r: {problem}")


def test_a_dead_letter_is_a_violation() -> None:
    """Nothing that was sent here can't be handled."""
    assert list(book().problems("r", [], waiting=[], dead=["a"], ended=True)) == ["r: a is dead"]
