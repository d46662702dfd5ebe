"""Records of messages, timers and other runs: what came, was handled and answered, and what goes out; see `mailing`."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from actorflow.engine.error_info import ErrorInfo


class Received(Struct, frozen=True, array_like=True, tag="received"):
    """A message was accepted, and waits until it is handled; what has no ``form`` is only noted.

    With a lane, the mark of that moves on; with a caller, the id is remembered.
    """

    id: bytes
    at: float  # seconds since the epoch
    form: str = ""
    values: dict[str, Any] = {}
    sender: str | None = None
    lane: tuple[str, int, int] | None = None  # the sender as its letters name it, generation, number
    caller: str | None = None
    content: bytes = b""  # a digest, where the caller gave an id
    forgets: tuple[str, ...] = ()  # ids of callers that are remembered no longer
    ask: str | None = None
    by: str | None = None
    size: int = 0  # bytes, about


class TurnOpened(Struct, frozen=True, array_like=True, tag="turn"):
    """The oldest message that a handler is for is being handled."""

    message: bytes
    node: str
    key: bytes


class TurnRetaken(Struct, frozen=True, array_like=True, tag="retaken"):
    """A process died while this turn was open, and the next one handles its message again."""

    id: int


class Replied(Struct, frozen=True, array_like=True, tag="replied"):
    """What the handler of a message answers to whoever asked."""

    id: int
    value: Any = None
    error: ErrorInfo | None = None


class Buried(Struct, frozen=True, array_like=True, tag="buried"):
    """A message became a dead letter: of this turn, which is over, or (None) out of the mailbox."""

    id: int | None
    message: bytes
    reason: Literal["failed", "poison", "unknown", "ended", "undeliverable"]
    error: ErrorInfo | None = None
    at: float = 0.0


class Taken(Struct, frozen=True, array_like=True, tag="taken"):
    """A node that waited for a message took it out of the mailbox."""

    id: int
    key: str
    message: bytes


class Woken(Struct, frozen=True, array_like=True, tag="woken"):
    """A message came that a node waits for: it runs again, to see whether it is that one."""

    id: int


class Closing(Struct, frozen=True, array_like=True, tag="closing"):
    """A handler said that the run is over: no further message is handled, and it ends with what is open."""


class TimerSet(Struct, frozen=True, array_like=True, tag="timer"):
    """A message to the run itself is due at a time; one of that name that was set before is replaced."""

    name: str
    due: float
    form: str
    values: dict[str, Any]


class TimerCancelled(Struct, frozen=True, array_like=True, tag="untimer"):
    """A timer will not fire."""

    name: str


class TimerFired(Struct, frozen=True, array_like=True, tag="fired"):
    """The time of a timer came: its message is in the mailbox."""

    name: str
    message: bytes
    at: float


class Posted(Struct, frozen=True, array_like=True, tag="posted"):
    """Something was sent to another run; it is kept until that one has it."""

    target: str
    kind: Literal["message", "reply", "spawn", "monitor", "down", "cancel"]
    form: str = ""
    values: Any = None
    ask: str | None = None
    graph: str | None = None
    error: ErrorInfo | None = None
    on_close: Literal["cancel", "abandon", "forget"] | None = None  # of a child
    by: int | None = None  # of a child: the activation that begins it


class Delivered(Struct, frozen=True, array_like=True, tag="delivered"):
    """Other runs have what was sent to them, up to these numbers."""

    upto: dict[str, int]


class Undelivered(Struct, frozen=True, array_like=True, tag="undelivered"):
    """Something can't be delivered, ever."""

    target: str
    number: int
    error: ErrorInfo
    at: float


class Forgotten(Struct, frozen=True, array_like=True, tag="forgotten"):
    """A child ended: this run, which may begin them for ever, keeps nothing of it once the activation is over."""

    run_id: str
    sender: str | None  # as its letters name it, if nothing is kept of what it has sent
    generation: int = 0  # of that
    by: int | None = None  # the activation that began it


class Inherited(Struct, frozen=True, array_like=True, tag="inherited"):
    """The life of the id before this one was deleted; what its lanes had come to goes on."""

    marks: dict[str, tuple[int, int]]  # by sender: generation and number


class Watched(Struct, frozen=True, array_like=True, tag="watched"):
    """A run wants to be told when this one ends, or (``on`` False) no longer."""

    run_id: str
    ask: str | None = None
    linked: bool = False
    on: bool = True


MailRecord = (
    Received
    | TurnOpened
    | TurnRetaken
    | Replied
    | Buried
    | Taken
    | Woken
    | Closing
    | TimerSet
    | TimerCancelled
    | TimerFired
    | Posted
    | Delivered
    | Undelivered
    | Forgotten
    | Inherited
    | Watched
)
"""What happens by messages, timers and other runs."""
