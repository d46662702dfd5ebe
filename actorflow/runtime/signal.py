"""Signal: an event of which there may be thousands, since it costs next to nothing until somebody waits for it."""

from __future__ import annotations

from anyio import Event


class Signal:
    """As `anyio.Event`: set once, and from then on nobody waits."""

    __slots__ = ("_event", "_set")

    def __init__(self) -> None:
        self._set = False
        self._event: Event | None = None  # only while somebody waits

    def set(self) -> None:
        """Let whoever waits go on."""
        self._set = True
        if self._event is not None:
            self._event.set()

    def is_set(self) -> bool:
        """Whether it was set."""
        return self._set

    async def wait(self) -> None:
        """Wait until it is set."""
        if self._event is None:
            self._event = Event()
            if self._set:
                self._event.set()
        await self._event.wait()
