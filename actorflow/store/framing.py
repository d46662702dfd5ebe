"""Framing: frames to bytes and back, so that any changed byte is noticed (guarantee 7).

Torn is not corrupt. A frame is *torn* only if its prefix is short or all
zeros to the end, or if a good prefix is followed by fewer bytes than it
announces: a write that ended the file and was never acknowledged. Everything
else that does not check is `CorruptCheckpoint`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct, msgpack

from actorflow.errors import CommitTooLarge, CorruptCheckpoint, MissingKey, UnsupportedFormat
from actorflow.store.frames import FilePart, Frame, Header, Tail
from actorflow.store.sealing import COMPRESSED, ENCRYPTED, MAC, MAX_SEAL, PLAIN, Sealing, seal_of

if TYPE_CHECKING:
    from actorflow.store.log import Tip

MAGIC = b"\x89AFL\r\n\x1a\n"  # as PNG's: text mode and newline conversion damage it visibly
FORMAT = 1
FLAGS = {1: "BLOB", COMPRESSED: "COMPRESSED", ENCRYPTED: "ENCRYPTED", MAC: "MAC"}
READABLE = frozenset({0, COMPRESSED, ENCRYPTED, MAC, COMPRESSED | ENCRYPTED, COMPRESSED | MAC})  # all else is refused

MAX_HEADER = 64 * 1024
MAX_BODY = 64 * 1024 * 1024
DIGEST = 32
SECTOR = 512

_FIELDS = struct.Struct(">8sBBHIQ")
_CRC = struct.Struct(">I")
PREFIX = _FIELDS.size + _CRC.size
_NIL = b"\xc0"
_PAIR = b"\x92"

_HASH = hashlib.blake2b(digest_size=DIGEST, person=b"actorflow-1")
_FILE_HASH = hashlib.blake2b(digest_size=16, person=b"actorflow-1")
_encode = msgpack.Encoder().encode


class _Region(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    header: Header
    file: msgspec.Raw


# Made here and not at their first use, by two threads at once: msgspec would crash the process.
_decode_region = msgpack.Decoder(_Region).decode
_decode_file = msgpack.Decoder(FilePart).decode


def encode_file(part: FilePart) -> tuple[bytes, bytes]:
    """The encoded file part and its digest."""
    raw = _encode(part)
    return raw, file_digest(raw)


def file_digest(raw: bytes) -> bytes:
    """What headers call an encoded file part."""
    hasher = _FILE_HASH.copy()
    hasher.update(raw)
    return hasher.digest()


def encode_frame(
    header: Header, body: bytes, *, path: str, file: bytes = _NIL, sealing: Sealing = PLAIN
) -> tuple[bytes, bytes]:
    """The frame's bytes and its digest. ``file`` is the encoded file part of a file's first own frame.

    Raises:
        CommitTooLarge: the header is over 64 KiB or the body over 64 MiB.
    """
    region = _PAIR + _encode(header) + file
    if len(region) > MAX_HEADER:
        raise CommitTooLarge(path, len(region), MAX_HEADER)
    if len(body) > MAX_BODY:
        raise CommitTooLarge(path, len(body), MAX_BODY)
    packed = sealing.pack(body)
    fields = _FIELDS.pack(MAGIC, FORMAT, 0, packed.flags, len(region), packed.size)
    before = b"".join((fields, _CRC.pack(zlib.crc32(fields)), region))
    data = before + sealing.seal(packed, before=before, context=_context(header))
    hasher = _HASH.copy()
    hasher.update(data)
    digest = hasher.digest()
    return data + digest, digest


def read_frames(
    data: bytes,
    path: str,
    *,
    first: int,
    stop: int | None = None,
    run_id: str | None = None,
    store: bytes | None = None,
    sealing: Sealing = PLAIN,
    keyless: bool = False,
) -> tuple[list[Frame], Tail]:
    """All frames of one file, verified: digests, numbers, parents, whose they are, and their seals.

    The file of a claim starts with a copy of the frame before it: then the
    list starts with that one, numbered ``first - 1``.

    Args:
        data: The whole file.
        path: What to call it in errors.
        first: The number in the file's name.
        stop: Read up to this number, exclusive: what follows is superseded by a later file and no evidence.
        run_id: The run it must belong to, if known.
        store: The store it must belong to, if known.
        sealing: How bodies are opened, and which are believed.
        keyless: Only headers are wanted: a body whose key is not there is left out, empty.

    Raises:
        CorruptCheckpoint: damaged, foreign, or not where it belongs. Also if
            the file's first own frame is cut: a name appears after its bytes are durable.
        UnsupportedFormat: whole, but written by a later version.
        NotSealed: protected less than required.
        MissingKey: sealed under a key that is not there.
    """
    pieces, tail = _scan(data, path, first, stop)
    own = next((index for index, piece in enumerate(pieces) if piece.header.seq == first), None)
    if own is None:
        raise CorruptCheckpoint(path, f"it ends before its first frame, {first}, is whole")
    part = _file_part(pieces[own], path)
    if run_id is not None and part.run_id != run_id:
        raise CorruptCheckpoint(path, f"it belongs to run {part.run_id!r}")
    if store is not None and part.store != store:
        raise CorruptCheckpoint(path, f"it belongs to another store, {part.store.hex()}")
    for index, piece in enumerate(pieces):
        if index == own:
            continue
        if piece.header.file != pieces[own].header.file or (piece.file != _NIL and index > own):
            raise CorruptCheckpoint(path, f"frame {piece.header.seq} does not fit the file part of frame {first}")
    if own == 1 and pieces[own].header.kind != "claim":
        raise CorruptCheckpoint(path, f"frame {first - 1} stands before frame {first}, which is no claim")
    return [_frame(piece, part, data, path, sealing, keyless=keyless) for piece in pieces], tail


def last_appended(data: bytes, path: str, *, known: Tip, sealing: Sealing = PLAIN) -> Frame | None:
    """The last whole frame of what was appended to a file after a frame that is known; None: there is none.

    Those between are verified but for their seals: they are vouched for by the digests in the last one, whose seal
    is looked at. A body whose key is not there is left out, as for who only wants headers.

    Args:
        data: What the file holds after that frame.
        path: What to call it in errors.
        known: The frame, and the file part that holds for the whole file.
        sealing: How bodies are opened, and which are believed.

    Raises:
        CorruptCheckpoint: what is there does not continue the file.
        NotSealed: protected less than required.
    """
    piece: _Piece | None = None
    before, digest, offset = known.header, known.digest, 0
    while offset < len(data) and (found := _piece(data, offset, path)) is not None:
        header = found.header
        if (header.seq, header.parent, header.file, found.file) != (before.seq + 1, digest, before.file, _NIL):
            raise CorruptCheckpoint(path, f"frame {header.seq} does not continue frame {before.seq} before it")
        piece = found
        before, digest, offset = header, found.digest, found.end
    if piece is None:
        return None
    frame = _frame(piece, known.file, data, path, sealing, keyless=True)
    return msgspec.structs.replace(frame, offset=known.end + frame.offset)


def frame_end(data: bytes, offset: int, path: str) -> int:
    """Where the frame at ``offset`` ends, as its prefix says; the rest of it is not looked at.

    Raises:
        CorruptCheckpoint: there is no whole prefix, or less data than it announces.
    """
    left = len(data) - offset
    fields = data[offset : offset + _FIELDS.size]
    if left < PREFIX or _CRC.unpack_from(data, offset + _FIELDS.size)[0] != zlib.crc32(fields):
        raise CorruptCheckpoint(path, f"the prefix at offset {offset} is cut or damaged (CRC-32)")
    _, header_size, body_size = _lengths(fields, offset, path)
    end = offset + PREFIX + header_size + body_size + DIGEST
    if end > len(data):
        raise CorruptCheckpoint(path, f"the frame at offset {offset} is cut")
    return end


def is_frame(data: bytes, digest: bytes) -> bool:
    """Whether this is the frame with that digest, byte for byte."""
    hasher = _HASH.copy()
    hasher.update(data[:-DIGEST])
    return hasher.digest() == digest == data[-DIGEST:]


class _Piece(NamedTuple):
    header: Header
    file: bytes
    flags: int
    digest: bytes
    offset: int
    body: int  # where it begins
    end: int


def _frame(piece: _Piece, part: FilePart, data: bytes, path: str, sealing: Sealing, *, keyless: bool) -> Frame:
    body = data[piece.body : piece.end - DIGEST]
    seal = seal_of(body, piece.flags)
    sealing.check(piece.flags, path)
    if piece.flags:
        if piece.header.raw > MAX_BODY:
            raise CorruptCheckpoint(path, f"a body says that it has {piece.header.raw} bytes; {MAX_BODY} is the limit")
        try:
            body = sealing.open(
                body,
                flags=piece.flags,
                before=data[piece.offset : piece.body],
                context=_context(piece.header),
                raw=piece.header.raw,
                path=path,
            )
        except MissingKey:
            if not keyless:
                raise
            body = b""
    return Frame(
        header=piece.header,
        file=part,
        body=body,
        digest=piece.digest,
        path=path,
        offset=piece.offset,
        size=piece.end - piece.offset,
        seal=seal,
    )


def _scan(data: bytes, path: str, first: int, stop: int | None) -> tuple[list[_Piece], Tail]:
    pieces: list[_Piece] = []
    offset = 0
    while offset < len(data) and (not pieces or pieces[-1].header.seq + 1 != stop):
        piece = _piece(data, offset, path)
        if piece is None:
            return pieces, Tail(offset, torn=True)
        _check_place(piece.header, pieces[-1] if pieces else None, first, path)
        pieces.append(piece)
        offset = piece.end
    return pieces, Tail(offset, torn=False)


def _piece(data: bytes, offset: int, path: str) -> _Piece | None:
    """The frame at ``offset``, or None if it is torn. No length is believed before the prefix's CRC is checked."""
    left = len(data) - offset
    if left < PREFIX or not any(data[offset : offset + PREFIX]):
        if left >= PREFIX and data.count(0, offset) != left:
            raise CorruptCheckpoint(path, f"zeros at offset {offset}, with data after them")
        return None
    fields = data[offset : offset + _FIELDS.size]
    if _CRC.unpack_from(data, offset + _FIELDS.size)[0] != zlib.crc32(fields):
        raise CorruptCheckpoint(path, f"the prefix at offset {offset} is damaged (CRC-32)")
    flags, header_size, body_size = _lengths(fields, offset, path)
    body_start = offset + PREFIX + header_size
    digest_start = body_start + body_size
    end = digest_start + DIGEST
    if end > len(data):
        return None
    hasher = _HASH.copy()
    hasher.update(memoryview(data)[offset:digest_start])
    digest = hasher.digest()
    if digest != data[digest_start:end]:
        if end == len(data) and _has_zero_sector(data, offset):
            raise CorruptCheckpoint(
                path,
                f"the last frame, at offset {offset}, has its full length but a sector of zeros: "
                "it is unclear whether it was torn or damaged",
            )
        raise CorruptCheckpoint(path, f"the frame at offset {offset} is damaged (BLAKE2b)")
    header, file = _region(data[offset + PREFIX : body_start], offset, path)
    return _Piece(header, file, flags, digest, offset, body_start, end)


def _context(header: Header) -> bytes:
    """Whose a frame is: store, run and life by the digest of the file part that names them, and the epoch."""
    return header.file + struct.pack(">Q", header.epoch)


def _lengths(fields: bytes, offset: int, path: str) -> tuple[int, int, int]:
    magic, number, reserved, flags, header_size, body_size = _FIELDS.unpack(fields)
    if magic != MAGIC:
        raise CorruptCheckpoint(path, f"there is no checkpoint frame at offset {offset}")
    if number != FORMAT or reserved:
        raise UnsupportedFormat(path, f"it is of format {number}.{reserved}, this version reads {FORMAT}.0")
    if flags not in READABLE:
        names = [FLAGS.get(1 << bit, f"bit {bit}") for bit in range(16) if flags & 1 << bit]
        raise UnsupportedFormat(path, f"it uses {', '.join(names)}, which this version can't read")
    if header_size > MAX_HEADER or body_size > MAX_BODY + (MAX_SEAL if flags else 0):
        raise CorruptCheckpoint(path, f"the frame at offset {offset} announces {header_size} + {body_size} bytes")
    return flags, header_size, body_size


def _has_zero_sector(data: bytes, offset: int) -> bool:
    aligned = -(-offset // SECTOR) * SECTOR
    return any(not any(data[at : at + SECTOR]) for at in range(aligned, len(data) - SECTOR + 1, SECTOR))


def _region(raw: bytes, offset: int, path: str) -> tuple[Header, bytes]:
    try:
        region = _decode_region(raw)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptCheckpoint(path, f"the header at offset {offset} does not decode: {error}") from error
    return region.header, bytes(region.file)


def _check_place(header: Header, before: _Piece | None, first: int, path: str) -> None:
    if before is None:
        if header.seq not in (first - 1, first):
            raise CorruptCheckpoint(path, f"it starts with frame {header.seq}, but is named {first}")
        return
    if header.seq != before.header.seq + 1:
        raise CorruptCheckpoint(path, f"frame {header.seq} follows frame {before.header.seq}")
    if header.parent != before.digest:
        raise CorruptCheckpoint(path, f"frame {header.seq} was not built on the frame {before.header.seq} before it")


def _file_part(piece: _Piece, path: str) -> FilePart:
    if piece.file == _NIL:
        raise CorruptCheckpoint(path, f"its first frame, {piece.header.seq}, has no file part")
    if file_digest(piece.file) != piece.header.file:
        raise CorruptCheckpoint(path, f"frame {piece.header.seq} names another file part than it carries")
    try:
        return _decode_file(piece.file)
    except (msgspec.MsgspecError, ValueError, OverflowError, RecursionError) as error:
        raise CorruptCheckpoint(path, f"the file part does not decode: {error}") from error
