"""Events that a run is told of, and the commands that a decision about them leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from actorflow.engine.records import Ask, Status


class Returned(Struct, frozen=True):
    """An attempt returned this."""

    id: int
    value: Any
    took: float = 0.0  # seconds
    attempt: int = 1
    now: float = 0.0  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter
    cached: bool = False  # the node was not called


class Raised(Struct, frozen=True):
    """The ``attempt``-th attempt raised (the first is 1)."""

    id: int
    error: Exception
    attempt: int
    now: float  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter
    final: bool = False  # there is no time for another attempt


class Suspended(Struct, frozen=True):
    """An attempt stopped, because it waits for answers."""

    id: int
    asks: tuple[Ask, ...]
    attempt: int = 1


class Due(Struct, frozen=True):
    """A moment came that was waited for: an activation that owns its work is tried again, a question expires."""

    id: int
    now: float  # seconds since the epoch


class Sweep(Struct, frozen=True):
    """A run was loaded: start what is open, and decide what is due but not recorded yet."""

    now: float = 0.0  # seconds since the epoch


class GaveUp(Struct, frozen=True):
    """The supervisor does not restart the run again after this error of the activation with this key."""

    key: bytes | None
    error: BaseException


class Stop(Struct, frozen=True):
    """Somebody ends the run in this status."""

    status: Status
    by: str | None = None


class Answering(Struct, frozen=True):
    """Somebody answers: a question by its name, or (None) the only one."""

    value: Any
    to: str | None = None
    by: str | None = None


class Updating(Struct, frozen=True):
    """Somebody changes the state; with ``node``, as if that one had finished with this update.

    ``node`` is a name, or a path of scopes to one.
    """

    values: Mapping[str, Any]
    node: str | None = None
    by: str | None = None
    idle: bool = False  # no activation runs at this moment, whatever the status


class Inputting(Struct, frozen=True):
    """More input for a run: merged, and its entry opened again. What is still open is in the way, or ends first."""

    values: Mapping[str, Any]
    on_pending: Literal["error", "queue", "discard"] = "error"
    by: str | None = None


class Pausing(Struct, frozen=True):
    """Somebody wants nothing new to begin, or (``on=False``) the run to go on."""

    on: bool
    by: str | None = None


class Tagging(Struct, frozen=True):
    """Somebody names a commit, or (None) takes the name away."""

    name: str
    seq: int | None
    by: str | None = None


Asking = Answering | Updating | Inputting | Pausing | Tagging
"""What others may ask of a run. It is refused by an exception, and then nothing has changed."""

Event = Returned | Raised | Suspended | Due | Sweep | GaveUp | Stop | Asking


class Start(Struct, frozen=True):
    """Run this activation."""

    id: int


class Retry(Struct, frozen=True):
    """Run this activation again after ``delay`` seconds, as its ``attempt``-th attempt."""

    id: int
    attempt: int
    delay: float


class Expire(Struct, frozen=True):
    """Tell the run at this time (seconds since the epoch) that it has come; see `Due`."""

    id: int
    due: float


class Warn(Struct, frozen=True):
    """Say this in the log."""

    id: int
    text: str


class Crash(Struct, frozen=True):
    """Let the actor crash: leave its tasks and let the supervisor restart it from its last file."""

    id: int
    error: Exception


Command = Start | Retry | Expire | Warn | Crash
