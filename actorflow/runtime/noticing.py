"""Noticing: whether what is awaited waits for something, or goes through at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


class Noticed(Generic[T]):
    """Awaited in place of a coroutine: calls a function the first time that one waits, and before it does."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], waits: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._waits = waits

    def __await__(self) -> Generator[Any, Any, T]:
        """Pass everything on, in both directions."""
        try:
            waited = self._coroutine.send(None)
        except StopIteration as over:
            return over.value  # type: ignore[no-any-return]
        self._waits()
        while True:
            sent, thrown = None, None
            try:
                sent = yield waited
            except BaseException as error:  # noqa: BLE001 - a cancellation is for the coroutine
                thrown = error
            try:
                waited = self._coroutine.send(sent) if thrown is None else self._coroutine.throw(thrown)
            except StopIteration as over:
                return over.value  # type: ignore[no-any-return]
