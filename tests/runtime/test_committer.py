"""The committer: how commits that share a hop are made, and by how many threads."""

from __future__ import annotations

import asyncio
import itertools
import signal
import sys
import threading
import time
from concurrent.futures import Future
from functools import partial
from types import FrameType, NoneType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio

import actorflow.runtime.committer
from actorflow.errors import CommitUnknown, StoreFull, StoreUnavailable
from actorflow.runtime.committer import FEW_THREADS, REQUESTS, THREADS, Committer, _Job, _run_all, _Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from actorflow.store.backend import Steps


def commit(log: list[str], name: str, *, fails: bool = False) -> Steps[None]:
    """A commit that says what it does."""
    log.append(f"write {name}")
    if fails:
        raise StoreFull(name, "no room")
    yield
    log.append(f"sync {name}")


def test_commits_that_share_a_hop_are_all_written_before_the_first_is_synced() -> None:
    """One that fails says so to its own run and stops no other."""
    log: list[str] = []
    jobs = [_Job(commit(log, name, fails=name == "b")) for name in "abc"]

    _run_all(jobs)

    assert log == ["write a", "write b", "write c", "sync a", "sync c"]
    assert [type(job.error) for job in jobs] == [NoneType, StoreFull, NoneType]


async def test_a_share_is_no_larger_than_the_files_that_may_be_open() -> None:
    """Each commit that was begun holds its file open. Seen to fail where each thread had one at least."""
    log: list[str] = []

    def takes_time(name: str) -> Generator[None]:
        for _ in commit(log, name):
            time.sleep(0.001)  # in which other threads get their turn
            yield

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=4, apart=False)
        for number in range(50):
            tasks.start_soon(lambda name: committer.commit(takes_time(name), alone=False), str(number))

    assert _most_begun(log) <= 2
    assert len(log) == 100


async def test_threads_that_a_slow_disk_wanted_share_the_files_while_there_are_as_many() -> None:
    """A disk that is quick again wants fewer. Seen to fail where each of the many had the share of one of the few."""
    log: list[str] = []
    go_on = threading.Event()

    def takes_time(name: str) -> Generator[None]:
        for _ in commit(log, name):
            assert go_on.wait(20)
            time.sleep(0.001)
            yield

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=96, apart=False)
        for _ in range(20):
            committer._learn(0.000_02, 0.005)
        for number in range(600):
            tasks.start_soon(lambda name: committer.commit(takes_time(name), alone=False), str(number))
        with anyio.fail_after(20):
            while len(log) < THREADS:  # noqa: ASYNC110 - of threads nobody tells
                await anyio.sleep(0.01)
        for _ in range(20):
            committer._learn(0.000_02, 0.000_2)
        go_on.set()

    assert _most_begun(log) <= 48
    assert len(log) == 1200


def _most_begun(log: list[str]) -> int:
    """Of the commits that were written and not yet synced, the most at any time."""
    return max(itertools.accumulate(1 if step.startswith("write") else -1 for step in log))


@pytest.mark.parametrize(
    ("writing", "syncing", "threads"),
    [
        (0.000_02, 0.000_2, FEW_THREADS),  # a quick disk
        (0.000_02, 0.005, THREADS),  # a slow one
        (0.005, 0.004, FEW_THREADS),  # a quick one, and threads that wait for the interpreter in both steps
    ],
)
async def test_a_slow_disk_gets_more_threads(writing: float, syncing: float, threads: int) -> None:
    """And a crowded interpreter is not taken for a slow disk."""
    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=False)
        for _ in range(20):
            committer._learn(writing, syncing)

        assert committer._most_carriers == threads


@pytest.mark.parametrize(("stalls", "inline"), [(1, True), (5, False)])
async def test_one_stall_sends_no_commit_by_the_hop(stalls: int, inline: bool) -> None:
    """A disk that is slow again and again does: the loop would stand still for each commit."""
    threads: list[threading.Thread] = []

    def where() -> Generator[None]:
        threads.append(threading.current_thread())
        yield

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=False)
        for took in [0.000_2] * 20 + [0.1] * stalls:
            committer._learn(0.0, took)

        await committer.commit(where(), alone=True)

    assert (threads == [threading.current_thread()]) is inline


async def test_commits_that_are_requests_go_apart() -> None:
    """On a bucket none gains from company: each has a thread, however many wait, and nobody waits for a slow one."""
    hung, released = threading.Event(), threading.Event()

    def slow() -> Steps[None]:
        yield None
        hung.set()
        assert released.wait(30)  # else somebody has waited for it
        yield None

    def quick() -> Steps[None]:
        yield None

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        tasks.start_soon(partial(committer.commit, slow(), alone=False))
        await anyio.to_thread.run_sync(hung.wait)
        async with anyio.create_task_group() as others:
            for _ in range(100):
                others.start_soon(partial(committer.commit, quick(), alone=False))
        released.set()


async def test_what_may_block_is_never_done_in_the_event_loop() -> None:
    """Not even the first time, when it is not known yet how long a request takes: it may be a minute."""
    threads: list[int] = []

    def request() -> Steps[None]:
        yield None
        threads.append(threading.get_ident())
        yield None
        threads.append(threading.get_ident())

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        for _ in range(3):
            await committer.commit(request(), alone=True)
        await committer.share(request())

    assert threading.get_ident() not in threads
    assert len(threads) == 8


class Line:
    """A client with a thread of its own, which answers when it is told to."""

    def __init__(self) -> None:
        self.open: list[Future[str]] = []
        self.most = 0
        self.found: list[str] = []

    def asks(self, *, after: Callable[[str], Steps[None]] | None = None) -> Steps[None]:
        """A commit that sends one request."""
        self.open.append(Future())
        self.most = max(self.most, len(self.open))
        coming = self.open[-1]
        yield coming
        self.found.append(coming.result(timeout=0))
        if after is not None:
            yield from after(self.found[-1])

    def answer(self, *what: str | Exception) -> None:
        """From a thread that is not the event loop's."""

        def say() -> None:
            for one in what:
                coming = self.open.pop(0)
                coming.set_exception(one) if isinstance(one, Exception) else coming.set_result(one)

        thread = threading.Thread(target=say)
        thread.start()
        thread.join()

    async def asked(self, times: int) -> None:
        """Back when so many wait."""
        with anyio.fail_after(20):
            while len(self.open) < times:  # noqa: ASYNC110 - of what is asked nobody tells
                await anyio.sleep(0.001)


async def no_thread(*_: object, **__: object) -> None:
    """As anyio's on either loop, of which trio's keeps threads."""
    raise RuntimeError("can't start new thread")


async def test_a_reply_is_waited_for_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of hundreds that wait for a bucket would take the interpreter away from its client."""
    line = Line()
    monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        for _ in range(3):
            tasks.start_soon(partial(committer.commit, line.asks(), alone=False))
        await line.asked(3)
        line.answer("a", "b", "c")

    assert sorted(line.found) == ["a", "b", "c"]


async def test_there_are_so_many_requests_at_once() -> None:
    """More would only wait for a connection, and be late when their time is counted."""
    line = Line()

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        for _ in range(REQUESTS + 8):
            tasks.start_soon(partial(committer.commit, line.asks(), alone=False))
        await line.asked(REQUESTS)
        await anyio.wait_all_tasks_blocked()
        line.answer(*["a"] * REQUESTS)
        await line.asked(8)
        line.answer(*["b"] * 8)

    assert line.most == REQUESTS
    assert line.found == ["a"] * REQUESTS + ["b"] * 8


async def test_what_follows_a_bad_reply_has_a_thread() -> None:
    """To find out what became of it takes requests that are waited for, and pauses."""
    line, threads = Line(), list[int]()

    def finds_out(found: str) -> Steps[None]:
        yield None
        threads.append(threading.get_ident())
        yield from line.asks()

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        tasks.start_soon(partial(committer.commit, line.asks(after=finds_out), alone=False))
        await line.asked(1)
        line.answer("unclear")
        await line.asked(1)
        line.answer("it is there")

    assert line.found == ["unclear", "it is there"]
    assert threading.get_ident() not in threads


async def test_a_reply_that_is_an_error_is_raised_where_the_commit_is_awaited() -> None:
    """And the next one goes on."""
    line = Line()

    async def commits() -> None:
        with pytest.raises(StoreFull):
            await committer.commit(line.asks(), alone=True)
        await committer.commit(line.asks(), alone=True)

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        tasks.start_soon(commits)
        await line.asked(1)
        line.answer(StoreFull("a", "no room"))
        await line.asked(1)
        line.answer("b")

    assert line.found == ["b"]


async def test_a_reply_that_never_comes_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client bounds each request; this is for one that is broken."""
    monkeypatch.setattr(actorflow.runtime.committer, "REPLY_SECONDS", 0.01)
    line = Line()

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            committer = Committer(tasks, files=256, apart=True)
            with pytest.raises(TimeoutError):
                await committer.commit(line.asks(), alone=True)
            with pytest.raises(TimeoutError):
                await committer.share(line.asks())  # in a thread


async def test_whoever_is_cancelled_waits_for_the_reply() -> None:
    """As for every commit: it has been sent."""
    line, seen = Line(), list[str]()

    async def owner(scope: anyio.CancelScope) -> None:
        with scope:
            await committer.commit(line.asks(), alone=False)
            seen.append("committed")
            await anyio.lowlevel.checkpoint()
        seen.append("cancelled" if scope.cancelled_caught else "not cancelled")

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        scope = anyio.CancelScope()
        tasks.start_soon(owner, scope)
        await line.asked(1)
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert seen == []
        line.answer("a")

    assert (seen, line.found) == (["committed", "cancelled"], ["a"])


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_task_that_asyncio_itself_cancels_leaves_its_commit_to_a_thread(*, in_thread: bool) -> None:
    """No shield keeps that off, and what is begun is done whole, and once."""
    line = Line()

    def asks() -> Steps[None]:
        if in_thread:
            yield None
        yield from line.asks()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            committer = Committer(tasks, files=256, apart=True)
            owner = asyncio.create_task(committer.commit(asks(), alone=False))
            await line.asked(1)
            owner.cancel()
            with pytest.raises(asyncio.CancelledError):
                await owner
            line.answer("a")
            with anyio.fail_after(20):
                while not line.found:  # noqa: ASYNC110 - of threads nobody tells
                    await anyio.sleep(0.001)

    asyncio.run(main())

    assert line.found == ["a"]


@pytest.mark.parametrize("sent", [True, False])
async def test_a_commit_that_finds_no_thread_half_way_is_given_up(
    *, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it held is free when its owner is told, who is to claim anew: seen to be refused as owned by itself.

    Of what was sent nobody says that nothing took effect.
    """
    line, log = Line(), list[str]()

    def half_way() -> Steps[None]:
        try:
            if sent:
                yield from line.asks()
            yield None
            log.append("in a thread")
        finally:
            log.append("free")

    async def owner() -> None:
        with pytest.raises(CommitUnknown if sent else StoreUnavailable, match="start new thread") as error:
            await committer.commit(half_way(), alone=True)
        log.append("told")
        del error  # until here its traceback would have kept the steps

    monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        tasks.start_soon(owner)
        if sent:
            await line.asked(1)
            line.answer("unclear")

    assert log == ["free", "told"]


@pytest.mark.parametrize("apart", [True, False])
async def test_a_commit_for_which_there_is_no_thread_fails_and_does_not_hang(
    apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may have no more threads (``ulimit -u``); whoever waits is told, and the next one may have luck."""
    log: list[str] = []

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            committer = Committer(tasks, files=256, apart=apart)
            monkeypatch.setattr(anyio.to_thread, "run_sync", no_thread)
            with pytest.raises(StoreUnavailable, match="thread"):
                await committer.share(commit(log, "a"))
            monkeypatch.undo()
            await committer.share(commit(log, "b"))

    assert log == ["write b", "sync b"]


@pytest.mark.parametrize("apart", [True, False])
async def test_whoever_is_cancelled_waits_for_its_commit_and_learns_how_it_went(apart: bool) -> None:
    """Otherwise an actor would take for unknown what was about to be acknowledged. Seen to fail without the shield."""
    assert await _told_when_cancelled(apart, before=False) == ["committed", "cancelled"]
    assert await _told_when_cancelled(apart, before=True) == ["committed", "cancelled"]


async def test_a_commit_without_a_shield_would_not_be_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: what the test above finds."""
    monkeypatch.setattr("actorflow.runtime.committer._is_cancelled", lambda: False)

    assert await _told_when_cancelled(apart=False, before=False) == ["cancelled"]


def test_a_ctrl_c_leaves_nobody_waiting_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """On trio it is raised wherever the main thread is, but not between a commit that was taken up and its end.

    Whoever waits for it can't be cancelled. Seen to fail when it was raised in the carrier.
    """
    log: list[str] = []
    rescues: list[threading.Timer] = []

    async def main() -> None:
        token = trio.lowlevel.current_trio_token()
        async with anyio.create_task_group() as tasks:
            committer = Committer(tasks, files=256, apart=False)
            take = committer._batch

            def interrupted() -> list[_Shared]:
                batch = take()
                rescues.append(threading.Timer(20, lambda: token.run_sync_soon(batch[0].done.set)))
                rescues[0].start()
                signal.raise_signal(signal.SIGINT)
                log.append("taken")
                return batch

            monkeypatch.setattr(committer, "_batch", interrupted)
            tasks.start_soon(committer.share, commit(log, "a"))

    with pytest.raises(BaseExceptionGroup) as raised:
        trio.run(main)
    rescues[0].cancel()

    assert raised.group_contains(KeyboardInterrupt)
    assert log == ["taken", "write a", "sync a"]


@pytest.mark.parametrize("way", [Committer._send, Committer._commit, Committer.share])
def test_a_ctrl_c_at_any_line_of_a_commit_leaves_trio_whole(way: Callable[..., Any]) -> None:
    """Seen to leave a shield that nobody left, with which trio's scopes were "corrupted"."""
    code = way.__code__
    last = -1

    def interrupt(at: int) -> int:
        """The number of its last line; it was interrupted at this one, if it came there."""
        lines = itertools.count()
        reached = -1

        def traced(frame: FrameType, event: str, _: object) -> Any:
            nonlocal reached
            if frame.f_code is not code:
                return None
            if event == "line" and (reached := next(lines)) == at:
                signal.raise_signal(signal.SIGINT)
            return traced

        async def main() -> None:
            async with anyio.create_task_group() as tasks:
                committer = Committer(tasks, files=256, apart=way is not Committer._commit)
                committer._average = 1.0  # so that none is made inline
                sys.settrace(traced)
                if way is Committer.share:
                    tasks.start_soon(committer.share, commit([], "a"))
                else:
                    tasks.start_soon(partial(committer.commit, commit([], "a"), alone=True))

        before = sys.gettrace()
        try:
            trio.run(main)
        except* KeyboardInterrupt:
            pass
        finally:
            sys.settrace(before)
        return reached

    while interrupt(last + 1) > last:
        last += 1
    assert last > 1


async def _told_when_cancelled(apart: bool, *, before: bool) -> list[str]:
    """What somebody is told whose commit is in a thread when it is cancelled, or who was cancelled ``before``."""
    told: list[str] = []
    begun, released = anyio.Event(), threading.Event()

    def slow() -> Generator[None]:
        anyio.from_thread.run_sync(begun.set)
        released.wait(10)
        yield

    async def owner(scope: anyio.CancelScope) -> None:
        with scope:
            try:
                await committer.share(slow())
                told.append("committed")
                await anyio.sleep(10)
            except anyio.get_cancelled_exc_class():
                told.append("cancelled")
                raise

    async with anyio.create_task_group() as tasks, anyio.create_task_group() as owners:
        committer = Committer(tasks, files=256, apart=apart)
        scope = anyio.CancelScope()
        if before:
            scope.cancel()
        owners.start_soon(owner, scope)
        await begun.wait()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()  # it has been told, and waits on
        released.set()
    return told
