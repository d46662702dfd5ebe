"""Problems: all that is wrong with a declaration, collected in the order in which it is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Problems:
    """Mistakes are noted, and reading goes on as if what is near were meant: they are all reported at once."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def note(self, place: str, problems: Iterable[str]) -> None:
        """These were made at this place."""
        self.found.extend(f"{place}: {problem}" for problem in problems)
