"""Stubs: what stays of a file whose commits retention let go of, so that its name is never free again.

    magic    8 bytes
    stub     msgpack Stub, as an array
    digest   BLAKE2b-256 of all bytes before, with the person "actorflow-1"

A stub keeps the header of the first commit and of the last, and the digest of
the last: the file after it names that digest as its parent, so the chain is
still one. Nothing of what the run's state was is left.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct, msgpack

from actorflow.errors import CorruptCheckpoint
from actorflow.store.frames import FilePart, Header

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.store.frames import Frame

MAGIC = b"\x89AFS\r\n\x1a\n"  # unlike a frame's, so that whoever expects frames refuses it
DIGEST = 32

_HASH = hashlib.blake2b(digest_size=DIGEST, person=b"actorflow-1")


class Stub(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A file that was let go of: whose it was, and where it stood in the chain."""

    file: FilePart
    first: Header
    last: Header
    digest: bytes  # of the last frame


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Stub).decode  # made here and not at its first use, by two threads at once


def stub_of(frames: Sequence[Frame]) -> Stub:
    """The stub of a file that held these frames, as they counted."""
    return Stub(file=frames[0].file, first=frames[0].header, last=frames[-1].header, digest=frames[-1].digest)


def encode_stub(stub: Stub) -> bytes:
    """The stub's bytes."""
    data = MAGIC + _encode(stub)
    return data + _digest(data)


def is_stub(data: bytes) -> bool:
    """Whether a file of the log is a stub, and no frames."""
    return data.startswith(MAGIC)


def read_stub(data: bytes, path: str, *, first: int, run_id: str | None = None, store: bytes | None = None) -> Stub:
    """The stub in a file, verified.

    Args:
        data: The whole file.
        path: What to call it in errors.
        first: The number in the file's name.
        run_id: The run it must belong to, if known.
        store: The store it must belong to, if known.

    Raises:
        CorruptCheckpoint: damaged, foreign, or not where it belongs.
    """
    if _digest(data[:-DIGEST]) != data[-DIGEST:]:
        raise CorruptCheckpoint(path, "the stub is damaged (BLAKE2b)")
    try:
        stub = _decode(data[len(MAGIC) : -DIGEST])
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptCheckpoint(path, f"the stub does not decode: {error}") from error
    if stub.first.seq != first:
        raise CorruptCheckpoint(path, f"it is the stub of commit {stub.first.seq}, but is named {first}")
    if run_id is not None and stub.file.run_id != run_id:
        raise CorruptCheckpoint(path, f"it belongs to run {stub.file.run_id!r}")
    if store is not None and stub.file.store != store:
        raise CorruptCheckpoint(path, f"it belongs to another store, {stub.file.store.hex()}")
    return stub


def _digest(data: bytes) -> bytes:
    hasher = _HASH.copy()
    hasher.update(data)
    return hasher.digest()
