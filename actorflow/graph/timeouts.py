"""Timeout: how long an attempt of a node may take, how long all of them, and how long it may say nothing."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeGuard

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator


class Timeout(Struct, frozen=True, kw_only=True):
    """Seconds that a node may take. What is not said has no limit; ``timeout=30`` is ``Timeout(attempt=30)``.

    What is over its time is cancelled, and raises `NodeTimeout`. After ``attempt`` or ``idle``
    it is called again if its `Retry` says so; ``total`` is the end of it.

    Args:
        attempt: each call.
        total: all calls together, with the pauses in between and over all restarts of the process. It
            begins anew when the run is resumed after a failure, and when a question of the node is answered.
        idle: a call may be silent for so long: `Context.emit`, `Context.progress` and
            `Context.heartbeat` say that it goes on.

    Example:
        >>> from actorflow import Timeout
        >>> Timeout(idle=30, total=3600)
        Timeout(attempt=None, total=3600, idle=30)
    """

    attempt: float | None = None
    total: float | None = None
    idle: float | None = None

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            seconds = getattr(self, name)
            if seconds is not None and not is_time(seconds):
                raise ValueError(f"Timeout({name}={seconds!r}): give seconds, more than 0, or None for no limit")


def timeout_of(given: float | Timeout | None) -> Timeout | None:
    """What ``timeout=`` was given, as it is kept; None if it limits nothing."""
    if given is None:
        return None
    limits = given if isinstance(given, Timeout) else Timeout(attempt=given)
    finite = [
        seconds if seconds is not None and math.isfinite(seconds) else None
        for seconds in (limits.attempt, limits.total, limits.idle)
    ]
    return None if finite == [None] * 3 else Timeout(attempt=finite[0], total=finite[1], idle=finite[2])


def problems_of_timeout(given: object, *, sync: bool) -> Iterator[str]:
    """Why this can't be the time limit of a node. ``math.inf`` is none at all."""
    if given is None:
        return
    if not isinstance(given, Timeout) and not is_time(given):
        yield f"timeout={given!r}: give seconds, more than 0 (math.inf for no limit), or a Timeout"
    elif sync and timeout_of(given) is not None:
        yield (
            "it has a timeout, but a sync node runs in a thread, which can't be stopped; "
            'make it async, or say isolate="process"'
        )


def is_time(seconds: object) -> TypeGuard[float]:
    """Whether it is a number of seconds above 0, infinity included."""
    return isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds > 0  # NaN is not
