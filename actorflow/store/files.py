"""Open files: the descriptors of logs in use, at most so many, the longest unused closed first."""

from __future__ import annotations

import os
import resource
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager


_MOST = 4096


def default_limit() -> int:
    """How many files runs may have open if nobody says: half of what this process may open (``ulimit -n``)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else max(1, min(soft // 2, _MOST))


class OpenFiles:
    """Descriptors by key. Thread-safe; a descriptor in use is never closed."""

    def __init__(self, opener: Callable[[str], int], *, limit: int) -> None:
        self._opener = opener
        self._limit = limit
        self._lock = threading.Lock()
        self._idle: dict[str, int] = {}  # least recently used first
        self._used = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._idle) + self._used

    def use(self, key: str) -> AbstractContextManager[int]:
        """The descriptor of ``key``, for one user at a time. After an error it is closed, not kept."""
        return _Use(self, key)

    def keep(self, key: str, fd: int) -> None:
        """Take a descriptor that was opened elsewhere, for the next use of ``key``."""
        with self._lock:
            self._idle[key] = fd
            surplus = self._trim(self._limit)
        for old in surplus:
            os.close(old)

    def take(self, key: str) -> int:
        """The descriptor of ``key``, which must be given back or closed; see `use`."""
        with self._lock:
            self._used += 1
            fd = self._idle.pop(key, None)
        if fd is not None:
            return fd
        try:
            return self._opener(key)
        except BaseException:
            with self._lock:
                self._used -= 1
            raise

    def give_back(self, key: str, fd: int, *, keep: bool) -> None:
        """It is used no more: to be kept for the next use, or closed."""
        with self._lock:
            self._used -= 1
            if keep:
                self._idle[key] = fd
            surplus = self._trim(self._limit)
        for old in surplus if keep else (*surplus, fd):
            os.close(old)

    def discard(self, key: str) -> None:
        """Close the descriptor of ``key``, if it is open."""
        with self._lock:
            fd = self._idle.pop(key, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Close all that are not in use."""
        with self._lock:
            surplus = self._trim(0)
        for fd in surplus:
            os.close(fd)

    def _trim(self, limit: int) -> Sequence[int]:
        keep = max(limit - self._used, 0)
        if len(self._idle) <= keep:
            return ()
        return [self._idle.pop(next(iter(self._idle))) for _ in range(len(self._idle) - keep)]


class _Use:
    """`OpenFiles.use`; a class, since a commit enters one, and a generator takes twice as long."""

    __slots__ = ("_fd", "_files", "_key")

    def __init__(self, files: OpenFiles, key: str) -> None:
        self._files = files
        self._key = key
        self._fd = -1

    def __enter__(self) -> int:
        self._fd = self._files.take(self._key)
        return self._fd

    def __exit__(self, kind: type[BaseException] | None, *raised: object) -> None:
        self._files.give_back(self._key, self._fd, keep=kind is None)
