"""The clock: what a runtime takes for the time. A test may set it: see `actorflow.testing.VirtualClock`.

What is kept in records is wall time, and what waits for such a time sleeps on
the event loop's clock. Times that the store keeps for itself, such as those of
its heartbeats, are none of this clock's business.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LOOK_EVERY = 60.0
"""Seconds after which a sleeper looks at the wall clock again: it may have been set, or the machine was suspended."""


class Clock:
    """The machine's clock."""

    def now(self) -> float:
        """Seconds since 1970."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some moment, never set back."""
        return time.monotonic()

    async def sleep_until(self, due: float) -> None:
        """Sleep until a time in seconds since 1970; late is immediate."""
        while (left := due - self.now()) > 0:  # noqa: ASYNC110 - nobody says when a clock is set
            await anyio.sleep(min(left, LOOK_EVERY))

    async def rest(self, seconds: float, *, until: Callable[[], Awaitable[object]] = anyio.sleep_forever) -> None:
        """Wait between two looks at the store, or until this returns: nobody's deadline, nothing that time jumps to."""
        with anyio.move_on_after(seconds):
            await until()


_clock = Clock()


def current() -> Clock:
    """The clock that counts."""
    return _clock


def use(clock: Clock) -> Clock:
    """Let this be the clock of all runtimes of the process; the one before."""
    global _clock  # time is the process's: what reads it is called from anywhere, in any thread
    before, _clock = _clock, clock
    return before


def now() -> float:
    """Seconds since 1970."""
    return _clock.now()


def monotonic() -> float:
    """Seconds since some moment, never set back."""
    return _clock.monotonic()


async def sleep_until(due: float) -> None:
    """Sleep until a time in seconds since 1970; late is immediate."""
    await _clock.sleep_until(due)


async def rest(seconds: float, *, until: Callable[[], Awaitable[object]] = anyio.sleep_forever) -> None:
    """Wait between two looks at the store, or until this returns. See `Clock.rest`."""
    await _clock.rest(seconds, until=until)
