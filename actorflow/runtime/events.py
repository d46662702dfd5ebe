"""Events: what a run tells those who watch it. What is in its log is told to whoever asks, the rest only once."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import Any, ClassVar, Literal

from msgspec import Struct

from actorflow.engine.node_records import Wait
from actorflow.engine.operations import Dropped, Operation, Put, Reduced, Values, thaw
from actorflow.engine.records import ErrorInfo, Status
from actorflow.store.frames import Kind

Mode = Literal["values", "updates", "nodes", "commits", "data", "progress", "waits", "hooks"]
"""What somebody wants to be told of."""

NodeKind = Literal["opened", "started", "retrying", "crashed", "waiting", "finished", "failed"]
WaitKind = Literal["asked", "answered", "expired"]

_OFFSET = re.compile(r"([0-9]{1,18})(?:\.([0-9]{1,18})(?:\.([0-9]{1,18}))?|\+([0-9]{1,18}))?")
_ALL = sys.maxsize


class Offset(Struct, frozen=True, order=True):
    """The place of an event in the story of its run. Offsets of one run are in a total order.

    As text ``12.1.0`` is the first event of record 1 of commit 12; it is the same whenever and wherever it is told.
    ``12+3`` is the third live-only event after commit 12: it is in no file, and nobody can ask for it again.
    """

    seq: int
    live: int = 0  # 0: it is in the log
    record: int = 0
    part: int = 0

    def __str__(self) -> str:
        return f"{self.seq}+{self.live}" if self.live else f"{self.seq}.{self.record}.{self.part}"

    @classmethod
    def parse(cls, text: str | int | Offset) -> Offset:
        """What ``str`` made of one. A commit or a record stands for the last event of it.

        Raises:
            ValueError: it is none.
        """
        if isinstance(text, Offset):
            return text
        match = _OFFSET.fullmatch(str(text))
        if match is None:
            msg = f"after={text!r}: give the offset of an event, the number of a commit, or a record of it as in '12.1'"
            raise ValueError(msg)
        seq, record, part, live = match.groups()
        if live is not None:
            return cls(int(seq), int(live))
        if record is None:
            return cls(int(seq), _ALL)
        return cls(int(seq), 0, int(record), _ALL if part is None else int(part))


class Event(Struct, frozen=True, kw_only=True):
    """Something that happened in a run. ``mode`` says of which kind it is, as in ``run.events(modes=...)``.

    ``time`` is for people: when it was committed or, of what is live only, when it happened.
    """

    mode: ClassVar[Mode | Literal["dropped"]]

    run_id: str
    offset: Offset
    time: float  # seconds since 1970
    scope: str = ""  # the path of the scope where it happened; "" is the root
    node: str | None = None
    index: int | None = None  # of an item of a fan-out
    attempt: int | None = None  # which call of the node, where that is known

    @property
    def seq(self) -> int:
        """The commit that holds it; of a live-only event, the newest one when it happened."""
        return self.offset.seq

    @property
    def live(self) -> bool:
        """Whether it is in no file: it was told when it happened, to who listened then."""
        return self.offset.live > 0


class ValuesEvent(Event, frozen=True, kw_only=True):
    """The state of a scope after it changed."""

    mode = "values"

    _values: Values
    _typed: Callable[[Values], Any]

    @property
    def values(self) -> dict[str, Any]:
        """The fields as plain data, in a dict of the caller's own."""
        return {name: thaw(value) for name, value in self._values.items()}

    @property
    def state(self) -> Any:
        """The typed state of the root, migrated to the code's version if it was saved in an older one.

        Raises:
            RunError: the graph is not registered here, or this is a scope inside: `values` has its fields.
            MigrationError
        """
        return self._typed(self._values)


class UpdateEvent(Event, frozen=True, kw_only=True):
    """What a node wrote, or (without a node) somebody outside."""

    mode = "updates"

    operations: tuple[Operation, ...]
    by: str | None = None  # who did it, where it was done from outside

    @property
    def fields(self) -> dict[str, Any]:
        """By field: what was put there; of a list that grew, what was added; of a dict, its new keys."""
        return {one.field: _written(one) for one in self.operations}


class NodeEvent(Event, frozen=True, kw_only=True):
    """What became of an activation.

    ``opened`` (it is scheduled), ``waiting`` (for an answer), ``finished`` and ``failed`` are committed.
    ``started`` and ``crashed`` (the run is restarted from its last file) are live only, and so is a ``retrying``
    whose pause is too short to be worth a record.
    """

    mode = "nodes"

    kind: NodeKind
    legs: tuple[str, ...] = ()  # opened: the nodes whose tokens it took
    took: float | None = None  # finished: seconds, of the attempt that succeeded
    cached: bool = False  # finished: its update was known from an earlier run
    update: tuple[Operation, ...] = ()  # finished
    result: Any = None  # finished: of an item of a fan-out
    error: ErrorInfo | None = None  # retrying, crashed, failed
    handled: bool = False  # failed: its on_error goes on
    due: float | None = None  # retrying: seconds since 1970


class CommitEvent(Event, frozen=True, kw_only=True):
    """A commit. It is the last event of it. ``node`` is the last one that had finished by then."""

    mode = "commits"

    kind: Kind
    status: Status
    records: tuple[str, ...]  # the kinds of what it holds
    epoch: int
    opening: int
    size: int  # bytes of what it holds
    error: ErrorInfo | None = None  # that the run failed with
    by: str | None = None  # who asked for it, where that was said


class DataEvent(Event, frozen=True, kw_only=True):
    """What a node emitted: tokens, lines. Live only: it is stored nowhere. An attempt that fails has emitted, too."""

    mode = "data"

    data: Any


class ProgressEvent(Event, frozen=True, kw_only=True):
    """How far something got: a node says so itself (live only), or an item of a fan-out ended (without ``index``)."""

    mode = "progress"

    done: float
    total: float | None = None
    failed: int = 0  # items of a fan-out; they count as done
    open: int = 0  # items of a fan-out that are being worked on


class WaitEvent(Event, frozen=True, kw_only=True):
    """A wait of an activation: begun (``asked``), over (``answered``), or over because its time was (``expired``).

    ``wait`` says for what: ``ask`` is a question of a node's, ``before`` and ``after`` one of its graph's, ``sleep`` a
    time, ``receive`` a message, ``reply`` and ``child`` the reply and the end of another run.
    """

    mode = "waits"

    kind: WaitKind
    wait: Wait
    key: str  # tells the waits of an activation apart
    question: str  # of a message, its type
    payload: Any = None
    schema: Any = None  # of the answer, as JSON schema; None: anything
    due: float | None = None  # seconds since 1970, when the default is taken for an answer
    value: Any = None  # answered, expired
    by: str | None = None


class DroppedEvent(Event, frozen=True, kw_only=True):
    """Live-only events that are lost, because whoever listens was too slow. Told whatever the modes."""

    mode = "dropped"

    count: int


class HookEvent(Event, frozen=True, kw_only=True):
    """A hook raised. The run did not notice. Live only."""

    mode = "hooks"

    hook: str
    error: ErrorInfo


LIVE_ONLY: frozenset[Mode] = frozenset({"nodes", "data", "progress", "hooks"})
"""The modes of which something is in no file."""


def _written(operation: Operation) -> Any:
    match operation:
        case Put(value=value) | Reduced(value=value):
            return value
        case Dropped(keys=keys):
            return list(keys)
        case _:
            return operation.items
