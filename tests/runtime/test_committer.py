"""The committer: how commits that share a hop are made, and by how many threads."""

from __future__ import annotations

import itertools
import signal
import threading
import time
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING

import anyio
import pytest
import trio

from actorflow.errors import StoreFull, StoreUnavailable
from actorflow.runtime.committer import FEW_THREADS, THREADS, Committer, _Job, _run_all

if TYPE_CHECKING:
    from collections.abc import Generator


def commit(log: list[str], name: str, *, fails: bool = False) -> Generator[None]:
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

    def slow() -> Generator[None]:
        hung.set()
        assert released.wait(30)  # else somebody has waited for it
        yield

    def quick() -> Generator[None]:
        yield

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        tasks.start_soon(partial(committer.commit, slow(), alone=False))
        await anyio.to_thread.run_sync(hung.wait)
        async with anyio.create_task_group() as others:
            for _ in range(100):
                others.start_soon(partial(committer.commit, quick(), alone=False))
        released.set()


async def test_a_request_is_never_made_in_the_event_loop() -> None:
    """Not even the first, when it is not known yet how long one takes: it may be a minute, in which all else stands."""
    threads: list[int] = []

    def request() -> Generator[None]:
        threads.append(threading.get_ident())
        yield
        threads.append(threading.get_ident())

    async with anyio.create_task_group() as tasks:
        committer = Committer(tasks, files=256, apart=True)
        for _ in range(3):
            await committer.commit(request(), alone=True)

    assert threading.get_ident() not in threads
    assert len(threads) == 6


@pytest.mark.parametrize("apart", [True, False])
async def test_a_commit_for_which_there_is_no_thread_fails_and_does_not_hang(
    apart: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may have no more threads (``ulimit -u``); whoever waits is told, and the next one may have luck."""
    log: list[str] = []

    async def no_thread(*_: object, **__: object) -> None:  # as anyio's on either loop, of which trio's keeps threads
        raise RuntimeError("can't start new thread")

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

            def interrupted() -> list[_Job]:
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
