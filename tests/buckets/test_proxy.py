"""A bad network before an S3 server: every put comes to a certain outcome, and nobody is fenced by his own object."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import CommitUnknown, Fenced, StoreUnavailable
from actorflow.store.backend import Missing
from actorflow.store.buckets.resolve import bucket_backend
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.object_log import ObjectLog, put_or_settle
from tests.buckets.conftest import bare
from tests.servers.proxy import (
    BlackHole,
    Exchange,
    Fault,
    Late,
    Proxy,
    Reply,
    ReplyLost,
    Request,
    ResetAfterBody,
    ResetBeforeBody,
    Says,
    Slow,
)
from tests.simulation.planted import in_steps
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.backend import Backend
    from actorflow.store.ownership import Ownership
    from tests.servers.place import Place, S3Server

UUID = bytes(range(16))
FILE = part(UUID)
READ_SECONDS = 0.3  # how long a hasty client waits for an answer
HASTE = {"read_timeout": READ_SECONDS}

FAULTS: dict[str, Callable[[], Fault]] = {
    "reply lost": ReplyLost,
    "reset before the body": ResetBeforeBody,
    "reset after the body": ResetAfterBody,
    "black hole before": lambda: BlackHole(READ_SECONDS * 1.5, done=False),
    "black hole after": lambda: BlackHole(READ_SECONDS * 1.5, done=True),
    "slow": lambda: Slow(READ_SECONDS / 5),
    "slow down": lambda: Says(503, "SlowDown"),
    "internal error": lambda: Says(500, "InternalError"),
    "internal error, done": lambda: Says(500, "InternalError", done=True),
    "conflict": lambda: Says(409, "ConditionalRequestConflict"),
    "conflict, done": lambda: Says(409, "ConditionalRequestConflict", done=True),
    "taken, though it is free": lambda: Says(412, "PreconditionFailed"),
}


def puts(request: Request) -> bool:
    """Every put."""
    return request.method == "PUT"


def gets(request: Request) -> bool:
    """Every read of one object."""
    return request.method == "GET" and "list-type" not in request.path


def anything(request: Request) -> bool:
    """Every request."""
    return True


@pytest.fixture
def place(s3: S3Server, proxy: Proxy) -> Place:
    """A place behind the bad network."""
    return s3.place(through=proxy.endpoint)


@pytest.fixture
def backend(place: Place) -> Backend:
    """The backend there, and nothing that tries again."""
    return bare(place)


@pytest.fixture
def hasty(place: Place) -> Backend:
    """The same for a client that does not wait long for an answer."""
    return bare(place._replace(storage_options={**place.storage_options, "config_kwargs": HASTE}))


@pytest.fixture(scope="session")
def proven(s3: S3Server, network: Proxy) -> Backend:
    """What users get: the whole stack behind a URL. Who is in no hurry has tried the server, and left the verdict."""
    url, options = s3.place(through=network.endpoint)
    network.heal()
    assert bucket_backend(url, options).put_new("first", b"")
    backend = bucket_backend(url, {**options, "config_kwargs": HASTE})
    assert not backend.put_new("first", b"")
    return backend


@pytest.fixture
def incarnations() -> Iterator[Callable[[], MemoryIncarnation]]:
    """Openings of the store that live until the end of the test."""
    made: list[MemoryIncarnation] = []

    def make() -> MemoryIncarnation:
        made.append(MemoryIncarnation("s3://behind-a-proxy"))
        return made[-1]

    yield make
    for incarnation in made:
        incarnation.close()


def log_of(backend: Backend, incarnation: MemoryIncarnation) -> ObjectLog:
    """Run r there."""
    return ObjectLog("r", "r", store=UUID, backend=backend, incarnation=incarnation)


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_put_through_any_fault_is_settled_as_ours(
    hasty: Backend, backend: Backend, proxy: Proxy, fault: str, times: int
) -> None:
    """Once, and once more, since the client sends a put again by itself when its connection broke."""
    proxy.arm(FAULTS[fault](), puts, times=times)

    assert put_or_settle(hasty, "k/a", b"ours")

    assert backend.get("k/a") == b"ours"
    assert len(proxy.met) >= 1


@pytest.mark.parametrize("fault", FAULTS)
def test_a_number_of_another_is_never_taken_for_ours(
    hasty: Backend, backend: Backend, proxy: Proxy, fault: str
) -> None:
    """Whatever the network does, the one who came first keeps it."""
    backend.put_new("k/a", b"theirs")
    proxy.arm(FAULTS[fault](), puts)
    proxy.arm(FAULTS[fault](), gets)

    assert not put_or_settle(hasty, "k/a", b"ours")

    assert backend.get("k/a") == b"theirs"
    assert len(proxy.met) == 2


@pytest.mark.parametrize("fault", ["reply lost", "reset after the body", "slow down", "internal error, done"])
def test_reading_back_meets_the_bad_network_too(hasty: Backend, backend: Backend, proxy: Proxy, fault: str) -> None:
    """A read that fails decides nothing: the same bytes are sent again."""
    proxy.arm(FAULTS[fault](), puts, times=3)
    proxy.arm(FAULTS[fault](), gets, times=3)

    assert put_or_settle(hasty, "k/a", b"ours")

    assert backend.get("k/a") == b"ours"


@pytest.mark.parametrize("fault", ["reply lost", "reset after the body"])
@pytest.mark.parametrize("name", ["azurite", "gcs"])
def test_the_other_services_settle_as_well(name: str, fault: str, request: pytest.FixtureRequest) -> None:
    """Their client libraries repeat in ways of their own; what is read back decides."""
    server = request.getfixturevalue(name)
    with Proxy(server.endpoint) as proxy:
        backend = bare(server.place(through=proxy.endpoint))
        backend.put_new("k/b", b"theirs")
        proxy.arm(FAULTS[fault](), lambda request: request.method in ("PUT", "POST"), times=2)

        assert put_or_settle(backend, "k/a", b"ours")
        assert not put_or_settle(backend, "k/b", b"ours")

        assert backend.get("k/a") == b"ours"
        assert len(proxy.met) == 2


@pytest.mark.parametrize("fault", ["reply lost", "reset after the body", "black hole after", "slow down", "conflict"])
def test_what_users_get_settles_by_itself(proven: Backend, proxy: Proxy, fault: str) -> None:
    """The whole stack: a marker, empty, is put, whatever the first two answers were."""
    key = f"active/00/{os.urandom(4).hex()}.1"
    proxy.arm(FAULTS[fault](), puts, times=2)

    assert put_or_settle(proven, key, b"")

    assert key in proven.list("active/")
    assert len(proxy.met) == 2


def test_taken_and_gone_is_no_answer(proven: Backend, proxy: Proxy) -> None:
    """First no answer, then "taken" for what is free: the one who puts sends again, and does not fall over."""
    proxy.arm(Says(503, "SlowDown"), puts)
    proxy.arm(Says(412, "PreconditionFailed"), puts)

    assert put_or_settle(proven, os.urandom(4).hex(), b"ours")


def test_a_network_that_is_gone_leaves_it_unknown(
    backend: Backend, proxy: Proxy, incarnations: Callable[[], MemoryIncarnation]
) -> None:
    """Not failed: the owner stops, and who claims next finds what there is."""
    owned = log_of(backend, incarnations()).claim(claiming(FILE), actor=ACTOR)
    proxy.arm(Says(503, "SlowDown"), anything, times=1000)

    with pytest.raises(CommitUnknown, match="SlowDown"):
        owned.commit(draft("commit", 1, FILE, b"1"))
    proxy.heal()
    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, FILE, b"2"))
    owned.close()

    log = log_of(backend, incarnations())
    with pytest.raises(Missing):
        backend.get(log.key(1))
    assert [frame.body for frame in log.read()] == [b"claim"]


@pytest.mark.parametrize("claimed", [False, True], ids=["before the claim", "after the claim"])
def test_a_late_packet_harms_nothing(
    backend: Backend, proxy: Proxy, incarnations: Callable[[], MemoryIncarnation], *, claimed: bool
) -> None:
    """A put that was given up arrives at last: in time it counts, and after the claim took its number it is refused."""
    first = incarnations()
    owned = log_of(backend, first).claim(claiming(FILE), actor=ACTOR)
    late = Late()
    proxy.arm(late, puts, times=1000)
    proxy.arm(Says(503, "SlowDown"), gets, times=1000)
    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, FILE, b"late"))
    proxy.heal()
    owned.close()
    first.close()

    log = log_of(backend, incarnations())
    if not claimed:
        assert 200 in late.arrive()
    log.claim(claiming(FILE), actor=b"actor-02").commit(draft("commit", 2, FILE, b"after"))
    if claimed:
        assert set(late.arrive()) == {412}

    assert [frame.body for frame in log.read()] == [b"claim", *([] if claimed else [b"late"]), b"claim", b"after"]


class Storm(Fault):
    """Every third request meets something, chosen by a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._faults = [
            FAULTS[name]()
            for name in ("reply lost", "reset before the body", "reset after the body", "slow down", "conflict, done")
        ]
        self.hits = 0

    def meet(self, exchange: Exchange) -> Reply:
        """Perhaps."""
        if self._random.random() > 1 / 3:
            return exchange.forward()
        self.hits += 1
        return self._random.choice(self._faults).meet(exchange)


def commits_through(
    backend: Backend, incarnations: Callable[[], MemoryIncarnation], rounds: int
) -> tuple[list[bytes], list[bytes], int]:
    """Commit, and claim anew whenever it is unknown what became of a commit: acknowledged, tried, how often unknown."""
    acknowledged: list[bytes] = []
    tried: list[bytes] = []
    unknown = 0
    incarnation = incarnations()
    owned: Ownership | None = None
    for _ in range(rounds):
        try:
            if owned is None:
                owned = log_of(backend, incarnation).claim(claiming(FILE), actor=ACTOR)
            tried.append(os.urandom(4).hex().encode())
            owned.commit(draft("commit", owned.header.epoch, FILE, tried[-1]))
            acknowledged.append(tried[-1])
        except (CommitUnknown, StoreUnavailable):
            unknown += 1
            if owned is not None:
                owned.close()
            owned = None
    return acknowledged, tried, unknown


@pytest.mark.parametrize("seed", [1, 2])
def test_what_was_acknowledged_in_a_storm_is_there(
    backend: Backend, proxy: Proxy, incarnations: Callable[[], MemoryIncarnation], seed: int
) -> None:
    """One history that holds each acknowledged commit once and in order, and no more than what was tried."""
    storm = Storm(seed)
    proxy.arm(storm, anything, times=10_000)
    acknowledged, tried, _ = commits_through(backend, incarnations, 60)
    proxy.heal()

    history = [frame.body for frame in log_of(backend, incarnations()).read(first=0) if frame.header.kind == "commit"]
    assert [body for body in history if body in acknowledged] == acknowledged
    assert [body for body in tried if body in history] == history
    assert len(acknowledged) > 30
    assert storm.hits > 10


def test_without_reading_back_an_owner_fences_itself(
    backend: Backend,
    proxy: Proxy,
    incarnations: Callable[[], MemoryIncarnation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Planted: "taken" is taken for "by another"; in such a storm a lone owner is soon told that it lost its run."""

    def naive(backend: Any, key: str, data: bytes) -> bool:
        for _ in range(20):
            try:
                return bool(backend.put_new(key, data))
            except StoreUnavailable:
                continue
        raise CommitUnknown(key, "planted")

    monkeypatch.setattr("actorflow.store.object_log.putting_or_settling", in_steps(naive))
    owned = log_of(backend, incarnations()).claim(claiming(FILE), actor=ACTOR)
    proxy.arm(Storm(1), anything, times=10_000)

    with pytest.raises(Fenced):  # noqa: PT012 - sooner or later
        for number in range(60):
            owned.commit(draft("commit", 1, FILE, b"%d" % number))


def test_a_commit_is_one_request(backend: Backend, proxy: Proxy, incarnations: Callable[[], MemoryIncarnation]) -> None:
    """One PUT, and no other, as long as the network is good."""
    owned = log_of(backend, incarnations()).claim(claiming(FILE), actor=ACTOR)
    proxy.seen.clear()

    for number in range(5):
        owned.commit(draft("commit", 1, FILE, b"%d" % number))

    assert [request.method for request in proxy.seen] == ["PUT"] * 5
    assert all(dict(request.headers)["If-None-Match"] == "*" for request in proxy.seen)
