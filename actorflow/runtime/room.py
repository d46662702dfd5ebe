"""Room: those who wait until a full mailbox takes something again, in the order in which they came."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
from anyio import Event

if TYPE_CHECKING:
    from collections.abc import Generator


class Place:
    """Somebody's place in the row, kept until they leave it."""

    def __init__(self) -> None:
        self.turn = Event()

    async def wait(self, *, deadline: float) -> bool:
        """Wait until there may be room; False: not before this time of the event loop."""
        with anyio.move_on_at(deadline) as scope:
            await self.turn.wait()
        if scope.cancelled_caught:
            return False
        self.turn = Event()
        return True


class Room:
    """Who waits for room in the mailbox of one actor."""

    def __init__(self) -> None:
        self._places: list[Place] = []

    def __bool__(self) -> bool:
        """Whether anybody waits: who comes now is not to overtake them."""
        return bool(self._places)

    @contextmanager
    def place(self) -> Generator[Place]:
        """Stand in the row."""
        place = Place()
        self._places.append(place)
        try:
            yield place
        finally:
            self._places.remove(place)

    def made(self, count: int) -> None:
        """So many messages may come: it is the turn of as many of those who wait, the first ones first."""
        for place in self._places[: max(0, count)]:
            place.turn.set()

    def close(self) -> None:
        """The actor leaves: all look for the next one."""
        self.made(len(self._places))
