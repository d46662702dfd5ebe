"""Where steps may be and what they refuse; and what else of a node is the same on every attempt."""

from __future__ import annotations

from functools import partial
from threading import Barrier
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio import from_thread

from actorflow import Context, Graph, Message, Retry, Runtime, State, Timeout, Update
from actorflow.errors import (
    NotInWorker,
    RunFailed,
    TooManySteps,
    WaitInMiddleware,
)
from actorflow.graph.effects import Unknown
from actorflow.runtime.making import SYNC_NODES
from tests.runtime import isolated
from tests.runtime.graphs import Trail
from tests.runtime.outside import AGAIN, NEVER, World, cause_of, of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"mode": "exactly_once"}, "mode="),
        ({"reconcile": lambda intent: Unknown()}, "reconcile= is for"),
        ({"mode": "at_most_once", "retry": Retry()}, "needs reconcile="),
        ({"retry": 3}, "retry=3"),
        ({"timeout": -1}, "timeout=-1"),
        ({"timeout": Timeout(idle=1)}, "no idle timeout"),
        ({"fn": print, "timeout": 1}, "can't be stopped"),
        ({"fn": 7}, "is given a function"),
        ({"name": ""}, "can't be called"),
        ({"name": "(now)"}, "can't be called"),
        ({"name": 5}, "not str"),
        ({"key": "\ud800"}, "half of a character"),
    ],
)
async def test_what_a_step_can_not_do_is_refused(options: dict[str, Any], match: str) -> None:
    """Before anything is done, naming the option."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        given: dict[str, Any] = {"name": "do", "fn": world.do, **options}
        await ctx.step(given.pop("name"), given.pop("fn"), **given)
        return {}

    cause = await cause_of(of(node))

    with pytest.raises((ValueError, TypeError), match=match):
        raise cause or AssertionError
    assert world.done == []


async def test_nobody_waits_inside_a_step_or_middleware() -> None:
    """They are not called again with the answer; the node asks before or after."""
    for wait in (lambda ctx: ctx.interrupt("Go?"), lambda ctx: ctx.sleep(hours=1)):

        async def node(state: Trail, ctx: Context, *, wait: Any) -> Update:
            with pytest.raises(WaitInMiddleware, match="a step of node"):
                await ctx.step("ask", wait, ctx)
            return {"n": 1}

        async def around(state: Trail, ctx: Context, call: Any, *, wait: Any) -> Any:
            with pytest.raises(WaitInMiddleware, match="a middleware of node"):
                await wait(ctx)
            return await call()

        async with Runtime("memory://") as rt:
            assert (await rt.run(of(partial(node, wait=wait), middleware=[partial(around, wait=wait)]))).n == 1


async def test_middleware_has_steps_of_its_own() -> None:
    """Under the same name as the node's; and a function that it calls twice in an attempt begins from its first."""
    world = World()

    async def around(state: Trail, ctx: Context, call: Any) -> Any:
        await ctx.step("do", world.do, "around")
        await call()
        return await call()

    async def node(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.step("do", world.do, "node"), str(ctx.uuid()), str(ctx.random.random())]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, middleware=[around]))

    assert (world.done, state.trace[0]) == (["around", "node"], "node")


async def test_who_handles_the_failure_of_a_node_has_steps_of_its_own() -> None:
    """They are not taken for those of the node under the same name."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        await ctx.step("do", world.do, "node")
        raise ValueError("boom")

    async def mend(state: Trail, error: Exception, ctx: Context) -> Update:
        return {"trace": [await ctx.step("do", world.do, "mend")]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, on_error=mend))

    assert (state.trace, world.done) == (["mend"], ["node", "mend"])


async def test_sync_nodes_have_steps_from_their_thread() -> None:
    """One after the other, though each call is a task of its own."""
    world = World()

    def node(state: Trail, ctx: Context) -> Update:
        got = [from_thread.run(partial(ctx.step, "do", world.do_sync, n)) for n in range(3)]
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {"trace": [str(got)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (world.done, state.trace) == ([0, 1, 2], ["[0, 1, 2]"])


async def test_sync_nodes_that_wait_for_sync_steps_do_not_wait_for_each_other() -> None:
    """All threads for sync functions are taken by those that wait: their steps have threads of their own."""

    class Work(State):
        results: list[int] = []

    graph, together = Graph("many", Work), Barrier(SYNC_NODES)

    def item(n: int, ctx: Context) -> int:
        together.wait(30)
        got: int = from_thread.run(partial(ctx.step, "do", abs, -n))
        return got

    graph.map(item, over=SYNC_NODES, into="results", limit=SYNC_NODES)

    async with Runtime("memory://") as rt:
        with anyio.fail_after(60):
            state = await rt.run(graph)

    assert state.results == [*range(SYNC_NODES)]


async def test_items_and_graphs_inside_have_steps_of_their_own() -> None:
    """Each item under the same name, and only what had not been done is done again."""
    done: list[int] = []

    class Work(State):
        items: list[int] = []
        results: list[int] = []

    inner: Graph[Any] = Graph("inner", Work)
    outer: Graph[Any] = Graph("outer", Work)

    async def item(n: int, ctx: Context) -> int:
        async def double() -> int:
            done.append(n)
            return n * 2

        result = await ctx.step("double", double)
        if ctx.attempt == 1 and n == 2:
            raise RuntimeError("boom")
        return result

    inner.map(item, over="items", into="results", retry=AGAIN)
    outer.subgraph(inner)

    async with Runtime("memory://") as rt:
        state = await rt.run(outer, Work(items=[1, 2, 3]))

    assert (state.results, sorted(done)) == ([2, 4, 6], [1, 2, 3])


async def test_worker_processes_have_no_steps() -> None:
    """What commits is where the runtime is."""
    graph = Graph("steps", isolated.Trail)
    graph.node(isolated.remembers, isolate="process")

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph)

    assert isinstance(caught.value.__cause__, NotInWorker)
    assert caught.value.__cause__.attribute == "step"


async def test_a_large_result_is_a_blob_of_the_run(tmp_path: Path) -> None:
    """As large values of the state are; and it comes back from there."""
    large, calls = "x" * 600_000, []

    async def fetch() -> str:
        calls.append("fetched")
        return large

    async def node(state: Trail, ctx: Context) -> Update:
        got = await ctx.step("fetch", fetch, undo="forget")
        if len(calls) == 1:
            calls.append("failed")
            raise RuntimeError("boom")
        return {"n": len(got)}

    graph = of(node)
    graph.undo(print, name="forget")
    async with Runtime(tmp_path, restarts=NEVER) as rt:
        with pytest.raises(RunFailed, match="boom"):
            await rt.run(graph, id="x")
    blobs = [*tmp_path.glob("runs/x/blobs/*")]  # noqa: ASYNC240 - nothing else goes on
    async with Runtime(tmp_path, restarts=NEVER) as rt:
        state = await (await rt.resume(graph, "x")).result()

    assert (state.n, calls, len(blobs)) == (len(large), ["fetched", "failed"], 1)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_step_is_durable_before_it_is_seen_whatever_the_durability(durability: Any) -> None:
    """When the node goes on, any other process can read it."""

    async def node(state: Trail, ctx: Context) -> Update:
        for n in range(3):
            await ctx.step("do", World().do, n)
            frames = await rt.read("x")
            assert sum(b"stepped" in frame.body for frame in frames) == n + 1
        return {}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(of(node), id="x", durability=durability)
        await run.result()


async def test_time_and_chance_are_the_same_on_every_attempt() -> None:
    """Of each call its own; and not those of another run."""
    seen: dict[str, list[Any]] = {}

    async def node(state: Trail, ctx: Context) -> Update:
        times = [await ctx.now(), await ctx.now()]
        drawn = [ctx.random.random(), ctx.random.random(), ctx.random.choice("abcdef")]
        uuids = [ctx.uuid(), ctx.uuid(), ctx.uuid("name")]
        seen.setdefault(ctx.run_id, []).append((times, drawn, uuids))
        if ctx.attempt == 1:
            raise RuntimeError("boom")
        return {}

    async with Runtime("memory://") as rt:
        for name in ("x", "y"):
            await rt.run(of(node, retry=AGAIN), id=name)

    for first, second in seen.values():
        assert first == second
        (early, late), _, uuids = first
        assert early.tzinfo is not None
        assert early <= late
        assert len(set(uuids)) == 3
    assert seen["x"][0][1] != seen["y"][0][1]
    assert not {*seen["x"][0][2]} & {*seen["y"][0][2]}


class Pay(Message):
    """What is to be paid."""

    amount: int


class Till(State):
    """What was paid."""

    receipts: list[str] = []


async def test_handlers_of_messages_have_steps_of_their_own() -> None:
    """Those of each message under its own key; and a turn that is tried again does not do again what it did."""
    world, failed = World(), []
    graph = Graph("till", Till, lifetime="actor")

    @graph.on(Pay, retry=AGAIN)
    async def pay(state: Till, message: Pay, ctx: Context) -> Update:
        receipt = await ctx.step("charge", world.do, message.amount)
        if message.amount not in failed:
            failed.append(message.amount)
            raise RuntimeError("boom")
        return {"receipts": [*state.receipts, str(receipt)]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for amount in (1, 2, 3):
            await run.send(Pay(amount=amount))
        with anyio.fail_after(30):
            while len((await run.state()).receipts) < 3:  # noqa: ASYNC110 - another reader of the files
                await anyio.sleep(0.01)

        assert (await run.state()).receipts == ["1", "2", "3"]
    assert (world.done, len(set(world.keys))) == ([1, 2, 3], 3)


async def test_a_loop_of_steps_without_an_end_comes_to_one() -> None:
    """Each is remembered until the node is finished, so there is a limit; what was done before is not done again."""
    world, graph = World(), Graph("steps", Trail, max_steps=3)

    @graph.node
    async def node(state: Trail, ctx: Context) -> Update:
        while True:
            await ctx.step("do", world.do, len(world.done))

    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed, match="more than 3 steps") as caught:
            await rt.run(graph)

    assert isinstance(caught.value.__cause__, TooManySteps)
    assert world.done == [0, 1, 2]
