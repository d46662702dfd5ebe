"""Records: what happened to a run, each once, in the order of its log.

A record says everything that folding it needs: which operations, which
activations it opens, which tokens it puts and takes. Nothing in it is looked
up in a graph again, so a history replayed under newer code is the same history.
"""

from __future__ import annotations

import traceback
from typing import Any, Literal

from msgspec import Struct, msgpack

from actorflow.engine.operations import Operation
from actorflow.engine.supervision import RestartType
from actorflow.errors import RemoteError

_MESSAGE_LIMIT = 4_000  # characters kept of what an exception says
_TRACEBACK_LIMIT = 8_000  # characters kept of a traceback: the innermost frames

Status = Literal["running", "waiting", "paused", "finished", "failed", "cancelled", "quarantined", "deleted"]
ENDED: frozenset[Status] = frozenset({"finished", "failed", "cancelled", "quarantined", "deleted"})
"""The statuses of a run that no actor may go on with until it is reopened."""


class ErrorInfo(Struct, frozen=True, array_like=True):
    """An exception as it is kept: text only, so that reading it runs nothing."""

    type: str
    message: str
    traceback: str = ""


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that can be kept; one that came as text from another process as it was there."""
    if isinstance(error, RemoteError):
        return ErrorInfo(error.type_name, error.message, error.traceback)
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's exception that can't even be shown
        message = f"(its text could not be read: {type(broken).__name__})"
    return ErrorInfo(type(error).__name__, _clean(message[:_MESSAGE_LIMIT]), _clean(text[-_TRACEBACK_LIMIT:]))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


Shape = tuple[str, int | str | None, tuple[tuple[str, str, bool], ...]]
"""The name, version and field table of the State that a value is of."""


class Open(Struct, frozen=True, array_like=True):
    """An activation to open.

    ``takes`` are legs of its join (one that stands there twice gives two
    tokens), ``late`` those whose token of this round is taken in when it comes,
    ``parked`` leaves whose token it continues.
    """

    node: str
    key: bytes
    takes: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()
    late: tuple[str, ...] = ()
    sent: list[Any] | None = None  # the inputs that were sent to it: it is a fan-out of these
    error: ErrorInfo | None = None  # what it is to handle
    failed: str | None = None  # the node whose error that was


class Gather(Struct, frozen=True, array_like=True):
    """The results of an activation's own fan-out go into a field: not said again, since each is in its own record."""

    field: str
    part: str  # of each result; empty: the whole
    extends: bool  # added to the list that is there, or put in its place


class Handed(Struct, frozen=True, array_like=True):
    """An update inside a subgraph as it will be merged again outside."""

    field: str
    mark: str  # how to read the value, see `updates`
    value: Any = None


class Ask(Struct, frozen=True, array_like=True):
    """Something that an activation waits for. ``kind`` says who asks: the node, or the graph before or after it."""

    key: str
    kind: Literal["ask", "before", "after", "sleep", "receive", "reply", "child"]
    question: str = ""
    payload: Any = None
    schema: Any = None  # of the answer, as JSON schema; None: anything
    due: float | None = None  # seconds since the epoch, when the default is taken for an answer
    default: Any = None
    asked: float = 0.0  # seconds since the epoch


class Spawned(Struct, frozen=True, array_like=True, tag="spawned"):
    """The run began, with this input."""

    run_id: str
    life: int
    graph: str
    topology: bytes
    durability: Literal["sync", "async", "exit"]
    digest: bytes  # of the encoded input: another input under this id is another run
    values: dict[str, Any]
    opens: tuple[Open, ...]
    lifetime: Literal["run", "actor"] = "run"


class Claimed(Struct, frozen=True, array_like=True, tag="claimed"):
    """An incarnation became the owner. An ``opening`` above the run's own reopens it, with a fresh budget."""

    epoch: int
    opening: int
    supervisor: str | None = None  # whose child it is from now on, by its path; None: whose it was
    restart: RestartType | None = None  # as a child of that one; None: as is usual there


class Released(Struct, frozen=True, array_like=True, tag="released"):
    """The owner let go; anybody may claim."""


class Finished(Struct, frozen=True, array_like=True, tag="finished"):
    """An activation finished: its update, and where its tokens go. A leaf parks its token instead."""

    id: int
    operations: tuple[Operation, ...] = ()
    puts: tuple[tuple[str, str], ...] = ()  # (target, leg)
    opens: tuple[Open, ...] = ()
    parks: bool = False
    took: float = 0.0  # seconds, of the attempt that succeeded
    gathers: tuple[Gather, ...] = ()
    handed: tuple[Handed, ...] = ()
    cached: bool = False  # it did not run: its update was known from an earlier run


class Merged(Struct, frozen=True, array_like=True, tag="merged"):
    """An activation's update, while its routing is still to come: a branch raised. The work is not thrown away."""

    id: int
    operations: tuple[Operation, ...] = ()
    took: float = 0.0
    gathers: tuple[Gather, ...] = ()
    handed: tuple[Handed, ...] = ()
    goto: tuple[str, ...] | None = None  # where it leads, if that is known: END by its value
    sends: tuple[tuple[str, list[Any]], ...] = ()
    leaves: bool = False  # it leads to nodes of the graph around, so that the scope ends


class Began(Struct, frozen=True, array_like=True, tag="began"):
    """An activation was begun for the first time, and how long all of its attempts take is limited."""

    id: int
    at: float  # seconds since the epoch


class Attempted(Struct, frozen=True, array_like=True, tag="attempted"):
    """An attempt failed and the next one is far enough away to be worth remembering."""

    id: int
    attempt: int
    due: float  # seconds since the epoch
    error: ErrorInfo


class Handling(Struct, frozen=True, array_like=True, tag="handling"):
    """A node failed for good, and its ``on_error`` goes on in its place. What it owned is dropped."""

    id: int
    error: ErrorInfo
    failed: str  # the node that raised: this one, or one inside


class Rebased(Struct, frozen=True, array_like=True, tag="rebased"):
    """Somebody outside wrote a field that this activation was about to overwrite: it runs again, having seen that."""

    id: int


class Formed(Struct, frozen=True, array_like=True, tag="formed"):
    """The schema of a scope inside, before the first such scope: files say only that of the run's own state."""

    schema: str  # by what scopes refer to it: its name, unless another form is called so
    version: int | str | None
    fields: tuple[tuple[str, str, bool], ...]  # name, type text, has a default
    name: str = ""  # empty: ``schema``


class Entered(Struct, frozen=True, array_like=True, tag="entered"):
    """An activation began a scope of its own, with these values."""

    id: int
    path: str
    schema: str
    values: dict[str, Any]
    opens: tuple[Open, ...]
    hands: tuple[str, ...] = ()  # fields whose updates are kept, to be handed up
    kept: bool = False  # its values stay when the activation finishes


class Queued(Struct, frozen=True, array_like=True, tag="queued"):
    """An activation waits until the kept scope that it is to enter is free."""

    id: int


class Fanned(Struct, frozen=True, array_like=True, tag="fanned"):
    """An activation began a fan-out. Its items are fixed: elements of a field of its base, these, or what was sent."""

    id: int
    total: int
    limit: int
    field: str | None = None
    items: list[Any] | None = None


class ItemDone(Struct, frozen=True, array_like=True, tag="item"):
    """An item of a fan-out finished, with this result; the next one opens."""

    id: int
    result: Any = None
    took: float = 0.0


class ItemFailed(Struct, frozen=True, array_like=True, tag="itemfailed"):
    """An item of a fan-out failed for good, and the others go on."""

    id: int
    error: ErrorInfo


class Asked(Struct, frozen=True, array_like=True, tag="asked"):
    """An activation waits for answers."""

    id: int
    asks: tuple[Ask, ...]
    attempt: int = 0  # those before the one that asks


class Answered(Struct, frozen=True, array_like=True, tag="answered"):
    """Somebody answered, or nobody did in time."""

    id: int
    key: str
    value: Any = None
    by: str | None = None
    expired: bool = False


class Updated(Struct, frozen=True, array_like=True, tag="updated"):
    """Somebody outside changed the state; with ``node``, as if that node had finished with this update."""

    operations: tuple[Operation, ...] = ()
    by: str | None = None
    scope: str = ""
    node: str | None = None
    closes: int | None = None  # the open activation of that node
    withdraws: bool = False  # the tokens that wait in front of it
    puts: tuple[tuple[str, str], ...] = ()
    opens: tuple[Open, ...] = ()
    key: bytes = b""  # of the tokens that it puts
    parks: bool = False
    handed: tuple[Handed, ...] = ()


class InputGiven(Struct, frozen=True, array_like=True, tag="input"):
    """More input: it was merged, and the entry is open again."""

    operations: tuple[Operation, ...] = ()
    opens: tuple[Open, ...] = ()
    discards: bool = False  # what was open or waiting before
    by: str | None = None
    queued: bool = False  # it had waited: it is the oldest in the queue


class InputQueued(Struct, frozen=True, array_like=True, tag="queuedinput"):
    """More input that waits until nothing else goes on in the run."""

    values: tuple[Handed, ...]
    by: str | None = None


class Paused(Struct, frozen=True, array_like=True, tag="paused"):
    """Nothing new begins in the run."""

    by: str | None = None


class Unpaused(Struct, frozen=True, array_like=True, tag="unpaused"):
    """The run goes on."""

    by: str | None = None


class Tagged(Struct, frozen=True, array_like=True, tag="tagged"):
    """A commit has a name, or (None) lost it; retention keeps those that have one."""

    name: str
    seq: int | None
    by: str | None = None


class Rewound(Struct, frozen=True, array_like=True, tag="rewound"):
    """The run went back. Its commit carries the run as it is since, in full."""

    seq: int
    record: int | None = None  # inside that commit; None: its last
    by: str | None = None


class Forked(Struct, frozen=True, array_like=True, tag="forked"):
    """The run began as a copy of another one. Its commit carries it in full."""

    run_id: str
    store: bytes
    seq: int
    digest: bytes  # of that commit
    by: str | None = None


class Measured(Struct, frozen=True, array_like=True, tag="measured"):
    """What the values of a scope take encoded. From here on it is kept up to date with each change of them."""

    scope: str
    size: int  # bytes


class Opened(Struct, frozen=True, array_like=True, tag="opened"):
    """Nothing else went on in a scope: its deferred nodes had their turn, or a join that newer code mended opened."""

    scope: str
    opens: tuple[Open, ...]


class Offered(Struct, frozen=True, array_like=True, tag="offered"):
    """A graph that grew: tokens parked at its former leaves went on along the new edges."""

    topology: bytes
    opens: tuple[Open, ...] = ()
    routed: tuple[str, ...] = ()  # leaves whose branches have been asked
    puts: tuple[tuple[str, str], ...] = ()  # (target, leaf): tokens that wait in front of deferred nodes now


class Failed(Struct, frozen=True, array_like=True, tag="failed"):
    """The run failed, by this activation or (None) as a whole. What is open stays open, for `resume`."""

    id: int | None
    error: ErrorInfo


class Ended(Struct, frozen=True, array_like=True, tag="ended"):
    """The run ended in this status, by itself or by somebody's decision."""

    status: Status
    by: str | None = None


class Imported(Struct, frozen=True, array_like=True, tag="imported"):
    """The run came from another store. All commits before this one are copies of those it had there."""

    store: bytes  # the uuid of the other store
    seq: int  # the newest commit that was copied
    digest: bytes  # of that commit, as it is there


class Repaired(Struct, frozen=True, array_like=True, tag="repaired"):
    """Somebody decided that the run goes on from before a damaged commit, whatever came after it."""

    seq: int  # the last commit that counts
    digest: bytes  # of that commit
    skipped: tuple[int, int]  # the first and the last number that do not count
    damaged: bytes  # the digest of the damaged file as it was, by which it was named
    by: str | None = None


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
    """A child ended of which this run, which may begin them for ever, keeps nothing."""

    run_id: str
    sender: str | None  # as its letters name it


class Inherited(Struct, frozen=True, array_like=True, tag="inherited"):
    """The life of the id before this one was deleted; what its lanes had come to goes on."""

    marks: dict[str, tuple[int, int]]  # by sender: generation and number


class Watched(Struct, frozen=True, array_like=True, tag="watched"):
    """A run wants to be told when this one ends, or (``on`` False) no longer."""

    run_id: str
    ask: str | None = None
    linked: bool = False
    on: bool = True


class Intended(Struct, frozen=True, array_like=True, tag="intended"):
    """A step that must not run twice is about to begin."""

    id: int
    step: bytes
    name: str
    key: str | None
    at: float  # seconds since the epoch


class Tried(Struct, frozen=True, array_like=True, tag="tried"):
    """A step failed, and the next attempt is far enough away to be worth remembering."""

    id: int
    step: bytes
    name: str
    key: str | None
    attempt: int
    due: float  # seconds since the epoch
    began: float  # its first attempt, likewise
    error: ErrorInfo


class Stepped(Struct, frozen=True, array_like=True, tag="stepped"):
    """A step of an activation is over: what it returned, or the error that it ended with for good."""

    id: int
    step: bytes
    name: str
    key: str | None
    value: Any = None
    error: ErrorInfo | None = None
    shape: Shape | None = None
    undo: str | None = None  # the function of the graph that undoes it


class Undone(Struct, frozen=True, array_like=True, tag="undone"):
    """An activation undid what a step had done."""

    id: int
    step: bytes


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
    | Watched
    | Undelivered
    | Inherited
    | Forgotten
)
"""What is about messages, timers and other runs; see `mailing`."""

Record = (
    Spawned
    | Claimed
    | Released
    | Finished
    | Merged
    | Began
    | Attempted
    | Handling
    | Rebased
    | Formed
    | Entered
    | Queued
    | Fanned
    | ItemDone
    | ItemFailed
    | Asked
    | Answered
    | Updated
    | InputGiven
    | InputQueued
    | Paused
    | Unpaused
    | Tagged
    | Rewound
    | Forked
    | Measured
    | Opened
    | Offered
    | Failed
    | Ended
    | Imported
    | Repaired
    | MailRecord
    | Intended
    | Tried
    | Stepped
    | Undone
)


class Body(Struct, frozen=True, array_like=True):
    """What a frame holds: records, and before them a snapshot of the run if one was due."""

    records: tuple[Record, ...]
    snapshot: bytes | None = None


_encoder = msgpack.Encoder()
# Here and elsewhere: made with the module, not at its first use. While msgspec makes the decoder of a Struct, another
# thread that needs the same Struct sees a half of it, and the process ends with a segmentation fault.
_decoder = msgpack.Decoder(Body)


def encode_body(body: Body) -> bytes:
    """The bytes of a frame's body."""
    return _encoder.encode(body)


def decode_body(data: bytes) -> Body:
    """The body of a frame; raises msgspec.DecodeError or ValidationError for what is none."""
    return _decoder.decode(data)
