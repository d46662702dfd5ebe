"""A store that does not answer stalls its runs: they wait for it, uncounted, and go on from their last file."""

# ruff: noqa: SIM117 - a runtime and its supervisors are left one after the other, and should look so

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Graph, RestartPolicy, Runtime, Update
from actorflow.errors import CommitUnknown, StoreDenied, StoreUnavailable
from actorflow.store.keys import MARKER
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend
from actorflow.testing import FaultyBackend, VirtualClock
from tests.runtime.graphs import Trail, counter

if TYPE_CHECKING:
    from collections.abc import Callable

NO_RESTARTS = RestartPolicy(max_restarts=0)


class Outages(WrappedBackend):
    """A backend that can be switched off; it counts how often it is asked for the store's marker meanwhile."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.off = False
        self.only_commits = False
        self.asked = 0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, if it is on."""
        claims = b"\xa7claimed" in data
        if "/log/" in key and self.off and not (self.only_commits and claims):
            raise StoreUnavailable(key, "it is off")
        return self.inner.put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Get, if it is on."""
        self.asked += key == MARKER
        if self.off and not self.only_commits:
            raise StoreUnavailable(key, "it is off")
        return self.inner.get(key)


def switching(store: Outages, calls: list[str]) -> Graph[Trail]:
    """Before its commit the second node switches the store off, once."""
    graph = Graph("switching", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    @graph.node(after=first)
    async def second(state: Trail, ctx: Context) -> Update:
        if ctx.run_id not in calls:
            store.off = True
        calls.append(ctx.run_id)
        return {"trace": ["second"]}

    return graph


async def until(condition: Callable[[], bool]) -> None:
    """Wait until this is so."""
    with anyio.fail_after(30):
        while not condition():
            await anyio.lowlevel.checkpoint()


def stalled(rt: Runtime, count: int) -> bool:
    """Whether so many runs wait for the store."""
    return rt.stats().stalled == count


async def test_an_outage_is_waited_for_and_no_restart_is_counted() -> None:
    """The run goes on by itself when the store answers, from its last commit."""
    store, calls = Outages(), list[str]()
    async with VirtualClock(), Runtime(store, recover="never", lease=1e6, restarts=NO_RESTARTS) as rt:
        run = await rt.spawn(switching(store, calls), Trail(), id="x")
        await until(lambda: stalled(rt, 1))
        await anyio.sleep(60)
        assert stalled(rt, 1)

        store.off = False

        assert (await run.result()).trace == ["first", "second"]
    assert calls == ["x", "x"]  # what was not committed ran again, and no more


async def test_one_asks_for_all_and_less_and_less_often() -> None:
    """However many runs wait, the store is asked by one of them, with backoff."""
    store, gate = Outages(), anyio.Event()
    graph = Graph("gated", Trail)

    @graph.node
    async def work(state: Trail) -> Update:
        await gate.wait()
        return {"n": 1}

    async with VirtualClock(), Runtime(store, recover="never", lease=1e6) as rt:
        runs = [await rt.spawn(graph, Trail(), id=str(n)) for n in range(10)]
        store.off = True
        gate.set()
        await until(lambda: stalled(rt, 10))
        store.asked = 0

        await anyio.sleep(200)

        assert 6 < store.asked < 20  # 0.1, 0.2, ... 12.8, 25.6, 30, 30 ... seconds apart, or down to half of that
        store.off = False
        assert [(await run.result()).n for run in runs] == [1] * 10


async def test_an_outage_that_lasts_too_long_reaches_whoever_waits() -> None:
    """After ``max_outage`` the run is let go of: whoever waits is told, and a later scan takes it up."""
    store = Outages()
    policy = RestartPolicy(backoff=1.0, max_outage=5.0)
    async with VirtualClock() as clock, Runtime(store, recover="never", lease=1e6, restarts=policy) as rt:
        run = await rt.spawn(switching(store, []), Trail(), id="x")
        await until(lambda: store.off)
        store.only_commits = True  # so that it answers, and can be asked what became of the run

        with anyio.fail_after(15), pytest.raises(CommitUnknown):
            await run.result()

        assert clock.elapsed >= 5.0
        store.off = False
        assert (await (await rt.resume(switching(store, ["x"]), "x")).result()).trace == ["first", "second"]


async def test_without_patience_it_is_told_at_once() -> None:
    """``max_outage=0``: nobody waits for the store."""
    store = Outages()
    store.only_commits = True
    async with Runtime(store, recover="never", restarts=RestartPolicy(max_outage=0)) as rt:
        with pytest.raises(CommitUnknown):
            await (await rt.spawn(switching(store, []), Trail(), id="x")).result()


async def test_leaving_does_not_wait_for_the_store() -> None:
    """A runtime that is left by an exception lets go at once of what it can't release."""
    store = Outages()
    with anyio.fail_after(30), pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store, recover="never") as rt:
            await rt.spawn(switching(store, []), Trail(), id="x")
            await until(lambda: stalled(rt, 1))
            raise ZeroDivisionError


async def test_siblings_have_nothing_to_do_with_an_outage() -> None:
    """It is no crash: nobody is restarted with a run that waits for the store."""
    store, calls = Outages(), list[str]()
    store.only_commits = True
    begun, go_on = anyio.Event(), anyio.Event()
    waits = Graph("waits", Trail)

    @waits.node
    async def wait(state: Trail) -> Update:
        assert not begun.is_set()  # a second time
        begun.set()
        await go_on.wait()
        return {"n": 1}

    async with VirtualClock(), Runtime(store, recover="never", lease=1e6) as rt:
        async with rt.supervise("group", strategy="one_for_all", max_restarts=0) as group:
            sibling = await group.spawn(waits, Trail(), id="sibling")
            await begun.wait()
            run = await group.spawn(switching(store, calls), Trail(), id="x")
            await until(lambda: group.stats().stalled == 1)

            store.off = False
            assert (await run.result()).trace == ["first", "second"]
            go_on.set()
            assert (await sibling.result()).n == 1


async def test_what_is_denied_is_not_waited_for() -> None:
    """Waiting gives no permission."""
    store = FaultyBackend(MemoryBackend(), "denied", nth=10**9, persistent=True, on=["put"])
    graph = counter(3)
    async with Runtime(store, recover="never") as rt:
        run = await rt.spawn(graph, Trail(), id="x")
        assert (await run.result()).n == 3
    denied = FaultyBackend(MemoryBackend(), "denied", nth=5, persistent=True, on=["put"])
    async with Runtime(denied, recover="never") as rt:
        with anyio.fail_after(30), pytest.raises(StoreDenied):
            await (await rt.spawn(graph, Trail(), id="x")).result()
