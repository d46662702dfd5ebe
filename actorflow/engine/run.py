"""RunState: a run as of one record: its scopes, what is open in them, and what waits or is parked there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct, field

from actorflow.engine.mail import Letter, Mail
from actorflow.engine.memos import Memo, Undoable
from actorflow.engine.operations import Grown, Values
from actorflow.engine.records import ENDED, Ask, ErrorInfo, Handed, Status
from actorflow.engine.supervision import RestartType

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = ""
"""The path of the root scope."""

Unseen = frozenset[str]
"""Fields without reducer whose last write in the scope is not in the holder's causal past."""

NOTHING: Unseen = frozenset()


class Token(Struct):
    """What an activation left on an edge: it waits at a join, or is parked at a leaf."""

    key: bytes
    unseen: Unseen = NOTHING
    offered: frozenset[str] = NOTHING  # parked only: the targets that a grown graph has been offered


class Answer(Struct, array_like=True):
    """What a question of an activation was answered with."""

    value: Any
    by: str | None = None


class Activation(Struct):
    """One scheduled execution of one node. ``base`` is its scope's values after the record that opened it."""

    id: int  # a counter of the log, used by records only
    key: bytes  # a hash of what caused it: the same in every execution of this history
    node: str
    scope: str
    base: Values
    unseen: Unseen = NOTHING
    attempt: int = 0  # recorded attempts that failed
    due: float | None = None  # not before this time, seconds since the epoch
    began: float | None = None  # its first attempt, seconds since the epoch; only where it is asked for
    merged: bool = False  # its update is in, its routing is still to come
    goto: tuple[str, ...] | None = None  # merged only: where it leads, if that is known
    sends: tuple[tuple[str, list[Any]], ...] = ()  # merged only
    leaves: bool = False  # merged only: ``goto`` is in the graph around
    turned: Unseen = NOTHING  # fields that somebody outside wrote since: it is rebased if it overwrites one
    sent: list[Any] | None = None  # the inputs that were sent to it
    fan: int | None = None  # of an item: the activation that owns the fan-out
    index: int | None = None  # of an item
    inner: str | None = None  # the path of the scope that it owns
    queued: bool = False  # until the kept scope that it is to enter is free
    error: ErrorInfo | None = None  # what it handles, in place of its node or as a node for it
    failed: str | None = None  # the node whose error that was
    handling: bool = False  # its on_error runs in its place
    asks: dict[str, Ask] = {}  # that nobody answered yet
    answers: dict[str, Answer] = {}
    memos: dict[bytes, Memo] = {}  # of its steps
    undone: list[str] = []  # the steps that it undid
    letter: Letter | None = None  # of a turn: the message that it handles
    until: dict[str, float | None] = {}  # until when it waits for messages, by the key of the wait


class Scope(Struct):
    """Where activations live: its own values, the tokens waiting at its joins, those parked at its leaves."""

    path: str
    values: Values
    owner: int | None = None  # the activation that owns this scope; the root has none, nor a kept one between visits
    waiting: dict[str, dict[str, list[Token]]] = {}
    parked: dict[str, Token] = {}
    live: int = 0  # activations that are open in it
    late: dict[str, dict[str, int]] = {}  # tokens still to be taken in
    schema: str = ""  # among the forms of the run; the root's is in the files
    kept: bool = False
    written: Unseen = NOTHING  # fields written since it was entered
    handed: dict[str, list[Handed]] = {}  # updates to be handed up
    size: int | None = None  # bytes that its values take encoded, about; only where that is limited
    before: Values | None = None  # of a kept one: its values between visits, which stay if this one does not finish


class FanOut(Struct):
    """The items of an activation: which are open, which are to come, and the results of those that are done."""

    total: int
    limit: int
    over: str | None  # the field of the owner's base whose elements the items are
    items: list[Any] | None
    results: list[Any]
    next: int = 0  # the first item that has not been opened
    done: int = 0
    open: int = 0
    failed: dict[int, ErrorInfo] = {}

    def item(self, index: int, base: Values) -> Any:
        """An item, as a plain value; where nothing says what it is, its index."""
        if self.over is None:
            return index if self.items is None else self.items[index]
        value = base[self.over]
        return value.items[index] if type(value) is Grown else value[index]


class Form(Struct, frozen=True, array_like=True):
    """A schema as it was when something of it was saved: its name, version and field table."""

    name: str
    version: int | str | None
    fields: tuple[tuple[str, str, bool], ...]


class RunState(Struct):
    """A run as of one record. `fold` makes the next one of it; nothing else changes it."""

    run_id: str
    life: int
    graph: str
    topology: bytes
    durability: Literal["sync", "async", "exit"]
    digest: bytes
    scopes: dict[str, Scope]
    open: dict[int, Activation] = {}
    status: Status = "running"
    epoch: int = 1
    opening: int = 1
    next_id: int = 1
    activations: int = 0  # opened since the run was last opened
    last_node: str | None = None
    failed_in: str | None = None
    error: ErrorInfo | None = None
    fans: dict[int, FanOut] = {}  # by the activation that owns it
    forms: dict[str, Form] = {}  # of the scopes inside, see `Scope.schema`
    paused: bool = False
    inputs: int = 0  # how often more input was given
    queue: list[tuple[tuple[Handed, ...], str | None]] = []  # more input that waits, and who gave it
    rewinds: int = 0  # how often it went back, or began as the copy of another
    tags: dict[str, int] = {}  # named commits
    saga: list[Undoable] = []  # what its steps did that can be undone, oldest first
    lifetime: Literal["run", "actor"] = "run"
    closing: bool = False  # a handler said that it is over
    mail: Mail = field(default_factory=Mail)
    turn: int | None = None  # the activation that handles a message
    supervisor: str = ""  # whose child it is, by its path; empty: the root's
    restart: RestartType | None = None  # as a child of that one; None: as is usual there
    renewed: bool = False  # newer code changed it since it was read, so that the next commit must say all of it

    @property
    def root(self) -> Scope:
        """The outermost scope, whose values are the run's state."""
        return self.scopes[ROOT]

    @property
    def ended(self) -> bool:
        """Whether no actor may go on with the run until it is reopened."""
        return self.status in ENDED

    @property
    def standing(self) -> Status:
        """The status as others see it: a run in which nothing can go on by itself waits, or is paused.

        What is in its outbox goes on by itself: until others have it, somebody must look after the run.
        """
        return self.status if self.mail.outbox else self._stillness

    @property
    def lies_still(self) -> bool:
        """Whether nothing can go on by itself but what is in its outbox."""
        return self._stillness != "running"

    @property
    def _stillness(self) -> Status:
        if self.status != "running":
            return self.status
        if self.paused:
            return "paused"
        waits = False
        for activation in self.open.values():
            if activation.asks:
                waits = True
            elif not self.owns(activation):
                return "running"
        return "waiting" if waits or self.rests else "running"

    @property
    def rests(self) -> bool:
        """Whether it goes on when nothing is open: an actor waits for messages."""
        return self.lifetime == "actor" and not self.closing

    def form_key(self, form: Form) -> str:
        """By what scopes refer to this form: its name, unless another one is called so.

        Versions of one may be side by side: what is kept for a node that is gone stays as it was.
        """
        for key, known in self.forms.items():
            if known == form:
                return key
        key, count = form.name, 1
        while key in self.forms:
            count += 1
            key = f"{form.name} ({count})"
        return key

    def owns(self, activation: Activation) -> bool:
        """Whether an activation waits for others: those in its scope, its items, or who is in the scope it needs."""
        return activation.inner is not None or activation.id in self.fans or activation.queued

    def open_in(self, scope: str) -> Iterator[Activation]:
        """The activations that are open in a scope, oldest first."""
        return (activation for activation in self.open.values() if activation.scope == scope)

    def tokens_in(self, scope: str) -> Iterator[Token]:
        """All tokens that wait or are parked in a scope."""
        held = self.scopes[scope]
        for legs in held.waiting.values():
            for tokens in legs.values():
                yield from tokens
        yield from held.parked.values()

    def owner_of(self, activation: Activation) -> Activation | None:
        """The activation that this one is an item of, or lives in the scope of; None at the root."""
        owner = self.scopes[activation.scope].owner if activation.fan is None else activation.fan
        return None if owner is None else self.open[owner]
