"""The virtual clock: it jumps to whatever is due next, never over what is still going on, on both event loops."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import trio
from anyio import from_thread, to_thread

from actorflow import Context, Graph, MetricsBackend, RestartPolicy, Retry, Runtime, Update
from actorflow.errors import NodeTimeout, RunFailed
from actorflow.runtime import clock as runtime_clock
from actorflow.runtime import replies
from actorflow.runtime.clock import Clock
from actorflow.store.memory import MemoryBackend
from actorflow.testing import VirtualClock
from actorflow.testing import clock as testing_clock
from actorflow.testing.pacing import _Asyncio
from tests.runtime.asking import asked
from tests.runtime.graphs import Trail, failing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOUR, DAY = 3600.0, 86_400.0


@pytest.fixture(params=["memory", "disk", "bucket"])
def place(request: pytest.FixtureRequest, store_url: str) -> Any:
    """A store of each kind: with and without worker threads, with and without a heartbeat."""
    return {"memory": "memory://", "disk": store_url, "bucket": MemoryBackend()}[request.param]


@pytest.fixture
def untimed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No time really passes: that of a busy disk or a thread that comes late would be in what is measured, too."""
    monkeypatch.setattr(testing_clock, "STUCK", math.inf)
    monkeypatch.setattr(testing_clock, "time", SimpleNamespace(time=time.time, perf_counter=lambda: 0.0))


# -- what a runtime waits for ---------------------------------------------------------


@pytest.mark.usefixtures("untimed")
async def test_the_pause_before_a_retry_is_jumped_over(place: Any) -> None:
    """Two pauses of an hour, recorded as they are, since they are long."""
    graph = failing(2, [], retry=Retry(attempts=3, backoff=HOUR, max_backoff=HOUR, jitter=0))

    async with VirtualClock() as clock, Runtime(place) as rt:
        final = await rt.run(graph)

    assert final.trace == ["first", "flaky", "last"]
    assert clock.elapsed == pytest.approx(2 * HOUR)


@pytest.mark.usefixtures("untimed")
async def test_the_pause_before_a_restart_is_jumped_over(place: Any) -> None:
    """The supervisor's backoff is no different."""
    policy = RestartPolicy(max_restarts=3, backoff=HOUR, max_backoff=HOUR)

    async with VirtualClock() as clock, Runtime(place, restarts=policy) as rt:
        final = await rt.run(failing(1, []))

    assert final.trace == ["first", "flaky", "last"]
    assert HOUR / 2 <= clock.elapsed <= HOUR * 2  # it is spread by chance


@pytest.mark.usefixtures("untimed")
async def test_a_question_that_nobody_answers_is_over_when_its_time_is(place: Any) -> None:
    """The deadline is wall time, in a record; it comes exactly then."""
    graph = Graph("asks", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("Well?", type=str, timeout=30 * DAY, default="silence")]}

    async with VirtualClock() as clock, Runtime(place) as rt:
        run = await rt.spawn(graph, id="x")
        final = await run.result()

    assert final.trace == ["silence"]
    assert clock.elapsed == pytest.approx(30 * DAY)


@pytest.mark.usefixtures("untimed")
async def test_the_time_limit_of_a_node_is_a_deadline() -> None:
    """What a node sleeps is virtual, too: it is over its time, and nobody waited for it."""
    graph = Graph("slow", Trail)

    @graph.node(timeout=10)
    async def slow(state: Trail) -> None:
        await anyio.sleep(HOUR)

    async with VirtualClock() as clock, Runtime("memory://", restarts=RestartPolicy(max_restarts=0)) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph)

    assert isinstance(caught.value.__cause__, NodeTimeout)
    assert clock.elapsed == pytest.approx(10)


async def test_a_run_begins_on_the_day_that_the_test_says() -> None:
    """``start=`` is what the runtime takes for now."""
    new_year = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    graph, seen = Graph("looks", Trail), []

    @graph.node
    async def look(state: Trail) -> None:
        seen.append(runtime_clock.now())

    async with VirtualClock(new_year) as clock, Runtime("memory://") as rt:
        await clock.advance(HOUR)
        await rt.run(graph)

    assert seen == [new_year.timestamp() + HOUR]
    assert abs(runtime_clock.now() - time.time()) < HOUR  # the machine's again


# -- what it must not jump over -------------------------------------------------------


async def order_of_thread_and_sleeper(run_sync: Callable[..., Any], *, at_most: float = 0.01) -> list[str]:
    """Which comes first: an hour, or a worker thread that waits for it, but only for so many real seconds."""
    order: list[str] = []
    hour = threading.Event()

    async def work() -> None:
        await run_sync(hour.wait, at_most)  # long enough for the loop to find that nobody can go on
        order.append("thread")

    async def sleep() -> None:
        await anyio.sleep(HOUR)
        order.append("hour")
        hour.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        tasks.start_soon(work)
    return order


@pytest.mark.usefixtures("untimed")
async def test_time_stands_still_while_a_thread_works() -> None:
    """A call of the store, and a sync node, take no time."""
    async with VirtualClock() as clock:
        assert await order_of_thread_and_sleeper(to_thread.run_sync) == ["thread", "hour"]

    assert clock.elapsed == HOUR


@pytest.mark.usefixtures("untimed")
async def test_time_stands_still_while_a_reply_is_awaited() -> None:
    """It comes from the thread of a bucket's client, and no thread of ours waits for it."""

    async def answered(work: Callable[..., object], *arguments: object) -> None:
        coming: Future[object] = Future()
        thread = threading.Thread(target=lambda: coming.set_result(work(*arguments)))
        thread.start()
        await replies.reply(coming)
        thread.join()

    async with VirtualClock() as clock:
        assert await order_of_thread_and_sleeper(answered) == ["thread", "hour"]

    assert clock.elapsed == HOUR


async def test_threads_begun_by_the_event_loop_itself_are_threads(anyio_backend: str) -> None:
    """What users of asyncio or trio alone call."""
    async with VirtualClock():
        hop = {"asyncio": asyncio.to_thread, "trio": trio.to_thread.run_sync}[anyio_backend]
        assert await order_of_thread_and_sleeper(hop) == ["thread", "hour"]


async def test_planted_a_clock_that_does_not_see_threads_jumps_over_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: threads are not counted. The tests above see it."""
    monkeypatch.setattr(VirtualClock, "hop", lambda self, more: None)

    async with VirtualClock():
        assert await order_of_thread_and_sleeper(to_thread.run_sync, at_most=30) == ["hour", "thread"]


async def test_a_thread_that_waits_for_a_sleeper_hangs_nobody() -> None:
    """Time passes as it does while a thread takes long."""

    def work() -> str:
        from_thread.run(anyio.sleep, 0.2)
        return "done"

    async with VirtualClock() as clock:
        assert await to_thread.run_sync(work) == "done"

    assert clock.elapsed == pytest.approx(0.2)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection."""
    with ExitStack() as stack:
        ends = [stack.enter_context(end) for end in socket.socketpair()]
        for end in ends:
            end.setblocking(False)
        yield ends[0], ends[1]


async def test_what_comes_by_a_socket_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    """As long as the patience lasts, which is real time."""
    ours, theirs = pair

    async with VirtualClock(patience=30) as clock:
        threading.Timer(0.01, theirs.send, [b"x"]).start()  # somebody outside, whom no event loop knows
        with anyio.fail_after(1):
            await anyio.wait_readable(ours)

    assert clock.elapsed == 0


async def test_a_socket_that_stays_silent_does_not_hold_up_time(pair: tuple[socket.socket, socket.socket]) -> None:
    """A server that listens, or a connection that is kept open, is no reason to stand still for ever."""
    async with VirtualClock(patience=0.001) as clock:
        with anyio.move_on_after(DAY):
            await anyio.wait_readable(pair[0])

    assert clock.elapsed == DAY


async def looks_at_the_store(clock: VirtualClock) -> int:
    """How often the store is listed while a run waits for an hour, and a runtime looks for orphans."""
    backend, graph = MetricsBackend(MemoryBackend()), Graph("waits", Trail)

    @graph.node
    async def wait(state: Trail) -> None:
        await anyio.sleep(HOUR)

    async with clock, Runtime(backend, graphs=[graph]) as rt:
        await rt.run(graph)
    assert clock.elapsed == pytest.approx(HOUR)
    return backend.statistics()["list"].calls


@pytest.mark.usefixtures("untimed")
async def test_time_does_not_stop_wherever_a_runtime_looks_at_its_store() -> None:
    """Otherwise a year would be millions of looks, and a heartbeat every few of its seconds."""
    assert await looks_at_the_store(VirtualClock()) < 100


@pytest.mark.usefixtures("untimed")
async def test_planted_looks_that_are_deadlines_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a pause between two looks is a sleep like any other. The test above sees it."""
    monkeypatch.setattr(VirtualClock, "rest", Clock.rest)

    assert await looks_at_the_store(VirtualClock()) > 400


async def test_a_look_that_time_jumps_over_is_made_once() -> None:
    """Whoever rests for a minute is awake after an hour, and also if a minute really passes."""
    async with VirtualClock() as clock, anyio.create_task_group() as tasks:
        ended, one = [], anyio.Event()

        async def rest(seconds: float) -> None:
            await runtime_clock.rest(seconds)
            ended.append((seconds, clock.elapsed))
            one.set()

        for seconds in (60.0, 2 * HOUR, 0.01):
            tasks.start_soon(rest, seconds)
        await one.wait()  # nothing is due, so that only real time passes; the test's own limit bounds it
        await anyio.sleep(HOUR)
        await clock.settle()
        tasks.cancel_scope.cancel()

    assert ended == [(0.01, 0.01), (60.0, pytest.approx(HOUR + 0.01))]


@pytest.mark.parametrize("where", ["loop", "thread"])
async def test_a_machine_that_is_slow_lets_no_time_pass(where: str) -> None:
    """Who rests goes on, since it has really rested; but what is done meanwhile is done at the same moment."""
    async with VirtualClock() as clock, anyio.create_task_group() as tasks:
        tasks.start_soon(runtime_clock.rest, 0.01)
        await clock.settle()

        if where == "thread":
            await to_thread.run_sync(time.sleep, 0.1)
        else:
            time.sleep(0.1)  # noqa: ASYNC251 - that is what is tested
            await anyio.lowlevel.checkpoint()
            await clock.settle()
        assert clock.elapsed == 0

        await anyio.sleep(HOUR)
        assert clock.elapsed == HOUR


async def test_a_run_that_another_process_put_to_sleep_wakes_when_its_time_comes(place: Any) -> None:
    """Nobody here knows of it before a look at the store, and time that jumps is reason enough for one."""
    graph = Graph("asks", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("Well?", type=str, timeout=DAY, default="silence")]}

    store = MemoryBackend() if place == "memory://" else place  # one that is still there for the second process
    async with VirtualClock() as clock:
        async with Runtime(store) as rt:
            await asked(await rt.spawn(graph, id="x"))
        async with Runtime(store, graphs=[graph], recover="always") as rt:
            await clock.advance(DAY + HOUR)
            final: Any = await rt.get("x").result()

    assert final.trace == ["silence"]


# -- by hand --------------------------------------------------------------------------


async def test_by_hand_time_moves_only_when_it_is_told_to() -> None:
    """All that is due meanwhile happens at its own time, and has happened when `advance` is back."""
    happened: list[tuple[float, float]] = []

    async with VirtualClock(auto=False) as clock, anyio.create_task_group() as tasks:

        async def after(seconds: float) -> None:
            await anyio.sleep(seconds)
            at = clock.elapsed
            await to_thread.run_sync(time.sleep, 0.001)
            happened.append((seconds, at))

        for seconds in (30.0, 10.0, 90.0):
            tasks.start_soon(after, seconds)
        await clock.settle()
        assert happened == []

        await clock.advance(60)
        assert happened == [(10.0, 10.0), (30.0, 30.0)]
        await clock.advance(30)

    assert happened == [(10.0, 10.0), (30.0, 30.0), (90.0, 90.0)]
    assert clock.elapsed == 90


async def test_by_hand_a_run_is_where_it_is_at_that_time() -> None:
    """Between two steps of time a test can look at what is, and at what is not yet."""
    graph = failing(1, [], retry=Retry(attempts=2, backoff=HOUR, max_backoff=HOUR, jitter=0))

    async with VirtualClock(auto=False) as clock, Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await clock.advance(HOUR - 1)
        before = await run.status()
        await clock.advance(2)
        after = await run.status()

    assert (before, after) == ("running", "finished")


async def test_time_does_not_run_backwards() -> None:
    """Nor to nowhere."""
    async with VirtualClock() as clock:
        for seconds in (-1, math.nan):
            with pytest.raises(ValueError, match="backwards"):
                await clock.advance(seconds)


# -- entering and leaving -------------------------------------------------------------


async def test_after_it_time_goes_on_by_itself() -> None:
    """What was set for later on the virtual clock stays later, and what is slept then is real."""
    async with VirtualClock():
        await anyio.sleep(DAY)
        before = anyio.current_time()
    began = time.perf_counter()

    await anyio.sleep(0.02)

    assert anyio.current_time() - before >= 0.02
    assert time.perf_counter() - began >= 0.019
    assert await to_thread.run_sync(lambda: 1) == 1
    assert type(runtime_clock.current()) is Clock


async def test_one_after_the_other_on_one_event_loop() -> None:
    """Each begins where its own start is."""
    for _ in range(3):
        async with VirtualClock(1000.0) as clock:
            await anyio.sleep(DAY)
            assert clock.now() == 1000.0 + DAY


async def test_there_is_one_time_at_a_time() -> None:
    """A second clock is refused, and the first one goes on."""
    async with VirtualClock() as clock:
        with pytest.raises(RuntimeError, match="in use already"):
            async with VirtualClock():
                pass
        await anyio.sleep(1)

    assert clock.elapsed == 1


async def test_a_clock_that_is_not_in_use_says_so() -> None:
    """Instead of waiting for ever."""
    with pytest.raises(RuntimeError, match="not in use"):
        await VirtualClock().settle()


def test_a_loop_that_goes_by_no_other_time_is_refused() -> None:
    """As uvloop's: it has no selector that could be asked."""
    with pytest.raises(RuntimeError, match="use asyncio's own event loop, or trio"):
        _Asyncio(asyncio.AbstractEventLoop())


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"start": dt.datetime(2030, 1, 1)}, "time zone"),  # noqa: DTZ001 - this is what is wrong
        ({"patience": -1}, "patience"),
        ({"patience": math.nan}, "pat"),
    ],
)
def test_what_is_no_time_is_refused(how: dict[str, Any], says: str) -> None:
    """A date without a time zone is another moment on each machine."""
    with pytest.raises(ValueError, match=says):
        VirtualClock(**how)


async def test_years_are_not_too_long() -> None:
    """A float that holds so many seconds is coarse; a deadline is found to have come all the same."""
    async with VirtualClock() as clock:
        for _ in range(20):
            await anyio.sleep(365.25 * DAY)

    assert clock.elapsed == pytest.approx(20 * 365.25 * DAY)
