"""Waking: how a process learns that messages came from elsewhere, for whichever runs.

On a local disk the kernel says so. Elsewhere the inbox is listed again and
again, one listing for all runs: soon after something came, seldom while
nothing does. Neither is believed to have told everything: a look at the whole
inbox follows from time to time, and shows what is still there once more.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import anyio

from actorflow.errors import StoreError
from actorflow.runtime import clock
from actorflow.runtime.watching import Watch
from actorflow.store.keys import INBOX, Letter, parse_letter
from actorflow.store.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from actorflow.store.store import Store

Letters = dict[str, list[Letter]]
"""What came, by the encoded id of the run that it is for."""

POLL = (0.05, 5.0)
"""Seconds between two listings: after something came, and when nothing has for long."""

SLOWER = 1.5
"""By so much each pause is longer than the one before, while nothing comes."""

LOOK_EVERY = 10.0
"""Seconds between two looks at the whole inbox while it is watched."""

TELL_AGAIN = 8
"""Looks after which what is still there is told again: who was told of it first may not have been able to take it."""

_logger = logging.getLogger("actorflow.runtime")


class Waking:
    """Tells a process of messages from elsewhere. One for each runtime; `listen` is its task."""

    def __init__(
        self,
        store: Store,
        notify: Callable[[Letters], object],
        *,
        in_store: Callable[[Callable[[], list[str]]], Awaitable[list[str]]],
        poll: tuple[float, float] = POLL,
    ) -> None:
        """Begin without a look.

        Args:
            store: whose inbox.
            notify: told of what is new, by run, on the event loop; of the same again if it stays.
            in_store: does blocking work of the store in a worker thread.
            poll: seconds between two listings, the shortest and the longest, where nothing can be watched.
        """
        self._backend = store.backend
        self._notify = notify
        self._in_store = in_store
        self._shortest, self._longest = poll
        self._told: set[Letter] = set()
        self._looks = 0
        self._hurried = anyio.Event()

    def hurry(self) -> None:
        """Something is expected, say a reply: look soon."""
        self._hurried.set()

    async def listen(self) -> None:
        """Tell of what comes, for ever."""
        backend = self._backend
        if isinstance(backend, LocalBackend):
            try:
                async with Watch(backend, INBOX) as watch:
                    await self._watch(watch)
            except OSError as error:  # a file system that can't, or no more watches left
                _logger.warning("%s can't be watched (%s): it is listed instead", backend.path(INBOX), error)
        await self._poll()

    # -- by listings --------------------------------------------------------------------

    async def _poll(self) -> None:
        pause = self._shortest
        while True:
            came = await self._look()
            pause = self._shortest if came else min(pause * SLOWER, self._longest)
            await clock.rest(pause, until=self._hurry_up)
            if self._hurried.is_set():
                self._hurried, pause = anyio.Event(), self._shortest

    async def _hurry_up(self) -> None:
        await self._hurried.wait()

    async def _look(self) -> bool:
        """One listing for all runs, and tell of what is new, now and then of all that is there; whether any is new."""
        there = await self._list(INBOX)
        if there is None:
            return False
        self._looks += 1
        fresh, self._told = there - self._told, there
        self._tell(fresh if self._looks % TELL_AGAIN else there)
        return bool(fresh)

    async def _list(self, prefix: str) -> set[Letter] | None:
        """The messages below a prefix; None if the store could not be asked."""
        try:
            keys = await self._in_store(lambda: self._backend.list(prefix))
        except StoreError as error:
            _logger.warning("could not look for messages: %s", error)
            return None
        return {letter for key in keys if (letter := parse_letter(key)) is not None}

    def _tell(self, letters: Iterable[Letter]) -> None:
        news: Letters = {}
        for letter in sorted(letters):
            news.setdefault(letter.run, []).append(letter)
        if news:
            self._notify(news)

    # -- by what the kernel tells -------------------------------------------------------

    async def _watch(self, watch: Watch) -> None:
        while True:
            await self._look()  # for what the kernel did not tell, because it had too much to tell
            until = time.monotonic() + LOOK_EVERY
            while (left := until - time.monotonic()) > 0:
                await clock.rest(left, until=watch.wait)
                await self._take_note(watch.take())

    async def _take_note(self, keys: list[str]) -> None:
        there = {letter for key in keys if (letter := parse_letter(key)) is not None}
        for key in keys:
            if key.count("/") == 1:  # a folder that was just made: what came before it was watched is told by nobody
                there |= await self._list(f"{key}/") or set()
        fresh = there - self._told
        self._told |= fresh
        self._tell(fresh)
