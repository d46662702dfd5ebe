"""Sealing: in each mode what was written is read, and nobody without the key reads or changes it."""

from __future__ import annotations

import random
import struct
import sys
import tracemalloc
import zlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from actorflow.errors import ActorflowError, CorruptCheckpoint, MissingExtra, MissingKey, NotSealed, RunOwned
from actorflow.store import compression, framing, sealing
from actorflow.store.compression import compress, decompress
from actorflow.store.frames import Seal
from actorflow.store.framing import DIGEST, MAX_BODY, PREFIX, encode_file, encode_frame, read_frames
from actorflow.store.keyring import Keyring
from actorflow.store.keys import checkpoint_seq, log_prefix
from actorflow.store.sealing import COMPRESSED, ENCRYPTED, MAC, PLAIN, Sealing, data_key
from actorflow.store.store import open_store
from tests.store import golden
from tests.store.drafts import ACTOR, claiming, draft, part

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.store.frames import Frame
    from actorflow.store.store import Store

OLD, NEW = Keyring({"old": b"o" * 32}), Keyring({"new": b"n" * 32, "old": b"o" * 32})
WAYS = golden.SEALINGS
KEYED = [name for name in WAYS if name != "compressed"]
FLAGS = {"compressed": 2, "mac": 8, "mac-compressed": 10, "sealed": 4, "sealed-compressed": 6}


def read(data: bytes, way: Sealing, first: int = 0, *, keyless: bool = False) -> list[Frame]:
    """The frames of a file of the golden run."""
    return read_frames(data, "f.ckpt", first=first, sealing=way, keyless=keyless)[0]


def one_frame(way: Sealing, body: bytes = b"the state of somebody" + golden.GROWN) -> bytes:
    """A file of one frame."""
    raw, digest = encode_file(golden.PART)
    head = read_frames(golden.files()["00000000000000000000.ckpt"], "f", first=0)[0][0].header
    assert head.file == digest
    header = golden.Header(**{**{name: getattr(head, name) for name in head.__struct_fields__}, "raw": len(body)})
    return encode_frame(header, body, path="f", file=raw, sealing=way)[0]


def redone(data: bytes) -> bytes:
    """A file of one frame as somebody without a key would finish it: with a CRC and a digest that are right."""
    data = data[:24] + struct.pack(">I", zlib.crc32(data[:24])) + data[PREFIX:-DIGEST]
    hasher = framing._HASH.copy()
    hasher.update(data)
    return data + hasher.digest()


def flags_of(data: bytes) -> int:
    """The flags of a file's first frame."""
    return int.from_bytes(data[10:12])


# -- the format ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_the_golden_files_of_each_way_are_still_read(name: str) -> None:
    """What was ever sealed stays readable: bodies, flags and key ids."""
    folder = golden.FOLDER.with_name(f"format1-{name}")
    stored = {checkpoint_seq(path.name) or 0: path.read_bytes() for path in folder.glob("*.ckpt")}
    plain = {checkpoint_seq(name) or 0: data for name, data in golden.files(grown=golden.GROWN).items()}

    assert stored.keys() == plain.keys()
    assert flags_of(stored[0]) == FLAGS[name]
    for first, data in stored.items():
        found, expected = read(data, WAYS[name], first), read(plain[first], PLAIN, first)
        assert [frame.body for frame in found] == [frame.body for frame in expected]
        assert {frame.seal for frame in found} == {WAYS[name].writes}


@pytest.mark.parametrize("name", WAYS)
def test_what_is_written_is_read(name: str) -> None:
    """Bodies of every kind come back, and the plain ones are not in the file of an encrypted one."""
    for body in (b"", b"x", b"secret-" * 5, bytes(1_000_000), bytes(range(256)) * 40):
        data = one_frame(WAYS[name], body)

        assert read(data, WAYS[name])[0].body == body
        assert not (name.startswith("sealed") and len(body) > 10 and body[:30] in data)


def test_a_body_at_the_limit_can_be_read_when_it_is_sealed() -> None:
    """What sealing adds does not push a commit that was accepted over the limit of the reader."""
    body = bytes(MAX_BODY)

    assert len(read(one_frame(WAYS["sealed"], body), WAYS["sealed"])[0].body) == MAX_BODY


def test_the_same_body_is_never_stored_alike() -> None:
    """Salt and nonce are drawn for each frame: neither its number nor an earlier writing tells them."""
    assert len({one_frame(WAYS["sealed"]) for _ in range(20)}) == 20


def test_the_data_key_is_hkdf() -> None:
    """Our two lines give what a well-kept library gives."""
    master, salt, context = bytes(range(32)), b"s" * 16, b"c" * 24
    expected = HKDF(SHA256(), 32, salt, b"actorflow-1 sealed " + context).derive(master)

    assert data_key(master, salt=salt, mode="sealed", context=context) == expected


def test_a_chain_is_verified_and_its_headers_are_read_without_any_key() -> None:
    """Digests are of what is stored; only bodies are missing."""
    for first, data in ((checkpoint_seq(name) or 0, d) for name, d in golden.files(WAYS["sealed"]).items()):
        frames = read(data, PLAIN, first, keyless=True)

        assert [frame.header for frame in frames] == [frame.header for frame in read(data, WAYS["sealed"], first)]
        assert {frame.body for frame in frames} == {b""}
        assert {frame.seal for frame in frames} == {Seal("sealed", "golden-2")}
        with pytest.raises(MissingKey, match="'golden-2'"):
            read(data, PLAIN, first)


# -- damage and forgery -------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_any_changed_byte_is_detected_in_each_way(name: str) -> None:
    """All one-bit mutants of a file are refused, in headers, seals, bodies and digests (guarantee 7)."""
    data = golden.files(WAYS[name], grown=golden.GROWN)["00000000000000000000.ckpt"]
    assert len(read(data, WAYS[name])) == 3
    for at in range(len(data)):
        for bit in range(8):
            with pytest.raises(CorruptCheckpoint):
                read(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :], WAYS[name])


def accepted_forgeries(way: Sealing, reader: Sealing) -> list[int]:
    """Where a bit can be changed by somebody without the key, who puts CRC and digest right, and is believed."""
    data, accepted = one_frame(way), []
    for at in [*range(24), *range(PREFIX, len(data) - DIGEST)]:
        for bit in range(8):
            forged = redone(data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :])
            try:
                found = read(forged, reader)
            except ActorflowError:
                continue
            if found:
                accepted.append(at)
    return accepted


@pytest.mark.parametrize("name", KEYED)
def test_nobody_without_the_key_changes_a_bit(name: str) -> None:
    """All of prefix, header, seal and body are under the tag, whatever is done to checksum and digest."""
    assert accepted_forgeries(WAYS[name], WAYS[name]) == []


class _Unbound(Sealing):
    """Planted: what stands before the body is not under the tag."""

    def seal(self, packed: sealing.Packed, *, before: bytes, context: bytes) -> bytes:
        return super().seal(packed, before=b"", context=context)

    def open(self, stored: bytes, **known: object) -> bytes:
        return super().open(stored, **{**known, "before": b""})  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ["mac", "sealed"])
def test_a_header_outside_the_tag_could_be_forged(mode: str) -> None:
    """Planted: the additional data dropped, and a status or a number can be changed."""
    unbound = _Unbound(mode, keys=OLD)  # type: ignore[arg-type]

    assert accepted_forgeries(unbound, unbound)


@pytest.mark.parametrize("name", KEYED)
def test_clearing_the_flags_gets_nobody_in(name: str) -> None:
    """A plain frame, or one with its seal's flag cleared, is refused where seals are required."""
    plain, data = one_frame(PLAIN), one_frame(WAYS[name])
    cleared = redone(data[:10] + struct.pack(">H", flags_of(data) & ~(ENCRYPTED | MAC)) + data[12:])

    for weaker in (plain, cleared):
        with pytest.raises(NotSealed, match="plain, and this store requires"):
            read(weaker, WAYS[name])
        with pytest.raises(NotSealed):
            read(weaker, WAYS[name], keyless=True)


def test_a_keyed_digest_is_less_than_encryption() -> None:
    """Modes ascend: who requires encryption refuses a MAC, who requires a MAC takes encryption."""
    with pytest.raises(NotSealed, match="it is mac, and this store requires sealed"):
        read(one_frame(Sealing("mac", keys=OLD)), Sealing("sealed", keys=OLD))

    assert read(one_frame(Sealing("sealed", keys=OLD)), Sealing("mac", keys=OLD))
    assert read(one_frame(PLAIN), Sealing("sealed", keys=OLD, require="plain"))


class _Trusting(Sealing):
    """Planted: ``require`` is ignored."""

    def check(self, flags: int, path: str) -> None:
        pass


def test_without_the_check_a_plain_frame_would_get_in() -> None:
    """Planted: ``require`` ignored, and who can write to the store can make up a state."""
    forged = one_frame(PLAIN, b"made up")

    assert read(forged, _Trusting("sealed", keys=OLD))[0].body == b"made up"


@pytest.mark.parametrize("name", WAYS)
def test_a_cut_is_torn_or_damage_in_each_way(name: str) -> None:
    """Cut anywhere, a file holds a beginning of its frames, and its first frame whole or nothing."""
    data = golden.files(WAYS[name])["00000000000000000000.ckpt"]
    frames = read(data, WAYS[name])
    for size in range(len(data)):
        if size < frames[0].size:
            with pytest.raises(CorruptCheckpoint):
                read(data[:size], WAYS[name])
        else:
            found = read(data[:size], WAYS[name])
            assert found == frames[: len(found)]


@pytest.mark.parametrize("mode", ["mac", "sealed"])
def test_a_sealed_body_fits_nowhere_else(mode: str) -> None:
    """A body under another header, of another run, number or epoch, does not open."""
    way = Sealing(mode, keys=OLD)  # type: ignore[arg-type]
    data = one_frame(way)
    at = PREFIX + int.from_bytes(data[12:16])
    own = read(data, way)[0]
    for change in ({"epoch": 2}, {"status": "ruining"}, {"nonce": b"?" * 16}):
        header = golden.Header(**{**{n: getattr(own.header, n) for n in own.header.__struct_fields__}, **change})
        other = encode_frame(header, own.body, path="f", file=encode_file(golden.PART)[0], sealing=way)[0]
        swapped = redone(other[: len(other) - len(data) + at] + data[at:])

        with pytest.raises(CorruptCheckpoint, match="does not open with key 'old'"):
            read(swapped, way)


@pytest.mark.parametrize("mode", ["mac", "sealed"])
def test_a_wrong_key_never_gives_a_state(mode: str) -> None:
    """Another key of the same id: damaged or another key, it says, and shows neither."""
    data = one_frame(Sealing(mode, keys=OLD))  # type: ignore[arg-type]
    wrong = Sealing(mode, keys=Keyring({"old": b"w" * 32}))  # type: ignore[arg-type]

    for keyless in (False, True):
        with pytest.raises(CorruptCheckpoint, match="does not open with key 'old'") as caught:
            read(data, wrong, keyless=keyless)
        assert "www" not in repr(caught.value)


def test_a_seal_that_is_too_short_is_damage() -> None:
    """A length of the key id that leads out of the body, and a body of nothing."""
    data = one_frame(Sealing("sealed", keys=OLD), b"")
    at = PREFIX + int.from_bytes(data[12:16])
    for body in (b"", b"\x00", b"\xff" + data[at + 1 : -DIGEST], b"\x03old" + bytes(20)):
        forged = data[:16] + struct.pack(">Q", len(body)) + data[24:at] + body + bytes(DIGEST)
        with pytest.raises((CorruptCheckpoint, MissingKey)):
            read(redone(forged), Sealing("sealed", keys=OLD))


# -- compression --------------------------------------------------------------------------


def peak_of(data: bytes, raw: int) -> int:
    """The most memory that decompressing took, whatever came of it."""
    tracemalloc.start()
    try:
        decompress(data, raw=raw, path="f")
    except CorruptCheckpoint:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def bombs() -> dict[str, tuple[bytes, int]]:
    """Some 2 kB that become 64 MiB, and what they say of their length."""
    whole = zstd.compress(bytes(MAX_BODY))
    stream = zstd.ZstdCompressor()
    unsaid = stream.compress(bytes(MAX_BODY)) + stream.flush()
    assert zstd.get_frame_info(whole).decompressed_size == MAX_BODY
    lying = whole[:6] + struct.pack("<I", 1000) + whole[10:]
    assert zstd.get_frame_info(lying).decompressed_size == 1000
    return {
        "honest": (whole, MAX_BODY),
        "lies in the header": (whole, 1000),
        "says nothing": (unsaid, 1000),
        "lies in both": (lying, 1000),
        "two in a row": (zstd.compress(bytes(1000)) + whole, 1000),
    }


@pytest.mark.parametrize("name", bombs())
def test_a_bomb_is_refused_before_memory_is_spent(name: str) -> None:
    """Whatever the lengths say, less than a megabyte is taken for it."""
    data, raw = bombs()[name]

    with pytest.raises(CorruptCheckpoint):
        decompress(data, raw=raw, path="f")
    assert peak_of(data, raw) < 1_000_000


def test_without_the_ratio_a_bomb_would_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the ratio check dropped, and 2 kB take 64 MiB."""
    monkeypatch.setattr(compression, "MAX_RATIO", 10**9)

    assert peak_of(*bombs()["honest"]) >= MAX_BODY


def test_a_frame_that_announces_too_much_is_refused() -> None:
    """A body may not be longer than any that is written, however many bytes it is stored in."""
    body = zstd.compress(b"x" * 1000)
    data = one_frame(Sealing(compress="zstd"), b"x" * 1000)
    own = read(data, PLAIN)[0]
    header = golden.Header(**{**{n: getattr(own.header, n) for n in own.header.__struct_fields__}, "raw": MAX_BODY + 1})
    forged = encode_frame(header, body, path="f", file=encode_file(golden.PART)[0])[0]
    forged = redone(forged[:10] + struct.pack(">H", COMPRESSED) + forged[12:])

    with pytest.raises(CorruptCheckpoint, match="is the limit"):
        read(forged, PLAIN)


def test_only_what_gets_smaller_is_compressed() -> None:
    """Short bodies, noise, and what would look like a bomb are stored as they are."""
    text = b"a line of a report, number %d\n" * 100

    assert compress(b"x" * 100) is None
    assert compress(random.Random(1).randbytes(5000)) is None
    assert compress(bytes(1_000_000)) is None
    assert decompress(compress(text) or b"", raw=len(text), path="f") == text
    assert flags_of(one_frame(Sealing(compress="zstd"), bytes(1_000_000))) == 0


def test_noise_never_decompresses_to_anything_untyped() -> None:
    """One-byte mutants of compressed data end in our error or in a body of the right length."""
    text = b"a line of a report, number %d\n" * 20
    data = compress(text) or b""
    for at in range(len(data)):
        for bit in range(8):
            mutant = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
            try:
                assert len(decompress(mutant, raw=len(text), path="f")) == len(text)
            except CorruptCheckpoint:
                continue


# -- what is asked for --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mode": "secret"}, "mode is one of plain, mac, sealed"),
        ({"require": "secret"}, "require is one of"),
        ({"mode": "sealed"}, "needs keys"),
        ({"mode": "mac"}, "needs keys"),
        ({"compress": "zlib"}, "compress is 'zstd' or None"),
        ({"mode": "mac", "keys": OLD, "require": "sealed"}, "could not be read back"),
        ({"require": "mac", "keys": OLD}, "could not be read back"),
    ],
)
def test_what_does_not_go_together_is_refused_at_once(options: dict[str, object], reason: str) -> None:
    """Before a store is opened, not at the first commit."""
    with pytest.raises(ValueError, match=reason):
        Sealing(**options)  # type: ignore[arg-type]


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """When it is asked for, and when a file needs it; the rest goes on without."""
    compressed, encrypted = one_frame(Sealing(compress="zstd")), one_frame(Sealing("sealed", keys=OLD))
    reader = Sealing("sealed", keys=OLD, require="plain")
    monkeypatch.setitem(sys.modules, "backports", None)
    monkeypatch.setitem(sys.modules, "compression", None)
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.ciphers.aead", None)

    with pytest.raises(MissingExtra, match=r"actorflow\[zstd\]"):
        Sealing(compress="zstd")
    with pytest.raises(MissingExtra, match=r"actorflow\[crypto\]"):
        Sealing("sealed", keys=OLD)
    with pytest.raises(MissingExtra, match=r"f.ckpt: .*actorflow\[zstd\]"):
        read(compressed, PLAIN)
    with pytest.raises(MissingExtra, match=r"f.ckpt: .*actorflow\[crypto\]"):
        read(encrypted, reader)
    assert read(one_frame(Sealing("mac", keys=OLD)), Sealing("mac", keys=OLD))


# -- stores -------------------------------------------------------------------------------


def opened(url: str, way: Sealing) -> Store:
    """A store sealed that way."""
    return open_store(url, sealing=way)


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of each kind of log."""
    return str(tmp_path / "store") if request.param == "local" else f"memory://{tmp_path.name}"


def bytes_of(store: Store, run_id: str = "r") -> bytes:
    """All that is stored of a run."""
    return b"".join(store.backend.get(key) for key in store.backend.list(log_prefix(run_id)))


def test_a_sealed_run_goes_on_over_claims_snapshots_and_releases(url: str) -> None:
    """Copies of predecessors, new files, appended frames: all are sealed, and all are read."""
    store = opened(url, WAYS["sealed"])
    file = part(store)
    owned = store.log("r").claim(claiming(file, b"secret claim"), actor=ACTOR)
    owned.commit(draft("commit", 1, file, b"secret commit"))
    owned.commit(draft("commit", 1, file, b"secret snapshot", snapshot=True))
    owned.close()
    again = store.log("r").claim(claiming(file, b"secret claim"), actor=ACTOR)
    again.commit(draft("release", 2, file, b"secret release"))
    again.close()

    bodies = [frame.body.removeprefix(b"secret ") for frame in store.log("r").read(first=0)]

    assert bodies == [b"claim", b"commit", b"snapshot", b"claim", b"release"]
    assert b"secret" not in bytes_of(store)
    assert store.log("r").inspect() == []
    store.close()


def test_without_the_key_a_run_is_listed_but_neither_read_nor_claimed(url: str) -> None:
    """The newest header is readable; whoever reads before claiming, as the runtime does, writes nothing."""
    store = opened(url, WAYS["sealed"])
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("release", 1, part(store), status="waiting"))
    owned.close()
    before = bytes_of(store)
    keyless = opened(url, PLAIN)
    log = keyless.log("r")

    tip = log.tip()

    assert tip is not None
    assert (tip.header.status, tip.header.seq) == ("waiting", 1)
    with pytest.raises(MissingKey, match="'golden-2'"):
        log.read()
    with pytest.raises(MissingKey):
        log.claim(lambda tip: [log.read(), claiming(part(store))(tip)][1], actor=ACTOR)  # type: ignore[return-value]
    assert bytes_of(store) == before
    keyless.close()
    store.close()


def test_a_plain_store_is_sealed_from_some_commit_on(url: str) -> None:
    """With ``require="plain"`` old commits are read and new ones sealed; without it the old ones are refused."""
    store = opened(url, PLAIN)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("release", 1, part(store)))
    owned.close()
    strict, lenient = (opened(url, Sealing("sealed", keys=OLD, require=need)) for need in (None, "plain"))

    with pytest.raises(NotSealed):
        strict.log("r").tip()
    lenient.log("r").claim(claiming(part(store), b"hidden"), actor=ACTOR).close()

    assert [frame.seal.mode for frame in lenient.log("r").read()] == ["plain", "plain", "sealed"]
    assert b"hidden" not in bytes_of(store)
    for each in (store, strict, lenient):
        each.close()


def test_rotation_reads_the_old_and_writes_the_new(url: str) -> None:
    """The first key writes; the others read as long as they are in the ring."""
    store = opened(url, Sealing("sealed", keys=OLD))
    store.log("r").claim(claiming(part(store)), actor=ACTOR).close()
    rotated = opened(store.url, Sealing("sealed", keys=NEW))
    try:
        rotated.log("r").claim(claiming(part(store)), actor=ACTOR).close()
    except RunOwned:
        store.close()  # on a disk the owner's process lock must be free
        rotated.log("r").claim(claiming(part(store)), actor=ACTOR).close()

    assert [frame.seal.key_id for frame in rotated.log("r").read(first=0)] == ["old", "new"]
    forgetful = opened(rotated.url, Sealing("sealed", keys=Keyring({"new": b"n" * 32})))
    with pytest.raises(MissingKey, match="'old'"):
        forgetful.log("r").read(first=0)
    for each in (store, rotated, forgetful):
        each.close()
