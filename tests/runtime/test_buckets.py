"""Runtimes on a store that others reach from elsewhere: who takes up whose runs, and when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from actorflow import Graph, Runtime, State
from actorflow.errors import RunOwned, StoreUnavailable
from actorflow.store.backend import Backend
from actorflow.store.memory import MemoryBackend

if TYPE_CHECKING:
    from collections.abc import Iterable

LEASE = 0.4


class Link(Backend):
    """One process's way to the bucket, which can be cut."""

    def __init__(self, bucket: Backend) -> None:
        self.bucket = bucket
        self.cut = False

    def __str__(self) -> str:
        return "link://bucket"

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, if the way is there."""
        return self._way().put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Get, if the way is there."""
        return self._way().get(key)

    def list(self, prefix: str) -> list[str]:
        """List, if the way is there."""
        return self._way().list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, if the way is there."""
        self._way().delete(keys)

    def _way(self) -> Backend:
        if self.cut:
            raise StoreUnavailable("link://bucket", "the network is gone")
        return self.bucket


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
    with anyio.fail_after(20):
        async with (
            Runtime(Link(bucket), lease=LEASE, graphs=[steps("B", opened, ran)]) as b,
            Runtime(link, lease=LEASE, drain="park") as a,
        ):
            lost = await a.spawn(steps("A", closed, ran), id="r")
            while ran != ["first in A", "second in A"]:
                await anyio.lowlevel.checkpoint()
            link.cut = True
            assert (await b.get("r").result()).seen == ("A", "B")
            link.cut = False
            closed.set()
            assert (await lost.result()).seen == ("A", "B")
    assert ran == ["first in A", "second in A", "second in B"]
    assert "could not show that this process lives" in caplog.text


async def test_a_run_whose_owner_lives_is_left_alone() -> None:
    """However often others look."""
    bucket, ran = MemoryBackend(), list[str]()
    gate, opened = anyio.Event(), anyio.Event()
    opened.set()
    with anyio.fail_after(20):
        async with (
            Runtime(Link(bucket), lease=LEASE) as a,
            Runtime(Link(bucket), lease=LEASE, graphs=[steps("B", opened, ran)], scan_every=0.02) as b,
        ):
            run = await a.spawn(steps("A", gate, ran), id="r")
            await anyio.sleep(2 * LEASE)
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

    with anyio.fail_after(20):
        async with (
            Runtime(Link(bucket), lease=1000, graphs=[slow("B")], scan_every=0.02) as b,
            anyio.create_task_group() as tasks,
        ):
            async with Runtime(Link(bucket), lease=1000, drain="park") as a:
                await a.spawn(slow("A"), id="r")
                tasks.start_soon(open_when_leaving, a)
            assert (await b.get("r").result()).seen == ("A", "B")
    assert ran == ["B"]


async def test_closing_ends_the_heartbeat() -> None:
    """Nothing of a process that left in order remains below ``hosts/``."""
    bucket = MemoryBackend()
    async with Runtime(Link(bucket), lease=LEASE) as rt:
        await rt.run(steps("A", _open(), []), id="r")
        assert len(bucket.list("hosts/")) == 1
    assert bucket.list("hosts/") == []


def _open() -> anyio.Event:
    event = anyio.Event()
    event.set()
    return event
