"""Retries, as they happen: several policies, items, and attempts that a restart of the process remembers."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actorflow import Context, Graph, RestartPolicy, Retry, Runtime, State, Update
from actorflow.errors import GraphError, RunFailed
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail, chain


def raising(*errors: Exception, retry: Any, calls: list[int]) -> Graph[Trail]:
    """A node that raises these, one after the other, and then works."""
    graph = Graph("raising", Trail)

    @graph.node(retry=retry)
    async def flaky(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        if len(calls) <= len(errors):
            raise errors[len(calls) - 1]
        return {"trace": ["done"]}

    return graph


QUICK = Retry(attempts=3, backoff=0.0, on=ConnectionError)
OTHER = Retry(attempts=2, backoff=0.0, on=ValueError)


async def test_each_error_is_tried_again_by_the_policy_that_is_for_it() -> None:
    """All attempts are counted together."""
    calls: list[int] = []

    async with Runtime("memory://") as rt:
        result = await rt.run(raising(ValueError(), ConnectionError(), retry=[QUICK, OTHER], calls=calls), Trail())

    assert (calls, result.trace) == ([1, 2, 3], ["done"])


async def test_a_policy_that_is_used_up_fails_the_run_without_a_restart() -> None:
    """The second failure is the end of what OTHER allows, whoever counted the first."""
    calls: list[int] = []

    async with Runtime("memory://", restarts=RestartPolicy(max_restarts=5, backoff=0.0)) as rt:
        with pytest.raises(RunFailed):
            await rt.run(raising(ConnectionError(), ValueError(), retry=[QUICK, OTHER], calls=calls), Trail())

    assert calls == [1, 2]


async def test_a_deadline_ends_the_attempts() -> None:
    """However many there might be."""
    calls: list[int] = []
    errors = [ValueError() for _ in range(10_000)]
    retry = Retry(attempts=10_000, backoff=0.01, factor=1.0, jitter=False, deadline=0.1)

    async with VirtualClock(), Runtime("memory://") as rt:
        with pytest.raises(RunFailed) as failed:
            await rt.run(raising(*errors, retry=retry, calls=calls), Trail())

    assert 2 <= len(calls) <= 11
    assert any("no time for another attempt" in note for note in failed.value.__cause__.__notes__)  # type: ignore[union-attr]


async def test_attempts_are_remembered_where_the_graph_says_so(store_url: str) -> None:
    """Another process goes on counting."""
    calls: list[int] = []
    retry = Retry(attempts=3, backoff=600.0, max_backoff=600.0, jitter=False)
    graph = Graph("counted", Trail, retry=retry, record_backoff_over=0)
    failed_once = anyio.Event()

    @graph.node
    async def fails(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        failed_once.set()
        raise ValueError

    async with VirtualClock():  # the first process is gone long before the second attempt is due
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
            async with Runtime(store_url, recover="never") as rt:
                run = await rt.spawn(graph, Trail(), id="x")
                await failed_once.wait()
                with anyio.fail_after(30):
                    while (await rt.tip(run.id)).header.seq < 1:  # until the attempt is in the log
                        await anyio.lowlevel.checkpoint()
                raise ZeroDivisionError
        async with Runtime(store_url, recover="never") as rt:
            with pytest.raises(RunFailed):
                await rt.run(graph, Trail(), id="x")

    assert calls == [1, 2, 3]


async def test_an_item_is_tried_again_by_itself() -> None:
    """The others are not called again, and the first policy that applies counts there, too."""

    class Numbers(State):
        """Some numbers, and what was made of them."""

        numbers: list[int]
        doubled: list[int] = []

    calls: list[tuple[int, int]] = []
    graph = Graph("numbers", Numbers)

    async def double(number: int, ctx: Context) -> int:
        calls.append((number, ctx.attempt))
        if number == 2 and ctx.attempt == 1:
            raise ConnectionError
        return 2 * number

    graph.map(double, over="numbers", into="doubled", retry=[OTHER, QUICK])

    async with Runtime("memory://") as rt:
        result = await rt.run(graph, Numbers(numbers=[1, 2, 3]))

    assert result.doubled == [2, 4, 6]
    assert sorted(calls) == [(1, 1), (2, 1), (2, 2), (3, 1)]


async def test_a_node_inside_is_tried_again_there() -> None:
    """By its own `Retry` and `Timeout`: what was done before it, inside or around, is not done again."""
    calls: list[str] = []
    inner, outer = chain("before", name="inner", ran=calls), chain("first", name="outer", ran=calls)

    @inner.node(after="before", retry=Retry(attempts=3, backoff=0.0), timeout=0.05)
    async def flaky(state: Trail, ctx: Context) -> Update:
        calls.append(f"flaky {ctx.attempt}")
        if ctx.attempt == 1:
            raise ConnectionError
        if ctx.attempt == 2:
            await anyio.sleep_forever()
        return {"trace": ["flaky"]}

    outer.subgraph(inner, after="first")

    async with VirtualClock(), Runtime("memory://", restarts=RestartPolicy(max_restarts=0)) as rt:
        with anyio.fail_after(20):
            result = await rt.run(outer, Trail())

    assert result.trace == ["first", "before", "flaky"]
    assert calls == ["first", "before", "flaky 1", "flaky 2", "flaky 3"]


async def test_who_failed_together_does_not_come_back_together() -> None:
    """Each takes something off its pause at random. Planted: the runtime draws no chance."""
    calls: dict[str, list[float]] = {}
    graph = Graph("together", Trail)

    async with VirtualClock() as clock, Runtime("memory://") as rt:

        @graph.node(retry=Retry(attempts=2, backoff=100.0, max_backoff=100.0))
        async def flaky(state: Trail, ctx: Context) -> Update:
            calls.setdefault(ctx.run_id, []).append(clock.elapsed)
            if ctx.attempt == 1:
                raise ConnectionError
            return {}

        for _ in range(8):
            await rt.spawn(graph, Trail())

    pauses = [again - first for first, again in calls.values()]
    assert all(50.0 <= pause <= 100.1 for pause in pauses)
    assert max(pauses) - min(pauses) > 1.0


@pytest.mark.parametrize("wrong", [3, [], [Retry(), 3], "Retry"])
def test_what_is_no_retry_is_refused(wrong: Any) -> None:
    """When the graph is checked, for a node and for the whole graph."""
    with pytest.raises(GraphError, match=r"node 'flaky'.*give a Retry, or a list of them"):
        _ = raising(retry=wrong, calls=[]).plan
    graph = Graph("g", Trail, retry=wrong)
    with pytest.raises(GraphError, match="give a Retry"):
        _ = graph.plan


@pytest.mark.parametrize("wrong", [0, -1, float("nan"), "60"])
def test_a_deadline_of_no_duration_is_refused(wrong: Any) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match="deadline"):
        Retry(deadline=wrong)
