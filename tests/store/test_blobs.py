"""Blobs: large values beside the log, under names that prove their bytes."""

from __future__ import annotations

import hashlib
import os
import threading
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import (
    CommitTooLarge,
    CorruptCheckpoint,
    MissingKey,
    NotSealed,
    StoreFull,
    StoreUnavailable,
    UnsupportedFormat,
)
from actorflow.store.blobs import IN_FLIGHT, Blob, Blobs, Ref
from actorflow.store.framing import MAX_BODY
from actorflow.store.keyring import Keyring
from actorflow.store.keys import blob_epoch, blobs_prefix
from actorflow.store.memory import MemoryBackend
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.backend import Backend
    from actorflow.store.store import Store

STORE = bytes(16)
SEALED = Sealing("sealed", keys=Keyring({"k": bytes(32)}))
MAC = Sealing("mac", keys=Keyring({"k": bytes(32)}))


def blobs_of(backend: Backend, run_id: str = "r", sealing: Sealing = PLAIN) -> Blobs:
    """The blobs of a run over that backend."""
    return Blobs(backend, run_id, run_id=run_id, store=STORE, sealing=sealing)


def put(blobs: Blobs, *values: bytes, epoch: int = 1, n: int = 0) -> list[Ref]:
    """Put these values; the references to them."""
    made = [blobs.make(value, epoch=epoch, n=number) for number, value in enumerate(values, n)]
    blobs.put(made)
    return [blob.ref for blob in made]


def digest(data: bytes) -> bytes:
    """The digest in a name, as the page about the file format has it."""
    return hashlib.blake2b(data, digest_size=32, person=b"actorflow-blob").digest()


@pytest.fixture
def backend() -> MemoryBackend:
    """A place for blobs."""
    return MemoryBackend()


@pytest.fixture(params=["local", "memory"])
def either(request: pytest.FixtureRequest, store_url: str) -> Iterator[Store]:
    """A store with the append log, and one with the object log."""
    store = open_store(store_url if request.param == "local" else "memory://")
    yield store
    store.close()


# -- there and back -----------------------------------------------------------------------


def test_what_is_put_comes_back(either: Store) -> None:
    """In order, however many are asked for at once."""
    values = [os.urandom(1000 + number) for number in range(11)]
    blobs = either.blobs("a run")

    refs = put(blobs, *values)

    assert blobs.get(refs) == values
    assert blobs.get(refs[3:4]) == values[3:4]
    assert blobs.get([]) == []
    assert sorted(blobs.names()) == sorted(ref.name for ref in refs)


@pytest.mark.parametrize("sealing", [MAC, SEALED, Sealing(compress="zstd")], ids=["mac", "sealed", "zstd"])
def test_blobs_are_sealed_like_commits(backend: MemoryBackend, sealing: Sealing) -> None:
    """With the same keys, and refused without them or where they are weaker than required."""
    value = b"secret " * 50 + os.urandom(2000).hex().encode()
    blobs = blobs_of(backend, sealing=sealing)

    refs = put(blobs, value)

    stored = backend.get(blobs.path(refs[0].name))
    assert blobs.get(refs) == [value]
    assert (value in stored) == (sealing is MAC)
    if sealing.keys is not None:
        with pytest.raises(MissingKey, match="'k'"):
            blobs_of(backend).get(refs)
        plain = put(blobs_of(backend), value, n=1)
        with pytest.raises(NotSealed):
            blobs.get(plain)


def test_a_value_over_the_limit_is_refused() -> None:
    """Before anything is written."""
    with pytest.raises(CommitTooLarge):
        blobs_of(MemoryBackend()).make(bytes(MAX_BODY + 1), epoch=1, n=0)


def test_a_name_tells_its_epoch() -> None:
    """Other names are none of ours, and nobody sweeps them."""
    ref = Ref(bytes(range(32)), 7, 12, 100)

    assert ref.name == f"{bytes(range(32)).hex()}.7.12"
    assert Ref.unpack(ref.pack()) == ref
    assert blob_epoch(ref.name) == 7
    assert [blob_epoch(name) for name in ("", "a.1.2", ref.name + "x", ref.name.upper(), f"{'0' * 64}.1")] == [None] * 5
    with pytest.raises(ValueError, match="56 bytes"):
        Ref.unpack(b"short")


# -- damage -------------------------------------------------------------------------------


@pytest.mark.parametrize("sealing", [PLAIN, MAC, SEALED], ids=["plain", "mac", "sealed"])
def test_every_changed_byte_is_noticed(backend: MemoryBackend, sealing: Sealing) -> None:
    """So is every cut, and what was appended (guarantee 7)."""
    blobs = blobs_of(backend, sealing=sealing)
    (ref,) = put(blobs, b"a value")
    key = blobs.path(ref.name)
    whole = backend.get(key)
    flipped = (whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :] for at in range(len(whole)))
    cut = (whole[:size] for size in range(len(whole)))
    for data in (*flipped, *cut, whole + b"\0"):
        backend.delete([key])
        backend.put_new(key, data)
        with pytest.raises(CorruptCheckpoint, match="damaged") as caught:
            blobs.get([ref])
        assert caught.value.path == key


def test_the_digest_is_what_notices(backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without it another value of the same length comes back."""
    blobs = blobs_of(backend)
    (ref,) = put(blobs, b"a value")
    key = blobs.path(ref.name)
    damaged = backend.get(key).replace(b"a value", b"A value")
    backend.delete([key])
    backend.put_new(key, damaged)
    monkeypatch.setattr("actorflow.store.blobs._digest", lambda data: ref.digest)

    assert blobs.get([ref]) == [b"A value"]


def test_a_missing_blob_is_named(backend: MemoryBackend) -> None:
    """It is damage, not absence."""
    blobs = blobs_of(backend)
    one, other = put(blobs, b"one", b"other")
    backend.delete([blobs.path(other.name)])

    with pytest.raises(CorruptCheckpoint, match=f"{other.name}: this blob is missing"):
        blobs.get([one, other])


def test_a_reference_that_lies_is_noticed(backend: MemoryBackend) -> None:
    """About the length, or with a digest of what is no blob, or of one from the future."""
    blobs = blobs_of(backend)
    (ref,) = put(blobs, b"a value")

    with pytest.raises(CorruptCheckpoint, match="7 bytes where its commit says 8"):
        blobs.get([ref._replace(size=8)])
    for error, data in (
        (UnsupportedFormat, b"\x89AFB\r\n\x1a\n\x02\0\0\0\0\0\0\0"),
        (UnsupportedFormat, b"\x89AFB\r\n\x1a\n\x01\0\0\x10\0\0\0\0"),
        (CorruptCheckpoint, b"\x89AFL\r\n\x1a\n\x01\0\0\0\0\0\0\0"),
        (CorruptCheckpoint, b"\x89AFB\r\n\x1a\n\x01\0\0\0\0\0\0\0"),
        (CorruptCheckpoint, b"short"),
    ):
        foreign = Blob(Ref(digest(data), 1, 1, 1), data)
        blobs.put([foreign])
        with pytest.raises(error):
            blobs.get([foreign.ref])


# -- writing ------------------------------------------------------------------------------


class Wire(MemoryBackend):
    """A backend that counts, and fails as it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.failures: list[tuple[bool, Exception]] = []  # whether it takes effect
        self.puts = 0
        self.most = 0
        self._flying = 0
        self._meet = threading.Barrier(IN_FLIGHT)
        self.together = False

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        self.puts += 1
        self._flying += 1
        self.most = max(self.most, self._flying)
        if self.together:
            self._meet.wait(10)
        self._flying -= 1
        if self.failures:
            lands, error = self.failures.pop(0)
            if lands:
                super().put_new(key, data)
            raise error
        return super().put_new(key, data)


@pytest.mark.parametrize("lands", [True, False])
def test_a_put_of_unknown_outcome_is_sent_again(lands: bool) -> None:
    """The same bytes under the same name do no harm, whether the first took effect or not."""
    wire = Wire()
    wire.failures = [(lands, StoreUnavailable("k", "timeout"))] * 2

    refs = put(blobs_of(wire), b"value")

    assert blobs_of(wire).get(refs) == [b"value"]
    assert wire.puts == 3


def test_a_put_that_finds_its_name_taken_and_gone_is_sent_again() -> None:
    """A client that tries again by itself may report an object that never was there; for ever is an outage."""

    class Haunted(Wire):
        def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
            return super().put_new(key, data) if self.spooks == 0 else self.spook()

        def spook(self) -> bool:
            self.spooks -= 1
            return False

        spooks = 2

    haunted, cursed = Haunted(), Haunted()
    cursed.spooks = 50

    refs = put(blobs_of(haunted), b"value")

    assert blobs_of(haunted).get(refs) == [b"value"]
    with pytest.raises(StoreUnavailable, match="not there when read"):
        put(blobs_of(cursed), b"value")


def test_a_put_that_keeps_failing_says_so() -> None:
    """A full store at once, one that does not answer after some attempts."""
    full, silent = Wire(), Wire()
    full.failures = [(False, StoreFull("k", "no space"))]
    silent.failures = [(False, StoreUnavailable("k", "timeout"))] * 50

    with pytest.raises(StoreFull):
        put(blobs_of(full), b"value")
    with pytest.raises(StoreUnavailable):
        put(blobs_of(silent), b"value")

    assert full.puts == 1
    assert silent.puts == 4
    assert full.list("") == silent.list("") == []


def test_few_puts_are_in_flight_at_once() -> None:
    """More than one, so that a bucket's latency counts once, and no more than stated."""
    wire = Wire()
    wire.together = True  # each waits until as many as may be are on their way

    put(blobs_of(wire), *(b"%d" % number for number in range(3 * IN_FLIGHT)))

    assert wire.puts == 3 * IN_FLIGHT
    assert wire.most == IN_FLIGHT


def test_what_is_there_already_is_checked(backend: MemoryBackend) -> None:
    """The name proves the bytes, so whose reply was lost does not matter; damaged ones are noticed."""
    blobs = blobs_of(backend)
    blob = blobs.make(b"value", epoch=1, n=0)
    blobs.put([blob])
    blobs.put([blob])
    backend.delete([blobs.path(blob.ref.name)])
    backend.put_new(blobs.path(blob.ref.name), b"torn")

    with pytest.raises(CorruptCheckpoint, match="damaged"):
        blobs.put([blob])


# -- sweeping and copying -----------------------------------------------------------------


def test_a_sweep_takes_what_nobody_refers_to(either: Store) -> None:
    """Of its own and earlier epochs: what a later owner puts is not looked at, nor what is none of ours."""
    blobs = either.blobs("r")
    old = put(blobs, b"kept", b"gone", epoch=1)
    own = put(blobs, b"kept too", b"gone too", epoch=2)
    later = put(blobs, b"of a later owner", epoch=3)
    either.backend.put_new(blobs.path("note.txt"), b"somebody's")

    gone = blobs.sweep({old[0].name, own[0].name}, epoch=2)

    assert sorted(gone) == sorted([old[1].name, own[1].name])
    assert sorted(blobs.names()) == sorted([old[0].name, own[0].name, later[0].name, "note.txt"])
    assert blobs.sweep({old[0].name, own[0].name}, epoch=2) == []


def test_runs_share_no_blobs(either: Store) -> None:
    """Sweeping one leaves the other's alone, also where one id is the beginning of the other."""
    refs = put(either.blobs("r"), b"value")
    other = put(either.blobs("r2"), b"value")

    assert refs[0].name != other[0].name  # whose it is, is in its bytes
    either.blobs("r").sweep(set(), epoch=9)

    assert either.blobs("r").names() == []
    assert either.blobs("r2").get(other) == [b"value"]


@pytest.mark.parametrize("sealing", [PLAIN, SEALED], ids=["plain", "sealed"])
def test_a_fork_copies(backend: MemoryBackend, sealing: Sealing) -> None:
    """Byte for byte under names of its own, so that the original may be swept, and a seal stays closed."""
    source, fork = blobs_of(backend, "r", sealing), blobs_of(backend, "fork", sealing)
    refs = put(source, b"one", b"two", epoch=5, n=3)

    copied = fork.copy([*refs, refs[0]], source, epoch=1)
    source.sweep(set(), epoch=5)

    assert copied.keys() == {ref.name for ref in refs}
    assert {ref.epoch for ref in copied.values()} == {1}
    assert fork.get([copied[ref.name] for ref in refs]) == [b"one", b"two"]
    assert len(backend.list(blobs_prefix("fork"))) == 2


def test_a_fork_of_what_is_missing_leaves_nothing(backend: MemoryBackend) -> None:
    """What was copied so far is removed again."""
    source, fork = blobs_of(backend), blobs_of(backend, "fork")
    one, two = put(source, b"one", b"two")
    backend.delete([source.path(two.name)])

    with pytest.raises(CorruptCheckpoint, match="missing"):
        fork.copy([one, two], source, epoch=1)

    assert backend.list(blobs_prefix("fork")) == []
