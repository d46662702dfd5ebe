"""Noticing: whether what is awaited waits for something, or goes through at once."""

from __future__ import annotations

from types import coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

T = TypeVar("T")


@coroutine
def noticed(awaited: Coroutine[Any, Any, T], waits: Callable[[], object]) -> Generator[Any, Any, T]:
    """Await a coroutine, and call a function the first time that it waits, before it does.

    Everything is passed on, in both directions.
    """
    try:
        waited = awaited.send(None)
    except StopIteration as over:
        return over.value  # type: ignore[no-any-return]
    waits()
    while True:
        sent, thrown = None, None
        try:
            sent = yield waited
        except BaseException as error:  # noqa: BLE001 - a cancellation is for the coroutine
            thrown = error
        try:
            waited = awaited.send(sent) if thrown is None else awaited.throw(thrown)
        except StopIteration as over:
            return over.value  # type: ignore[no-any-return]
