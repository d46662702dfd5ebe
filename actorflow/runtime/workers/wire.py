"""Wire: the messages between a runtime and its worker processes, and how they are framed.

A frame is a length and a msgpack message of one of the types below. A message
names no class and carries no code (guarantee 12): a function goes by the
import path that the graph declares, an exception comes back as text.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Raw, Struct, msgpack

from actorflow.engine.records import ErrorInfo
from actorflow.graph.remote import Remote

LENGTH = 4  # bytes in front of each message, little-endian

MAX_MESSAGE = 1024 * 1024 * 1024
"""Bytes that a message may take. What claims to be longer is damage, and what is longer is not sent."""


Verb = Literal["emit", "progress", "heartbeat"]
"""What a node may tell the runtime's process by its context."""


class Who(Struct, frozen=True, array_like=True):
    """The part of a node's `Context` that a worker process is told."""

    run_id: str
    node: str
    attempt: int
    idempotency_key: str
    scope: str
    index: int | None
    error: ErrorInfo | None
    failed: str | None  # the node that raised it
    log_level: int


class Load(Struct, frozen=True, array_like=True, tag="load"):
    """Import what a node needs. Answered by `Loaded` or `Raised`."""

    call: int
    remote: Remote


class Call(Struct, frozen=True, array_like=True, tag="call"):
    """Call the function of a node that was loaded. Answered by `Returned`, `Refused`, `NotHere` or `Raised`."""

    call: int  # a number; every message about the call repeats it
    remote: Remote
    given: tuple[Raw, ...]  # the state, an item or what was sent; to a handler the state and the message
    who: Who | None  # None: the function takes no context


class Loaded(Struct, frozen=True, array_like=True, tag="loaded"):
    """What was to be imported is there."""

    call: int


class Write(Struct, frozen=True, array_like=True):
    """One field of an update."""

    field: Any
    how: Literal["update", "overwrite", "remove"]
    value: Any


class Route(Struct, frozen=True, array_like=True):
    """One target that a node returned: its name, or the import path of its function."""

    how: Literal["name", "function", "end"]
    target: str = ""


class Sent(Struct, frozen=True, array_like=True):
    """One `Send` that a node returned."""

    to: Route
    input: Any
    update: tuple[Write, ...] | None


class Whole(Struct, frozen=True):
    """A whole state, and the import path of its class. A map, which tells it from an update."""

    kind: str
    state: Raw


class Returned(Struct, frozen=True, array_like=True, tag="returned"):
    """The function returned: a part for each kind of thing that it may return. None of them: None."""

    call: int
    update: tuple[Write, ...] | Whole | None = None
    routes: tuple[Route, ...] | None = None
    parent: bool = False  # whether the routes leave the subgraph
    sends: tuple[Sent, ...] | None = None
    result: tuple[Any] | None = None  # of an item
    reply: tuple[Any] | None = None  # of a handler


class Refused(Struct, frozen=True, array_like=True, tag="refused"):
    """What the function returned is no update, or can't be encoded."""

    call: int
    problem: str
    field: str | None


class NotHere(Struct, frozen=True, array_like=True, tag="not-here"):
    """The function asked its context for something that only the runtime's process has."""

    call: int
    name: str


class Raised(Struct, frozen=True, array_like=True, tag="raised"):
    """The function raised: what, as text."""

    call: int
    error: ErrorInfo
    bases: tuple[str, ...]  # the classes it is an instance of, as module:name, the nearest first
    arguments: tuple[Any, ...] | None  # what it was made with, if that is plain


class Told(Struct, frozen=True, array_like=True, tag="told"):
    """The function used its context: what the runtime's process is to do for it."""

    call: int
    verb: Verb
    arguments: tuple[Any, ...]


class Logged(Struct, frozen=True, array_like=True, tag="logged"):
    """The function logged a line by ``ctx.log``."""

    call: int
    level: int
    message: str
    path: str
    line: int
    function: str
    created: float  # seconds since 1970
    exception: str | None


Request = Load | Call
Answer = Loaded | Returned | Refused | NotHere | Raised
Note = Told | Logged

# Made here and not at their first use, by two threads at once: msgspec would crash the process.
_encoder = msgpack.Encoder()
decode_request = msgpack.Decoder(Request).decode
decode_reply = msgpack.Decoder(Answer | Note).decode


def framed(message: Request | Answer | Note) -> bytes:
    """A message as it is sent.

    Raises:
        ValueError: it is longer than a message may be.
        What msgspec raises for what it can't encode.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"it takes {len(data):,} bytes, and between processes go at most {MAX_MESSAGE:,}")
    return len(data).to_bytes(LENGTH, "little") + data


def length_of(prefix: bytes | bytearray) -> int:
    """How long the message after this prefix is.

    Raises:
        ValueError: longer than any that is sent.
    """
    length = int.from_bytes(prefix[:LENGTH], "little")
    if length > MAX_MESSAGE:
        raise ValueError(f"a message of {length:,} bytes was announced")
    return length
