"""Mail: what a run has been sent and has not handled, what it sends, and what it remembers of both.

Part of the run's state: the commit that holds what a message did holds all of
this, too. So a message changes the state once (guarantee 5), however often it
comes: by its lane for ever, by its caller's id as long as the window remembers.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

from actorflow.engine.records import ErrorInfo

HANDLED_IN_CRASHES = 3
"""A message that was being handled when so many processes in a row died is a dead letter."""

DEAD_LETTERS = 1_000
"""So many dead letters a run keeps; the oldest go first."""

QUESTIONS = 256
"""So many waits of one run for the end of another one are known there; the oldest go first, since most are over."""

HOUR = 3600.0

_CHILD = "(child)"

_BITS = 32
_WITHIN = (1 << _BITS) - 1

ParcelKind = Literal["message", "reply", "spawn", "monitor", "down", "cancel"]
"""What is sent: a message, the reply to one, the beginning of a child, or word about how runs end."""


class Letter(Struct, array_like=True):
    """A message that a run has accepted."""

    id: bytes  # a hash of who sent it as which: the same in every execution
    form: str  # of its type, among the forms of the run
    values: dict[str, Any]
    at: float  # seconds since the epoch, when it was accepted
    sender: str | None = None  # the run that sent it
    caller: str | None = None  # the id that its caller gave it, as the window knows it
    ask: str | None = None  # the question of the sender that its reply answers
    by: str | None = None
    takes: int = 0  # how often its handling was begun by a commit of its own
    size: int = 0  # bytes, about


class Dead(Struct, frozen=True, array_like=True):
    """A message that nobody will handle, and why."""

    letter: Letter
    reason: Literal["failed", "poison", "unknown", "ended", "undeliverable"]
    error: ErrorInfo | None = None
    at: float = 0.0


class Said(Struct, frozen=True, array_like=True):
    """What a run replied to a message."""

    value: Any = None
    error: ErrorInfo | None = None


class Seen(Struct, array_like=True):
    """A caller's id that was used: for which content, when, and what was replied."""

    content: bytes
    time: float
    said: Said | None = None


class Timer(Struct, frozen=True, array_like=True):
    """A message that the run gets from itself at a time."""

    due: float  # seconds since the epoch
    form: str
    values: dict[str, Any]
    set: int  # which setting of the name it is, so that each is another message


class Parcel(Struct, frozen=True, array_like=True):
    """Something that the run sends to another one: kept until that one has it, in the order of its lane."""

    target: str  # a run
    number: int  # in the lane to that run: see `lane_of`
    kind: ParcelKind
    form: str = ""
    values: Any = None
    ask: str | None = None
    graph: str | None = None  # of a child
    error: ErrorInfo | None = None

    @property
    def says_nothing(self) -> bool:
        """Whether it only stands under its number, so that the lane has no gap there."""
        return self.kind == "reply" and self.ask is None


class Child(Struct, frozen=True, array_like=True):
    """A run that this one began."""

    graph: str
    on_close: Literal["cancel", "abandon", "forget"]
    by: int | None = None  # the activation that begins it, again and again while it is open
    watched: bool = False  # this run is told when it ends
    over: tuple[str | None, int] | None = None  # it ended before that: who said so (as letters name it), its generation
    number: int = 0  # of the parcel that begins it


class Watch(Struct, frozen=True, array_like=True):
    """A run that is told when this one ends, once for each of its questions."""

    ask: str | None = None  # the question that this answers
    linked: bool = False  # it ends, too, if this one ends badly
    others: tuple[Watch, ...] = ()  # its other questions: several of its activations may wait for the result


class Mail(Struct):
    """The mailbox of a run and its outbox."""

    queue: dict[bytes, Letter] = field(default_factory=dict[bytes, Letter])  # oldest first
    size: int = 0  # bytes in the queue, about
    marks: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])  # by sender (encoded id)
    seen: dict[str, Seen] = field(default_factory=dict[str, Seen])
    timers: dict[str, Timer] = field(default_factory=dict[str, Timer])
    settings: int = 0  # how often a timer was set
    outbox: list[Parcel] = field(default_factory=list[Parcel])
    lanes: dict[str, int] = field(default_factory=dict[str, int])  # the last number sent to each run
    children: dict[str, Child] = field(default_factory=dict[str, Child])
    watchers: dict[str, Watch] = field(default_factory=dict[str, Watch])
    dead: list[Dead] = field(default_factory=list[Dead])
    handled: int = 0  # turns that are over
    forgotten: int = 0  # lanes that ended: the next one to begin is of a later generation than they were
    over: dict[int, list[str]] = field(default_factory=dict[int, list[str]])  # children that ended, by who began them


def question_of(child: Child) -> str:
    """What a monitor of a child asks: word of an end is known by it, when that child is forgotten or begun anew."""
    return f"{_CHILD}{child.number or ''}"


def is_wait(ask: str | None) -> bool:
    """Whether the question of a monitor is that of an activation which waits for the result."""
    return ask is not None and not ask.startswith(_CHILD)


def questions_of(watch: Watch | None) -> dict[str | None, bool]:
    """What a watcher asks, and whether it is linked: those first that no activation waits for."""
    return {} if watch is None else {one.ask: one.linked for one in (watch, *watch.others)}


def watch_of(questions: dict[str | None, bool]) -> Watch:
    """A watcher that asks these; at least one."""
    waits, others = [ask for ask in questions if is_wait(ask)], [ask for ask in questions if not is_wait(ask)]
    asks = others[-QUESTIONS:] + waits[-QUESTIONS:]
    first, *rest = (Watch(ask, questions[ask]) for ask in asks)
    return Watch(first.ask, first.linked, tuple(rest))


def next_number(mail: Mail, target: str) -> int:
    """The number of the next thing that is sent to a run. It grows, also if the lane to it was forgotten meanwhile."""
    last = mail.lanes.get(target)
    return (mail.forgotten << _BITS) + 1 if last is None else last + 1


def lane_of(life: int, number: int) -> tuple[int, int]:
    """Under which generation, and number from 1, others know what a run has sent under a number of its own."""
    return ((life - 1) << _BITS) + 1 + (number >> _BITS), number & _WITHIN


def follows(mail: Mail, sender: str, generation: int, number: int) -> bool:
    """Whether this is what a lane expects: the number after its mark, or the first of a later generation."""
    at, mark = mail.marks.get(sender, (1, 0))
    return (generation, number) == (at, mark + 1) or (generation > at and number == 1)
