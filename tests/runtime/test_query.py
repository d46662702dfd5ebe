"""Queries: what a function makes of the committed state, wherever the run is; nothing is claimed, woken or changed."""

from __future__ import annotations

from functools import partial

import anyio.lowlevel
import pytest

from actorflow import Graph, Runtime, Update
from actorflow.errors import NoSuchRun
from tests.runtime.asking import Gate, asker, commits, gated
from tests.runtime.graphs import Trail, chain


def trace(state: Trail) -> list[str]:
    """What a query asks for in these tests."""
    return state.trace


async def test_a_run_that_is_over_answers_a_query(store_url: str) -> None:
    """From its newest commit, typed; the handle need not be the one that ran it."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a", "b"), id="x")

        assert await rt.get("x").query(lambda state: len(state.trace)) == 2


async def test_a_live_run_answers_from_memory_what_is_committed() -> None:
    """While a node runs it is the state before it; the store is not asked."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        during = await run.query(trace)
        gate.open.set()
        await run.result()

        assert during == ["first"]
        assert await run.query(trace) == ["first", "middle n=0", "last"]


async def test_a_query_never_shows_what_is_not_committed() -> None:
    """Under ``exit`` the first node is finished, in memory; a crash would undo it, so nobody is told."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x", durability="exit")
        await gate.inside.wait()

        assert await run.query(trace) == []

        gate.open.set()


async def test_a_sleeping_run_is_not_woken_by_a_query(store_url: str) -> None:
    """It has as many commits afterwards as before."""
    async with Runtime(store_url, recover="never") as rt:
        run = await rt.spawn(asker(), Trail(n=3), id="x")
        await run.wait()
        before = await commits(run)

        assert await run.query(lambda state: state.n) == 3

        assert await commits(run) == before


async def test_a_query_gets_a_copy_of_its_own() -> None:
    """What it does to the state is seen by nobody."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        await run.query(lambda state: state.trace.append("planted"))

        assert await run.query(trace) == ["first"]
        gate.open.set()
        assert "planted" not in (await run.result()).trace


async def test_what_a_query_raises_comes_out_of_it() -> None:
    """As it is, and the run goes on."""
    async with Runtime("memory://") as rt:
        await rt.run(chain("a"), id="x")

        with pytest.raises(ZeroDivisionError):
            await rt.get("x").query(lambda state: state.n // 0)


async def test_an_async_query_is_refused() -> None:
    """Also one that only turns out to be async; nothing of it is left un-awaited."""

    async def waits(state: Trail) -> int:
        await anyio.lowlevel.checkpoint()
        return state.n

    async with Runtime("memory://") as rt:
        await rt.run(chain("a"), id="x")

        for query in (waits, partial(waits)):
            with pytest.raises(TypeError, match="not an async one"):
                await rt.get("x").query(query)


async def test_a_run_that_is_not_there_answers_nothing() -> None:
    """As everywhere."""
    graph = Graph("none", Trail)

    @graph.node
    async def only(state: Trail) -> Update:
        return {}

    async with Runtime("memory://", graphs=[graph]) as rt:
        with pytest.raises(NoSuchRun):
            await rt.get("x").query(trace)
