"""The memory backend: a store that ends with its process, for tests and for runs worth no file."""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from actorflow.store.backend import Backend, Missing

if TYPE_CHECKING:
    from collections.abc import Iterable


class MemoryBackend(Backend):
    """Bytes in a dict under one lock."""

    ascends = True  # all of a listing is of one moment

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[str, bytes] = {}
        self._keys: list[str] = []  # ascending, so that listing one run does not visit all of them

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store if free. Nothing here is durable, whatever is asked."""
        del durable
        with self._lock:
            if key in self._data:
                return False
            self._data[key] = bytes(data)
            insort(self._keys, key)
            return True

    def get(self, key: str) -> bytes:
        """The bytes under ``key``."""
        with self._lock:
            try:
                return self._data[key]
            except KeyError:
                raise Missing(key) from None

    def list(self, prefix: str) -> list[str]:
        """All keys below ``prefix``, ascending."""
        with self._lock:
            start = bisect_left(self._keys, prefix)
            end = bisect_left(self._keys, prefix[:-1] + chr(ord("/") + 1)) if prefix else len(self._keys)
            return self._keys[start:end]

    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys."""
        with self._lock:
            for key in keys:
                if self._data.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]


_NAMED: dict[str, MemoryBackend] = {}
_NAMED_LOCK = threading.Lock()


def memory_backend(name: str) -> MemoryBackend:
    """The backend of ``memory://name``: one per name in this process; a fresh private one if the name is empty."""
    if not name:
        return MemoryBackend()
    with _NAMED_LOCK:
        return _NAMED.setdefault(name, MemoryBackend())
