"""Watching: a folder of a local store of which the kernel tells what is new in it.

The waiting is done in a thread of its own, and in none of those that nodes and
the store share: it would hold one for ever. The thread ends with the block.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import anyio
from anyio import CapacityLimiter, RunFinishedError, from_thread, to_thread
from anyio.lowlevel import current_token

if TYPE_CHECKING:
    from types import TracebackType

    from anyio.lowlevel import EventLoopToken

    from actorflow.store.local import LocalBackend

STEP = 20
"""Milliseconds between two questions to the kernel; the thread asks without holding the interpreter."""

TOGETHER = 40
"""Milliseconds: what comes within them is told together."""


class Watch:
    """What becomes new below one folder, for ``async with``. It is made if it is not there."""

    def __init__(self, backend: LocalBackend, prefix: str) -> None:
        self._backend = backend
        self._prefix = prefix
        self._root = ""  # as the kernel calls it
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._keys: list[str] = []
        self._came = anyio.Event()
        self._error: OSError | None = None

    async def __aenter__(self) -> Self:
        """Begin to watch.

        Raises:
            StoreError: there can be no such folder.
        """
        self._root = await to_thread.run_sync(self._make_folder, limiter=CapacityLimiter(1))
        name = f"watching {self._root}{self._prefix}"
        self._thread = threading.Thread(target=self._run, args=(current_token(),), name=name, daemon=True)
        self._thread.start()
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            # shielded: nothing runs on after a runtime was left; bounded by one step
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(self._thread.join, limiter=CapacityLimiter(1))

    async def wait(self) -> None:
        """Wait until `take` has something to give, or to raise."""
        await self._came.wait()

    def take(self) -> list[str]:
        """The keys that are new since the last time; those of folders without a slash at their end.

        Raises:
            OSError: it can't be watched.
        """
        if self._error is not None:
            raise self._error
        keys, self._keys, self._came = self._keys, [], anyio.Event()
        return keys

    def _make_folder(self) -> str:
        self._backend.make_folder(self._prefix)
        return os.path.realpath(self._backend.root) + "/"

    def _run(self, token: EventLoopToken) -> None:
        from watchfiles import Change, watch  # only who is told of messages needs it

        try:
            for batch in watch(
                self._root + self._prefix,
                watch_filter=None,
                debounce=TOGETHER,
                step=STEP,
                stop_event=self._stop,
                rust_timeout=0,
                raise_interrupt=False,
            ):
                new = [path for change, path in batch if change != Change.deleted]
                self._tell([path.removeprefix(self._root) for path in new], None, token)
        except Exception as error:  # noqa: BLE001 - the library has an error of its own for some of them
            self._tell([], error if isinstance(error, OSError) else OSError(str(error)), token)

    def _tell(self, keys: list[str], error: OSError | None, token: EventLoopToken) -> None:
        with suppress(RunFinishedError):  # the loop was torn down around us, and nobody listens
            from_thread.run_sync(self._hear, keys, error, token=token)

    def _hear(self, keys: list[str], error: OSError | None) -> None:
        self._keys += keys
        self._error = error
        self._came.set()
