"""Together: one look for all who want the same looked at, and none of them is shown what was seen before he asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from anyio import Event
from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class _Look(Struct, Generic[T], eq=False):
    """A look that some wait for, and what came of it; neither, when it is done: who was to take it was cancelled."""

    done: Event = field(default_factory=Event)
    seen: list[T] = field(default_factory=list[T])
    error: Exception | None = None


class Together(Generic[T]):
    """Looks at things, each by its key. Who asks while one is looked at waits for the next look, with all the others.

    So many who ask at once cost two looks, and one who asks alone waits for nobody.
    """

    def __init__(self, look: Callable[[str], Awaitable[T]]) -> None:
        """Begin with nobody.

        Args:
            look: what they want.
        """
        self._look = look
        self._under_way: dict[str, _Look[T]] = {}
        self._next: dict[str, _Look[T]] = {}

    async def ask(self, key: str) -> T:
        """What a look shows that begins after this call; raises what it raises."""
        while True:
            look = self._next.get(key)
            if look is None:
                look = await self._lead(key)
            else:
                await look.done.wait()
            if look.error is not None:
                raise look.error
            if look.seen:
                return look.seen[0]

    async def _lead(self, key: str) -> _Look[T]:
        """Take the next look, when the one under way is over."""
        look = self._next[key] = _Look[T]()
        try:
            if (before := self._under_way.get(key)) is not None:
                await before.done.wait()
            self._under_way[key] = self._next.pop(key)
            look.seen.append(await self._look(key))
        except Exception as error:  # noqa: BLE001 - raised where it is asked for
            look.error = error
        finally:
            for looks in (self._next, self._under_way):
                if looks.get(key) is look:
                    del looks[key]
            look.done.set()
        return look
