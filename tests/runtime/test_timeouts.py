"""Timeouts: one attempt, all of them, and how long a node may say nothing; what comes too late does not count."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Context, Graph, RestartPolicy, Retry, Runtime, State, Timeout, Update
from actorflow.errors import GraphError, NodeTimeout, RunFailed
from actorflow.runtime.limits import Course
from actorflow.testing import VirtualClock
from tests.runtime.graphs import Trail

if TYPE_CHECKING:
    from collections.abc import Callable

NO_RESTART = RestartPolicy(max_restarts=0)


def one(fn: Callable[..., Any], **options: Any) -> Graph[Trail]:
    """A graph of this function."""
    graph = Graph("timed", Trail)
    graph.node(fn, name="node", **options)
    return graph


async def failure(graph: Graph[Trail], url: str = "memory://", **options: Any) -> BaseException | None:
    """What a run of it fails with."""
    async with Runtime(url, restarts=NO_RESTART, **options) as rt:
        with anyio.fail_after(20), pytest.raises(RunFailed) as failed:
            await rt.run(graph, Trail(), id="x")
    return failed.value.__cause__


async def for_ever(state: Trail) -> Update:
    """Never comes back."""
    await anyio.sleep_forever()
    return {}


@pytest.mark.parametrize("limits", [0.02, Timeout(attempt=0.02)])
async def test_an_attempt_that_is_over_its_time_is_cancelled_and_tried_again(limits: Any) -> None:
    """Its `Retry` says how often."""
    calls: list[int] = []

    async def late(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        if ctx.attempt < 3:
            await anyio.sleep_forever()
        return {"trace": ["in time"]}

    async with Runtime("memory://") as rt:
        result = await rt.run(one(late, timeout=limits, retry=Retry(attempts=3, backoff=0.0)), Trail())

    assert (calls, result.trace) == ([1, 2, 3], ["in time"])


@pytest.mark.parametrize(
    ("limits", "limit"),
    [(Timeout(attempt=0.02), "attempt"), (Timeout(total=0.02), "total"), (Timeout(idle=0.02), "idle")],
)
async def test_the_error_says_which_limit_it_was(limits: Timeout, limit: str) -> None:
    """By an attribute and in words."""
    error = await failure(one(for_ever, timeout=limits))

    assert isinstance(error, NodeTimeout)
    assert (error.limit, error.seconds, error.node) == (limit, 0.02, "node")
    assert isinstance(error, TimeoutError)


async def test_the_total_is_of_all_attempts_and_is_not_tried_again() -> None:
    """The pauses count; an attempt has only what is left of it."""
    calls: list[int] = []

    async def fails(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        if ctx.attempt < 3:
            raise ValueError("again")
        await anyio.sleep_forever()
        return {}

    graph = one(fails, timeout=Timeout(total=0.3), retry=Retry(attempts=99, backoff=0.05, factor=1.0))
    async with VirtualClock() as clock:
        error = await failure(graph)

    assert isinstance(error, NodeTimeout)
    assert error.limit == "total"
    assert calls == [1, 2, 3]
    assert clock.elapsed == pytest.approx(0.3, abs=0.01)


async def test_the_total_outlives_the_process(store_url: str) -> None:
    """What is over when another process takes the run up, is over: the node is not called there."""
    calls: list[int] = []
    entered = anyio.Event()

    async def hangs(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.attempt)
        entered.set()
        await anyio.sleep_forever()
        return {}

    graph = one(hangs, timeout=Timeout(total=0.3))
    async with VirtualClock(auto=False) as clock:
        with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
            async with Runtime(store_url, recover="never") as rt:
                await rt.spawn(graph, Trail(), id="x")
                await entered.wait()
                raise ZeroDivisionError
        await clock.advance(0.35)

        error = await failure(graph, store_url, recover="never")

    assert isinstance(error, NodeTimeout)
    assert error.limit == "total"
    assert calls == [1]


async def test_each_item_has_its_own_time() -> None:
    """One that hangs is called again by itself; its total began with its own first call, not with that of the map."""

    class Numbers(State):
        """Some numbers, and what was made of them."""

        numbers: list[int]
        doubled: list[int] = []

    calls: list[tuple[int, int]] = []
    graph = Graph("numbers", Numbers)

    async def double(number: int, ctx: Context) -> int:
        calls.append((number, ctx.attempt))
        await (anyio.sleep_forever() if (number, ctx.attempt) == (2, 1) else anyio.sleep(0.2))
        return 2 * number

    limits = Timeout(attempt=0.3, total=0.6)
    graph.map(double, over="numbers", into="doubled", limit=1, timeout=limits, retry=Retry(attempts=2, backoff=0.0))

    async with VirtualClock() as clock, Runtime("memory://", restarts=NO_RESTART) as rt:
        with anyio.fail_after(20):
            result = await rt.run(graph, Numbers(numbers=[1, 2, 3]))

    assert (result.doubled, calls) == ([2, 4, 6], [(1, 1), (2, 1), (2, 2), (3, 1)])
    assert clock.elapsed == pytest.approx(0.9, abs=0.01)


@pytest.mark.parametrize("sign", ["emit", "progress", "heartbeat"])
async def test_whoever_says_something_is_not_idle(sign: str) -> None:
    """Each of the three begins the time anew; then silence ends it."""
    said: list[float] = []

    async def works(state: Trail, ctx: Any) -> Update:
        for step in range(5):
            await anyio.sleep(0.06)
            getattr(ctx, sign)(*{"emit": (step,), "progress": (step, 5), "heartbeat": ()}[sign])
            said.append(step)
        await anyio.sleep_forever()
        return {}

    async with VirtualClock():  # the machine's own pauses are no silence of the node's
        error = await failure(one(works, timeout=Timeout(idle=0.15)))

    assert said == [0, 1, 2, 3, 4]
    assert isinstance(error, NodeTimeout)
    assert error.limit == "idle"


async def test_what_a_node_raises_under_an_idle_timeout_comes_out_as_it_is() -> None:
    """Not in a group of exceptions."""

    async def raises(state: Trail) -> Update:
        raise ValueError("its own")

    error = await failure(one(raises, timeout=Timeout(idle=5)))

    assert isinstance(error, ValueError)


async def test_a_timeout_error_of_the_users_is_no_timeout_of_ours() -> None:
    """Whatever raised it, it stays what it is."""

    async def own(state: Trail) -> Update:
        with anyio.fail_after(0.001):
            await anyio.sleep_forever()
        return {}

    error = await failure(one(own, timeout=Timeout(attempt=10, total=10, idle=10)))

    assert isinstance(error, TimeoutError)
    assert not isinstance(error, NodeTimeout)


@pytest.mark.parametrize("how", ["returns", "raises"])
@pytest.mark.parametrize("limits", [Timeout(attempt=0.02), Timeout(idle=0.02)])
async def test_what_comes_after_the_timeout_does_not_count(how: str, limits: Timeout) -> None:
    """A node that takes the cancellation for its own affair neither finishes nor fails by what it makes of it."""

    async def stubborn(state: Trail) -> Update:
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            if how == "raises":
                raise ValueError("too late") from None
        return {"trace": ["too late"]}

    error = await failure(one(stubborn, timeout=limits))

    assert isinstance(error, NodeTimeout)


async def test_what_is_said_after_the_timeout_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither while it is being cancelled nor later, by what it has left behind."""
    heard: list[Any] = []
    contexts: list[Any] = []
    init = Course.__init__

    def listening(course: Course, _: Any) -> None:
        init(course, lambda verb, arguments: heard.append((verb, *arguments)))

    monkeypatch.setattr(Course, "__init__", listening)

    async def talks(state: Trail, ctx: Any) -> Update:
        contexts.append(ctx)
        ctx.emit("in time")
        try:
            await anyio.sleep_forever()
        finally:
            ctx.emit("too late")
        return {}

    async with VirtualClock():
        await failure(one(talks, timeout=0.02))
    contexts[0].emit("much too late")

    assert heard == [("emit", "in time")]


async def test_a_context_is_of_its_attempt_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said by it after the node has returned is not heard either."""
    heard: list[Any] = []
    contexts: list[Any] = []
    init = Course.__init__

    def listening(course: Course, _: Any) -> None:
        init(course, lambda verb, arguments: heard.append((verb, *arguments)))

    monkeypatch.setattr(Course, "__init__", listening)

    async def talks(state: Trail, ctx: Any) -> Update:
        contexts.append(ctx)
        ctx.progress(1, 2)
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(one(talks), Trail())
    contexts[0].progress(2, 2)

    assert heard == [("progress", 1, 2)]


async def test_a_graphs_timeout_holds_for_nodes_that_can_be_stopped() -> None:
    """None turns it off for one."""
    graph = Graph("g", Trail, timeout=Timeout(attempt=0.02))

    @graph.node(timeout=None)
    async def patient(state: Trail) -> Update:
        await anyio.sleep(0.05)
        return {"trace": ["patient"]}

    @graph.node(after=patient)
    def sync(state: Trail) -> Update:
        time.sleep(0.05)
        return {"trace": ["sync"]}

    graph.node(for_ever, after=sync)

    async with Runtime("memory://", restarts=NO_RESTART) as rt:
        with pytest.raises(RunFailed, match="in node 'for_ever'") as failed:
            await rt.run(graph, Trail())
    assert failed.value.state.trace == ["patient", "sync"]


@pytest.mark.parametrize("name", ["attempt", "total", "idle"])
@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), "30", True])
def test_a_timeout_of_no_duration_is_refused(name: str, wrong: Any) -> None:
    """Where it is made."""
    with pytest.raises(ValueError, match=name):
        Timeout(**{name: wrong})


def test_a_timeout_that_limits_nothing_is_none() -> None:
    """So that a node with it costs no more than one without."""
    graph = one(for_ever, timeout=Timeout(attempt=float("inf")))

    assert graph.plan.nodes["node"].timeout is None


@pytest.mark.parametrize("timeout", [1, Timeout(total=1), Timeout(idle=1)])
def test_a_sync_node_in_a_thread_has_no_timeout(timeout: Any) -> None:
    """A thread can't be stopped; the message says what can."""
    graph = one(functools.partial(lambda state: None), timeout=timeout)

    with pytest.raises(GraphError, match='isolate="process"'):
        _ = graph.plan


def test_a_map_of_a_graph_has_no_timeout() -> None:
    """It would be passed over in silence."""
    inner, outer = Graph("inner", Trail), Graph("outer", Trail)
    inner.node(for_ever)
    outer.map(inner, name="m", over=3, timeout=5)

    with pytest.raises(GraphError, match="timeout= is for functions"):
        _ = outer.plan
