"""Frames: what was written is read, and nothing else passes for it."""

from __future__ import annotations

import random
import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import ActorflowError, CommitTooLarge, CorruptCheckpoint, UnsupportedFormat
from actorflow.store import framing
from actorflow.store.framing import MAX_BODY, PREFIX, encode_frame, read_frames
from actorflow.store.keys import checkpoint_seq
from tests.store import golden

if TYPE_CHECKING:
    from actorflow.store.frames import Frame, Tail

FILES = {checkpoint_seq(name) or 0: data for name, data in golden.files().items()}


def read(data: bytes, first: int = 0, **expected: object) -> tuple[list[Frame], Tail]:
    """Read a file of the golden run."""
    return read_frames(data, "f.ckpt", first=first, **expected)  # type: ignore[arg-type]


def sealed(fields: bytes, rest: bytes = b"") -> bytes:
    """A prefix with a CRC that is right, and whatever follows."""
    return fields + struct.pack(">I", zlib.crc32(fields)) + rest


# -- the format -----------------------------------------------------------------------


def test_the_golden_files_are_still_read() -> None:
    """What format 1 ever wrote stays readable, field by field."""
    stored = {checkpoint_seq(path.name) or 0: path.read_bytes() for path in golden.FOLDER.glob("*.ckpt")}
    read_back = {first: read(data, first)[0] for first, data in stored.items()}

    assert [frame.header.seq for frame in read_back[0]] == [0, 1, 2]
    assert [frame.header.seq for frame in read_back[3]] == [3, 4]
    assert [frame.header.seq for frame in read_back[5]] == [4, 5, 6]
    assert {frame.file for frame in read_back[0]} == {golden.PART}
    assert {frame.file for first in (3, 5) for frame in read_back[first]} == {golden.SECOND_PART}
    assert read_back[0][1].header.tags == {"team": "blue", "ö": ""}
    assert read_back[0][2].header.due == 1_800_000_000
    assert read_back[5][2].header.owner == golden.owner(2)
    assert read_back[5][2].body == b"\x81\xa3seq\x06"


def test_the_golden_files_are_still_written_so() -> None:
    """Not a byte of format 1 has moved."""
    stored = {path.name: path.read_bytes() for path in golden.FOLDER.glob("*.ckpt")}

    assert stored == golden.files()


def test_a_frame_is_small() -> None:
    """What is constant in a file is not repeated in each frame: who, where, when and two digests are left."""
    frame = read(FILES[0])[0][1]

    assert frame.size - len(frame.body) <= 270


# -- damage ---------------------------------------------------------------------------


def test_any_changed_byte_is_detected() -> None:
    """All one-byte mutants of a file are refused; none of an acknowledged frame reads as torn (guarantee 7)."""
    data = FILES[0]
    last = read(data)[0][-1].offset
    mutants = 0
    for at in range(len(data)):
        values = range(256) if at >= last else [data[at] ^ 1 << bit for bit in range(8)]
        for value in values:
            if value != data[at]:
                mutants += 1
                with pytest.raises(CorruptCheckpoint):
                    read(data[:at] + bytes([value]) + data[at + 1 :])

    assert mutants > 50_000


@pytest.mark.parametrize("first", FILES)
def test_a_cut_is_torn_or_damage_and_never_another_history(first: int) -> None:
    """Cut anywhere, a file holds a beginning of its frames; cut in its first own frame it is damaged."""
    data = FILES[first]
    frames = read(data, first)[0]
    founded = next(frame.offset + frame.size for frame in frames if frame.header.seq == first)
    ends = {frame.offset + frame.size for frame in frames}
    for size in range(len(data)):
        if size < founded:
            with pytest.raises(CorruptCheckpoint):
                read(data[:size], first)
        else:
            found, tail = read(data[:size], first)
            assert found == frames[: len(found)]
            assert tail.torn == (size not in ends)
            assert tail.offset == found[-1].offset + found[-1].size


@pytest.mark.parametrize("first", FILES)
def test_what_is_put_behind_the_end_is_noticed(first: int) -> None:
    """Zeros, and less than a prefix, may be a torn write; anything else is damage."""
    data = FILES[first]
    rng = random.Random(7)
    for extra in range(1, 65):
        assert read(data + bytes(extra), first)[1].torn
        noise = bytes(rng.randrange(1, 256) for _ in range(extra))
        if extra < PREFIX:
            assert read(data + noise, first)[1].torn
        else:
            with pytest.raises(CorruptCheckpoint):
                read(data + noise, first)
    with pytest.raises(CorruptCheckpoint, match="zeros"):
        read(data + bytes(600) + b"\1", first)


def test_files_and_frames_can_not_change_places() -> None:
    """A file under another's name, and frames of one file in another order, are refused."""
    frames = [FILES[0][frame.offset : frame.offset + frame.size] for frame in read(FILES[0])[0]]
    for first, other in [(a, b) for a in FILES for b in FILES if a != b]:
        with pytest.raises(CorruptCheckpoint):
            read(FILES[first], other)
    for order in [(0, 2, 1), (0, 0, 1), (1, 0, 2), (0, 2), (0, 1, 1), (1, 2)]:
        with pytest.raises(CorruptCheckpoint):
            read(b"".join(frames[index] for index in order))


def test_frames_of_two_files_do_not_mix() -> None:
    """A frame that was built on something else does not follow, although its number fits."""
    other = [FILES[3][frame.offset : frame.offset + frame.size] for frame in read(FILES[3], 3)[0]]

    with pytest.raises(CorruptCheckpoint, match="file part"):
        read(FILES[0] + other[0])
    with pytest.raises(CorruptCheckpoint, match="frame 4 follows frame 2"):
        read(FILES[0] + other[1])


def test_a_foreign_file_is_refused() -> None:
    """Another run's file, another store's file: each is told."""
    assert read(FILES[0], run_id=golden.PART.run_id, store=golden.PART.store)
    with pytest.raises(CorruptCheckpoint, match="belongs to run 'Ärtemis/1'"):
        read(FILES[0], run_id="artemis")
    with pytest.raises(CorruptCheckpoint, match="another store"):
        read(FILES[0], store=b"x" * 16)


def test_a_last_frame_with_a_sector_of_zeros_is_unclear() -> None:
    """A write of full length that lost a sector can't be told from damage, and says so."""
    header = read(FILES[0])[0][2].header
    grown = FILES[0][: read(FILES[0])[0][2].offset] + encode_frame(header, b"x" * 2000, path="f")[0]
    sector = -(-(len(grown) - 1500) // 512) * 512
    lost = grown[:sector] + bytes(512) + grown[sector + 512 :]

    assert len(read(grown)[0]) == 3
    with pytest.raises(CorruptCheckpoint, match="unclear"):
        read(lost)
    with pytest.raises(CorruptCheckpoint, match="damaged"):
        read(grown[: sector + 1] + bytes(512) + grown[sector + 513 :])


def test_what_a_later_file_supersedes_is_no_evidence() -> None:
    """Up to ``stop`` a file is read as if nothing came after."""
    frames, _ = read(FILES[0])
    damaged = FILES[0][: frames[2].offset] + b"?" * 300

    found, tail = read(damaged, stop=2)

    assert found == frames[:2]
    assert not tail.torn


# -- limits, and what later versions may write ------------------------------------------


def test_no_length_is_believed_before_its_checksum() -> None:
    """A prefix that announces 2**63 bytes is damaged if its CRC is wrong, and refused if it is right."""
    fields = struct.pack(">8sBBHIQ", framing.MAGIC, 1, 0, 0, 100, 2**63)

    with pytest.raises(CorruptCheckpoint, match="CRC"):
        read(FILES[0] + fields + b"\0\0\0\0")
    with pytest.raises(CorruptCheckpoint, match="announces"):
        read(FILES[0] + sealed(fields))


@pytest.mark.parametrize(
    ("number", "reserved", "flags", "reason"),
    [
        (2, 0, 0, "format 2"),
        (1, 1, 0, "format 1.1"),
        (1, 0, 1, "BLOB"),
        (1, 0, 5, "BLOB, ENCRYPTED"),
        (1, 0, 12, "ENCRYPTED, MAC"),
        (1, 0, 1 << 15, "bit 15"),
    ],
)
def test_a_later_format_is_refused_by_name(number: int, reserved: int, flags: int, reason: str) -> None:
    """Whole, but not ours to read: that is said, and it is not called damage."""
    fields = struct.pack(">8sBBHIQ", framing.MAGIC, number, reserved, flags, 1, 1)

    with pytest.raises(UnsupportedFormat, match=reason):
        read(sealed(fields, b"??"))


def test_another_kind_of_file_is_refused() -> None:
    """Right checksum, wrong magic."""
    with pytest.raises(CorruptCheckpoint, match="no checkpoint frame"):
        read(sealed(struct.pack(">8sBBHIQ", b"\x89PNG\r\n\x1a\n", 1, 0, 0, 1, 1), b"??"))


@pytest.mark.parametrize(
    "region", [b"", b"\xc1", b"\x92" * 20_000, b"\x90", b"\xdd\xff\xff\xff\xff", b"\x92\xd9\x01\xff\xc0"]
)
def test_a_header_that_does_not_decode_is_corrupt(region: bytes) -> None:
    """Whatever msgpack does not like becomes one typed error, even behind a digest that is right."""
    fields = struct.pack(">8sBBHIQ", framing.MAGIC, 1, 0, 0, len(region), 0)
    data = sealed(fields, region)
    hasher = framing._HASH.copy()
    hasher.update(data)

    with pytest.raises(CorruptCheckpoint, match="does not decode"):
        read(data + hasher.digest())


def test_a_commit_over_the_limit_is_refused_before_it_is_written() -> None:
    """The body has a limit, and so has the header, which tags could fill."""
    header = read(FILES[0])[0][1].header

    with pytest.raises(CommitTooLarge, match="67,108,865"):
        encode_frame(header, bytes(MAX_BODY + 1), path="f")
    with pytest.raises(CommitTooLarge):
        encode_frame(golden.Header(**{**_fields(header), "tags": {"k": "v" * 70_000}}), b"", path="f")


def test_noise_never_raises_anything_untyped() -> None:
    """Random bytes, and random splices of real files, end in our errors or in real frames."""
    rng = random.Random(11)
    real = {frame.digest for first, data in FILES.items() for frame in read(data, first)[0]}
    for _ in range(3000):
        data = bytearray(rng.choice(list(FILES.values())))
        for _ in range(rng.randrange(1, 4)):
            at, length = rng.randrange(len(data)), rng.randrange(1, 300)
            data[at : at + length] = rng.choice(
                [bytes(length), rng.randbytes(length), rng.choice(list(FILES.values()))[at:]]
            )
        try:
            frames, _ = read(bytes(data), rng.choice(list(FILES)))
        except ActorflowError:
            continue
        assert {frame.digest for frame in frames} <= real


def _fields(header: golden.Header) -> dict[str, object]:
    return {name: getattr(header, name) for name in header.__struct_fields__}
