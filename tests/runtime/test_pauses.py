"""Pauses: nothing new begins, what runs is finished and kept; a pause lasts until somebody ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Graph, Retry, Runtime, Update
from actorflow.errors import RunEnded, RunWaiting
from tests.runtime.asking import Gate, asked, asker, commits, gated
from tests.runtime.graphs import Trail, add, chain

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


async def test_a_pause_lets_what_runs_finish_and_begins_nothing_new() -> None:
    """It is acknowledged while the node still runs; the successor is open, and begins with `unpause`."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        await run.pause(by="Ada")
        assert await run.status() == "paused"
        gate.open.set()
        assert await run.wait() == "paused"

        assert (rt.life_of("x"), (await run.state()).trace) == (None, ["first", "middle n=0"])
        assert (await run.at()).frontier == ("last",)
        await run.unpause()
        assert (await run.result()).trace == ["first", "middle n=0", "last"]
    assert gate.calls == 1


async def test_what_is_paused_stays_so_in_every_process(store_url: str) -> None:
    """Neither recovery nor `run` nor `resume` goes on with it; only `unpause` does."""
    gate = Gate()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        await run.pause()
        gate.open.set()
        assert await run.wait() == "paused"
    async with Runtime(store_url, graphs=[gated(gate)], scan_every=0.02) as rt:
        before = await commits(rt.get("x"))
        assert await rt.recover() == []
        await anyio.sleep(0.2)  # ten scans, none of which may touch it
        assert await commits(rt.get("x")) == before
        with pytest.raises(RunWaiting, match="paused"):
            await rt.run(gated(gate), id="x")
        await rt.get("x").unpause()
        assert (await rt.get("x").result()).trace == ["first", "middle n=0", "last"]


async def test_a_paused_run_whose_question_expires_is_left_alone(store_url: str) -> None:
    """Planted: the scan takes it up at that time, can't go on, lets go, and takes it up again for ever."""
    gate, graph = Gate(), Graph("asks", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        await gate.pass_through()
        return {"trace": [await ctx.interrupt("Go on?", type=str, timeout=0.1, default="late")]}

    async with Runtime(store_url, linger=0.0) as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await run.pause()  # before it asks: however slow the machine is, no question expires in a run that goes on
        gate.open.set()
        assert await run.wait() == "paused"
    async with Runtime(store_url, graphs=[graph], scan_every=0.02) as rt:
        before = await commits(rt.get("x"))
        await anyio.sleep(0.3)  # past its time, and ten scans more
        assert await commits(rt.get("x")) == before

        await rt.get("x").unpause()

        assert (await rt.get("x").result()).trace == ["late"]


async def test_draining_one_run_waits_for_what_runs_in_it_and_begins_nothing_new() -> None:
    """It is back when what ran is committed and the run is let go of; other runs go on.

    Planted: it is back when the pause is.
    """
    gate, elsewhere, ended = Gate(), Gate(), list[tuple[str, list[str]]]()
    async with Runtime("memory://") as rt:
        run, other = await rt.spawn(gated(gate), id="x"), await rt.spawn(gated(elsewhere), id="other")
        await gate.inside.wait()
        await elsewhere.inside.wait()

        async def drain() -> None:
            ended.append((await run.drain(by="Ada"), (await run.state()).trace))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain)
            while await run.status() != "paused":
                await anyio.lowlevel.checkpoint()
            assert ended == []
            gate.open.set()

        assert (ended, rt.life_of("x")) == ([("paused", ["first", "middle n=0"])], None)
        assert await other.status() == "running"
        elsewhere.open.set()
        await run.unpause()
        assert (await run.result()).trace == ["first", "middle n=0", "last"]
    assert gate.calls == 1


async def test_draining_does_not_wait_for_a_question_or_a_retry() -> None:
    """Planted: it waits for the time at which the one expires, or the other is due."""
    graph = Graph("retries", Trail)

    @graph.node(retry=Retry(attempts=5, backoff=600.0))
    async def fails(state: Trail) -> Update:
        if state.n == 0:
            raise ValueError("not yet")
        return {"trace": [f"n={state.n}"]}

    async with Runtime("memory://", drain="park") as rt:
        asks = await rt.spawn(asker(timeout=600, default=1), id="asks")
        await asked(asks)
        retries = await rt.spawn(graph, id="retries")
        while not rt.life_of("retries").actor.run.open[1].attempt:  # type: ignore[union-attr]
            await anyio.lowlevel.checkpoint()

        with anyio.fail_after(30):
            assert [await asks.drain(), await retries.drain()] == ["paused", "paused"]

        assert rt.life_of("retries") is None


async def test_pausing_twice_and_going_on_unpaused_are_no_errors() -> None:
    """Asking for what is so already commits nothing of its own."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        await run.unpause()
        for _ in range(2):
            await run.pause()
        assert await run.status() == "paused"
        assert len(await run.interrupts()) == 1

        await run.answer("meanwhile")  # kept, but nothing begins
        assert await run.status() == "paused"
        await run.unpause()

        assert (await run.result()).trace == ["answer='meanwhile'", "last"]


async def test_pausing_and_going_on_at_once_runs_nothing_twice() -> None:
    """A node that runs meanwhile is not begun again by `unpause`."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        for _ in range(3):
            await run.pause()
            await run.unpause()
        gate.open.set()

        assert (await run.result()).trace == ["first", "middle n=0", "last"]
    assert gate.calls == 1


async def test_parallel_nodes_that_run_are_finished_and_their_join_waits() -> None:
    """Two in flight: both are committed; the join that they open begins with `unpause`."""
    graph, gates = Graph("both", Trail), {"left": Gate(), "right": Gate()}
    add(graph, "start", after=None)
    for name, gate in gates.items():
        graph.node(_side(gate, name), name=name, after="start")
    graph.node(_end, name="end", after=("left", "right"))
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for gate in gates.values():
            await gate.inside.wait()
        await run.pause()
        for gate in gates.values():
            gate.open.set()

        assert await run.wait() == "paused"
        assert sorted((await run.state()).trace) == ["left", "right", "start"]
        await run.unpause()
        assert (await run.result()).trace[-1] == "end"


def _side(gate: Gate, name: str) -> Callable[[Trail], Awaitable[Update]]:
    async def side(state: Trail) -> Update:
        await gate.pass_through()
        return {"trace": [name]}

    return side


async def _end(state: Trail) -> Update:
    return {"trace": ["end"]}


async def test_a_run_that_is_over_can_not_be_paused() -> None:
    """`RunEnded` says what goes on from there."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()
        for verb in (run.pause, run.unpause, run.drain):
            with pytest.raises(RunEnded, match="input"):
                await verb()
