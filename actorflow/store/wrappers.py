"""Wrappers: a backend in front of a backend, and the one that tries again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, TypeVar

from actorflow.errors import StoreDenied, StoreFull, StoreUnavailable
from actorflow.store.backend import Backend, Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.backend import Steps

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
        return self._again(lambda failures: self._put(key, data, durable=durable, failures=failures))

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps: what is made again blocks."""
        began = time.monotonic()
        try:
            return (yield from self.inner.putting_new(key, data))
        except StoreUnavailable as error:
            failure = error
        yield None
        return self._again(lambda failures: self._put(key, data, failures=failures), failure=failure, began=began)

    def get(self, key: str) -> bytes:
        """Get."""
        return self._again(lambda _: self.inner.get(key))

    def list(self, prefix: str) -> list[str]:
        """List."""
        return self._again(lambda _: self.inner.list(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete; what is gone already is no error."""
        names = [*keys]
        self._again(lambda _: self.inner.delete(names))

    def _put(self, key: str, data: bytes, *, durable: bool = True, failures: int) -> bool:
        try:
            if self.inner.put_new(key, data, durable=durable):
                return True
            return failures > 0 and self.inner.get(key) == data
        except Missing:
            raise StoreUnavailable(key, "it was taken a moment ago, and is gone") from None
        except (StoreDenied, StoreFull) as error:
            if not failures:
                raise
            # Of this request it is certain that it took no effect, but not of the one before it.
            raise StoreUnavailable(key, f"unclear at first whether it was put, and then refused: {error}") from error

    def _again(
        self, call: Callable[[int], T], *, failure: StoreUnavailable | None = None, began: float | None = None
    ) -> T:
        """Call it, with the number of failures before, until it comes back. ``failure``: it failed once already."""
        end = (time.monotonic() if began is None else began) + self._seconds
        failures = 0
        while True:
            if failure is None:
                try:
                    return call(failures)
                except StoreUnavailable as error:
                    failure = error
            failures += 1
            if failures >= self._attempts or time.monotonic() >= end:
                raise failure
            time.sleep(random.uniform(0, 0.1 * 2**failures))
            failure = None
