"""Heartbeats on a store that others reach from elsewhere: when a process is taken for dead, and when not."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from actorflow.errors import Fenced, RunOwned, StoreDenied, StoreUnavailable
from actorflow.store import heartbeat
from actorflow.store.heartbeat import FORGOTTEN_AFTER, HeartbeatIncarnation
from actorflow.store.memory import MemoryBackend
from actorflow.store.object_log import ObjectLog
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.frames import Owner

LEASE = 10.0


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """The time."""
        return self.now


class Counting(MemoryBackend):
    """A bucket that counts its requests."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Count, and put."""
        self.calls.append("put")
        return super().put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Count, and get."""
        self.calls.append("get")
        return super().get(key)

    def list(self, prefix: str) -> list[str]:
        """Count, and list."""
        self.calls.append("list")
        return super().list(prefix)


@pytest.fixture
def bucket() -> Counting:
    """A bucket."""
    return Counting()


@pytest.fixture
def clock() -> Clock:
    """Everybody's clock; nobody compares it with another's."""
    return Clock()


def process(bucket: Counting, clock: Clock, *, lease: float = LEASE) -> HeartbeatIncarnation:
    """One that opened the bucket."""
    return HeartbeatIncarnation(bucket, "s3://bucket", lease=lease, clock=clock)


def elsewhere(incarnation: HeartbeatIncarnation) -> Owner:
    """Its owner, as if it were in another container of this machine."""
    return structs.replace(incarnation.owner(ACTOR), host="another")


def log(bucket: Counting, incarnation: HeartbeatIncarnation) -> ObjectLog:
    """A run's log as that process sees it."""
    return ObjectLog("r", "r", store=b"s" * 16, backend=bucket, incarnation=incarnation)


def test_who_beats_lives_however_long(bucket: Counting, clock: Clock) -> None:
    """Each beat has a number of its own, so that a change is seen in a listing."""
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()
    for _ in range(50):
        clock.now += LEASE * 0.9
        owner.beat()
        assert not observer.is_dead(elsewhere(owner), "r")
    assert len([key for key in bucket.list("hosts/") if owner.name in key]) == 1


def test_who_stopped_beating_is_dead_a_lease_after_it_was_first_looked_at(bucket: Counting, clock: Clock) -> None:
    """The observer waits on its own clock, from its own first look: what the owner's clock says is never asked."""
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()
    clock.now += 1e6

    assert not observer.is_dead(elsewhere(owner), "r")
    clock.now += LEASE * 0.99
    assert not observer.is_dead(elsewhere(owner), "r")
    clock.now += LEASE * 0.1
    assert observer.is_dead(elsewhere(owner), "r")


def test_who_looks_when_a_lease_is_over_finds_the_dead_then(bucket: Counting, clock: Clock) -> None:
    """A lease after its last beat was seen, and not whenever the next look comes. Whom nobody waits for costs none."""
    owner, observer = process(bucket, clock), process(bucket, clock)
    assert observer.missed_in() == math.inf
    owner.take()
    assert observer.is_dead(elsewhere(owner), "r") is False
    clock.now += LEASE / 4
    owner.beat()
    clock.now += LEASE / 2
    assert observer.is_dead(elsewhere(owner), "r") is False
    clock.now += LEASE / 2

    assert observer.missed_in() == LEASE / 2
    clock.now += observer.missed_in()

    assert observer.is_dead(elsewhere(owner), "r") is True
    assert observer.missed_in() == math.inf


def test_the_lease_is_the_owners(bucket: Counting, clock: Clock) -> None:
    """A process that said it beats slowly is not taken for dead by one that beats fast."""
    owner, observer = process(bucket, clock, lease=100), process(bucket, clock, lease=1)
    owner.take()
    assert not observer.is_dead(elsewhere(owner), "r")
    clock.now += 99
    assert not observer.is_dead(elsewhere(owner), "r")


def test_who_closed_in_order_is_dead_at_once(bucket: Counting, clock: Clock) -> None:
    """Its heartbeat is gone; nobody waits."""
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()
    assert not observer.is_dead(elsewhere(owner), "r")
    owner.close()
    clock.now += LEASE
    assert observer.is_dead(elsewhere(owner), "r")
    assert bucket.list("hosts/") == []
    owner.beat()  # too late, and without effect
    assert bucket.list("hosts/") == []


def test_who_began_after_the_last_look_lives(bucket: Counting, clock: Clock) -> None:
    """One listing serves many questions, but never to say that somebody is not there."""
    first, late, observer = process(bucket, clock), process(bucket, clock), process(bucket, clock)
    first.take()
    assert not observer.is_dead(elsewhere(first), "r")
    late.take()
    assert not observer.is_dead(elsewhere(late), "r")


def test_many_questions_cost_one_listing(bucket: Counting, clock: Clock) -> None:
    """A scan asks for each run; about the living and about those that left."""
    owner, gone, observer = process(bucket, clock), process(bucket, clock), process(bucket, clock)
    owner.take()
    for other in (owner, gone):
        observer.is_dead(elsewhere(other), "r")
    bucket.calls.clear()

    for number in range(1000):
        assert not observer.is_dead(elsewhere(owner), f"r{number}")
        assert observer.is_dead(elsewhere(gone), f"r{number}")

    assert bucket.calls == []


def test_a_process_of_this_machine_that_ended_is_dead_at_once(bucket: Counting, clock: Clock) -> None:
    """Its number is free: no lease is waited for. One in another container has numbers of its own."""
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()
    dead = structs.replace(owner.owner(ACTOR), pid=int(child.stdout))

    assert observer.is_dead(dead, "r")
    assert not observer.is_dead(owner.owner(ACTOR), "r")
    assert not observer.is_dead(structs.replace(dead, host="another"), "r")
    assert not observer.is_dead(structs.replace(dead, boot="another"), "r")


def test_in_another_space_of_process_numbers_nobody_is_missed(
    bucket: Counting, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two containers that share a host name don't take each other's processes for dead."""
    owner, observer = process(bucket, clock), process(bucket, clock)
    monkeypatch.setattr(heartbeat, "pid_space", lambda: 7)
    owner.take()
    monkeypatch.undo()
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)

    assert not observer.is_dead(structs.replace(owner.owner(ACTOR), pid=int(child.stdout)), "r")


def test_the_long_dead_are_cleared_away_and_a_sleeper_comes_back(bucket: Counting, clock: Clock) -> None:
    """A process that was stopped for long shows itself with its next beat, though its last one was deleted."""
    sleeper, observer = process(bucket, clock), process(bucket, clock)
    sleeper.take()
    for _ in range(FORGOTTEN_AFTER + 2):
        observer.is_dead(elsewhere(sleeper), "r")
        clock.now += LEASE
    assert not any(sleeper.name in key for key in bucket.list("hosts/"))
    sleeper.beat()
    clock.now += LEASE
    assert not observer.is_dead(elsewhere(sleeper), "r")


def test_a_reader_never_beats(bucket: Counting, clock: Clock) -> None:
    """Nor does it clear anything away."""
    reader = HeartbeatIncarnation(bucket, "s3://bucket", lease=LEASE, readonly=True, clock=clock)
    with pytest.raises(StoreDenied):
        reader.take()
    owner = process(bucket, clock)
    owner.take()
    for _ in range(FORGOTTEN_AFTER + 2):
        reader.is_dead(elsewhere(owner), "r")
        clock.now += LEASE
    assert len(bucket.list("hosts/")) == 1


def test_a_forked_child_neither_beats_nor_ends_its_parents_heartbeat(bucket: Counting, clock: Clock) -> None:
    """It is another process: what it inherits is not its own."""
    owner = process(bucket, clock)
    owner.take()
    beats = bucket.list("hosts/")
    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child
        owner.beat()
        owner.close()
        os._exit(0 if bucket.list("hosts/") == beats else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_a_forked_child_does_not_wait_for_threads_it_has_not_got(bucket: Counting, clock: Clock) -> None:
    """One of the parent's may have been beating, another looking, when it was forked."""
    owner, other = process(bucket, clock), process(bucket, clock)
    owner.take()
    with owner._beating, owner._looking:
        pid = os.fork()
        if pid == 0:  # pragma: no cover - in the child
            signal.alarm(30)  # kills it, if it hangs
            owner.beat()
            owner.is_dead(elsewhere(other), "r")
            owner.close()
            os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0


# -- a bucket that is slow, or fails ---------------------------------------------------


class Troubled(Counting):
    """A bucket on which what a test says happens around its calls."""

    def __init__(self) -> None:
        super().__init__()
        self.before_put: Callable[[], object] = lambda: None
        self.before_delete: Callable[[], object] = lambda: None
        self.before_listing: Callable[[], object] = lambda: None
        self.after_listing: Callable[[], object] = lambda: None

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, after what is to happen first."""
        self.before_put()
        return super().put_new(key, data, durable=durable)

    def list(self, prefix: str) -> list[str]:
        """List, between what is to happen."""
        self.before_listing()
        keys = super().list(prefix)
        self.after_listing()
        return keys

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, after what is to happen first."""
        self.before_delete()
        super().delete(keys)


@pytest.mark.parametrize("late", ["before_listing", "after_listing"])
def test_nobody_is_taken_for_dead_because_a_listing_took_longer_than_a_lease(clock: Clock, late: str) -> None:
    """Only what passed between two looks counts: not what the looks themselves took, at which end of them ever."""
    bucket = Troubled()
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()

    def pass_a_lease() -> None:
        clock.now += LEASE * 1.5

    setattr(bucket, late, pass_a_lease)
    assert not observer.is_dead(elsewhere(owner), "r")
    owner.beat()
    assert not observer.is_dead(elsewhere(owner), "r")
    owner.beat()
    setattr(bucket, late, lambda: None)
    clock.now += LEASE * 0.5

    assert not observer.is_dead(elsewhere(owner), "r")


@pytest.mark.parametrize("late", ["before_listing", "after_listing"])
def test_what_a_listing_took_is_no_silence(clock: Clock, late: str) -> None:
    """It shows the beat of the look before: the owner may have beaten since, while the listing was on its way."""
    bucket = Troubled()
    owner, observer = process(bucket, clock), process(bucket, clock)
    owner.take()
    assert not observer.is_dead(elsewhere(owner), "r")
    clock.now += LEASE * 0.2

    def pass_a_lease() -> None:
        clock.now += LEASE * 1.5

    setattr(bucket, late, pass_a_lease)

    assert not observer.is_dead(elsewhere(owner), "r")


def test_who_could_not_beat_yet_beats_before_the_next_claim(clock: Clock) -> None:
    """A claimer without a heartbeat would be taken for one that closed in order, and lose the run at once."""
    bucket = Troubled()
    owner, observer = process(bucket, clock), process(bucket, clock)
    bucket.before_put = fail
    with pytest.raises(StoreUnavailable):
        owner.take()
    bucket.before_put = lambda: None

    owner.take()

    assert not observer.is_dead(elsewhere(owner), "r")


def test_of_two_claimers_none_goes_on_before_the_first_beat_is_there(clock: Clock) -> None:
    """Also the one that did not put it."""
    bucket = Troubled()
    owner = process(bucket, clock)
    putting, go_on, claimed = threading.Event(), threading.Event(), threading.Event()

    def stall() -> None:
        putting.set()
        assert go_on.wait(10)

    def take_and_say() -> None:
        owner.take()
        beats.append(bool(bucket.list("hosts/")))
        claimed.set()

    beats: list[bool] = []
    bucket.before_put = stall
    first = threading.Thread(target=owner.take)
    first.start()
    assert putting.wait(10)
    second = threading.Thread(target=take_and_say)
    second.start()
    early = claimed.wait(0.2)
    go_on.set()
    first.join(10)
    second.join(10)

    assert not early
    assert beats == [True]


def test_a_beat_whose_reply_was_lost_is_cleared_away_in_the_end(clock: Clock) -> None:
    """Left behind, it would keep others waiting for a lease although its process closed in order."""
    bucket = Troubled()
    owner = process(bucket, clock)
    owner.take()
    bucket.before_delete = fail
    for _ in range(3):
        with pytest.raises(StoreUnavailable):
            owner.beat()
    bucket.before_delete = lambda: None

    owner.close()

    assert bucket.list("hosts/") == []


def test_a_commit_counts_although_the_heartbeat_could_not_be_ended_after_it(clock: Clock) -> None:
    """The store was closed while the commit was on its way; what follows it has nothing to do with it."""
    bucket = Troubled()
    process_ = process(bucket, clock)
    owned = log(bucket, process_).claim(claiming(part(b"s" * 16)), actor=ACTOR)
    bucket.before_put = process_.close
    bucket.before_delete = fail

    header = owned.commit(draft("commit", 1, part(b"s" * 16), b"on"))

    assert header.seq == 1


def fail() -> None:
    """As a bucket does that can't be reached."""
    raise StoreUnavailable("s3://bucket", "the network is gone")


# -- claims ---------------------------------------------------------------------------


def test_a_claim_waits_for_the_lease_and_fences_a_stalled_owner(bucket: Counting, clock: Clock) -> None:
    """The owner was only stalled: what it does from now on has no effect, and it is told so."""
    first, second = process(bucket, clock), process(bucket, clock)
    stalled = log(bucket, first).claim(claiming(part(b"s" * 16)), actor=ACTOR)
    hidden = hide(bucket, first)
    with pytest.raises(RunOwned):
        log(bucket, second).claim(claiming(part(b"s" * 16)), actor=ACTOR)
    clock.now += LEASE * 1.1

    owned = log(bucket, second).claim(claiming(part(b"s" * 16)), actor=ACTOR)

    with pytest.raises(Fenced):
        stalled.commit(draft("commit", 1, part(b"s" * 16), b"late"))
    owned.commit(draft("commit", 2, part(b"s" * 16), b"on"))
    assert [frame.body for frame in owned.load()] == [b"claim", b"claim", b"on"]
    assert hidden


def test_a_process_has_one_heartbeat_however_many_runs_it_owns(bucket: Counting, clock: Clock) -> None:
    """Else a thousand runs that wait would cost a thousand puts each few seconds."""
    incarnation = process(bucket, clock)
    owned = [
        ObjectLog(name, name, store=b"s" * 16, backend=bucket, incarnation=incarnation).claim(
            claiming(part(b"s" * 16, name)), actor=ACTOR
        )
        for name in ("a", "b", "c")
    ]
    bucket.calls.clear()

    incarnation.beat()

    assert bucket.calls == ["put"]
    assert len(bucket.list("hosts/")) == 1
    assert all(incarnation.is_dead(one.header.owner, one.file.run_id) is False for one in owned)


def test_a_claim_is_six_requests(bucket: Counting, clock: Clock) -> None:
    """Three listings, the newest commit, the claim, and the listing that proves it; a commit is one."""
    first, second = process(bucket, clock), process(bucket, clock)
    log(bucket, first).claim(claiming(part(b"s" * 16)), actor=ACTOR)
    first.close()
    second.take()
    bucket.calls.clear()

    owned = log(bucket, second).claim(claiming(part(b"s" * 16)), actor=ACTOR)

    assert bucket.calls.count("list") <= 3
    assert bucket.calls.count("get") <= 2
    assert bucket.calls.count("put") == 1
    bucket.calls.clear()
    owned.commit(draft("commit", 2, part(b"s" * 16), b"on"))
    assert bucket.calls == ["put"]


def test_a_closed_process_claims_nothing(bucket: Counting, clock: Clock) -> None:
    """Its heartbeat is over."""
    owner = process(bucket, clock)
    owner.close()
    with pytest.raises(StoreUnavailable):
        log(bucket, owner).claim(claiming(part(b"s" * 16)), actor=ACTOR)


def hide(bucket: Counting, incarnation: HeartbeatIncarnation) -> bool:
    """Make a process of this one look as if it were elsewhere: its beat says another space of process numbers."""
    mine = [key for key in bucket.list("hosts/") if incarnation.name in key]
    bucket.delete(mine)
    for key in mine:
        head, lease, _, number, end = key.rsplit(".", 4)
        bucket.put_new(f"{head}.{lease}.7.{number}.{end}", b"")
    return bool(mine)
