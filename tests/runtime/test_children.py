"""Children: a run begins others, each once, waits for them, and decides what becomes of them when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

from actorflow import Context, Graph, Runtime, State, Update
from actorflow.errors import BadUpdate, ChildFailed, GraphError
from tests.runtime.correspondents import Work, ended, killed_everywhere, runtime, sleeper, until, worker

if TYPE_CHECKING:
    from collections.abc import Sequence


class Family(State, version=1):
    """What a parent works on."""

    given: list[int] = []
    results: list[int] = []
    children: list[str] = []
    error: str = ""


def parent(child: Graph[Work], *, wait: bool = True) -> Graph[Family]:
    """Begins a child for each number, and waits for all of them, one after the other."""
    graph = Graph("parent", Family)

    @graph.node
    async def delegate(state: Family, ctx: Context) -> Update:
        children = [await ctx.spawn(child, Work(n=n)) for n in state.given]
        return {"children": children}

    @graph.node(after=delegate)
    async def collect(state: Family, ctx: Context) -> Update:
        return {"results": [(await ctx.result(one, Work)).n for one in state.children] if wait else []}

    return graph


async def test_a_child_is_a_run_of_its_own_whose_result_comes_back(store_url: str) -> None:
    """Typed, with a tag that says whose child it is."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(parent(worker()), Family(given=[1, 2, 3]), id="mum")
        assert (await run.result()).results == [2, 4, 6]
        found = await rt.runs(graph="worker", tags={"parent": "mum"})
        assert {info.id for info in found} == set((await run.state()).children)


async def test_a_result_is_awaited_in_the_node_that_begins_the_child(store_url: str) -> None:
    """The child begins with the wait, and once, although the node runs again."""
    calls: list[int] = []
    child, graph = worker(calls), Graph("parent", Family)

    @graph.node
    async def both(state: Family, ctx: Context) -> Update:
        one = await ctx.spawn(child, Work(n=1))
        two = await ctx.spawn(child, Work(n=2))
        return {"results": [(await ctx.result(one)).n, (await ctx.result(two)).n]}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph)).results == [2, 4]
    assert sorted(calls) == [1, 2]


async def test_parents_and_children_are_killed_at_every_write() -> None:
    """Each child is begun once, under an id that is the same in every execution."""
    calls: list[int] = []

    def graphs() -> list[Graph[Any]]:
        calls.clear()
        child = worker(calls)
        return [child, parent(child)]

    async def scene(rt: Runtime, its: Sequence[Graph[Any]]) -> None:
        await rt.spawn(its[1], Family(given=[1, 2]), id="mum", on_conflict="attach")
        assert await ended(rt, "mum") == "finished"
        state = await rt.get("mum").state()
        assert state.results == [2, 4]
        assert {info.id for info in await rt.runs(graph="worker")} == set(state.children)
        assert len(set(state.children)) == 2

    assert await killed_everywhere(graphs, scene) > 30


async def test_a_child_that_fails_is_an_error_where_it_is_awaited(store_url: str) -> None:
    """With what it failed with."""
    child, graph = worker(), Graph("parent", Family)

    @graph.node
    async def node(state: Family, ctx: Context) -> Update:
        try:
            await ctx.result(await ctx.spawn(child, Work(n=-1)))
        except ChildFailed as error:
            return {"error": error.reason}
        return {}

    async with runtime(store_url, [child]) as rt:
        assert (await rt.run(graph)).error == "ValueError: negative"


async def test_the_result_of_a_run_that_is_over_is_there_at_once(store_url: str) -> None:
    """Of any run, not only of children; and of none there is none."""
    child, graph = worker(), Graph("parent", Family)

    @graph.node
    async def node(state: Family, ctx: Context) -> Update:
        found = await ctx.result("early", Work)
        try:
            await ctx.result("nobody")
        except ChildFailed as error:
            return {"results": [found.n], "error": error.reason}
        return {}

    async with Runtime(store_url) as rt:
        await rt.run(child, Work(n=4), id="early")
        state = await rt.run(graph)
    assert state.results == [8]
    assert "NoSuchRun" in state.error


@pytest.mark.parametrize(("parent_close", "then"), [("cancel", "cancelled"), ("abandon", "waiting")])
async def test_parent_close_says_what_becomes_of_a_child(
    store_url: str, parent_close: Literal["cancel", "abandon"], then: str
) -> None:
    """When its parent is over, however that came."""
    child, graph = sleeper(), Graph("parent", Family)

    @graph.node
    async def node(state: Family, ctx: Context) -> Update:
        return {"children": [await ctx.spawn(child, Work(), id="kid", parent_close=parent_close)]}

    @graph.node(after=node)
    async def wait(state: Family, ctx: Context) -> None:
        await ctx.interrupt("Enough?")

    async with Runtime(store_url, graphs=[child]) as rt:
        run = await rt.spawn(graph, id="mum")
        await until(lambda: _is(rt, "kid", "waiting"))
        await run.cancel()
        await until(lambda: _is(rt, "kid", then))


async def test_children_of_a_run_that_is_cancelled_while_nobody_has_it_are_cancelled(store_url: str) -> None:
    """Nobody needs its graph for that."""
    child, graph = sleeper(), Graph("parent", Family)

    @graph.node
    async def node(state: Family, ctx: Context) -> None:
        await ctx.spawn(child, Work(), id="kid")
        await ctx.interrupt("Enough?")

    async with Runtime(store_url, graphs=[child]) as rt:
        await rt.spawn(graph, id="mum")
        await until(lambda: _is(rt, "kid", "waiting"))
        await until(lambda: _is(rt, "mum", "waiting"))
    async with Runtime(store_url, graphs=[child]) as rt:
        await rt.get("mum").cancel()
        await until(lambda: _is(rt, "kid", "cancelled"))


async def _is(rt: Runtime, run_id: str, status: str) -> bool:
    tip = await rt.ask(lambda store: store.log(run_id).tip())
    return tip is not None and tip.header.status == status


async def test_a_child_under_an_id_that_is_there_is_taken_as_it_is(store_url: str) -> None:
    """Of another graph it is none, and who waits for it is told."""
    child, other, graph = worker(), sleeper(), Graph("parent", Family)

    @graph.node
    async def node(state: Family, ctx: Context) -> Update:
        mine = await ctx.result(await ctx.spawn(child, Work(n=1), id="there"))
        try:
            with anyio.fail_after(20):
                await ctx.result(await ctx.spawn(child, Work(n=1), id="other"))
        except ChildFailed as error:
            return {"results": [mine.n], "error": str(error)}
        return {}

    async with Runtime(store_url) as rt:
        await rt.run(child, Work(n=5), id="there")
        await rt.spawn(other, id="other")
        state = await rt.run(graph)
        assert state.results == [10]
        assert "WrongGraph" in state.error
        await rt.get("other").cancel()


async def test_what_cant_begin_is_refused_where_it_is_asked_for(store_url: str) -> None:
    """A graph that can't run, and an input that is none of it."""
    broken: Graph[Work] = Graph("broken", Work)
    child, graph, errors = worker(), Graph("parent", Family), list[type[Exception]]()

    @graph.node
    async def node(state: Family, ctx: Context) -> None:
        for its, given in ((broken, Work()), (child, Family())):
            try:
                await ctx.spawn(its, given)  # type: ignore[type-var]
            except (GraphError, BadUpdate) as error:
                errors.append(type(error))

    async with Runtime(store_url) as rt:
        await rt.run(graph)
    assert errors == [GraphError, BadUpdate]


async def test_the_id_of_a_child_of_a_child_stays_legal(store_url: str) -> None:
    """However deep they are, ids have an end."""
    graph: Graph[Work] = Graph("matryoshka" * 9, Work)

    @graph.node(name="n" * 90)
    async def node(state: Work, ctx: Context) -> Update:
        if state.n == 0:
            return {}
        return {"n": 1 + (await ctx.result(await ctx.spawn(graph, Work(n=state.n - 1)), Work)).n}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Work(n=8))).n == 8
