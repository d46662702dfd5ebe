"""Leaving: however a process leaves its runs, the next one can have them at once, and nothing that was done is lost."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio import to_thread

from actorflow import END, Graph, Runtime, Update
from actorflow.errors import RunOwned
from tests.runtime.graphs import Trail, add, chain
from tests.runtime.scenes import counts, ready, scene, waiting

if TYPE_CHECKING:
    from tests.store.children import Child


async def said(child: Child) -> str:
    """What the child says next."""
    return await to_thread.run_sync(child.line)


def waiting_in_the_middle(inside: anyio.Event, go_on: anyio.Event) -> Graph[Trail]:
    """First → middle, which waits until it may go on → last."""
    graph = Graph("middle", Trail)
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail) -> Update:
        inside.set()
        await go_on.wait()
        return {"trace": ["middle"]}

    add(graph, "last", after="middle")
    return graph


@pytest.mark.parametrize("way", ["raise", "cancel", "park"])
async def test_a_closed_runtime_in_a_live_process_leaves_its_runs_to_others(
    store_url: str, anyio_backend: str, way: str
) -> None:
    """By an exception, by cancellation or parked: released, claimed at once by another process, nothing recorded."""
    with scene("notebook", store_url, anyio_backend, way) as child:
        assert await said(child) == "closed"
        async with Runtime(store_url, recover="never") as runtime:
            left = await runtime.get("x").at()

            result = await (await runtime.resume(counts(left.values["n"] + 3), "x")).result()

            assert child.process.poll() is None, "it must still live, or this shows nothing"
            assert (left.kind, left.status) == ("released", "running")
            assert left.values["n"] >= 1
            assert result.n == left.values["n"] + 3


async def test_parking_commits_what_runs_and_starts_nothing_more(store_url: str) -> None:
    """`drain="park"`: the activation that runs is finished and committed, its successor is left open."""
    inside, go_on = anyio.Event(), anyio.Event()
    graph = waiting_in_the_middle(inside, go_on)

    async def let_go_on() -> None:
        while not runtime.life_of("x").parking:
            await anyio.lowlevel.checkpoint()
        go_on.set()

    async with anyio.create_task_group() as tasks, Runtime(store_url, drain="park") as runtime:
        await runtime.spawn(graph, id="x")
        await inside.wait()
        tasks.start_soon(let_go_on)

    async with Runtime(store_url) as runtime:
        left = await runtime.get("x").at()
        assert (left.kind, left.values["trace"], left.frontier) == ("released", ["first", "middle"], ("last",))
        assert (await runtime.run(graph, id="x")).trace == ["first", "middle", "last"]


async def test_leaving_by_an_exception_cancels_activations_unrecorded(store_url: str) -> None:
    """The exception travels as it is; the run is neither failed nor cancelled, and its node runs again."""
    inside = anyio.Event()

    async def leave() -> None:
        async with Runtime(store_url) as runtime:
            await runtime.spawn(waiting(inside.set), id="x")
            await inside.wait()
            raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await leave()

    async with Runtime(store_url, recover="never") as runtime:
        kinds = [checkpoint.kind async for checkpoint in runtime.get("x").views()]
        assert kinds == ["released", "finished", "spawned"]
        assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


@pytest.mark.parametrize("together", [1, 3])
async def test_nodes_that_never_wait_stop_at_once_when_they_are_left(store_url: str, together: int) -> None:
    """Also where only a commit lets others run, which is finished whatever is cancelled."""
    left = False
    late: list[int] = []
    graph = Graph("busy", Trail, max_activations=1_000_000)

    @graph.node(entry=True)
    async def turn(state: Trail) -> Update:
        if left:
            late.append(state.n)
        return {"n": state.n + 1}

    graph.branch(lambda state: "turn" if len(late) < 100 else END, after=turn, to=("turn", END))

    async def leave() -> None:
        nonlocal left
        async with Runtime(store_url) as runtime:
            runs = [await runtime.spawn(graph, id=f"x{number}") for number in range(together)]
            for run in runs:
                async for event in run.events(modes=("values",)):
                    if event.values["n"] >= 10:
                        break
            left = True
            raise LookupError("on purpose")

    with pytest.raises(LookupError, match="on purpose"):
        await leave()

    assert not late


async def test_a_forked_child_does_not_keep_the_run_of_its_dead_parent(store_url: str, anyio_backend: str) -> None:
    """A child that the user forked inside a node outlives its parent, and the run can be claimed all the same."""
    with scene("fork", store_url, anyio_backend) as child:
        forked = int(await said(child))
        try:
            async with Runtime(store_url, recover="never") as runtime:
                with pytest.raises(RunOwned):
                    await runtime.run(ready(), id="x")

                child.signal(signal.SIGKILL)

                assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]
                os.kill(forked, 0)  # it is still there
        finally:
            os.kill(forked, signal.SIGKILL)


async def test_a_forked_child_that_ends_does_not_release_its_parent_s_run(store_url: str, anyio_backend: str) -> None:
    """The run stays with the parent, whose lock the child never held."""
    with scene("fork and exit", store_url, anyio_backend) as child:
        assert await said(child) == "gone"

        async with Runtime(store_url, recover="never") as runtime:
            with pytest.raises(RunOwned) as caught:
                await runtime.run(ready(), id="x")

    assert caught.value.pid == child.pid


async def test_a_stopped_owner_is_alive(store_url: str, anyio_backend: str) -> None:
    """No clock says otherwise: its run is refused until it is dead, and then had at once."""
    with scene("hold", store_url, anyio_backend) as child:
        assert await said(child) == "inside"
        child.signal(signal.SIGSTOP)

        async with Runtime(store_url, recover="never") as runtime:
            with pytest.raises(RunOwned) as caught:
                await runtime.run(ready(), id="x")
            assert caught.value.pid == child.pid
            child.signal(signal.SIGKILL)

            assert (await runtime.run(ready(), id="x")).trace == ["first", "wait"]


async def test_cancelling_who_awaits_run_never_cancels_the_run(store_url: str) -> None:
    """`rt.run` in a scope that is cancelled ends the wait; the run goes on in the runtime and can be awaited again."""
    inside, go_on = anyio.Event(), anyio.Event()
    graph = waiting_in_the_middle(inside, go_on)

    async with Runtime(store_url) as runtime:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: runtime.run(graph, id="x"))
            await inside.wait()
            tasks.cancel_scope.cancel()
        assert await runtime.get("x").status() == "running"
        go_on.set()

        assert (await runtime.get("x").result()).trace == ["first", "middle", "last"]
        kinds = {checkpoint.kind async for checkpoint in runtime.get("x").views()}
        assert kinds == {"spawned", "finished"}


async def test_cancelling_who_spawns_leaks_no_claim(store_url: str) -> None:
    """Whenever `spawn` is cancelled, the run either is there and carried by the runtime, or the id is free."""
    async with Runtime(store_url) as runtime:
        for number in range(20):
            with anyio.move_on_after(number * 0.0005):
                await runtime.spawn(ready(), id=f"x{number}")
            run = await runtime.spawn(ready(), id=f"x{number}", on_conflict="attach")
            assert (await run.result()).trace == ["first", "wait"]


async def test_several_tasks_that_run_one_id_share_its_run(store_url: str) -> None:
    """Whoever comes second waits until the first has claimed, and then awaits the same run."""
    ran: list[str] = []
    results: list[Trail] = []

    async with Runtime(store_url) as runtime:

        async def ask(number: int) -> None:
            results.append(await runtime.run(chain("a", "b", ran=ran), id="x"))

        async with anyio.create_task_group() as tasks:
            for number in range(8):
                tasks.start_soon(ask, number)

    assert [result.trace for result in results] == [["a", "b"]] * 8
    assert ran == ["a", "b"]
