"""Updates from outside: merged whenever they come, or (as a node) in place of what that node would have done."""

from __future__ import annotations

import anyio
import pytest

from actorflow import Context, Graph, Runtime, State, Update
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import (
    AmbiguousTarget,
    BadUpdate,
    NoSuchTarget,
    NotPaused,
    ReducerError,
    RunFailed,
)
from tests.runtime.asking import Gate, asker, commits, gated, nested
from tests.runtime.graphs import Trail, add, chain

NEVER = RestartPolicy(max_restarts=0)


async def test_an_update_is_back_while_a_lone_node_still_runs() -> None:
    """Planted: the loop runs a lone node itself, and hears nobody until that is done."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        seq = await run.update({"n": 5, "trace": ["update"]}, by="Ada")

        assert (await run.at(seq)).values["n"] == 5
        gate.open.set()
        final = await run.result()
        assert (final.n, final.trace) == (5, ["first", "update", "middle n=0", "last"])
    assert gate.calls == 1  # it did not write what was updated: it need not run again


async def test_a_node_that_overwrites_an_update_runs_again_having_seen_it() -> None:
    """Neither is lost: as if the update had come before the node."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate, write="n"), id="x")
        await gate.inside.wait()

        await run.update({"n": 5})
        gate.open.set()

        final = await run.result()
        assert (final.n, final.trace, gate.calls) == (6, ["first", "middle n=5", "last"], 2)


async def test_an_update_that_does_not_fit_changes_nothing() -> None:
    """An unknown field, a wrong type, what can't be encoded; of a live run and of one that waits."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        live = await rt.spawn(gated(gate), id="live")
        await gate.inside.wait()
        waits = await rt.spawn(asker(), id="waits")
        await waits.wait()
        for run in (live, waits):
            before = await commits(run)
            for bad in ({"nope": 1}, {"n": "text"}, {"trace": 1}, {"n": object()}):
                with pytest.raises((BadUpdate, ReducerError)):
                    await run.update(bad)
            assert await commits(run) == before
        gate.open.set()
        await waits.cancel()
        assert (await live.result()).n == 0


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_an_update_is_durable_when_it_is_acknowledged(store_url: str, durability: str) -> None:
    """Whatever the run's own durability is."""
    gate = Gate()

    async def leave() -> None:
        async with Runtime(store_url) as rt:
            run = await rt.spawn(gated(gate), id="x", durability=durability)  # type: ignore[arg-type]
            await gate.inside.wait()
            await run.update({"n": 5})
            async with Runtime(store_url, readonly=True) as other:
                assert (await other.get("x").at()).values["n"] == 5
            raise LookupError

    with pytest.raises(LookupError):
        await leave()


async def test_a_finished_run_is_finished_again() -> None:
    """The handle that knew the old end tells the new one."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        assert (await run.result()).n == 0

        await run.update({"n": 3})

        assert (await run.result()).n == 3
        assert [info.status for info in await rt.runs()] == ["finished"]


async def test_a_failed_run_tries_again_with_the_update() -> None:
    """What failed sees it: its base is the state with the update."""
    graph = Graph("fails", Trail)

    @graph.node
    async def divide(state: Trail) -> Update:
        return {"trace": [str(6 // state.n)]}

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        with pytest.raises(RunFailed):
            await run.result()

        await run.update({"n": 2})

        assert (await run.result()).trace == ["3"]


async def test_as_a_node_its_successors_are_opened_and_it_does_not_run() -> None:
    """Its branch decides by the updated state; its open activation, which asks, is closed."""
    graph, ran = Graph("as-node", Trail), []

    @graph.node
    async def judge(state: Trail, ctx: Context) -> Update:
        ran.append("judge")
        return {"n": await ctx.interrupt("how much?", type=int)}

    add(graph, "low", after=None)
    add(graph, "high", after=None)
    graph.branch(lambda state: "high" if state.n > 5 else "low", after=judge, to=("low", "high"))
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()

        await run.update({"n": 7}, as_node="judge", by="Ada")

        assert ((await run.result()).trace, ran) == (["high"], ["judge"])
        assert await run.interrupts() == []


async def test_as_a_leg_of_a_join_it_completes_the_join() -> None:
    """The other leg's token waits; the join opens once."""
    graph = Graph("joined", Trail)

    @graph.node(entry=True)
    async def asks(state: Trail, ctx: Context) -> Update:
        await ctx.interrupt("never answered")
        return {}

    add(graph, "other", after=None)
    graph.node(_start, name="start", entry=True)
    graph.edge("start", "other")
    graph.node(_joined, name="joined", after=("asks", "other"))
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()

        await run.update({"trace": ["as asks"]}, as_node="asks")

        assert (await run.result()).trace == ["other", "as asks", "joined"]


async def _start(state: Trail) -> None:
    return None


async def _joined(state: Trail) -> Update:
    return {"trace": ["joined"]}


async def test_as_a_node_of_a_graph_inside_it_is_named_by_its_path() -> None:
    """The scope is left as if the node had finished, and its writes are handed up."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(nested(2), id="x")
        await run.wait()
        with pytest.raises(NoSuchTarget, match="level2"):
            await run.update({}, as_node="ask")

        await run.update({"trace": ["from outside"]}, as_node="level2/level1/ask")

        assert (await run.result()).trace == ["from outside"]


async def test_of_several_activations_the_key_names_one() -> None:
    """`AmbiguousTarget` lists them as they can be named."""
    graph = Graph("twice", Trail)

    @graph.node
    async def fork(state: Trail) -> None:
        return None

    @graph.node
    async def other(state: Trail) -> None:
        return None

    @graph.node
    async def asks(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("?", type=str)]}

    graph.edge(fork, other)
    graph.edge(fork, asks)
    graph.edge(other, asks)
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        with pytest.raises(AmbiguousTarget) as caught:
            await run.update({}, as_node="asks")
        assert len(set(caught.value.choices)) == 2

        await run.update({"trace": ["one"]}, as_node=caught.value.choices[0])
        with pytest.raises(NoSuchTarget):
            await run.update({}, as_node=caught.value.choices[0])
        await run.answer("two")

        assert (await run.result()).trace == ["one", "two"]


async def test_as_a_node_the_run_must_not_go_on_by_itself() -> None:
    """`NotPaused` names its status; once it is paused, what ran in that node is cancelled."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        with pytest.raises(NotPaused) as caught:
            await run.update({}, as_node="middle")
        assert caught.value.status == "running"

        await run.pause()
        await run.update({"trace": ["instead"]}, as_node="middle")
        await run.unpause()

        assert (await run.result()).trace == ["first", "instead", "last"]
    assert gate.cancelled


async def test_what_a_branch_raises_refuses_the_whole_update() -> None:
    """Neither the values are merged nor is the node closed."""
    graph = Graph("raises", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"n": await ctx.interrupt("?", type=int)}

    add(graph, "end", after=None)

    def choose(state: Trail) -> str:
        assert 1 // state.n
        return "end"

    graph.branch(choose, after=ask, to=("end",))
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        before = await commits(run)

        with pytest.raises(ZeroDivisionError):
            await run.update({"n": 0}, as_node="ask")

        assert await commits(run) == before
        await run.answer(1)
        assert (await run.result()).trace == ["end"]


async def test_updates_from_many_at_once_are_all_there() -> None:
    """Each is merged once, in some order, and few commits hold them."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        async def one(number: int) -> None:
            await run.update({"trace": [str(number)]})

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(one, number)

        assert {*(await run.state()).trace} >= {str(number) for number in range(50)}
        assert (await run.at()).seq < 20
        gate.open.set()
        assert len((await run.result()).trace) == 53


async def test_the_items_of_an_open_map_stay_what_they_were() -> None:
    """An update of the field that the map is over changes the state, not the items."""

    class Bag(State):
        items: list[int] = []
        out: list[int] = []

    graph, gate = Graph("bag", Bag), Gate()

    async def item(number: int) -> int:
        await gate.pass_through()
        return number

    graph.map(item, over="items", into="out", limit=1)
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, Bag(items=[1, 2]), id="x")
        await gate.inside.wait()

        await run.update({"items": [7, 8, 9]})
        gate.open.set()

        final = await run.result()
        assert (final.items, final.out) == ([7, 8, 9], [1, 2])
