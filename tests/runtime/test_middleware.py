"""Middleware: around the functions of nodes, from outside to inside, at each attempt."""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Cache, Context, Graph, RestartPolicy, Retry, Runtime, State, Update, degrade, timing
from actorflow.errors import GraphError, RunFailed, WaitInMiddleware
from actorflow.testing import VirtualClock
from tests.runtime import isolated
from tests.runtime.correspondents import Pay, Total, till, until
from tests.runtime.graphs import Trail

if TYPE_CHECKING:
    from actorflow.graph.middleware import Call, Middleware

NO_RESTART = RestartPolicy(max_restarts=0)


def noting(name: str, said: list[str]) -> Middleware:
    """Says when it is entered and left."""

    async def around(state: State, ctx: Context, call: Call) -> Update:
        said.append(f"{name} before {ctx.node}")
        update: Update = await call()
        said.append(f"{name} after {ctx.node}")
        return update

    return around


async def test_the_first_is_the_outermost_and_the_graphs_are_around_the_nodes() -> None:
    """Each is entered once, in order, and left in reverse."""
    said: list[str] = []
    graph = Graph("g", Trail, middleware=[noting("one", said), noting("two", said)])

    @graph.node(middleware=[noting("three", said)])
    async def node(state: Trail) -> Update:
        said.append("node")
        return {"trace": ["node"]}

    async with Runtime("memory://") as rt:
        assert (await rt.run(graph, Trail())).trace == ["node"]

    order = ["one", "two", "three"]
    assert said == [f"{name} before node" for name in order] + ["node"] + [f"{name} after node" for name in order[::-1]]


async def test_a_middleware_may_put_something_else_in_place_of_the_update() -> None:
    """With or without calling the node; what it returns is checked like a node's."""

    async def doubled(state: Trail, ctx: Context, call: Call) -> Update:
        update = await call()
        return {**update, "trace": update["trace"] * 2}

    async def instead(state: Trail, ctx: Context, call: Call) -> Update:
        return {"trace": ["instead"]}

    async def wrong(state: Trail, ctx: Context, call: Call) -> Any:
        return {"n": "wrong"}

    for middleware, trace in ((doubled, ["node", "node"]), (instead, ["instead"])):
        async with Runtime("memory://") as rt:
            assert (await rt.run(one(middleware), Trail())).trace == trace
    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed, match="field 'n'"):
            await rt.run(one(wrong), Trail())


def one(*middleware: Middleware, **options: Any) -> Graph[Trail]:
    """A graph of one node."""
    graph = Graph("g", Trail)

    @graph.node(middleware=middleware, **options)
    async def node(state: Trail) -> Update:
        return {"trace": ["node"]}

    return graph


async def test_each_attempt_goes_through_it() -> None:
    """It is inside of retries, and sees the number of the attempt; and inside of the timeout."""
    attempts: list[int] = []

    async def flaky(state: Trail, ctx: Context, call: Call) -> Update:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ConnectionError
        if ctx.attempt == 2:
            await anyio.sleep_forever()
        update: Update = await call()
        return update

    async with VirtualClock(), Runtime("memory://") as rt:
        graph = one(flaky, retry=Retry(attempts=3, backoff=0.0), timeout=0.05)
        assert (await rt.run(graph, Trail())).trace == ["node"]

    assert attempts == [1, 2, 3]


async def test_what_a_function_sent_in_vain_is_not_sent() -> None:
    """A middleware that calls it once more has what the last call sent. Planted: what each of them sent goes out."""

    async def twice(state: Trail, ctx: Context, call: Call) -> Update:
        try:
            return await call()
        except ConnectionError:
            return await call()

    calls: list[int] = []
    graph = Graph("g", Trail)

    @graph.node(middleware=[twice])
    async def node(state: Trail, ctx: Context) -> Update:
        calls.append(1)
        await ctx.send("till", Pay(amount=len(calls)))
        if len(calls) == 1:
            raise ConnectionError("once")
        return {}

    async with Runtime("memory://", drain="park") as rt:
        other = await rt.spawn(till(), id="till")
        await rt.run(graph, Trail())
        await until(lambda: other.query(lambda state: state.entries))
        await other.ask(Total())
        assert (await other.state()).entries == [2]


async def test_it_is_around_functions_only() -> None:
    """Neither around a subgraph nor around what is in it; around each item of a map, and around sync functions."""
    said: list[str] = []
    inner = Graph("inner", Trail)

    @inner.node
    async def inside(state: Trail) -> Update:
        return {"trace": ["inside"]}

    class Numbers(Trail):
        """Trail, with numbers."""

        numbers: list[int] = []

    outer = Graph("outer", Numbers, middleware=[noting("mw", said)])
    outer.subgraph(inner, name="sub", enter={})
    outer.map(lambda number: number + 1, name="items", over="numbers", into="numbers", after="sub")

    @outer.node(after="items")
    def sync(state: Numbers) -> Update:
        return {"trace": ["sync"]}

    async with Runtime("memory://") as rt:
        result = await rt.run(outer, Numbers(numbers=[1, 2]))

    assert (result.trace, result.numbers) == (["inside", "sync"], [2, 3])
    assert sorted(said) == sorted(["mw before items", "mw after items"] * 2 + ["mw before sync", "mw after sync"])


async def test_it_is_around_isolated_nodes_in_this_process() -> None:
    """What comes back from the worker process goes through it."""
    said: list[str] = []
    graph = Graph("g", isolated.Trail)
    graph.node(isolated.where, isolate="process", middleware=[noting("mw", said)])

    async with Runtime("memory://", processes=1) as rt:
        assert (await rt.run(graph, isolated.Trail())).pids != [os.getpid()]

    assert said == ["mw before where", "mw after where"]


async def test_middleware_can_not_wait() -> None:
    """It is a typed error, that neither a retry nor a restart makes go away; the node inside may."""

    async def asks(state: Trail, ctx: Any, call: Call) -> Any:
        await ctx.interrupt("May it?")
        return await call()

    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed, match="middleware can't wait") as failed:
            await rt.run(one(asks), Trail())
    assert isinstance(failed.value.__cause__, WaitInMiddleware)


async def test_a_node_inside_may_wait_whatever_is_around_it() -> None:
    """Its questions are the same ones when a middleware calls it a second time; no `except` takes it for an error."""
    entered: list[int] = []

    async def twice(state: Trail, ctx: Context, call: Call) -> Any:
        try:
            await call()
        except Exception:  # noqa: BLE001 - as broad as a user may be
            pytest.fail("a wait is no error")
        return await call()

    graph = Graph("g", Trail, middleware=[twice, degrade({"trace": ["degraded"]})])

    @graph.node
    async def asks(state: Trail, ctx: Any) -> Update:
        entered.append(1)
        return {"trace": [await ctx.interrupt("Which?", type=str)]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, Trail())
        assert await run.wait() == "waiting"
        assert [asked.question for asked in await run.interrupts()] == ["Which?"]
        await run.answer("this")
        assert (await run.result()).trace == ["this"]

    assert len(entered) == 3


async def test_timing_tells_how_long_each_call_took(caplog: pytest.LogCaptureFixture) -> None:
    """Also of one that raised; without a function to tell, in the log."""
    told: list[tuple[str, float]] = []

    async def flaky(state: Trail, ctx: Context) -> Update:
        await anyio.sleep(0.02)
        if ctx.attempt == 1:
            raise ValueError
        return {}

    graph = Graph("g", Trail, middleware=[timing(lambda node, seconds: told.append((node, seconds))), timing()])
    graph.node(flaky, retry=Retry(backoff=0.0))
    began = time.perf_counter()
    with caplog.at_level(logging.INFO, "actorflow.node"):
        async with Runtime("memory://") as rt:
            await rt.run(graph, Trail())

    assert [node for node, _ in told] == ["flaky", "flaky"]
    assert all(seconds > 0.015 for _, seconds in told)
    assert sum(seconds for _, seconds in told) < time.perf_counter() - began
    assert sum("took" in record.getMessage() for record in caplog.records) == 2


async def test_degrade_lets_the_run_go_on_with_less(caplog: pytest.LogCaptureFixture) -> None:
    """From the attempt on that it is for; the error is in the log, and a function may look at it."""
    attempts: list[int] = []

    def lesser(state: Trail, error: Exception) -> Update:
        return {"trace": [f"without, for {error}"]}

    graph = Graph("g", Trail)

    @graph.node(middleware=[degrade(lesser, on=ConnectionError, attempt=3)], retry=Retry(attempts=5, backoff=0.0))
    async def offline(state: Trail, ctx: Context) -> Update:
        attempts.append(ctx.attempt)
        raise ConnectionError("no network")

    async with Runtime("memory://") as rt:
        assert (await rt.run(graph, Trail())).trace == ["without, for no network"]

    assert attempts == [1, 2, 3]
    assert any("goes on without it" in record.getMessage() for record in caplog.records)


async def test_degrade_is_only_for_what_it_names() -> None:
    """Another error fails the run."""
    graph = Graph("g", Trail)

    @graph.node(middleware=[degrade({}, on=ConnectionError)])
    async def wrong(state: Trail) -> Update:
        raise ValueError("a mistake")

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        with pytest.raises(RunFailed, match="a mistake"):
            await rt.run(graph, Trail())


async def test_a_degraded_update_is_not_kept_in_the_cache() -> None:
    """The cache is inside: a failure must not be found again for ever."""
    calls: list[int] = []
    graph = Graph("g", Trail)

    @graph.node(middleware=[degrade({"trace": ["degraded"]})], cache=Cache(version=1))
    async def moody(state: Trail) -> Update:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError
        return {"trace": ["well"]}

    async with Runtime("memory://") as rt:
        traces = [(await rt.run(graph, Trail())).trace for _ in range(3)]

    assert traces == [["degraded"], ["well"], ["well"]]
    assert len(calls) == 2


async def two_parameters(state: Any, ctx: Any) -> None:
    """Not enough."""


def plain(state: Any, ctx: Any, call: Any) -> None:
    """It can't await the node."""


async def generating(state: Any, ctx: Any, call: Any) -> Any:
    """A generator returns no update."""
    yield


@pytest.mark.parametrize("wrong", [5, [5], [two_parameters], [plain], [generating], two_parameters])
def test_what_is_no_middleware_is_refused(wrong: Any) -> None:
    """For a node and for the graph, when it is checked."""
    with pytest.raises(GraphError, match="middleware"):
        _ = one(*wrong).plan if isinstance(wrong, list) else one_with(wrong).plan
    graph = Graph("g", Trail, middleware=wrong)
    graph.node(two_parameters)
    with pytest.raises(GraphError, match="the graph: middleware"):
        _ = graph.plan


def one_with(middleware: Any) -> Graph[Trail]:
    """A node with this for a list of middleware."""
    graph = Graph("g", Trail)
    graph.node(two_parameters, middleware=middleware)
    return graph


class Inner(State):
    """Something to run inside."""


def test_a_map_of_a_graph_has_no_middleware() -> None:
    """It would be passed over in silence."""
    inner, outer = Graph("inner", Inner), Graph("outer", Trail)
    inner.node(two_parameters)
    outer.map(inner, name="m", over=3, middleware=[timing()])

    with pytest.raises(GraphError, match="middleware= is for functions"):
        _ = outer.plan
