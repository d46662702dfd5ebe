"""Runtimes on a store that others reach from elsewhere: who takes up whose runs, and when."""

from __future__ import annotations

import copy
import math
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import Graph, Runtime, State
from actorflow.errors import RunOwned
from actorflow.runtime.recovery import orphans
from actorflow.store.heartbeat import BEATS_PER_LEASE, HeartbeatIncarnation
from actorflow.store.keys import HOSTS
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import ObservedBackend
from actorflow.store.store import open_store
from tests.runtime.links import Link
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from actorflow.store.backend import Backend
    from actorflow.store.frames import Owner
    from actorflow.store.observing import Call

LEASE = 0.4
PATIENCE = 40.0
"""Seconds: what takes longer never comes."""

LOG, INBOX = "log", "inbox"


class Counted(MemoryBackend):
    """A bucket that counts what is read of it."""

    gets = 0

    def get(self, key: str) -> bytes:
        """Count, and get."""
        self.gets += 1
        return super().get(key)


class Counting(ObservedBackend):
    """A bucket that counts the requests about each kind of thing."""

    def __init__(self, inner: Backend) -> None:
        super().__init__(inner)
        self.calls = defaultdict[str, Counter[str]](Counter)

    def saw(self, call: Call) -> None:
        """Count it: by the folder, that of a run's log by its own name."""
        self.calls[LOG if f"/{LOG}/" in call.key else call.key.partition("/")[0]][call.kind] += 1


class Beaten(Link):
    """One process's way to the bucket, and a clock that goes by its heartbeat: by that, no beat comes late."""

    now = 0.0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put; a beat moves the clock."""
        put = super().put_new(key, data, durable=durable)
        if key.startswith(HOSTS):
            self.now += LEASE / BEATS_PER_LEASE
        return put


class Looking(Link):
    """One process's way to the bucket, which counts how often it looks who lives."""

    looks = 0

    def list(self, prefix: str) -> list[str]:
        """Count, and list."""
        self.looks += prefix == HOSTS
        return super().list(prefix)


class Steps(State):
    """Which activations ran, and where."""

    seen: tuple[str, ...] = ()


def steps(name: str, gate: anyio.Event, ran: list[str]) -> Graph[Steps]:
    """Two nodes; the second waits for the gate. Each process has its own graph object, as it would."""
    graph = Graph("steps", Steps)

    @graph.node(entry=True)
    async def first(state: Steps) -> dict[str, object]:
        ran.append(f"first in {name}")
        return {"seen": (*state.seen, name)}

    @graph.node(after=first)
    async def second(state: Steps) -> dict[str, object]:
        ran.append(f"second in {name}")
        await gate.wait()
        return {"seen": (*state.seen, name)}

    return graph


async def test_any_runtime_takes_up_what_one_that_lost_the_bucket_left(caplog: pytest.LogCaptureFixture) -> None:
    """After a lease without a heartbeat and one look; what was committed does not run again."""
    bucket = MemoryBackend()
    link = Link(bucket)
    ran: list[str] = []
    closed, opened = anyio.Event(), anyio.Event()
    opened.set()
    with anyio.fail_after(PATIENCE):
        async with Runtime(link, lease=LEASE, drain="park") as a:
            lost = await a.spawn(steps("A", closed, ran), id="r")
            while ran != ["first in A", "second in A"]:
                await anyio.lowlevel.checkpoint()
            link.cut = True
            # it begins to look only now: before, a beat that came late would have been taken for none
            async with Runtime(Link(bucket), lease=LEASE, graphs=[steps("B", opened, ran)]) as b:
                assert (await b.get("r").result()).seen == ("A", "B")
                while "could not show that this process lives" not in caplog.text:  # noqa: ASYNC110 - nor has a log
                    await anyio.sleep(LEASE / 10)
            link.cut = False
            closed.set()
            assert (await lost.result()).seen == ("A", "B")
    assert ran == ["first in A", "second in A", "second in B"]


async def test_a_run_whose_owner_lives_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often others look."""
    bucket, ran = MemoryBackend(), list[str]()
    beaten, looking = Beaten(bucket), Looking(bucket)
    gate, opened = anyio.Event(), anyio.Event()
    opened.set()
    monkeypatch.setitem(HeartbeatIncarnation.__init__.__kwdefaults__, "clock", lambda: beaten.now)
    with anyio.fail_after(PATIENCE):
        async with (
            Runtime(beaten, lease=LEASE) as a,
            Runtime(looking, lease=LEASE, graphs=[steps("B", opened, ran)], scan_every=0.02) as b,
        ):
            run = await a.spawn(steps("A", gate, ran), id="r")
            looking.looks, began = 0, beaten.now
            while beaten.now - began < 2 * LEASE or looking.looks < 5:  # noqa: ASYNC110 - nor has a bucket
                await anyio.sleep(LEASE / 10)
            assert await b.recover() == []
            with pytest.raises(RunOwned):
                await b.resume(steps("B", opened, ran), "r")
            gate.set()
            assert (await run.result()).seen == ("A", "A")


async def test_what_is_parked_is_taken_up_although_its_last_owner_lives() -> None:
    """A release says so; nobody waits for a lease."""
    bucket, gate = MemoryBackend(), anyio.Event()
    ran: list[str] = []

    def slow(name: str) -> Graph[Steps]:
        graph = Graph("steps", Steps)

        @graph.node(entry=True)
        async def first(state: Steps) -> dict[str, object]:
            await gate.wait()
            return {"seen": (*state.seen, name)}

        @graph.node(after=first)
        async def second(state: Steps) -> dict[str, object]:
            ran.append(name)
            return {"seen": (*state.seen, name)}

        return graph

    async def open_when_leaving(rt: Runtime) -> None:
        while not rt._open().leaving:
            await anyio.lowlevel.checkpoint()
        gate.set()

    with anyio.fail_after(PATIENCE):
        async with (
            Runtime(Link(bucket), lease=1000, graphs=[slow("B")], scan_every=0.02) as b,
            anyio.create_task_group() as tasks,
        ):
            async with Runtime(Link(bucket), lease=1000, drain="park") as a:
                await a.spawn(slow("A"), id="r")
                tasks.start_soon(open_when_leaving, a)
            assert (await b.get("r").result()).seen == ("A", "B")
    assert ran == ["B"]


async def test_a_run_that_went_elsewhere_during_a_restart_may_come_back() -> None:
    """That somebody else owns it by now is no fault of the run: it is not blocked here, and taken up again later."""
    bucket, ran = MemoryBackend(), list[str]()
    gates, begun = ({name: anyio.Event() for name in "AB"} for _ in range(2))
    link = Link(bucket)

    def crashing(name: str) -> Graph[Steps]:
        graph = Graph("steps", Steps)

        @graph.node
        async def only(state: Steps) -> dict[str, object]:
            ran.append(name)
            begun[name].set()
            if len(ran) > 2:
                return {"seen": (name,)}
            await gates[name].wait()
            raise RuntimeError("down")

        return graph

    with anyio.fail_after(PATIENCE):
        async with Runtime(link, lease=LEASE, graphs=[crashing("A")], scan_every=0.02) as a:
            run = await a.spawn(crashing("A"), id="r")
            await begun["A"].wait()
            link.cut = True
            # which waits for A's lease, and says a longer one itself: A must not take a late beat for none
            async with Runtime(Link(bucket), lease=25 * LEASE, graphs=[crashing("B")], scan_every=0.02, drain="park"):
                await begun["B"].wait()
                link.cut = False
                gates["A"].set()
                with pytest.raises(RunOwned):
                    await run.result()
                assert await a.get("r").status() == "running"
                gates["B"].set()
            assert (await a.get("r").result()).seen == ("A",)


@pytest.mark.parametrize("runs", [1, 30])
async def test_an_orphan_is_taken_up_with_nine_requests(runs: int) -> None:
    """Three listings and four reads of its log, one look into its inbox, the claim; a look costs some by itself."""
    bucket, left, closed = MemoryBackend(), MemoryBackend(), anyio.Event()
    ran: list[str] = []
    with anyio.fail_after(PATIENCE):
        async with Runtime(bucket) as a:
            for number in range(runs):
                await a.spawn(steps("A", closed, ran), id=f"r{number}")
            while ran.count("second in A") < runs:
                await anyio.lowlevel.checkpoint()
            for key in bucket.list(""):
                if not key.startswith(HOSTS):  # as after a lease without a heartbeat
                    left.put_new(key, bucket.get(key))
            closed.set()
        counting, still = Counting(left), anyio.Event()
        async with Runtime(counting, graphs=[steps("B", still, ran)], recover="never") as b:
            counting.calls.clear()
            taken = await b.recover()
            asked = copy.deepcopy(counting.calls)
            still.set()

    assert len(taken) == runs
    assert asked[LOG] == {"list": 3 * runs, "get": 4 * runs, "put_new": runs}
    assert asked[INBOX].total() == asked[INBOX]["list"] <= runs  # in its own time
    assert sum(calls.total() for place, calls in asked.items() if place not in (LOG, INBOX)) < 50


def test_what_a_process_released_and_lives_on_is_found_by_who_saw_it_own_that() -> None:
    """Mostly a look reads no log whose owner lives; but it believes none for ever that it still is the owner."""
    bucket = Counted()
    theirs, ours = open_store(bucket, lease=1000), open_store(bucket, lease=1000)
    theirs.markers.put_active("r", 1)
    ownership = theirs.log("r").claim(claiming(part(theirs.uuid)), actor=ACTOR)
    owners: dict[str, Owner] = {}
    assert orphans(ours, (), anywhere=True, known=owners) == []
    bucket.gets = 0
    for _ in range(200):
        assert orphans(ours, (), anywhere=True, known=owners) == []
    assert bucket.gets < 80

    ownership.commit(draft("release", 1, part(theirs.uuid), b"released"))
    ownership.close()

    assert any(orphans(ours, (), anywhere=True, known=owners) for _ in range(200))


async def test_the_heartbeat_needs_no_thread_of_the_users() -> None:
    """However many of the event loop's worker threads users have taken, and for how long: the process lives."""
    bucket, released = MemoryBackend(), threading.Event()
    limiter = anyio.to_thread.current_default_thread_limiter()
    async with Runtime(Link(bucket), lease=LEASE) as rt:
        await rt.run(steps("A", _open(), []), id="r")
        async with anyio.create_task_group() as tasks:
            for _ in range(int(limiter.total_tokens)):
                tasks.start_soon(anyio.to_thread.run_sync, released.wait, 20)
            while limiter.available_tokens:
                await anyio.lowlevel.checkpoint()
            before = bucket.list("hosts/")
            with anyio.move_on_after(10):
                while bucket.list("hosts/") == before:  # noqa: ASYNC110 - nor has a bucket
                    await anyio.sleep(LEASE / 10)
            after = bucket.list("hosts/")
            released.set()
    assert after != before


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_pause_that_is_none_between_two_looks_is_refused(seconds: float) -> None:
    """It would look without a rest; on one event loop, and on the other it would end the runtime."""
    with pytest.raises(ValueError, match="scan_every"):
        Runtime("memory://", scan_every=seconds)


@pytest.mark.parametrize("lease", [0.0, -1.0, 0.000_1, math.inf, math.nan])
async def test_a_lease_that_is_none_is_refused(lease: float) -> None:
    """Nobody could keep it, or nobody would ever be missed; and nothing is written."""
    bucket = MemoryBackend()

    with pytest.raises(ValueError, match="lease"):
        async with Runtime(Link(bucket), lease=lease):
            pass

    assert bucket.list("") == []


async def test_closing_ends_the_heartbeat() -> None:
    """Nothing of a process that left in order remains below ``hosts/``."""
    bucket = MemoryBackend()
    async with Runtime(Link(bucket), lease=LEASE) as rt:
        await rt.run(steps("A", _open(), []), id="r")
        assert bucket.list("hosts/")  # two, while a newer beat is there already and the older one still
    assert bucket.list("hosts/") == []


def _open() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
