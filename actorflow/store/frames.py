"""Frames: what one commit says, and what it is committed with.

A checkpoint file is one or more frames of format 1, one per commit:

    prefix   magic 8, format 1, reserved 1, flags 2, header length 4, body length 8, CRC-32 of these 4
    header   msgpack [Header, FilePart or nil], both as arrays, every field known or the frame is refused
    body     what the runtime committed, as flags say: compressed, keyed, encrypted (`sealing`)
    digest   BLAKE2b-256 of all bytes before, with the person "actorflow-1"

Integers are big-endian. What is constant in a file, the `FilePart`, is in its
first own frame only; each `Header` carries its digest. The file a claim makes
starts with a verbatim copy of the frame before the claim (guarantee 1: that
one may be durable nowhere else). `framing` turns frames into bytes and back.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

Kind = Literal["claim", "commit", "release"]
Mode = Literal["plain", "mac", "sealed"]  # ascending: what satisfies a later one satisfies the earlier ones


class FilePart(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What is constant in a file: whose it is, and which schema its bodies are in."""

    run_id: str
    life: int
    store: bytes
    graph: str
    topology: bytes
    schema: str
    version: int | str | None
    fields: tuple[tuple[str, str, bool], ...]  # name, type text, has a default
    codec: int
    writer: str


class Owner(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Who committed: a machine, one opening of a store in one of its processes, and an actor there."""

    machine: str
    boot: str
    host: str
    pid: int
    incarnation: str
    actor: bytes


class Header(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """What a commit says about the run, readable without its body."""

    kind: Kind
    seq: int
    epoch: int
    nonce: bytes
    owner: Owner
    crashes: int  # unclean claims since an activation finished, or it was let go of while it only waited
    opening: int
    status: str
    due: int | None
    marks: bytes
    node: str | None
    parent: bytes  # digest of frame seq - 1; empty for seq 0
    snapshot: int  # the newest frame that holds a snapshot, at or before this one
    file: bytes  # digest of the encoded file part
    time: float  # seconds since 1970, for people: no rule depends on it
    tags: dict[str, str]
    raw: int  # length of the body before compression


class Draft(Struct, frozen=True, kw_only=True):
    """A commit as the runtime asks for it. Number, nonce, owner, parent, time and digests are the log's."""

    kind: Kind
    epoch: int
    status: str
    opening: int
    crashes: int
    file: FilePart
    body: bytes
    snapshot: bool = False
    node: str | None = None
    tags: dict[str, str] = {}
    due: int | None = None
    marks: bytes = b""


class Seal(NamedTuple):
    """How a frame was protected, and under which key; neither is known to be true before its body was opened."""

    mode: Mode
    key_id: str | None


OPEN = Seal("plain", None)


class Frame(Struct, frozen=True, kw_only=True):
    """A verified commit, with the place it was read from."""

    header: Header
    file: FilePart
    body: bytes
    digest: bytes
    path: str
    offset: int
    size: int
    seal: Seal = OPEN


class Tail(Struct, frozen=True):
    """How a file ends: cleanly at ``offset``, or there with an unacknowledged write that was torn."""

    offset: int
    torn: bool
