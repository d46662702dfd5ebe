"""Backends around backends: they pass everything on, and log, count or try again."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable
from actorflow.store.backend import Backend, Missing, whole
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import LoggingBackend, MetricsBackend
from actorflow.store.wrappers import RetryingBackend, WrappedBackend
from actorflow.testing.backend_contract import BackendContract

if TYPE_CHECKING:
    from collections.abc import Iterable


class TestWrappers(BackendContract):
    """The contract holds through each of them, and through all."""

    @pytest.fixture(params=["plain", "retrying", "logging", "metrics", "all"])
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        """Around memory."""
        inner = MemoryBackend()
        if request.param == "plain":
            return WrappedBackend(inner)
        if request.param == "retrying":
            return RetryingBackend(inner)
        if request.param == "logging":
            return LoggingBackend(inner)
        if request.param == "metrics":
            return MetricsBackend(inner)
        return RetryingBackend(LoggingBackend(MetricsBackend(inner)))


class Flaky(WrappedBackend):
    """Each call takes the next of ``fates``: "" passes, "lost" takes effect and fails, an error is raised."""

    def __init__(self, *fates: str | StoreError) -> None:
        super().__init__(MemoryBackend())
        self.fates = deque(fates)
        self.calls = 0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        lost = self._meet()
        new = self.inner.put_new(key, data)
        if lost:
            raise StoreUnavailable(key, "reply lost")
        return new

    def get(self, key: str) -> bytes:
        self._meet()
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        self._meet()
        return self.inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        self._meet()
        self.inner.delete(keys)

    def _meet(self) -> bool:
        self.calls += 1
        fate = self.fates.popleft() if self.fates else ""
        if isinstance(fate, StoreError):
            raise fate
        return fate == "lost"


@pytest.fixture
def naps(monkeypatch: Any) -> list[float]:
    """How long was waited, instead of waiting."""
    naps: list[float] = []
    monkeypatch.setattr("actorflow.store.wrappers.time.sleep", naps.append)
    return naps


AWAY = StoreUnavailable("k", "away")

Put = Callable[[Backend, str, bytes], bool]
either_put = pytest.mark.parametrize(
    "put",
    [
        lambda backend, key, data: backend.put_new(key, data),
        lambda backend, key, data: whole(backend.putting_new(key, data)),
    ],
    ids=["put", "put in steps"],
)


@either_put
def test_what_was_unavailable_is_asked_again(put: Put, naps: list[float]) -> None:
    """Every call, with a pause that grows and is never the same for two."""
    for call in (
        lambda backend: put(backend, "k", b"x"),
        lambda backend: backend.list(""),
        lambda backend: backend.delete(key for key in ("k",)),
    ):
        flaky = Flaky(AWAY, AWAY, AWAY)
        call(RetryingBackend(flaky))
        assert flaky.calls == 4

    assert len(naps) == 9
    assert all(0 <= nap <= 0.8 for nap in naps)


@either_put
def test_it_gives_up(put: Put, naps: list[float]) -> None:
    """After so many attempts, or when they took so long; the error is that of the last."""
    flaky = Flaky(*[AWAY] * 10)
    with pytest.raises(StoreUnavailable):
        put(RetryingBackend(flaky, seconds=0), "k", b"x")
    assert (flaky.calls, naps) == (1, [])

    flaky = Flaky(*[AWAY] * 10)
    with pytest.raises(StoreUnavailable):
        RetryingBackend(flaky, attempts=3).get("k")
    assert flaky.calls == 3

    flaky = Flaky(*[AWAY] * 10)
    with pytest.raises(StoreUnavailable):
        RetryingBackend(flaky, seconds=0).get("k")
    assert flaky.calls == 1
    assert len(naps) == 2


@either_put
def test_each_call_is_made_once_at_least(put: Put, naps: list[float]) -> None:
    """However few attempts were allowed: not, as was seen, as many as there is time for."""
    for attempts in (0, 1):
        flaky = Flaky(*[AWAY] * 10)
        with pytest.raises(StoreUnavailable):
            put(RetryingBackend(flaky, attempts=attempts), "k", b"x")
        assert (flaky.calls, naps) == (1, [])


@either_put
def test_who_overrides_the_put_sees_those_in_steps_too(put: Put) -> None:
    """Also over one that has steps of its own: else no commit would pass through it."""
    seen: list[str] = []

    class Watched(RetryingBackend):
        def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
            seen.append(key)
            return super().put_new(key, data, durable=durable)

    assert put(Watched(MemoryBackend()), "k", b"x")
    assert seen == ["k"]


@either_put
def test_what_was_refused_is_not_asked_again(put: Put, naps: list[float]) -> None:
    """A refusal is an answer, and so is that nothing is there."""
    flaky = Flaky(StoreDenied("k", "no"))

    with pytest.raises(StoreDenied):
        put(RetryingBackend(flaky), "k", b"x")
    with pytest.raises(Missing):
        RetryingBackend(flaky).get("k")

    assert (flaky.calls, naps) == (2, [])


@either_put
@pytest.mark.parametrize("refusal", [StoreDenied("k", "the token expired"), StoreFull("k", "over the quota")])
@pytest.mark.parametrize("calm", [0, 1])  # the put again is refused, or the comparison
def test_a_refusal_after_a_lost_reply_does_not_say_that_nothing_was_put(
    put: Put, refusal: StoreError, calm: int, naps: list[float]
) -> None:
    """Planted: passed on as it is, an owner would take its commit, which is there, for one that never happened."""
    flaky = Flaky("lost", *[""] * calm, *[refusal] * 100)

    with pytest.raises(StoreUnavailable) as unclear:
        put(RetryingBackend(flaky), "k", b"mine")

    assert flaky.inner.get("k") == b"mine"
    assert str(refusal) in str(unclear.value)


@either_put
def test_a_put_whose_reply_was_lost_knows_its_own(put: Put, naps: list[float]) -> None:
    """Planted: a retry that believes the conflict would call its own object another's."""
    flaky = Flaky("lost")
    assert put(RetryingBackend(flaky), "k", b"mine")
    assert flaky.calls == 3  # the put, the put again, and the comparison

    flaky = Flaky("lost")
    repeated = [False]
    with pytest.raises(StoreUnavailable):
        flaky.put_new("k", b"mine")
    repeated.append(flaky.put_new("k", b"mine"))
    assert repeated == [False, False]


@either_put
def test_anothers_object_stays_anothers(put: Put, naps: list[float]) -> None:
    """Also after a failure; and without one the bytes are not even compared."""
    flaky = Flaky(AWAY)
    flaky.inner.put_new("k", b"theirs")
    assert not put(RetryingBackend(flaky), "k", b"mine")

    calm = Flaky()
    calm.inner.put_new("k", b"same")
    assert not put(RetryingBackend(calm), "k", b"same")
    assert calm.calls == 1


def test_what_was_taken_and_is_gone_is_put_again(naps: list[float]) -> None:
    """Between the conflict and the comparison it may have been deleted: that is no answer of a put."""

    class Vanishing(Flaky):
        def get(self, key: str) -> bytes:
            self.inner.delete([key])
            return super().get(key)

    flaky = Vanishing(AWAY)
    flaky.inner.put_new("k", b"theirs")

    assert RetryingBackend(flaky).put_new("k", b"mine")
    assert flaky.inner.get("k") == b"mine"


def test_every_call_is_counted() -> None:
    """By kind: what was created or read, how long it took, and what failed; that nothing is there is no failure."""
    flaky = Flaky()
    metrics = MetricsBackend(flaky)

    metrics.put_new("k/a", b"12345")
    metrics.put_new("k/a", b"x")
    metrics.get("k/a")
    with pytest.raises(Missing):
        metrics.get("k/b")
    flaky.fates.append(AWAY)
    with pytest.raises(StoreUnavailable):
        metrics.get("k/a")
    metrics.list("k/")
    metrics.delete(key for key in ("k/a", "k/b"))

    seen = metrics.statistics()
    assert {kind: (s.calls, s.failures, s.keys, s.bytes) for kind, s in seen.items()} == {
        "put_new": (2, 0, 1, 5),
        "get": (3, 1, 1, 5),
        "list": (1, 0, 1, 0),
        "delete": (1, 0, 2, 0),
    }
    assert all(0 < s.seconds < 5 for s in seen.values())
    metrics.list("")
    assert seen["list"].calls == 1  # as of then


def test_every_call_is_one_line(caplog: Any) -> None:
    """What, which key, how much, or the error; never the content."""
    logged = LoggingBackend(Flaky("", "", StoreDenied("k", "no")), level=logging.INFO)

    with caplog.at_level(logging.INFO, "actorflow.store"):
        logged.put_new("k/a", b"secret")
        logged.get("k/a")
        with pytest.raises(StoreDenied):
            logged.list("k/")

    lines = [record.getMessage().rpartition(",")[0] for record in caplog.records]
    assert lines[:2] == ["put_new k/a: 1 keys, 6 bytes", "get k/a: 1 keys, 6 bytes"]
    assert lines[2].startswith("list k/: StoreDenied(")
    assert "secret" not in caplog.text


def test_a_wrapper_goes_by_the_name_of_what_is_in_it() -> None:
    """Errors name the store, not what is around it."""

    class Named(MemoryBackend):
        def __str__(self) -> str:
            return "shelf://b"

    assert str(RetryingBackend(MetricsBackend(Named()))) == "shelf://b"
