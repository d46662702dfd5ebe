"""Book: which steps there were in one function, so that one without a key is known by its name and number."""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from typing import TYPE_CHECKING

from actorflow.errors import AmbiguousStep
from actorflow.runtime.calling import lane

if TYPE_CHECKING:
    from contextvars import Token


class Book:
    """The steps of a function: of a node, of what is around it, or of a step that has steps inside."""

    __slots__ = ("_counts", "_lanes", "base", "live", "owner")

    def __init__(self, base: bytes, owner: object) -> None:
        """Nothing was done yet.

        Args:
            base: what the steps belong to.
            owner: whose they are.
        """
        self.base = base
        self.owner = owner
        self.live: set[tuple[str, str | None]] = set()  # by name and key: those that are being done
        self._counts: Counter[tuple[bytes, str]] = Counter()
        self._lanes: dict[tuple[bytes, str], object] = {}

    def nth(self, node: str, kind: bytes, name: str) -> int:
        """Which one of its kind and name this is. One task counts them: between two, the order would be timing.

        Raises:
            AmbiguousStep: another task has used this name.
        """
        here = lane()
        if self._lanes.setdefault((kind, name), here) != here:
            raise AmbiguousStep(node, name)
        self._counts[kind, name] += 1
        return self._counts[kind, name]

    def begin_again(self) -> None:
        """Count from the first on."""
        self._counts.clear()
        self._lanes.clear()

    def open(self) -> Token[Book | None]:
        """What is done from here on, in this task and those that it starts, is written into this one."""
        return _OPEN.set(self)

    @staticmethod
    def close(token: Token[Book | None]) -> None:
        """What is done from here on is written where it was before."""
        _OPEN.reset(token)

    @staticmethod
    def opened(owner: object) -> Book | None:
        """The one that is open here, if it is this owner's: a step may run a graph, whose nodes have steps, too."""
        book = _OPEN.get()
        return book if book is not None and book.owner is owner else None


_OPEN: ContextVar[Book | None] = ContextVar("actorflow-book", default=None)
