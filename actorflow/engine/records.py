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
    """An exception as text that can be kept."""
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's exception that can't even be shown
        message = f"(its text could not be read: {type(broken).__name__})"
    return ErrorInfo(type(error).__name__, _clean(message[:_MESSAGE_LIMIT]), _clean(text[-_TRACEBACK_LIMIT:]))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


class Open(Struct, frozen=True, array_like=True):
    """An activation to open. ``takes`` are legs of its join, ``parked`` leaves whose token it continues."""

    node: str
    key: bytes
    takes: tuple[str, ...] = ()
    parked: tuple[str, ...] = ()


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


class Claimed(Struct, frozen=True, array_like=True, tag="claimed"):
    """An incarnation became the owner. An ``opening`` above the run's own reopens it, with a fresh budget."""

    epoch: int
    opening: int


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


class Merged(Struct, frozen=True, array_like=True, tag="merged"):
    """An activation's update, while its routing is still to come: a branch raised. The work is not thrown away."""

    id: int
    operations: tuple[Operation, ...] = ()
    took: float = 0.0


class Attempted(Struct, frozen=True, array_like=True, tag="attempted"):
    """An attempt failed and the next one is far enough away to be worth remembering."""

    id: int
    attempt: int
    due: float  # seconds since the epoch
    error: ErrorInfo


class Offered(Struct, frozen=True, array_like=True, tag="offered"):
    """A graph that grew: tokens parked at its former leaves went on along the new edges."""

    topology: bytes
    opens: tuple[Open, ...] = ()
    routed: tuple[str, ...] = ()  # leaves whose branches have been asked


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


Record = Spawned | Claimed | Released | Finished | Merged | Attempted | Offered | Failed | Ended | Imported | Repaired


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
