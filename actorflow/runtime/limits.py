"""Limits: an attempt of a node is given so much time, and what it says after that is not heard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from actorflow.errors import NodeTimeout
from actorflow.runtime import clock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.graph.timeouts import Timeout


class Course:
    """An attempt as it goes: what it says by its context, from any thread, as long as it may."""

    __slots__ = ("_scope", "_tell", "cached", "ended", "heard")

    def __init__(self, tell: Callable[[str, tuple[Any, ...]], None]) -> None:
        """``tell`` is given what it says."""
        self._tell = tell
        self._scope: anyio.CancelScope | None = None
        self.cached = False  # its result was known, so that the function was not called
        self.ended = False
        self.heard = 0.0  # when it last said something, on the monotonic clock

    def __call__(self, verb: str, arguments: tuple[Any, ...]) -> None:
        """Pass it on, unless the attempt is over, or its time is."""
        if self.over:
            return
        self.heard = clock.monotonic()
        self._tell(verb, arguments)

    @property
    def over(self) -> bool:
        """Whether nothing more is heard of it: it is over, or its time is."""
        return self.ended or (self._scope is not None and self._scope.cancel_called)

    def lasts(self, scope: anyio.CancelScope) -> None:
        """Not to be heard any more once this is cancelled."""
        self._scope = scope
        self.heard = clock.monotonic()


async def within(
    limits: Timeout, call: Callable[[], Awaitable[Any]], *, node: str, began: float | None, course: Course
) -> Any:
    """What a call returns or raises in time.

    Args:
        limits: how long it may take.
        call: what to call.
        node: for the message.
        began: when the first attempt did, in seconds since the epoch; None: just now.
        course: by which it says that it goes on.

    Raises:
        NodeTimeout: it was over its time. What it returned or raised after that does not count.
    """
    seconds, which = limits.attempt, "attempt"
    if limits.total is not None:
        left = max(0.0, limits.total - (0.0 if began is None else clock.now() - began))
        if not left:
            raise NodeTimeout(node, limits.total, "total")
        if seconds is None or left < seconds:
            seconds, which = left, "total"
    late: Exception | None = None
    value: Any = None
    with anyio.move_on_after(seconds) as scope:
        course.lasts(scope)
        try:
            value = await (call() if limits.idle is None else _heard(call, course, scope, limits.idle))
        except Exception as error:
            if not scope.cancel_called:
                raise
            late = error
    if not scope.cancel_called:
        return value
    if limits.idle is not None and scope.deadline > anyio.current_time():  # the time was not up: it was silent
        raise NodeTimeout(node, limits.idle, "idle") from late
    if which == "total":
        raise NodeTimeout(node, limits.total or 0.0, "total") from late
    raise NodeTimeout(node, limits.attempt or 0.0) from late


async def _heard(call: Callable[[], Awaitable[Any]], course: Course, scope: anyio.CancelScope, idle: float) -> Any:
    """What a call returns or raises; cancelled when it has said nothing for ``idle`` seconds."""

    async def listen() -> None:
        while (left := course.heard + idle - clock.monotonic()) > 0:  # noqa: ASYNC110 - it is heard from any thread
            await anyio.sleep(left)
        scope.cancel()

    raised: BaseException | None = None
    value: Any = None
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        try:
            value = await call()
        except anyio.get_cancelled_exc_class():
            raise
        except BaseException as error:  # noqa: BLE001 - raised again as it is: not in the task group's group
            raised = error
        tasks.cancel_scope.cancel()
    if raised is not None:
        raise raised
    return value
