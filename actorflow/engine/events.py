"""Events that a run is told of, and the commands that a decision about them leads to."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from actorflow.engine.records import Status


class Returned(Struct, frozen=True):
    """An attempt returned this."""

    id: int
    value: Any
    took: float = 0.0  # seconds
    attempt: int = 1
    now: float = 0.0  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter


class Raised(Struct, frozen=True):
    """The ``attempt``-th attempt raised (the first is 1)."""

    id: int
    error: Exception
    attempt: int
    now: float  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter


class Sweep(Struct, frozen=True):
    """A run was loaded: start what is open, and decide what is due but not recorded yet."""


class GaveUp(Struct, frozen=True):
    """The supervisor does not restart the run again after this error of the activation with this key."""

    key: bytes | None
    error: BaseException


class Stop(Struct, frozen=True):
    """Somebody ends the run in this status."""

    status: Status
    by: str | None = None


Event = Returned | Raised | Sweep | GaveUp | Stop


class Start(Struct, frozen=True):
    """Run this activation."""

    id: int


class Retry(Struct, frozen=True):
    """Run this activation again after ``delay`` seconds, as its ``attempt``-th attempt."""

    id: int
    attempt: int
    delay: float


class Crash(Struct, frozen=True):
    """Let the actor crash: leave its tasks and let the supervisor restart it from its last file."""

    id: int
    error: Exception


Command = Start | Retry | Crash
