"""Replies: what another thread will have, awaited in the event loop without a thread of ours that waits for it."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from anyio import Event

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future


async def reply(coming: Future[Any]) -> None:
    """Come back when it is there, whatever it is."""
    here = Event()
    soon = _from_any_thread()

    def ring(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has come to its end: nobody waits any more
            soon(here.set)

    coming.add_done_callback(ring)
    await here.wait()


def _from_any_thread() -> Callable[[Callable[[], object]], object]:
    """By which another thread calls something in this event loop. Anyio only has what waits until that is done."""
    soon: Callable[[Callable[[], object]], object]
    loaded: dict[str, Any] = sys.modules  # whichever runs here is among them, and the other need not be
    if "asyncio" in loaded:
        with suppress(RuntimeError):  # it is not asyncio that runs here
            soon = loaded["asyncio"].get_running_loop().call_soon_threadsafe
            return soon
    soon = loaded["trio"].lowlevel.current_trio_token().run_sync_soon
    return soon
