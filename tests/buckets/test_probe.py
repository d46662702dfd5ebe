"""The probe finds each way in which a store may lie; what passes it is believed, and asked only once."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import StoreUnavailable, UnsafeStore
from actorflow.store.backend import Missing, whole
from actorflow.store.buckets.bucket import BucketBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.probe import probe
from actorflow.store.buckets.proven import ProvenBackend
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actorflow.store.buckets.answers import Answer


class Overwrites(MemoryBackend):
    """Says that the key was taken, and replaces what was there."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        new = super().put_new(key, data)
        self._data[key] = data
        return new


class IgnoresTheCondition(Overwrites):
    """A server that does not know the header."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        super().put_new(key, data)
        return True


class TouchesEmptyOnes(MemoryBackend):
    """Creates exclusively, but what is empty is made by touching it, as one library did."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if data:
            return super().put_new(key, data)
        self.delete([key])
        return super().put_new(key, data)


class LooksFirst(MemoryBackend):
    """Looks whether the key is free, and then writes: who races for it writes when another one has looked, too."""

    def __init__(self) -> None:
        super().__init__()
        self._looked = Counter[str]()
        self._more = threading.Condition()

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if key in self._data:
            return False
        if len(data) > 1000:
            with self._more:
                self._looked[key] += 1
                self._more.notify_all()
                self._more.wait_for(lambda: self._looked[key] > 1, timeout=30)
        super().put_new(key, data)
        self._data[key] = data
        return True


class SaysYesToAnother(MemoryBackend):
    """Of those who race one is told that it won, and it is not the one whose bytes are there."""

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        new = super().put_new(key, data)
        if new and len(data) > 1000:
            self._data[key] = bytes([data[0] ^ 1]) * len(data)
        return new


class ShowsHalf(MemoryBackend):
    """What is being written can be read before it is whole, as on a disk."""

    def get(self, key: str) -> bytes:
        data = super().get(key)
        return data[: len(data) // 2] if len(data) > 1000 else data


class ReadsLate(MemoryBackend):
    """What was just written is not there yet: eventually consistent."""

    def get(self, key: str) -> bytes:
        raise Missing(key)


class ListsLate(MemoryBackend):
    """The newest key is not listed yet."""

    def list(self, prefix: str) -> list[str]:
        return super().list(prefix)[:-1]


class KeepsListing(MemoryBackend):
    """What was deleted is listed from a cache."""

    def __init__(self) -> None:
        super().__init__()
        self._cached: list[str] = []

    def list(self, prefix: str) -> list[str]:
        self._cached = sorted({*self._cached, *super().list(prefix)})
        return self._cached


class KeepsReading(MemoryBackend):
    """What was deleted is read from a cache."""

    def __init__(self) -> None:
        super().__init__()
        self._cached: dict[str, bytes] = {}

    def get(self, key: str) -> bytes:
        if key not in self._cached:
            self._cached[key] = super().get(key)
        return self._cached[key]


class Jams(IgnoresTheCondition):
    """Lies, and then can't delete."""

    def delete(self, keys: Iterable[str]) -> None:
        raise StoreUnavailable("shelf://b", "jammed")


@pytest.mark.parametrize(
    ("liar", "why"),
    [
        (Overwrites, "replaced what was there"),
        (IgnoresTheCondition, "created one key twice"),
        (TouchesEmptyOnes, "created one key twice"),
        (LooksFirst, "raced for one key were told that they have it"),
        (SaysYesToAnother, "reads what another one wrote"),
        (ShowsHalf, "half of what is being created"),
        (ReadsLate, "can't be read"),
        (ListsLate, "does not show just what is there"),
        (KeepsListing, "still shows what was deleted"),
        (KeepsReading, "can still be read"),
        (Jams, "created one key twice"),
    ],
)
def test_every_lie_is_found(liar: type[MemoryBackend], why: str) -> None:
    """Each is planted, and named."""
    with pytest.raises(UnsafeStore, match=why) as caught:
        probe(liar(), "shelf://b")

    assert caught.value.path == "shelf://b"


def test_an_honest_store_passes_and_is_left_as_it_was() -> None:
    """The trial removes what it made."""
    backend = MemoryBackend()
    backend.put_new("runs/a", b"x")

    probe(backend, "shelf://b")

    assert backend.list("") == ["runs/a"]


class Busy(WrappedBackend):
    """Turns away every put but each ``nth`` while they race; 0: all."""

    def __init__(self, nth: int) -> None:
        super().__init__(MemoryBackend())
        self._nth = nth
        self._lock = threading.Lock()
        self._calls = 0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        with self._lock:
            self._calls += 1
            turned_away = len(data) > 1000 and (not self._nth or self._calls % self._nth != 0)
        if turned_away:
            raise StoreUnavailable(key, "slow down")
        return self.inner.put_new(key, data)


def test_a_busy_server_is_not_called_a_liar() -> None:
    """Some who race are turned away: that says nothing. If all are, nothing is proven, and it is to be tried later."""
    probe(Busy(3), "shelf://b")

    with pytest.raises(StoreUnavailable, match="too busy"):
        probe(Busy(0), "shelf://b")


class Shelf(BucketBackend):
    """A bucket over a backend in memory, at an endpoint, that counts its puts."""

    def __init__(self, inner: MemoryBackend, endpoint: str | None = "http://here") -> None:
        super().__init__(parse_place("shelf://bucket/x"))
        self.inner = inner
        self.at = endpoint
        self.puts = 0

    @property
    def endpoint(self) -> str | None:
        return self.at

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        self.puts += 1
        return self.inner.put_new(key, data)

    def get(self, key: str) -> bytes:
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        return self.inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        self.inner.delete(keys)

    def _create(self, name: str, data: bytes) -> None:
        raise NotImplementedError

    def _read(self, name: str) -> bytes:
        raise NotImplementedError

    def _names(self, prefix: str) -> Sequence[str]:
        raise NotImplementedError

    def _remove(self, names: Sequence[str]) -> None:
        raise NotImplementedError

    def _answer(self, error: Exception) -> Answer:
        raise NotImplementedError


def test_the_verdict_is_kept_in_the_store() -> None:
    """The next one who opens it goes by it; another endpoint proves itself anew, for it may be another server."""
    memory = MemoryBackend()

    first = Shelf(memory)
    assert ProvenBackend(first).put_new("k", b"x")
    assert first.puts > 300
    second = Shelf(memory)
    assert ProvenBackend(second).put_new("l", b"x")
    assert second.puts == 1
    other = Shelf(memory, "http://elsewhere")
    assert whole(ProvenBackend(other).putting_new("m", b"x"))
    assert other.puts > 300

    assert len(memory.list("probe/")) == 2


def test_nothing_is_put_where_nothing_is_proven() -> None:
    """Neither what was to be put nor a verdict; the next attempt tries it again."""
    liar = IgnoresTheCondition()
    backend = ProvenBackend(Shelf(liar))

    for _ in range(2):
        with pytest.raises(UnsafeStore, match="shelf://bucket/x: two processes could own"):
            backend.put_new("actorflow.json", b"{}")
        with pytest.raises(UnsafeStore, match="two processes could own"):
            whole(backend.putting_new("actorflow.json", b"{}"))
        assert liar.list("") == []


def test_reading_needs_no_proof() -> None:
    """Who only looks writes nothing, not even for a trial."""
    shelf = Shelf(MemoryBackend())
    backend = ProvenBackend(shelf)

    with pytest.raises(Missing):
        backend.get("k")
    assert backend.list("") == []
    backend.delete(["k"])

    assert shelf.puts == 0


def test_a_clouds_own_service_is_believed() -> None:
    """What AWS, Google and Microsoft document needs no trial, which would cost money."""
    shelf = Shelf(MemoryBackend(), None)

    ProvenBackend(shelf).put_new("k", b"x")

    assert shelf.puts == 1


@pytest.mark.parametrize("verdict", [b"", b"{", b'{"what": "something else"}'])
def test_a_damaged_verdict_is_none(verdict: bytes) -> None:
    """It proves nothing, so the store is tried again."""
    memory = MemoryBackend()
    ProvenBackend(Shelf(memory)).put_new("k", b"x")
    [key] = memory.list("probe/")
    memory.delete([key])
    memory.put_new(key, verdict)

    again = Shelf(memory)
    ProvenBackend(again).put_new("l", b"x")

    assert again.puts > 300


def test_many_threads_wait_for_one_proof() -> None:
    """The first put of each thread waits; the trial is made once."""
    shelf = Shelf(MemoryBackend())
    backend = ProvenBackend(shelf)
    results: list[Any] = []
    threads = [threading.Thread(target=lambda n=n: results.append(backend.put_new(f"k/{n}", b"x"))) for n in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [True] * 4
    assert shelf.puts == 4 + 4 * 2 + 20 * 16 + 1  # theirs, the sequential ones, the races, the verdict
