"""Traps of resuming: where others go wrong when a saved run is taken up again. Each was planted, and found."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from actorflow import Context, Graph, Retry, Runtime, Update
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import Blocked, InputPending, RunCancelled, RunFailed, RunOwned
from tests.runtime.asking import Gate, asker, gated
from tests.runtime.graphs import Trail, add, failing

if TYPE_CHECKING:
    from actorflow.runtime.options import Durability
    from actorflow.runtime.steered import OnPending

NEVER = RestartPolicy(max_restarts=0)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_the_input_is_durable_before_the_first_node_runs(store_url: str, durability: Durability) -> None:
    """Trap: a crash inside the first node leaves nothing, and what was accepted is gone.

    Planted: a first commit without the input, which comes with the second.
    """
    seen: list[list[str]] = []
    graph = Graph("first", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        async with Runtime(store_url, readonly=True) as other:
            seen.append((await other.get("x").at()).values["trace"])
        return {"trace": ["first"]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Trail(trace=["given"]), id="x", durability=durability)
        await run.result()

    assert seen == [["given"]]


async def test_a_node_that_returned_nothing_has_finished(store_url: str) -> None:
    """Trap: what wrote nothing left no trace, and runs once more after every crash.

    Planted: a finish without operations is not recorded.
    """
    calls: list[str] = []
    graph = Graph("quiet", Trail)

    @graph.node
    async def quiet(state: Trail) -> None:
        calls.append("quiet")

    @graph.node(after=quiet)
    async def loud(state: Trail) -> Update:
        calls.append("loud")
        if len(calls) < 3:
            raise ConnectionError("once")
        return {"trace": ["loud"]}

    async with Runtime(store_url, restarts=NEVER) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x")
    async with Runtime(store_url, restarts=NEVER) as rt:
        await rt.run(graph, id="x")

    assert calls == ["quiet", "loud", "loud"]


async def test_what_was_given_is_applied_once_however_often_the_run_is_taken_up(store_url: str) -> None:
    """Trap: each resume applies the input again, and a list has it as often as the process died.

    Planted: a claim that merges the input once more.
    """
    calls: list[int] = []
    graph = failing(3, calls)

    for _ in range(3):
        async with Runtime(store_url, restarts=NEVER) as rt:
            with pytest.raises(RunFailed):
                await rt.run(graph, Trail(trace=["given"]), id="x")
    async with Runtime(store_url, restarts=NEVER) as rt:
        await rt.run(graph, Trail(trace=["given"]), id="x")
        await rt.get("x").input({"trace": ["more"]})
        await rt.get("x").result()
    async with Runtime(store_url, restarts=NEVER) as rt:
        rt.register(graph)
        trace = (await rt.get("x").result()).trace

    assert trace == ["given", "first", "flaky", "last", "more", "first", "flaky", "last"]


@pytest.mark.parametrize(
    ("on_pending", "trace"),
    [
        ("error", ["first", "middle n=0", "last"]),
        ("queue", ["first", "middle n=0", "last", "more", "first", "middle n=0", "last"]),
        ("discard", ["first", "more", "first", "middle n=0", "last"]),
    ],
)
async def test_input_for_a_run_that_still_works_does_what_was_said(on_pending: OnPending, trace: list[str]) -> None:
    """Trap: new input silently throws away what was going on, or silently does not.

    Planted: whatever is said is taken for ``queue``, then for ``discard``.
    """
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        if on_pending == "error":
            with pytest.raises(InputPending):
                await run.input({"trace": ["more"]})
        else:
            await run.input({"trace": ["more"]}, on_pending=on_pending)
        gate.open.set()

        assert (await run.result()).trace == trace
    assert gate.cancelled is (on_pending == "discard")


async def test_two_who_run_one_id_at_once_share_one_run(store_url: str) -> None:
    """Trap: both succeed, the last one wins, and the update of the other is lost.

    Planted: nobody is asked whether the run is owned.
    """
    gate = Gate()
    graph, results = gated(gate), list[list[str]]()

    async def take(rt: Runtime) -> None:
        results.append((await rt.run(graph, id="x")).trace)

    async with (
        Runtime(store_url, recover="never") as rt,
        Runtime(store_url, recover="never") as other,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(take, rt)
        tasks.start_soon(take, rt)
        await gate.inside.wait()
        with pytest.raises(RunOwned), anyio.fail_after(30):
            await other.run(graph, id="x")
        gate.open.set()

    assert (gate.calls, results) == (1, [["first", "middle n=0", "last"]] * 2)


async def test_a_resume_keeps_the_answers_and_a_fork_asks_again(store_url: str) -> None:
    """Trap: a resume asks what was answered already, or a fork goes on with the answer that it was to change.

    Planted: a resume that drops the answers; a fork that keeps the keys of what it reopens.
    """
    calls: list[str] = []
    graph = Graph("asker", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        answer = await ctx.interrupt("Go on?", type=str)
        calls.append(answer)
        if len(calls) == 1:
            raise ConnectionError("once")
        return {"trace": [answer]}

    async with Runtime(store_url, restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        assert await run.wait() == "waiting"
        (asked,) = await run.interrupts()
        await run.tag("asked")
        await run.answer("yes")
        with pytest.raises(RunFailed):
            await run.result()

    async with Runtime(store_url, restarts=NEVER) as rt:
        assert (await rt.run(graph, id="x")).trace == ["yes"]
        other = await rt.get("x").fork("asked", id="y")
        assert await other.wait() == "waiting"
        (again,) = await other.interrupts()
        await other.answer("no")
        assert (await other.result()).trace == ["no"]

    assert (calls, again.question) == (["yes", "yes", "no"], asked.question)
    assert again.id != asked.id


async def test_a_key_stays_after_a_crash_and_is_another_in_a_fork(store_url: str) -> None:
    """Trap: a payment is made twice since its key changed, or is left out in a fork since its key did not.

    Planted: a resume that changes the key; a fork that keeps it.
    """
    keys: list[str] = []
    graph = Graph("paying", Trail)

    @graph.node
    async def pay(state: Trail, ctx: Context) -> Update:
        keys.append(ctx.idempotency_key)
        if len(keys) == 1:
            raise ConnectionError("once")
        return {"trace": ["paid"]}

    async with Runtime(store_url, restarts=NEVER) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x")
    async with Runtime(store_url, restarts=NEVER) as rt:
        await rt.run(graph, id="x")
        await (await rt.get("x").fork(0, id="y")).result()

    crashed, resumed, forked = keys
    assert crashed == resumed != forked


async def test_attempts_are_counted_again_after_a_failure_and_not_spent_by_a_question(store_url: str) -> None:
    """Trap: a run that was taken up again fails at its first hiccup, or a question uses up the attempts.

    Planted: a resume that keeps the count; a question that is counted as an attempt.
    """
    attempts: list[int] = []
    graph = Graph("trying", Trail, record_backoff_over=0)

    @graph.node(retry=Retry(attempts=2, backoff=0))
    async def ask(state: Trail, ctx: Context) -> Update:
        attempts.append(ctx.attempt)
        if len(attempts) < 4:
            raise ConnectionError("not yet")
        return {"trace": [await ctx.interrupt("Go on?", type=str)]}

    async with Runtime(store_url, restarts=NEVER) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x")
    async with Runtime(store_url, restarts=NEVER) as rt:
        run = await rt.resume(graph, "x")
        assert await run.wait() == "waiting"
        await run.answer("yes")
        assert (await run.result()).trace == ["yes"]

    assert attempts == [1, 2, 1, 2, 2]


async def test_a_run_whose_open_node_is_gone_never_looks_finished(store_url: str) -> None:
    """Trap: a node was renamed, and the run that waited in it is returned as if it were over.

    Planted: an unknown node is dropped from the frontier.
    """
    renamed = Graph("asker", Trail)
    add(renamed, "ask_now", after=None)
    add(renamed, "last", after="ask_now")
    moved = Graph("asker", Trail, moves={"ask": "ask_now"})
    add(moved, "ask_now", after=None)
    add(moved, "last", after="ask_now")
    async with Runtime(store_url) as rt:
        assert await (await rt.spawn(asker(), id="x")).wait() == "waiting"

    async with Runtime(store_url) as rt:
        with pytest.raises(Blocked, match="moves="):
            await rt.resume(renamed, "x")
        assert await rt.get("x").status() in ("waiting", "blocked")
    async with Runtime(store_url) as rt:
        run = await rt.resume(moved, "x")
        await run.answer("yes")
        assert (await run.result()).trace == ["ask_now", "last"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_cancellation_is_on_record_with_all_that_was_done(store_url: str, durability: Durability) -> None:
    """Trap: what saves at the end only saves nothing at all when the end is a cancellation.

    Planted: a stop that is not recorded.
    """
    gate = Gate()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(gated(gate), id="x", durability=durability)
        await gate.inside.wait()
        await run.cancel(by="Ada")

    async with Runtime(store_url) as rt:
        rt.register(gated(Gate()))
        run = rt.get("x")
        with pytest.raises(RunCancelled):
            await run.result()
        assert (gate.cancelled, await run.status(), (await run.state()).trace) == (True, "cancelled", ["first"])
