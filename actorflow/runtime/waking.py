"""Waking: how a process learns that messages came from elsewhere, for whichever runs.

On a local disk the kernel says so. Elsewhere the inbox is listed again and
again, one listing for all runs: soon after something came, seldom while
nothing does. Neither is believed to have told everything: a look at the whole
inbox follows from time to time, and shows what is still there once more.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import CapacityLimiter, to_thread

from actorflow.errors import StoreError
from actorflow.runtime import clock
from actorflow.store.keys import INBOX, Letter, parse_letter
from actorflow.store.local import LocalBackend

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from watchfiles import Change

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

_STEP = 20  # milliseconds between two questions to the kernel, in a thread without the interpreter
_TOGETHER = 40  # milliseconds: what comes within them is told together

_logger = logging.getLogger("actorflow.runtime")


class Waking:
    """Tells a process of messages from elsewhere. One for each runtime; `watch` is its task."""

    def __init__(
        self,
        store: Store,
        notify: Callable[[Letters], object],
        *,
        in_store: Callable[[Callable[[], Letters]], Awaitable[Letters]],
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

    async def watch(self) -> None:
        """Tell of what comes, for ever."""
        backend = self._backend
        if isinstance(backend, LocalBackend):
            try:
                await self._watch(backend)
            except Exception as error:  # noqa: BLE001 - a network mount, or no more watches: each says it differently
                _logger.warning("%s can't be watched (%s): it is listed instead", backend.path(INBOX), error)
        await self._poll()

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
        """One listing for all runs, and tell of what is new; whether something was."""
        try:
            found = await self._in_store(self._list)
        except StoreError as error:
            _logger.warning("could not look for messages: %s", error)
            return False
        self._looks += 1
        there = {letter for letters in found.values() for letter in letters}
        known = self._told if self._looks % TELL_AGAIN else set[Letter]()
        self._told = there
        return self._tell(there - known)

    def _list(self, prefix: str = INBOX) -> Letters:
        return _by_run(self._backend.list(prefix))

    def _tell(self, letters: Iterable[Letter]) -> bool:
        news: Letters = {}
        for letter in sorted(letters):
            news.setdefault(letter.run, []).append(letter)
        if news:
            self._notify(news)
        return bool(news)

    # -- on a local disk -------------------------------------------------------------

    async def _watch(self, backend: LocalBackend) -> None:
        """Let the kernel tell; raises what says that it can't."""
        from watchfiles import watch  # only who is told of messages needs it

        root = await to_thread.run_sync(_made, backend)
        stop = threading.Event()
        changes = watch(
            root + INBOX,
            watch_filter=None,
            debounce=_TOGETHER,
            step=_STEP,
            stop_event=stop,
            rust_timeout=0,
            raise_interrupt=False,
            recursive=True,
        )
        thread = CapacityLimiter(1)  # of its own: it waits there for ever
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_again)
            tasks.start_soon(_until_cancelled, stop)
            while (batch := await to_thread.run_sync(_next, changes, limiter=thread)) is not None:
                await self._take_note(root, batch)
            tasks.cancel_scope.cancel()

    async def _look_again(self) -> None:
        """What the kernel did not tell, since it was busy, or since a folder was new."""
        while True:
            await self._look()
            await clock.rest(LOOK_EVERY, until=self._hurry_up)
            self._hurried = anyio.Event()

    async def _take_note(self, root: str, batch: set[tuple[Change, str]]) -> None:
        from watchfiles import Change

        keys = [path.removeprefix(root) for change, path in batch if change != Change.deleted]
        letters = [letter for key in keys if (letter := parse_letter(key)) is not None]
        for key in keys:
            if key.count("/") == 1:  # a folder that was just made: what came before it was watched is told by nobody
                with_it = await self._in_store(partial(self._list, f"{key}/"))
                letters += [letter for its in with_it.values() for letter in its]
        fresh = set(letters) - self._told
        self._told |= fresh
        self._tell(fresh)


async def _until_cancelled(stop: threading.Event) -> None:
    """Let the thread that watches come back when the task group is cancelled: nothing else ends its waiting."""
    try:
        await anyio.sleep_forever()
    finally:
        stop.set()


def _next(changes: Iterator[set[tuple[Change, str]]]) -> set[tuple[Change, str]] | None:
    return next(changes, None)


def _made(backend: LocalBackend) -> str:
    """Make the folder of the inbox; the root of the store as the kernel will call it, and a slash."""
    backend.make_folder(INBOX)
    return os.path.realpath(backend.root) + "/"


def _by_run(keys: Iterable[str]) -> Letters:
    found: Letters = {}
    for key in keys:
        if (letter := parse_letter(key)) is not None:
            found.setdefault(letter.run, []).append(letter)
    return found
