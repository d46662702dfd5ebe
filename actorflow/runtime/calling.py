"""Calling: a user's function, async in its task or sync in a worker thread, and what is one after the other in it."""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CapacityLimiter, to_thread

from actorflow.graph.signature import is_async

if TYPE_CHECKING:
    from collections.abc import Callable

_THREAD: ContextVar[object | None] = ContextVar("actorflow-thread", default=None)


def _in_thread(call: Callable[[], Any]) -> tuple[Any]:
    """Call a function in the worker thread that this is called in: what it awaits from there is one after the other.

    Its value is in a tuple, since trio takes no coroutine out of a thread.
    """
    _THREAD.set(object())
    return (call(),)


def lane() -> object:
    """Stands for a task, or for the sync function on whose behalf it runs: what is done in one has an order."""
    return _THREAD.get() or anyio.get_current_task().id


async def invoke(fn: Callable[..., Any], arguments: tuple[Any, ...], threads: CapacityLimiter, **more: str) -> Any:
    """What a function returns.

    Args:
        fn: async, or sync: then it runs in a worker thread.
        arguments: for it.
        threads: how many sync functions run at once.
        **more: for it, too.
    """
    if is_async(fn):
        return await fn(*arguments, **more)
    # who waits in a worker thread for another one must not keep it from him
    limiter = threads if _THREAD.get() is None else CapacityLimiter(1)
    (value,) = await to_thread.run_sync(_in_thread, partial(fn, *arguments, **more), limiter=limiter)
    return await value if isawaitable(value) else value  # a plain function may return a coroutine
