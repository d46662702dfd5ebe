"""Envelopes: a file that holds one thing, framed like a commit, so that any changed byte is noticed (guarantee 7).

    prefix   magic 8, format 1, reserved 1, flags 2, header length 4, body length 8, CRC-32 of these 4
    header   msgpack, an array, every field known or the file is left alone
    body
    digest   BLAKE2b-256 of all bytes before, with the person "actorflow-1"

Such a file appears whole: unlike a log that grows, it is never torn. What is
cut off was damaged.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec

from actorflow.errors import CorruptMessage, UnsupportedFormat
from actorflow.store.framing import DIGEST, FLAGS, FORMAT, MAX_HEADER, PREFIX, READABLE

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_FIELDS = struct.Struct(">8sBBHIQ")
_CRC = struct.Struct(">I")


class Envelope(NamedTuple):
    """What a file holds, verified."""

    flags: int
    before: bytes  # prefix and header: what the seal of the body covers besides
    header: bytes
    body: bytes


def opening(magic: bytes, header: bytes, *, body: int, flags: int = 0) -> bytes:
    """Prefix and header, for a body of so many bytes."""
    fields = _FIELDS.pack(magic, FORMAT, 0, flags, len(header), body)
    return fields + _CRC.pack(zlib.crc32(fields)) + header


def closed(data: bytes) -> bytes:
    """The whole file: all of it so far, and its digest."""
    return data + _digest(data)


def unwrapped(data: bytes, path: str, *, magic: bytes) -> Envelope:
    """What is in a file. No length is believed before the prefix's CRC is checked.

    Raises:
        CorruptMessage: damaged, or of another kind.
        UnsupportedFormat: whole, but written by a later version.
    """
    if len(data) < PREFIX + DIGEST:
        raise CorruptMessage(path, f"it has {len(data)} bytes, which is too short")
    if _CRC.unpack_from(data, _FIELDS.size)[0] != zlib.crc32(data[: _FIELDS.size]):
        raise CorruptMessage(path, "its prefix is damaged (CRC-32)")
    found, number, reserved, flags, header, body = _FIELDS.unpack_from(data)
    if found != magic:
        raise CorruptMessage(path, "it is a file of another kind")
    if _digest(memoryview(data)[:-DIGEST]) != data[-DIGEST:]:
        raise CorruptMessage(path, "it is damaged (BLAKE2b)")
    if number != FORMAT or reserved:
        raise UnsupportedFormat(path, f"it is of format {number}.{reserved}, this version reads {FORMAT}.0")
    if flags not in READABLE:
        names = [FLAGS.get(1 << bit, f"bit {bit}") for bit in range(16) if flags & 1 << bit]
        raise UnsupportedFormat(path, f"it uses {', '.join(names)}, which this version can't read")
    if PREFIX + header + body + DIGEST != len(data) or header > MAX_HEADER:
        raise CorruptMessage(path, f"it announces {header} + {body} bytes and has {len(data)}")
    start = PREFIX + header
    return Envelope(flags, data[:start], data[PREFIX:start], data[start:-DIGEST])


def decoded(decode: Callable[[bytes], T], header: bytes, path: str) -> T:
    """The header. Its digest is right, so what does not decode was written by somebody who knows more."""
    try:
        return decode(header)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise UnsupportedFormat(path, f"its header does not decode: {error}") from error


def _digest(data: bytes | memoryview) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST, person=b"actorflow-1").digest()
