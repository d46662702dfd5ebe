"""Care while others act: what is read, copied or cleared away stays right, whatever happens between two calls."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import pytest

from actorflow import END, Graph, Retention, Runtime, State, Update
from actorflow.runtime.care import collect
from actorflow.runtime.inspection import verify_store
from actorflow.store.keys import checkpoint_name
from actorflow.store.markers import summary_of
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Callable


class Between(WrappedBackend):
    """A way to a bucket on which something happens once, before a certain call."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.part = ""
        self.then: Callable[[], object] | None = None

    def before(self, part: str, then: Callable[[], object]) -> None:
        """Do that before the first call with such a key."""
        self.part, self.then = part, then

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put."""
        self._meet(key)
        return super().put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Get."""
        self._meet(key)
        return super().get(key)

    def _meet(self, key: str) -> None:
        if self.then is not None and self.part in key:
            then, self.then = self.then, None
            then()


class Large(State):
    """A number, and a value that takes a file of its own."""

    n: int = 0
    value: bytes = b""


def counting(limit: int = 150) -> Graph[Large]:
    """A loop; the third and the sixth round leave a large value."""
    graph = Graph("counting", Large)

    @graph.node(entry=True)
    async def step(state: Large) -> Update:
        large = {"value": bytes([state.n]) * 300_000} if state.n in (2, 5) else {}
        return {"n": state.n + 1, **large}

    graph.branch(lambda state: "step" if state.n < limit else END, after=step, to=("step", END))
    return graph


def let_go(bucket: MemoryBackend) -> None:
    """All but the newest commits of every run go, and large values that are not needed then."""
    store = open_store(bucket)
    assert collect(store, Retention(last=1), (), dry_run=False).blobs == 1
    store.close()


async def test_what_is_let_go_of_meanwhile_is_no_damage() -> None:
    """Verify looks for a large value, and retention has taken it together with the commit that it was of."""
    bucket = MemoryBackend()
    async with Runtime(bucket) as rt:
        await rt.run(counting(), Large(), id="r")
    store = open_store(between := Between(bucket))
    between.before("/blobs/", lambda: let_go(bucket))

    found = verify_store(store, "r")

    store.close()
    assert [one.what for one in found] == []


async def test_what_is_let_go_of_meanwhile_is_not_copied() -> None:
    """An export looks for a large value that retention took: it reads again, and copies what is kept, all of it."""
    bucket, other = MemoryBackend(), MemoryBackend()
    async with Runtime(bucket) as rt:
        await rt.run(counting(), Large(), id="r")
    between = Between(bucket)
    between.before("/blobs/", lambda: let_go(bucket))

    async with Runtime(between, recover="never") as rt:
        await rt.export("r", other)

    async with Runtime(other) as rt:
        assert [one.values["n"] async for one in rt.get("r").views()][-1] > 100
        assert await rt.verify() == []


async def test_retention_leaves_half_a_copy_alone() -> None:
    """All that was copied is still needed, and no number of it is taken: the export ends as if nothing had been."""
    bucket, other = MemoryBackend(), MemoryBackend()
    async with Runtime(bucket, drain="park") as rt:
        await rt.spawn(counting(100_000), id="r")
        while (await rt.tip("r")).header.seq < 100:  # noqa: ASYNC110 - there is no event: the store is asked
            await anyio.sleep(0.005)
    store = open_store(bucket)
    tip = store.log("r").tip()
    store.close()
    assert tip is not None

    def collected() -> None:
        there = open_store(other)
        names = there.backend.list("runs/")
        assert collect(there, Retention(last=1), (), dry_run=False).looked == 1
        assert there.backend.list("runs/") == names
        there.close()

    between = Between(other)
    between.before(checkpoint_name(tip.header.seq + 1), collected)
    open_store(other).blobs("r").put([open_store(other).blobs("r").make(b"of a try before", epoch=1, n=1)])
    async with Runtime(bucket, recover="never") as rt:
        await rt.export("r", between)

    async with Runtime(other, recover="never") as rt:
        assert (await rt.get("r").at()).seq == tip.header.seq + 1


@pytest.mark.parametrize("how", ["gc", "verify"])
async def test_a_summary_that_comes_after_the_deletion_is_taken_away(how: str) -> None:
    """Who ended the run stalled before telling of it; meanwhile it was deleted. It is not listed for ever."""
    bucket = MemoryBackend()
    async with Runtime(bucket) as rt:
        await rt.run(counting(2), Large(), id="r")
        tip = await rt.tip("r")
        await rt.delete("r")
        store = open_store(bucket)
        store.markers.put_ended(summary_of(tip))
        store.close()
        listed = [one.id for one in await rt.runs()]

        if how == "gc":
            await rt.gc(Retention())
        else:
            assert [one.repaired for one in await rt.verify(repair=True)] == [True]

        assert (listed, await rt.runs()) == (["r"], [])
        assert await rt.verify() == []


async def test_a_live_run_with_large_values_is_copied_as_of_one_moment() -> None:
    """Its owner puts another one while the copy is made; that is not of this copy, and nothing is missing."""
    there = Between(MemoryBackend())
    going_on, gone_on = anyio.Event(), threading.Event()
    graph = Graph("two", Large)

    @graph.node
    async def first(state: Large) -> Update:
        return {"n": 1, "value": b"1" * 300_000}

    @graph.node(after=first)
    async def second(state: Large) -> Update:
        await going_on.wait()
        return {"n": 2, "value": b"2" * 300_000}

    @graph.node(after=second)
    async def third(state: Large) -> None:
        gone_on.set()

    def go_on() -> None:
        anyio.from_thread.run_sync(going_on.set)
        assert gone_on.wait(30)

    there.before("/log/", go_on)
    async with Runtime(MemoryBackend()) as rt:
        run = await rt.spawn(graph, id="r")
        while (await rt.tip("r")).header.node != "first":  # noqa: ASYNC110 - there is no event: the store is asked
            await anyio.sleep(0.005)
        await rt.export("r", there)
        await run.result()

    async with Runtime(there, recover="never") as rt:
        assert (await rt.get("r").at()).values["n"] == 1
        assert (await (await rt.resume(graph, "r")).result()).n == 2
