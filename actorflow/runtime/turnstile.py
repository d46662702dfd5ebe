"""Turnstile: a lock of which there may be thousands, since it is made when somebody first passes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Lock

if TYPE_CHECKING:
    from types import TracebackType


class Turnstile:
    """As `anyio.Lock`, for ``async with``: one at a time."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock: Lock | None = None

    async def __aenter__(self) -> None:
        """Wait for those who came before."""
        if self._lock is None:
            self._lock = Lock()
        await self._lock.acquire()

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            self._lock.release()
