"""The object log: replies that get lost, writers that stall, and a second look after each claim."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import (
    CommitUnknown,
    CorruptCheckpoint,
    Fenced,
    RunOwned,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from actorflow.store.backend import Backend, Missing
from actorflow.store.keys import checkpoint_name, log_prefix
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.memory import MemoryBackend
from actorflow.store.object_log import ObjectLog, put_or_settle
from actorflow.store.store import MemoryStore, open_store
from tests.store.drafts import ACTOR, claiming, draft, part
from tests.store.log_contract import LogContract

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.store.store import Store

UUID = bytes(range(16))
FILE = part(UUID)


class TestObjectLog(LogContract):
    """The contract of logs, in memory."""

    @pytest.fixture
    def store_url(self) -> str:
        """A private store in memory."""
        return "memory://"


class Wire(Backend):
    """A backend behind a bad network: each put takes the next of ``script``, if there is one.

    ``lost``: it takes effect, the reply is lost. ``dropped``: it does not, and
    no reply comes. ``late``: no reply, and it arrives after ``arrive``.
    ``twice``: the network sent it twice, so it conflicts with itself.
    ``denied``, ``full``: the store refuses it.
    """

    def __init__(self) -> None:
        self.inner = MemoryBackend()
        self.script: deque[str] = deque()
        self.late: list[tuple[str, bytes]] = []
        self.before_put: deque[Callable[[], object]] = deque()

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, or what the script says."""
        if self.before_put:
            self.before_put.popleft()()
        fate = self.script.popleft() if self.script else ""
        if fate == "late":
            self.late.append((key, data))
        if fate in ("lost", "twice"):
            self.inner.put_new(key, data)
        if fate in ("lost", "late", "dropped"):
            raise StoreUnavailable(key, "timed out")
        if fate in ("denied", "full"):
            raise {"denied": StoreDenied, "full": StoreFull}[fate](key, "refused")
        return self.inner.put_new(key, data)

    def arrive(self) -> None:
        """Let the late packets arrive."""
        for key, data in self.late:
            self.inner.put_new(key, data)

    def get(self, key: str) -> bytes:
        """Read."""
        if self.script and self.script[0] == "unreadable":
            raise StoreUnavailable(key, "timed out")
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """List."""
        return self.inner.list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete."""
        self.inner.delete(keys)


@pytest.fixture
def wire() -> Wire:
    """A bad network."""
    return Wire()


@pytest.fixture
def incarnations() -> Iterator[Callable[[], MemoryIncarnation]]:
    """Openings of the store that live until the end of the test."""
    made: list[MemoryIncarnation] = []

    def make() -> MemoryIncarnation:
        made.append(MemoryIncarnation("memory://wire"))
        return made[-1]

    yield make
    for incarnation in made:
        incarnation.close()


def log_of(wire: Backend, incarnation: MemoryIncarnation) -> ObjectLog:
    """Run r over that network."""
    return ObjectLog("r", "r", store=UUID, backend=wire, incarnation=incarnation)


Made = Callable[[], MemoryIncarnation]


@pytest.mark.parametrize("fate", ["lost", "dropped", "late", "twice"])
def test_a_commit_without_a_reply_is_settled(wire: Wire, incarnations: Made, fate: str) -> None:
    """Read back, sent again if it is not there: one commit, and it is ours (guarantee 4)."""
    log = log_of(wire, incarnations())
    owned = log.claim(claiming(FILE), actor=ACTOR)
    wire.script.extend([fate])

    assert owned.commit(draft("commit", 1, FILE, b"1")).seq == 1
    wire.arrive()
    owned.commit(draft("commit", 1, FILE, b"2"))

    assert [frame.body for frame in log.read()] == [b"claim", b"1", b"2"]


@pytest.mark.parametrize("fate", ["lost", "dropped", "late", "twice"])
def test_a_claim_without_a_reply_is_settled(wire: Wire, incarnations: Made, fate: str) -> None:
    """The claimer does not take its own claim for another's."""
    wire.script.extend([fate])
    log = log_of(wire, incarnations())

    owned = log.claim(claiming(FILE), actor=ACTOR)
    wire.arrive()

    assert owned.header.seq == 0
    assert len(log.read()) == 1


def test_a_commit_that_stays_unclear_is_unknown(wire: Wire, incarnations: Made, monkeypatch: Any) -> None:
    """Not failed: it may still arrive. This owner stops, and the next one finds it or not."""
    monkeypatch.setattr("actorflow.store.object_log.time.sleep", lambda seconds: None)
    log = log_of(wire, incarnations())
    owned = log.claim(claiming(FILE), actor=ACTOR)
    wire.script.extend(["late"] * 50)

    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, FILE, b"1"))
    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, FILE, b"other"))
    owned.close()
    wire.script.clear()
    wire.arrive()
    log.claim(claiming(FILE), actor=ACTOR)

    assert [frame.body for frame in log.read()] == [b"claim", b"1", b"claim"]


def test_reading_back_is_what_settles(wire: Wire, monkeypatch: Any) -> None:
    """Planted: without it the owner takes its own commit, whose reply was lost, for a foreign one."""
    monkeypatch.setattr("actorflow.store.object_log.time.sleep", lambda seconds: None)
    wire.script.extend(["lost"])
    assert put_or_settle(wire, "k", b"mine")

    class Naive(Wire):
        def get(self, key: str) -> bytes:
            raise Missing(key)

    naive = Naive()
    naive.script.extend(["lost"])
    with pytest.raises((CommitUnknown, StoreError)):
        put_or_settle(naive, "k", b"mine")


@pytest.mark.parametrize(("fate", "kind"), [("denied", StoreDenied), ("full", StoreFull)])
def test_a_commit_that_was_refused_outright_may_be_tried_again(
    wire: Wire, incarnations: Made, fate: str, kind: type[StoreError]
) -> None:
    """It is not sent again at once, since that changes nothing; and it surely took no effect, so the owner goes on."""
    owned = log_of(wire, incarnations()).claim(claiming(FILE), actor=ACTOR)
    wire.script.extend([fate])

    with pytest.raises(kind):
        owned.commit(draft("commit", 1, FILE, b"1"))
    assert not wire.script
    owned.commit(draft("commit", 1, FILE, b"again"))

    assert [frame.body for frame in owned.load()] == [b"claim", b"again"]


@pytest.mark.parametrize("fate", ["denied", "full"])
def test_a_refusal_says_nothing_of_what_was_sent_before(wire: Wire, monkeypatch: Any, fate: str) -> None:
    """A first packet may still arrive: raising the refusal of the second would call it undone (guarantee 4)."""
    monkeypatch.setattr("actorflow.store.object_log.time.sleep", lambda seconds: None)
    wire.script.extend(["late", *[fate] * 50])

    with pytest.raises(CommitUnknown, match="refused"):
        put_or_settle(wire, "k", b"mine")


def test_a_stalled_owner_is_fenced_by_the_claim(wire: Wire, incarnations: Made) -> None:
    """It aims at the number the claim took, finds another content, and commits nothing more (guarantee 3)."""
    stalled = incarnations()
    old = log_of(wire, stalled).claim(claiming(FILE), actor=ACTOR)
    old.commit(draft("commit", 1, FILE, b"1"))
    stalled.close()
    log = log_of(wire, incarnations())
    new = log.claim(claiming(FILE), actor=b"actor-02")
    stalled._over = None  # it was not dead, only stalled: the lock was a lease that ran out

    with pytest.raises(Fenced):
        old.commit(draft("commit", 1, FILE, b"too late"))
    with pytest.raises(Fenced):
        old.commit(draft("commit", 1, FILE, b"too late"))

    new.commit(draft("commit", 2, FILE, b"3"))
    assert [frame.body for frame in log.read()] == [b"claim", b"1", b"claim", b"3"]


def test_a_number_of_another_is_not_ours_because_the_reply_was_lost(wire: Wire, incarnations: Made) -> None:
    """What is found there is compared byte for byte: the claim that fenced a stalled owner is no commit of its own."""
    stalled = incarnations()
    old = log_of(wire, stalled).claim(claiming(FILE), actor=ACTOR)
    stalled.close()
    log_of(wire, incarnations()).claim(claiming(FILE), actor=b"actor-02")
    stalled._over = None  # not dead, as above
    wire.script.extend(["dropped"])

    with pytest.raises(Fenced):
        old.commit(draft("commit", 1, FILE, b"too late"))


def overtaken(wire: Wire, incarnations: Made) -> ObjectLog:
    """A log whose next claim stalls until its number was taken, built upon, released and freed by others."""
    first, prefix = incarnations(), log_prefix("r")
    log_of(wire, first).claim(claiming(FILE), actor=ACTOR).close()
    first.close()

    def somebody_was_faster() -> None:
        owned = log_of(wire, incarnations()).claim(claiming(FILE), actor=b"actor-02")
        for number in range(3):
            owned.commit(draft("commit", 2, FILE, b"%d" % number, snapshot=True))
        owned.commit(draft("release", 2, FILE, b"released", snapshot=True))
        owned.close()
        wire.inner.delete([prefix + checkpoint_name(seq) for seq in range(1, 5)])

    wire.before_put.append(somebody_was_faster)
    return log_of(wire, incarnations())


def test_a_claim_below_a_higher_number_is_a_stray(wire: Wire, incarnations: Made) -> None:
    """The second listing shows the chain above it, and the claimer starts over from its end."""
    owned = overtaken(wire, incarnations).claim(claiming(FILE), actor=ACTOR)

    assert (owned.header.seq, owned.header.epoch) == (6, 3)
    assert [frame.body for frame in owned.load()] == [b"released", b"claim"]


def test_without_a_second_listing_two_would_own_the_run(wire: Wire, incarnations: Made, monkeypatch: Any) -> None:
    """Planted: the overtaken claimer believes in its stray, and commits what no reader ever sees."""
    monkeypatch.setattr(ObjectLog, "_is_newest", lambda self, seq: True)
    log = overtaken(wire, incarnations)
    stray = log.claim(claiming(FILE), actor=ACTOR)
    log_of(wire, incarnations()).claim(claiming(FILE), actor=b"actor-03")

    assert stray.commit(draft("commit", 2, FILE, b"acknowledged")).seq == 2

    assert b"acknowledged" not in [frame.body for frame in log.read()]


def test_damage_is_not_absence(store_url: str) -> None:
    """A newest commit that can't be read quarantines the run; the one before does not take its place."""
    store = open_store("memory://")
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store)))
    owned.close()
    key = log_prefix("r") + checkpoint_name(1)
    data = store.backend.get(key)
    for broken in (data[:-1], data + b"\0", data + data, b"", data[:60] + bytes([data[60] ^ 1]) + data[61:]):
        store.backend.delete([key])
        store.backend.put_new(key, broken)
        with pytest.raises(CorruptCheckpoint):
            store.log("r").tip()
        with pytest.raises(CorruptCheckpoint):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)
    store.close()


def test_a_commit_built_on_something_else_is_noticed() -> None:
    """The chain is followed by digests, not by numbers."""
    store = open_store("memory://")
    for run_id in ("r", "q"):
        owned = store.log(run_id).claim(claiming(part(store)), actor=ACTOR)
        owned.commit(draft("commit", 1, part(store)))
        owned.close()
    key = checkpoint_name(0)
    foreign = store.backend.get(log_prefix("q") + key)
    store.backend.delete([log_prefix("r") + key])
    store.backend.put_new(log_prefix("r") + key, foreign)

    with pytest.raises(CorruptCheckpoint, match="not built on it"):
        store.log("r").read()
    store.close()


def test_a_store_in_memory_is_shared_by_name() -> None:
    """Two openings see the same runs, and each other's owners; a closed one's runs are free."""
    one, other = open_store("memory://shared-runs"), open_store("memory://shared-runs")
    one.log("r").claim(claiming(part(one)), actor=ACTOR)

    with pytest.raises(RunOwned):
        other.log("r").claim(claiming(part(other)), actor=ACTOR)
    one.close()

    assert other.log("r").claim(claiming(part(other)), actor=ACTOR).header.epoch == 2
    other.close()


def test_a_store_that_was_forgotten_holds_nothing() -> None:
    """Nobody can commit in its name any more, so its runs can be claimed."""
    one: Store | None = open_store("memory://forgotten")
    assert isinstance(one, MemoryStore)
    one.log("r").claim(claiming(part(one)), actor=ACTOR)
    one = None

    other = open_store("memory://forgotten")

    assert other.log("r").claim(claiming(part(other)), actor=ACTOR).header.epoch == 2
    other.close()
