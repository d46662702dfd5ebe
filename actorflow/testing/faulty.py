"""A backend that fails as it is told to: on the nth call that can fail in that way, once or from then on.

Sweep ``nth`` = 1, 2, 3 ... until no fault fires any more, and every call of a
scenario has failed once. Whatever happens there must be a result or a typed
error, and nothing that was acknowledged may be gone afterwards.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from typing import TYPE_CHECKING, Literal, TypeVar, get_args

from actorflow.errors import StoreUnavailable
from actorflow.store.faults import store_error
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.backend import Backend

T = TypeVar("T")

Fault = Literal[
    "unavailable",
    "denied",
    "full",
    "no descriptors",
    "slow",
    "lost reply",
    "short write",
    "torn read",
    "stale listing",
    "duplicate entry",
]
Call = Literal["put", "get", "list", "delete"]

FAULTS: tuple[Fault, ...] = get_args(Fault)
"""All of them."""

_CALLS: dict[Fault, tuple[Call, ...]] = {
    "unavailable": ("put", "get", "list", "delete"),
    "denied": ("put", "get", "list", "delete"),
    "full": ("put",),
    "no descriptors": ("put", "get", "list", "delete"),
    "slow": ("put", "get", "list", "delete"),
    "lost reply": ("put", "delete"),
    "short write": ("put",),
    "torn read": ("get",),
    "stale listing": ("list",),
    "duplicate entry": ("list",),
}
_ERRNO: dict[Fault, int] = {
    "unavailable": errno.EIO,
    "denied": errno.EACCES,
    "full": errno.ENOSPC,
    "no descriptors": errno.EMFILE,
}


class FaultyBackend(WrappedBackend):
    """A backend in front of another one, with one fault. Thread-safe.

    Args:
        inner: the backend that works.
        fault: what goes wrong.

            - ``unavailable``, ``denied``, ``full``, ``no descriptors``: the call has no effect, and fails.
            - ``slow``: it takes ``seconds`` longer.
            - ``lost reply``: it takes effect, and fails as if it had timed out.
            - ``short write``: half of the bytes are stored, and it fails. No backend that keeps the
              contract does this: what it leaves is damage, to be found and not to be believed.
            - ``torn read``: half of the bytes come back.
            - ``stale listing``: the listing of the same prefix that was given last, or an empty one.
            - ``duplicate entry``: the last key is listed twice.

        nth: on which call that can fail in this way, counted from 1.
        persistent: on all that follow as well.
        on: only calls of these kinds; by default all that can fail in this way.
        seconds: how slow.

    Example:
        >>> from actorflow.store.memory import MemoryBackend
        >>> from actorflow.testing.faulty import FaultyBackend
        >>> backend = FaultyBackend(MemoryBackend(), "lost reply", nth=2)
        >>> backend.put_new("a", b"1")
        True
        >>> backend.put_new("b", b"2")
        Traceback (most recent call last):
        actorflow.errors.StoreUnavailable: b: no reply came; it may have taken effect
        >>> backend.get("b"), backend.fired
        (b'2', 1)
    """

    def __init__(
        self,
        inner: Backend,
        fault: Fault,
        *,
        nth: int = 1,
        persistent: bool = False,
        on: Iterable[Call] | None = None,
        seconds: float = 0.01,
    ) -> None:
        super().__init__(inner)
        self.fault: Fault = fault
        self.fired = 0
        """How often it has failed."""
        self._nth = nth
        self._persistent = persistent
        self._on = frozenset[Call](_CALLS[fault] if on is None else on)
        self._seconds = seconds
        self._mutex = threading.Lock()
        self._seen = 0
        self._listed: dict[str, list[str]] = {}
        if not self._on <= set(_CALLS[fault]):
            raise ValueError(f"{fault!r} befalls {', '.join(_CALLS[fault])}, not {', '.join(sorted(self._on))}")

    def heal(self) -> None:
        """Nothing fails any more."""
        with self._mutex:
            self._on = frozenset[Call]()

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, or fail."""
        if not self._fires("put"):
            return self.inner.put_new(key, data, durable=durable)
        if self.fault == "short write":
            self.inner.put_new(key, data[: len(data) // 2], durable=durable)
            raise StoreUnavailable(key, os.strerror(errno.EIO))
        return self._fail(key, lambda: self.inner.put_new(key, data, durable=durable))

    def get(self, key: str) -> bytes:
        """Get, or fail."""
        if not self._fires("get"):
            return self.inner.get(key)
        if self.fault == "torn read":
            data = self.inner.get(key)
            return data[: len(data) // 2]
        return self._fail(key, lambda: self.inner.get(key))

    def list(self, prefix: str) -> list[str]:
        """List, or fail."""
        fires = self._fires("list")
        if fires and self.fault == "stale listing":
            return list(self._listed.get(prefix, []))
        if fires and self.fault == "duplicate entry":
            keys = self.inner.list(prefix)
            return keys + keys[-1:]
        if fires:
            return self._fail(prefix, lambda: self.inner.list(prefix))
        keys = self.inner.list(prefix)
        self._listed[prefix] = list(keys)
        return keys

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, or fail."""
        names = list(keys)
        if self._fires("delete"):
            self._fail(names[0] if names else "", lambda: self.inner.delete(names))
        else:
            self.inner.delete(names)

    def _fires(self, call: Call) -> bool:
        with self._mutex:
            if call not in self._on:
                return False
            self._seen += 1
            fires = self._seen == self._nth or (self._persistent and self._seen > self._nth)
            self.fired += fires
            return fires

    def _fail(self, key: str, work: Callable[[], T]) -> T:
        if self.fault == "slow":
            time.sleep(self._seconds)
            return work()
        if self.fault == "lost reply":
            work()
            raise StoreUnavailable(key, "no reply came; it may have taken effect")
        number = _ERRNO[self.fault]
        raise store_error(key, OSError(number, os.strerror(number)))
