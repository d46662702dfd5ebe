"""Wrappers: a backend in front of a backend, and the one that tries again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from actorflow.errors import StoreDenied, StoreFull, StoreUnavailable
from actorflow.store.backend import Backend, Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class WrappedBackend(Backend):
    """A backend in front of ``inner`` that changes nothing: subclass it, and override what you look at."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.readers = inner.readers
        self.ascends = inner.ascends

    def __str__(self) -> str:
        return str(self.inner)

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """As ``inner`` does it."""
        return self.inner.put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """As ``inner`` does it."""
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """As ``inner`` does it."""
        return self.inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """As ``inner`` does it."""
        self.inner.delete(keys)


class RetryingBackend(WrappedBackend):
    """Calls that found the store unavailable are made again, a few times, with jitter.

    What the store refused is not asked again. A put that failed may have taken
    effect: when it is repeated and finds its key taken, the bytes are compared,
    and its own count as put. So of several who put *the same* bytes under one
    key, more than one may be told that they did. If it is refused when it is
    repeated, it stays unclear whether it was put: no refusal is passed on then.
    """

    def __init__(self, inner: Backend, *, attempts: int = 4, seconds: float = 10.0) -> None:
        """Wrap ``inner``.

        Args:
            inner: The backend to call.
            attempts: How often one call is made at most.
            seconds: When this much time has passed since the first attempt, no other is begun. So what fails
                slowly, as by a timeout, is not waited for again and again.
        """
        super().__init__(inner)
        self._attempts = attempts
        self._seconds = seconds

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put; after a failure, find out."""
        failed = False

        def put() -> bool:
            nonlocal failed
            try:
                if self.inner.put_new(key, data, durable=durable):
                    return True
                return failed and self.inner.get(key) == data
            except Missing:
                raise StoreUnavailable(key, "it was taken a moment ago, and is gone") from None
            except StoreUnavailable:
                failed = True
                raise
            except (StoreDenied, StoreFull) as error:
                if not failed:
                    raise
                # Of this request it is certain that it took no effect, but not of the one before it.
                raise StoreUnavailable(
                    key, f"unclear at first whether it was put, and then refused: {error}"
                ) from error

        return self._again(put)

    def get(self, key: str) -> bytes:
        """Get."""
        return self._again(lambda: self.inner.get(key))

    def list(self, prefix: str) -> list[str]:
        """List."""
        return self._again(lambda: self.inner.list(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete; what is gone already is no error."""
        names = [*keys]
        self._again(lambda: self.inner.delete(names))

    def _again(self, call: Callable[[], T]) -> T:
        end = time.monotonic() + self._seconds
        for attempt in range(1, self._attempts):
            try:
                return call()
            except StoreUnavailable:
                if time.monotonic() >= end:
                    raise
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        return call()
