"""What nodes may raise and return: a cancellation of their own, a NaN, an update whose routing fails."""

from __future__ import annotations

import asyncio
from math import isnan, nan
from typing import TYPE_CHECKING, Literal

import anyio
import msgspec
import pytest

from actorflow import Graph, RestartPolicy, Runtime, State, Update
from actorflow.errors import RunFailed
from tests.runtime.graphs import Trail, add

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Measured(State):
    """A number that may be none, and two that count."""

    x: float = 0.0
    a: int = 0
    b: int = 0


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio lets nobody make its Cancelled
@pytest.mark.parametrize("beside", [False, True])
async def test_a_sync_node_that_raises_a_cancellation_fails(store_url: str, *, beside: bool) -> None:
    """In its thread, alone or beside another node; taken for our own it would end the node's task without a word."""
    graph = Graph("cancels", Trail)
    add(graph, "start", after=None)
    if beside:
        add(graph, "other", after="start")

    @graph.node(after="start")
    def cancels(state: Trail) -> Update:
        raise asyncio.CancelledError

    with anyio.fail_after(30):
        async with Runtime(store_url, restarts=RestartPolicy(max_restarts=0)) as rt:
            with pytest.raises(RunFailed, match="raised CancelledError itself"):
                await rt.run(graph, Trail(), id="x")


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_plain_function_s_coroutine_that_raises_a_cancellation_fails(store_url: str) -> None:
    """The same, for a function that is not declared async but returns a coroutine."""
    graph = Graph("cancels", Trail)

    async def inner() -> Update:
        raise asyncio.CancelledError

    @graph.node
    def cancels(state: Trail) -> Awaitable[Update]:
        return inner()

    with anyio.fail_after(30):
        async with Runtime(store_url, restarts=RestartPolicy(max_restarts=0)) as rt:
            with pytest.raises(RunFailed, match="raised CancelledError itself"):
                await rt.run(graph, Trail(), id="x")


async def test_a_nan_is_no_mutation(store_url: str) -> None:
    """`debug=True` compares what would be kept, since a NaN is not equal to itself."""
    graph = Graph("measured", Measured)

    @graph.node
    async def measure(state: Measured) -> Update:
        return {"x": nan}

    @graph.node(after=measure)
    async def count(state: Measured) -> Update:
        return {"a": 1}

    async with Runtime(store_url, debug=True) as rt:
        result = await rt.run(graph, Measured(), id="x")

    assert isnan(result.x)
    assert result.a == 1


async def test_a_nan_in_a_whole_state_is_no_update(store_url: str) -> None:
    """Two branches that return their State, with a NaN that neither touched, don't overwrite each other."""
    graph = Graph("measured", Measured)

    @graph.node
    async def measure(state: Measured) -> Update:
        return {"x": nan}

    @graph.node(after=measure)
    async def one(state: Measured) -> Measured:
        return msgspec.structs.replace(state, a=1)

    @graph.node(after=measure)
    async def two(state: Measured) -> Measured:
        return msgspec.structs.replace(state, b=1)

    async with Runtime(store_url) as rt:
        result = await rt.run(graph, Measured(), id="x")

    assert (result.a, result.b) == (1, 1)


async def test_an_update_whose_routing_failed_is_shown_beside_one_that_finished(store_url: str) -> None:
    """Both went in by one commit; the state and the history have both."""
    graph = Graph("measured", Measured)

    @graph.node
    async def start(state: Measured) -> None:
        pass

    @graph.node(after=start)
    async def one(state: Measured) -> Update:
        return {"a": 1}

    @graph.node(after=start)
    async def two(state: Measured) -> Update:
        return {"b": 1}

    @graph.node
    async def three(state: Measured) -> None:
        pass

    @graph.branch(after=two)
    def verdict(state: Measured) -> Literal["three"]:
        raise ZeroDivisionError

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Measured(), id="x")
        newest, *_ = [checkpoint async for checkpoint in rt.get("x").views()]
        state = await rt.get("x").state()

    assert (state.a, state.b) == (1, 1)
    assert (newest.kind, newest.node, newest.status, tuple(newest.writes)) == ("merged", "two", "failed", ("b",))
    assert newest.state == state
