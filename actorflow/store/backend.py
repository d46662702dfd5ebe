"""Backend: the four calls on which a store stands, and what each of them promises."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable

T = TypeVar("T")

Steps = Generator["Future[Any] | None", None, T]
"""Blocking work that stops before each wait, so that many can wait together.

Whoever has several takes the first step of each before the second of any: what the first of them waits for
then mostly serves them all. Whoever has one calls `whole`.

A step that sent something away yields what will be there once it is answered, and the next one does not block
then. Before a step that may block, None is yielded.
"""

REPLY_SECONDS = 90.0
"""The next step is taken after so long at the latest, and finds no reply: every client has given up by then."""


def whole(steps: Steps[T]) -> T:
    """All the steps, one after the other; what they return."""
    while True:
        try:
            coming = next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
        if coming is not None:
            wait((coming,), REPLY_SECONDS)


class Missing(LookupError):
    """Nothing is stored under this key. Never raised for what is there but can't be read."""

    def __init__(self, key: str) -> None:
        super().__init__(f"nothing under {key!r}")
        self.key = key


class Backend(ABC):
    """Bytes under keys, created once and never changed. Thread-safe; calls block.

    Keys are relative paths with ``/``; no segment starts with a dot. Whatever
    is raised for a store that fails is a `StoreError` and names the path. A
    failed `put_new` may have taken effect: read the key to know.

    A backend of your own passes `actorflow.testing`'s contract suite.
    """

    readers: int = 1
    """How many reads of small objects are worth making at once: on a bucket each takes tens of milliseconds."""

    ascends: bool = False
    """Whether the service lists ascending by key, also while others write: a higher key is looked for later.

    Sorting what came in any order does not make it so. Only where it is so may the number of a commit come free
    (see `merging` and `pruning`): a claimer that took such a number finds out by a listing that it came too late.
    """

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Whoever overrides `put_new` alone means all puts: `putting_new` then goes by it, whatever was inherited."""
        super().__init_subclass__(**arguments)
        if "put_new" in vars(cls) and "putting_new" not in vars(cls):
            cls.putting_new = Backend.putting_new  # type: ignore[method-assign]

    @abstractmethod
    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store ``data`` if ``key`` is free; False if it was taken, and nothing changed.

        Of any number of racing calls exactly one gets True. When it returns
        True the data is whole, readable everywhere, and survives power loss.
        ``durable=False`` is for indexes that can be rebuilt: it may be lost,
        and may be seen half written.
        """

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps, durably; for many at once. Where a commit is a request, the first does not block."""
        yield None
        return self.put_new(key, data)

    @abstractmethod
    def get(self, key: str) -> bytes:
        """The bytes under ``key`` as last stored, never from a cache.

        Raises:
            Missing: the key is free.
        """

    @abstractmethod
    def list(self, prefix: str) -> list[str]:
        """All keys below ``prefix`` ("" or ending in "/"), at any depth, sorted (`ascends`: also as found)."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Delete exactly these keys. A key that is not there is no error."""
