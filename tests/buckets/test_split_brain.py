"""Two processes that believe they own one run: one is stopped in the middle, the other takes over, the first goes on.

Retention and merging run before it goes on: what they leave behind must still keep it out (guarantee 3).
"""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest

from actorflow.errors import RunOwned
from actorflow.store.store import open_store
from tests.servers.proxy import Exchange, Fault, Proxy, Reply, Request
from tests.store.children import Child
from tests.store.drafts import claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.store import Store
    from tests.servers.place import Place, S3Server

LEASE = 0.3  # seconds

# For each run that it is told: claims it, commits as fast as it can, says each commit after it was acknowledged.
OWNER = """
import itertools, json

store = open_store(url, storage_options=json.loads(sys.argv[2]), lease=float(sys.argv[3]))
say("open")
while run_id := sys.stdin.readline().strip():
    file = part(store, run_id)
    owned = store.log(run_id).claim(claiming(file), actor=ACTOR)
    for number in itertools.count(1):
        try:
            owned.commit(draft("commit", 1, file, b"A%d" % number, snapshot=number % 4 == 0))
        except Fenced:
            say("fenced")
            break
        say(f"A{number}")
    try:
        owned.commit(draft("commit", 1, file, b"after Fenced"))
    except Fenced:
        say("and stays so")
    owned.close()
"""


class Pause(Fault):
    """Stops a process while its request is on the way: before the server, or the process itself, sees what comes."""

    def __init__(self, child: Child, *, done: bool) -> None:
        self._child = child
        self._done = done
        self.stopped = threading.Event()
        self.go_on = threading.Event()

    def meet(self, exchange: Exchange) -> Reply:
        """Stop it, and wait."""
        exchange.body()
        reply = exchange.forward() if self._done else None
        self._child.signal(signal.SIGSTOP)
        self.stopped.set()
        assert self.go_on.wait(30)
        return reply or exchange.forward()


class Story(NamedTuple):
    """What was seen of one run."""

    acknowledged: list[str]  # by the first owner, in all
    late: list[str]  # those of them that it said after it went on
    inherited: list[str]  # what the second owner found, when it had claimed
    end: list[str]  # the chain as it is when all is over


@pytest.fixture(scope="module")
def place(s3: S3Server, network: Proxy) -> Place:
    """One store for both, reached by the first owner through the network."""
    network.heal()
    return s3.place(through=network.endpoint)


@pytest.fixture(scope="module")
def child(place: Place) -> Iterator[Child]:
    """The first owner."""
    with Child(OWNER, place.url, json.dumps(place.storage_options), str(LEASE)) as child:
        assert child.line() == "open"
        yield child


@pytest.fixture(scope="module")
def successor(s3: S3Server, place: Place, child: Child) -> Iterator[Store]:
    """The store as the second owner opens it, at the server itself."""
    store = open_store(place.url, storage_options={**place.storage_options, "endpoint_url": s3.endpoint}, lease=LEASE)
    yield store
    store.close()


def begin(child: Child) -> str:
    """Have it own a new run; its id."""
    assert child.process.stdin is not None
    run_id = os.urandom(4).hex()
    child.process.stdin.write(f"{run_id}\n")
    child.process.stdin.flush()
    return run_id


def taken_over(store: Store, run_id: str) -> list[str]:
    """Claim the run when its owner's heartbeat has stopped, go on with it, and clear away what is not needed."""
    log, file = store.log(run_id), part(store, run_id)
    end = time.monotonic() + 20
    while True:
        try:
            owned = log.claim(claiming(file), actor=b"actor-02")
            break
        except RunOwned:
            assert time.monotonic() < end
            time.sleep(LEASE / 10)  # leases are time: nothing tells that one ran out
    inherited = bodies(store, run_id, first=0)
    epoch = owned.header.epoch
    for number in range(1, 7):
        owned.commit(draft("commit", epoch, file, b"B%d" % number, snapshot=number % 3 == 0))
        if (tidy := owned.tidying()) is not None:
            tidy()
    log.let_go(owned.header.snapshot, dry_run=False)
    owned.commit(draft("commit", epoch, file, b"B7"))
    return inherited


def bodies(store: Store, run_id: str, *, first: int | None = None) -> list[str]:
    """What was committed, without the claims."""
    frames = store.log(run_id).read(first=first)
    return [frame.body.decode() for frame in frames if frame.header.kind == "commit"]


def said_until_fenced(child: Child) -> list[str]:
    """What it acknowledged from here on; it must end fenced, and stay so."""
    said: list[str] = []
    while (line := child.line()) != "fenced":
        assert line, f"the first owner ended: {child.wait()}"
        said.append(line)
    assert child.line() == "and stays so"
    return said


def paused_at(number: int, child: Child, proxy: Proxy, store: Store, *, done: bool) -> Story:
    """The first owner is stopped within its commit of that number."""
    pause = Pause(child, done=done)
    proxy.arm(pause, lambda request: is_commit(request, number))
    run_id = begin(child)
    assert pause.stopped.wait(30)
    inherited = taken_over(store, run_id)
    before = [child.line() for _ in range(number - 1)]
    pause.go_on.set()
    child.signal(signal.SIGCONT)
    late = said_until_fenced(child)
    return Story(before + late, late, inherited, bodies(store, run_id))


def is_commit(request: Request, number: int) -> bool:
    """Whether this puts that number."""
    return request.method == "PUT" and request.path.endswith(f"{number:020d}.ckpt")


def test_a_commit_on_its_way_comes_too_late(child: Child, proxy: Proxy, successor: Store) -> None:
    """Stopped before the server saw it: its number is the claim's now, also after retention, and nothing is told."""
    story = paused_at(6, child, proxy, successor, done=False)

    assert story.late == []
    assert story.acknowledged == story.inherited == ["A1", "A2", "A3", "A4", "A5"]
    assert story.end == ["B6", "B7"]


def test_a_commit_that_had_landed_may_be_told(child: Child, proxy: Proxy, successor: Store) -> None:
    """Stopped before it saw the answer: the commit is in the history, so it may still say so; then it is fenced."""
    story = paused_at(6, child, proxy, successor, done=True)

    assert story.late == ["A6"]
    assert story.acknowledged == story.inherited == ["A1", "A2", "A3", "A4", "A5", "A6"]
    assert story.end == ["B6", "B7"]


def test_a_claim_number_that_is_freed_lets_it_in(
    child: Child, proxy: Proxy, successor: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: retention frees all numbers below the snapshot. The stalled owner tells of what is in no history."""
    monkeypatch.setattr("actorflow.store.pruning.freeable", lambda frame, releases: True)
    monkeypatch.setattr("actorflow.store.merging.freeable", lambda frame, releases: True)

    story = paused_at(6, child, proxy, successor, done=False)

    assert story.late[0] == "A6"
    assert not set(story.late) & {*story.inherited, *story.end}


def test_stopped_anywhere_it_tells_nothing_that_is_not_kept(child: Child, successor: Store) -> None:
    """At random moments: all that was acknowledged is what the next owner found, up to one commit that was not told."""
    seed = random.randrange(2**32)
    print("seed", seed)
    moments = random.Random(seed)
    told = 0
    for _ in range(5):
        run_id = begin(child)
        said = [child.line() for _ in range(moments.randrange(1, 8))]
        time.sleep(moments.random() * 0.02)  # chooses the moment, synchronises nothing
        child.signal(signal.SIGSTOP)
        inherited = taken_over(successor, run_id)
        child.signal(signal.SIGCONT)
        said += said_until_fenced(child)

        assert said == inherited[: len(said)]
        assert len(inherited) - len(said) <= 1
        assert bodies(successor, run_id) == ["B6", "B7"]
        told += len(said)
    assert told >= 5
