"""Records: what happened to a run, each once, in the order of its log.

A record says everything that folding it needs: which operations, which
activations it opens, which tokens it puts and takes. Nothing in it is looked
up in a graph again, so a history replayed under newer code is the same history.
"""

from __future__ import annotations

from msgspec import Struct, msgpack

from actorflow.engine.error_info import ErrorInfo, describe
from actorflow.engine.mail_records import (
    Buried,
    Closing,
    Delivered,
    Forgotten,
    Inherited,
    MailRecord,
    Posted,
    Received,
    Replied,
    Taken,
    TimerCancelled,
    TimerFired,
    TimerSet,
    TurnOpened,
    TurnRetaken,
    Undelivered,
    Watched,
    Woken,
)
from actorflow.engine.node_records import (
    Answered,
    Ask,
    Asked,
    Attempted,
    Began,
    Entered,
    Fanned,
    Finished,
    Formed,
    Gather,
    Handed,
    Handling,
    ItemDone,
    ItemFailed,
    Merged,
    NodeRecord,
    Open,
    Queued,
    Rebased,
)
from actorflow.engine.run_records import (
    ENDED,
    Claimed,
    Ended,
    Failed,
    Forked,
    Imported,
    InputGiven,
    InputQueued,
    Measured,
    Offered,
    Opened,
    Paused,
    Released,
    Repaired,
    Rewound,
    RunRecord,
    Spawned,
    Status,
    Tagged,
    Unpaused,
    Updated,
)
from actorflow.engine.step_records import Intended, Shape, Stepped, StepRecord, Tried, Undone

__all__ = [
    "ENDED",
    "Answered",
    "Ask",
    "Asked",
    "Attempted",
    "Began",
    "Body",
    "Buried",
    "Claimed",
    "Closing",
    "Delivered",
    "Ended",
    "Entered",
    "ErrorInfo",
    "Failed",
    "Fanned",
    "Finished",
    "Forgotten",
    "Forked",
    "Formed",
    "Gather",
    "Handed",
    "Handling",
    "Imported",
    "Inherited",
    "InputGiven",
    "InputQueued",
    "Intended",
    "ItemDone",
    "ItemFailed",
    "MailRecord",
    "Measured",
    "Merged",
    "NodeRecord",
    "Offered",
    "Open",
    "Opened",
    "Paused",
    "Posted",
    "Queued",
    "Rebased",
    "Received",
    "Record",
    "Released",
    "Repaired",
    "Replied",
    "Rewound",
    "RunRecord",
    "Shape",
    "Spawned",
    "Status",
    "StepRecord",
    "Stepped",
    "Tagged",
    "Taken",
    "TimerCancelled",
    "TimerFired",
    "TimerSet",
    "Tried",
    "TurnOpened",
    "TurnRetaken",
    "Undelivered",
    "Undone",
    "Unpaused",
    "Updated",
    "Watched",
    "Woken",
    "decode_body",
    "describe",
    "encode_body",
]

Record = RunRecord | NodeRecord | MailRecord | StepRecord
"""Whatever happens to a run."""


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
