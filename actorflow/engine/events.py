"""Events that a run is told of, and the commands that a decision about them leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from actorflow.engine.mail import ParcelKind, Said
from actorflow.engine.records import Ask, ErrorInfo, Shape, Status
from actorflow.engine.run import Form


class Outgoing(Struct, frozen=True):
    """Something that an attempt sends to another run, or a timer that it sets."""

    kind: ParcelKind | Literal["timer", "untimer"]
    target: str  # a run, or the name of the timer
    form: Form | None = None
    values: Any = None
    ask: str | None = None  # the question of this run that the reply answers
    graph: str | None = None  # of a child
    on_close: Literal["cancel", "abandon", "forget"] | None = None  # of a child
    due: float = 0.0  # seconds since the epoch


class Returned(Struct, frozen=True):
    """An attempt returned this."""

    id: int
    value: Any
    took: float = 0.0  # seconds
    attempt: int = 1
    now: float = 0.0  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter
    cached: bool = False  # the node was not called
    outgoing: tuple[Outgoing, ...] = ()  # what goes out with it


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
    outgoing: tuple[Outgoing, ...] = ()  # what is sent to be replied to, once: with the question


class Due(Struct, frozen=True):
    """A moment came that was waited for: an activation that owns its work is tried again, a question expires."""

    id: int
    now: float  # seconds since the epoch


class Sweep(Struct, frozen=True):
    """A run was loaded: start what is open, and decide what is due but not recorded yet."""

    now: float = 0.0  # seconds since the epoch
    unclean: bool = False  # the process before died


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


class Intending(Struct, frozen=True):
    """An attempt is about to begin a step that must not run twice."""

    id: int
    step: bytes
    name: str
    key: str | None
    now: float  # seconds since the epoch


class Trying(Struct, frozen=True):
    """A step failed, and is to be tried again after a while."""

    id: int
    step: bytes
    name: str
    key: str | None
    attempt: int
    due: float  # seconds since the epoch
    began: float
    error: Exception


class Stepping(Struct, frozen=True):
    """A step is over, with this result (plain), or with an error that is final."""

    id: int
    step: bytes
    name: str
    key: str | None
    value: Any = None
    error: Exception | None = None
    shape: Shape | None = None
    undo: str | None = None


class Undoing(Struct, frozen=True):
    """An attempt has undone what a step did."""

    id: int
    step: bytes


Effect = Intending | Trying | Stepping | Undoing
"""What an attempt wants recorded of its steps. It is refused by `AttemptOver` once its activation is not open."""


class Receiving(Struct, frozen=True):
    """Something was sent to the run: by a caller, or by another run along its lane."""

    id: bytes  # a hash of who sent it as which
    kind: ParcelKind | Literal["lost"] = "message"  # lost: nobody can read it, and only its number counts
    form: Form | None = None
    values: Any = None
    now: float = 0.0  # seconds since the epoch
    sender: str | None = None
    lane: tuple[str, int, int] | None = None  # the sender as letters name it, generation, number
    caller: str | None = None  # the caller's id as letters name it
    content: bytes = b""  # a digest, where the caller gave an id
    present: frozenset[str] = frozenset()  # ids of callers that may come again
    ask: str | None = None  # the question of the sender that the reply answers
    error: ErrorInfo | None = None
    by: str | None = None
    size: int = 0  # bytes, about
    bounded: bool = True  # refused if the mailbox is full
    kept: bool = False  # it was accepted elsewhere, so that it can't be refused
    unfit: Exception | None = None  # of one that was kept: why this code can't handle it
    again: bool = False  # it was accepted before: only its reply is wanted


class Taking(Struct, frozen=True):
    """An attempt takes a message that it waited for, or (with an error) finds that nobody can read it."""

    id: int
    key: str
    message: bytes
    error: Exception | None = None


class Dispatched(Struct, frozen=True):
    """Other runs have what this one sent them, up to these numbers."""

    upto: Mapping[str, int]


class Bounced(Struct, frozen=True):
    """Something that this run sent can't be delivered, ever."""

    target: str
    number: int
    error: ErrorInfo
    now: float = 0.0
    down: dict[str, Any] | None = None  # of a run that was to be monitored, and has ended: how


Recorded = Effect | Taking
"""All that an attempt wants recorded while it goes on."""

Asking = Answering | Updating | Inputting | Pausing | Tagging | Receiving | Dispatched | Bounced
"""What others may ask of a run. It is refused by an exception, and then nothing has changed."""

Event = Returned | Raised | Suspended | Due | Sweep | GaveUp | Stop | Asking | Recorded


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


class Tell(Struct, frozen=True):
    """Tell whoever waits for it what was replied to a message."""

    id: int
    message: bytes
    said: Said


Command = Tell | Start | Retry | Expire | Warn | Crash
