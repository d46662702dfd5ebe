"""Crashes, restarts, retries, giving up: the supervisor's part."""

from __future__ import annotations

import asyncio
import threading
import time

import anyio.lowlevel
import pytest

from actorflow import Graph, RestartPolicy, Retry, Runtime, Update
from actorflow.errors import NodeTimeout, RunFailed, StateMutated
from tests.runtime.graphs import Trail, chain, failing

QUICK = RestartPolicy(backoff=0.001)


async def test_a_node_that_raises_twice_finishes_without_help_from_its_last_file(store_url: str) -> None:
    """Let it crash: two restarts, and what was committed before does not run again."""
    calls: list[int] = []
    async with Runtime(store_url, restarts=QUICK) as rt:
        handle = await rt.spawn(failing(2, calls), Trail(), id="x")
        final = await handle.result()
        kinds = [one.kind async for one in handle.views()]

    assert final.trace == ["first", "flaky", "last"]
    assert calls == [1, 2, 3]
    assert kinds.count("claimed") == 2  # each restart claims, and loads from the file


async def test_over_the_restart_intensity_the_run_fails_with_its_history(store_url: str) -> None:
    """Three restarts in a minute and no more; `resume` tries again from there."""
    calls: list[int] = []
    graph = failing(4, calls)
    async with Runtime(store_url, restarts=QUICK) as rt:
        with pytest.raises(RunFailed, match="call 4") as caught:
            await rt.run(graph, Trail(), id="x")
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert caught.value.node == "flaky"
        assert caught.value.state.trace == ["first"]
        assert calls == [1, 2, 3, 4]

        assert (await (await rt.resume(graph, "x")).result()).trace == ["first", "flaky", "last"]


async def test_run_with_the_id_of_a_failed_run_tries_again(store_url: str) -> None:
    """`run` reopens exactly what failed."""
    calls: list[int] = []
    async with Runtime(store_url, restarts=RestartPolicy(max_restarts=0)) as rt:
        with pytest.raises(RunFailed):
            await rt.run(failing(1, calls), Trail(), id="x")
        assert calls == [1]  # max_restarts=0 gives up at once

        assert (await rt.run(failing(1, calls), Trail(), id="x")).trace == ["first", "flaky", "last"]


async def test_declared_retries_count_calls_and_replace_restarts(store_url: str) -> None:
    """A node with `retry` that uses it up fails its run; no supervisor comes on top."""
    calls: list[int] = []
    graph = failing(9, calls, retry=Retry(attempts=3, backoff=0.001))
    async with Runtime(store_url, restarts=QUICK) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="x")

    assert calls == [1, 2, 3]


async def test_a_retry_succeeds_without_a_restart(store_url: str) -> None:
    """The node is called again in the same incarnation."""
    calls: list[int] = []
    graph = failing(2, calls, retry=Retry(attempts=3, backoff=0.001))
    async with Runtime(store_url) as rt:
        handle = await rt.spawn(graph, Trail(), id="x")
        assert (await handle.result()).trace == ["first", "flaky", "last"]
        kinds = [one.kind async for one in handle.views()]

    assert calls == [1, 2, 3]
    assert "claimed" not in kinds


async def test_a_long_backoff_is_recorded_and_late_is_immediate(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A long backoff is a record: a new process waits on, counts on, and runs at once when it is due."""
    calls: list[int] = []
    graph = failing(9, calls, retry=Retry(attempts=2, backoff=3600, max_backoff=3600, jitter=False))
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(graph, Trail(), id="x")
        await _until_kind(rt, "x", "attempted")
    async with Runtime(store_url, drain="park") as rt:
        await rt.resume(graph, "x")
    assert calls == [1]

    now = time.time
    monkeypatch.setattr("actorflow.runtime.clock.time.time", lambda: now() + 7200)
    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed, match="call 2"):
            await (await rt.resume(graph, "x")).result()
    assert calls == [1, 2]


async def test_an_error_that_can_not_go_away_is_not_restarted(store_url: str) -> None:
    """An update of the wrong type fails the run at once, naming node, field and types."""
    calls: list[int] = []
    graph = chain("a", name="bad")

    @graph.node(after="a")
    async def wrong(state: Trail) -> Update:
        calls.append(1)
        return {"n": "three"}

    async with Runtime(store_url, restarts=QUICK) as rt:
        with pytest.raises(RunFailed, match=r"node 'wrong', field 'n'.*Expected `int`, got `str`"):
            await rt.run(graph, Trail(), id="x")

    assert calls == [1]


async def test_own_errors_can_be_declared_hopeless(store_url: str) -> None:
    """`never_restart` takes exception classes."""
    calls: list[int] = []
    policy = RestartPolicy(backoff=0.001, never_restart=(ConnectionError,))
    async with Runtime(store_url, restarts=policy) as rt:
        with pytest.raises(RunFailed):
            await rt.run(failing(1, calls), Trail(), id="x")

    assert calls == [1]


async def test_a_crash_cancels_siblings_unrecorded_and_they_run_again(store_url: str) -> None:
    """The restart runs the whole frontier; the update of each branch is merged once."""
    graph = chain("start", name="siblings")
    calls: list[str] = []

    @graph.node(after="start")
    async def steady(state: Trail) -> Update:
        calls.append("steady")
        return {"trace": ["steady"]}

    @graph.node(after="start")
    async def shaky(state: Trail) -> Update:
        calls.append("shaky")
        if calls.count("shaky") == 1:
            raise OSError("once")
        return {"trace": ["shaky"]}

    async with Runtime(store_url, restarts=QUICK) as rt:
        final = await rt.run(graph, Trail(), id="x")

    assert sorted(final.trace) == ["shaky", "start", "steady"]
    assert calls.count("shaky") == 2


async def test_an_attempt_over_its_timeout_is_a_failure_of_that_attempt(store_url: str) -> None:
    """Cancelled, and tried again as the retry says; a TimeoutError of the user's own stays what it is."""
    graph = Graph("late", Trail)
    calls: list[int] = []

    @graph.node(timeout=0.02, retry=Retry(attempts=2, backoff=0.001))
    async def slow(state: Trail) -> Update:
        calls.append(1)
        if len(calls) == 1:
            while True:
                await _turn()
        return {"n": 1}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Trail())).n == 1
    assert len(calls) == 2


async def test_a_timeout_that_is_used_up_names_the_node(store_url: str) -> None:
    """`NodeTimeout` is the cause of the failure."""
    graph = Graph("late", Trail)

    @graph.node(timeout=0.01, retry=Retry(attempts=1))
    async def slow(state: Trail) -> Update:
        while True:
            await _turn()

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed, match="'slow' took longer") as caught:
            await rt.run(graph, Trail())
    assert isinstance(caught.value.__cause__, NodeTimeout)


async def test_sync_nodes_run_in_threads_side_by_side(store_url: str) -> None:
    """Two sync nodes that wait for each other finish: neither blocks the loop."""
    graph = chain("start", name="threads")
    barrier = threading.Barrier(2, timeout=30)

    @graph.node(after="start")
    def left(state: Trail) -> Update:
        barrier.wait()
        return {"trace": ["left"]}

    @graph.node(after="start")
    def right(state: Trail) -> Update:
        barrier.wait()
        return {"trace": ["right"]}

    async with Runtime(store_url) as rt:
        final = await rt.run(graph, Trail())

    assert sorted(final.trace) == ["left", "right", "start"]


async def test_debug_reports_a_state_changed_in_place(store_url: str) -> None:
    """Without debug the change has no effect; with it the run fails and names field and node."""
    graph = chain("a", name="mutant")

    @graph.node(after="a")
    async def mutate(state: Trail) -> Update:
        state.trace.append("sneaked in")
        return {"n": 1}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Trail(), id="quiet")).trace == ["a"]
    async with Runtime(store_url, debug=True) as rt:
        with pytest.raises(RunFailed, match="'mutate' changed 'trace' in place") as caught:
            await rt.run(graph, Trail(), id="loud")
    assert isinstance(caught.value.__cause__, StateMutated)


async def test_a_node_sees_its_base_on_every_attempt(store_url: str) -> None:
    """What a failed attempt did to its copy, or a sibling merged meanwhile, is not there on the next."""
    graph = Graph("base", Trail)
    seen: list[list[str]] = []

    @graph.node(retry=Retry(attempts=2, backoff=0.001))
    async def look(state: Trail) -> Update:
        seen.append(list(state.trace))
        state.trace.append("mine")
        if len(seen) == 1:
            raise ValueError("again")
        return {}

    async with Runtime(store_url) as rt:
        await rt.run(graph, Trail(trace=["given"]))

    assert seen == [["given"], ["given"]]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])  # trio's Cancelled can't be made by users
async def test_a_node_that_raises_a_cancellation_itself_has_failed(store_url: str, anyio_backend: str) -> None:
    """Nobody cancelled it, so it is an error like any other; the loop goes on."""
    graph = Graph("self-cancel", Trail)

    @graph.node(retry=Retry(attempts=1))
    async def odd(state: Trail) -> Update:
        raise asyncio.CancelledError

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed, match="raised CancelledError itself"):
            await rt.run(graph, Trail())


async def _turn() -> None:
    await anyio.lowlevel.checkpoint()


async def _until_kind(rt: Runtime, run_id: str, kind: str) -> None:
    """Until a checkpoint of this kind is on disk."""
    while True:
        async for checkpoint in rt.get(run_id).views():
            if checkpoint.kind == kind:
                return
