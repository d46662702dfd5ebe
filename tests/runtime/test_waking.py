"""Waking: messages from elsewhere are told of, whoever's they are, and runs that sleep are taken up for them."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import watchfiles

from actorflow import Runtime
from actorflow.errors import StoreUnavailable
from actorflow.runtime import clock
from actorflow.runtime.arrivals import Arrivals
from actorflow.runtime.clock import Clock
from actorflow.runtime.waking import POLL, Waking
from actorflow.store.keys import INBOX, Letter, inbox_key
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from actorflow.store.wrappers import WrappedBackend
from tests.runtime.asking import asked, asker, commits
from tests.runtime.graphs import chain
from tests.runtime.mailing import Deposit, banking
from tests.store.object_runs import Watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from actorflow.runtime.waking import Letters
    from actorflow.store.store import Store

PATIENCE = 20.0  # seconds that a test waits for what must come at once


class Ear:
    """Hears what is told, and lets a test wait for it."""

    def __init__(self) -> None:
        self.heard: list[Letters] = []
        self._came = anyio.Event()

    def __call__(self, letters: Letters) -> None:
        """Hear."""
        self.heard.append(letters)
        self._came.set()

    async def next(self) -> Letters:
        """What is told next."""
        with anyio.fail_after(PATIENCE):
            while not self.heard:
                await self._came.wait()
                self._came = anyio.Event()
        return self.heard.pop(0)


class Paces(Clock):
    """A clock that keeps how long somebody wants to rest, and lets nobody."""

    def __init__(self) -> None:
        self.rests: list[float] = []

    async def rest(self, seconds: float, *, until: Callable[[], Awaitable[object]] = anyio.sleep_forever) -> None:
        """Go on at once."""
        self.rests.append(seconds)
        await anyio.lowlevel.checkpoint()


@pytest.fixture
def paces() -> Iterator[Paces]:
    """The clock of a test that waits for nothing."""
    paces = Paces()
    before = clock.use(paces)
    yield paces
    clock.use(before)


async def in_thread(work: Callable[[], list[str]]) -> list[str]:
    """As `Lives.in_store`."""
    return await anyio.to_thread.run_sync(work)


def letter(number: int, run: str = "x", sender: str = "s") -> Letter:
    """One of a lane."""
    return Letter(run, sender, 1, number)


def put(store: Store, *letters: Letter) -> None:
    """Messages arrive. What they say is for whoever takes them."""
    for one in letters:
        store.backend.put_new(inbox_key(one), b"")


@pytest.fixture
def local(tmp_path: Path) -> Iterator[Store]:
    """A store in a folder."""
    store = open_store(tmp_path / "store")
    yield store
    store.close()


@pytest.fixture
def bucket() -> Iterator[Store]:
    """A store that must be listed."""
    store = open_store(Watched())
    yield store
    store.close()


# -- on a local disk -----------------------------------------------------------------------


async def test_the_kernel_tells_of_messages_on_a_local_disk(local: Store, paces: Paces) -> None:
    """Also of the first in a folder that was not there, and of one that was there before."""
    clock.use(Clock())  # it is the kernel that is waited for
    put(local, letter(1))
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(local, ear, in_store=in_thread).listen)

        assert await ear.next() == {"x": [letter(1)]}
        for number in range(2, 5):
            put(local, letter(number), letter(number, run=f"run{number}"))
            told = await ear.next()
            while len(told) < 2:
                told |= await ear.next()
            assert told == {"x": [letter(number)], f"run{number}": [letter(number, run=f"run{number}")]}
        tasks.cancel_scope.cancel()


async def test_what_was_there_before_its_folder_was_watched_is_told(local: Store) -> None:
    """The kernel tells of the folder, and nobody of what came into it meanwhile."""
    put(local, letter(1))
    ear = Ear()
    waking = Waking(local, ear, in_store=in_thread)

    await waking._take_note([inbox_key(letter(1)).rpartition("/")[0]])

    assert ear.heard == [{"x": [letter(1)]}]


async def test_who_has_nobody_to_send_to_does_not_watch(tmp_path: Path) -> None:
    """A graph without messages needs none from elsewhere: its script is not to pay for a thread. An actor does."""
    async with Runtime(tmp_path) as rt:
        await rt.run(chain("a", "b"), id="x")
        assert not any("watching" in name for name in _threads())

        await rt.spawn(banking(), id="ada")
        with anyio.fail_after(PATIENCE):
            while not any("watching" in name for name in _threads()):  # noqa: ASYNC110 - of threads nobody tells
                await anyio.sleep(0.01)
        await rt.get("ada").cancel()


async def test_nothing_of_the_watching_is_left(local: Store) -> None:
    """Its thread is over when whoever listened is."""
    ear = Ear()
    put(local, letter(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(local, ear, in_store=in_thread).listen)
        await ear.next()
        tasks.cancel_scope.cancel()

    assert not [name for name in _threads() if "watching" in name]


def _threads() -> list[str]:
    import threading

    return [thread.name for thread in threading.enumerate()]


async def test_what_can_not_be_watched_is_listed(
    local: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A network mount, or a machine whose watches are used up."""

    def planted(*_: object, **__: object) -> Any:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(watchfiles, "watch", planted)
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(local, ear, in_store=in_thread, poll=(0.001, 0.01)).listen)
        for number in (1, 2):
            put(local, letter(number))
            assert await ear.next() == {"x": [letter(number)]}
        tasks.cancel_scope.cancel()
    assert "can't be watched" in caplog.text


# -- elsewhere ----------------------------------------------------------------------------


async def test_one_listing_serves_all_runs(bucket: Store) -> None:
    """However many messages there are, and whosever."""
    letters = [letter(1, run=f"run{number}") for number in range(300)]
    put(bucket, *letters)
    watched, ear = bucket.backend, Ear()
    assert isinstance(watched, Watched)
    watched.calls.clear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(bucket, ear, in_store=in_thread, poll=(1000.0, 1000.0)).listen)

        assert len(await ear.next()) == 300
        tasks.cancel_scope.cancel()
    assert dict(watched.calls) == {"list": 1}


class Listings(WrappedBackend):
    """A bucket that counts the listings of the whole inbox."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.count = 0

    def list(self, prefix: str) -> list[str]:
        """List."""
        self.count += prefix == INBOX
        return self.inner.list(prefix)


async def test_a_store_that_nobody_sends_to_is_not_listed() -> None:
    """And for those who are sent to it is listed once for all. Planted: a process that listens from its start."""
    store, count = Listings(), 20
    async with Runtime(store, recover="never", drain="park") as rt:  # else schedules might be sent something
        await rt.run(chain("a"))
        await anyio.wait_all_tasks_blocked()
        assert store.count == 0

        for number in range(count):
            await rt.spawn(banking(), id=f"account{number}")
        await _until(lambda: store.count > 0)
        assert store.count < count


async def test_who_hears_nothing_listens_more_seldom_and_who_does_at_once_again(bucket: Store, paces: Paces) -> None:
    """From the shortest pause to the longest; a message, or the expectation of one, begins anew."""
    ear = Ear()
    waking = Waking(bucket, ear, in_store=in_thread)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waking.listen)
        await _until(lambda: paces.rests[-3:] == [POLL[1]] * 3)
        put(bucket, letter(1))
        await ear.next()
        await _until(lambda: paces.rests[-1:] == [POLL[1]])
        waking.hurry()
        seen = len(paces.rests)
        await _until(lambda: len(paces.rests) > seen + 3)
        tasks.cancel_scope.cancel()

    assert paces.rests[0] < 2 * POLL[0]
    assert POLL[0] in paces.rests  # right after the message
    assert min(paces.rests[seen:]) < 3 * POLL[0]


async def _until(holds: Callable[[], bool]) -> None:
    with anyio.fail_after(PATIENCE):
        while not holds():
            await anyio.lowlevel.checkpoint()


async def test_what_stays_is_told_again(bucket: Store, paces: Paces) -> None:
    """Whoever was told first may not have been able to take it; but not at each look."""
    put(bucket, letter(1))
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(bucket, ear, in_store=in_thread).listen)
        await ear.next()
        looks = len(paces.rests)

        assert await ear.next() == {"x": [letter(1)]}
        assert len(paces.rests) - looks > 3
        tasks.cancel_scope.cancel()


async def test_a_store_that_does_not_answer_is_asked_again(bucket: Store, paces: Paces) -> None:
    """An outage ends no listening."""
    watched, fails = bucket.backend, iter(range(3))
    assert isinstance(watched, Watched)

    def outage(kind: str, key: str) -> None:
        if kind == "list" and next(fails, None) is not None:
            raise StoreUnavailable(key, "planted")

    watched.before = outage
    watched.inner.put_new(inbox_key(letter(1)), b"")
    ear = Ear()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Waking(bucket, ear, in_store=in_thread).listen)

        assert await ear.next() == {"x": [letter(1)]}
        tasks.cancel_scope.cancel()


# -- taking up ------------------------------------------------------------------------------


async def test_a_run_that_sleeps_is_taken_up_for_a_message(store_url: str) -> None:
    """Once for the same message, although it does not take it; for the next one again."""
    async with Runtime(store_url, graphs=[asker()], recover="never") as rt, anyio.create_task_group() as tasks:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        arrivals = Arrivals(rt.living(), {"asker": asker()}, tasks, anywhere=True)

        for count, number in ((2, 1), (2, 1), (3, 2)):
            arrivals.notify({"x": [letter(number)] if number == 1 else [letter(1), letter(2)]})
            await _until(lambda: not arrivals.busy)
            await run.wait()
            assert [kind for _, kind, _ in await commits(run)].count("claim") == count
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("why", ["owned", "no graph", "over", "not there"])
async def test_a_run_is_not_taken_up_that_is_not_to_be(store_url: str, why: str) -> None:
    """Its owner hears of the message, too; or nobody here can do anything about it."""
    graph = asker(bool, timeout=900, default=False)
    async with (
        Runtime(store_url, recover="never", linger=1000.0 if why == "owned" else 1.0) as owner,
        Runtime(store_url, recover="never") as rt,
        anyio.create_task_group() as tasks,
    ):
        run = await owner.spawn(graph, id="x")
        await asked(run)
        if why != "owned":
            await _until(lambda: owner.life_of("x") is None)
        if why == "over":
            await run.cancel()
        arrivals = Arrivals(rt.living(), {} if why == "no graph" else {"asker": graph}, tasks, anywhere=True)
        before = await commits(run)

        arrivals.notify({"y" if why == "not there" else "x": [letter(1)]})
        await _until(lambda: not arrivals.busy)

        assert await commits(run) == before
        tasks.cancel_scope.cancel()
        await run.cancel()


def test_the_inbox_is_where_the_letters_are() -> None:
    """What is watched holds what is listed."""
    assert inbox_key(letter(1)).startswith(INBOX)


async def test_a_message_of_another_process_is_taken_within_a_tenth_of_a_second(store_url: str) -> None:
    """On a local disk; the first that is, for the machine has other things to do. Planted: changes wait for more."""
    async with Runtime(store_url, drain="park") as rt, Runtime(store_url, recover="never", drain="park") as other:
        run = await rt.spawn(banking(), id="ada")
        took, until = list[float](), time.perf_counter() + PATIENCE
        while min(took, default=1.0) >= 0.1 and time.perf_counter() < until:
            began = time.perf_counter()
            await other.get("ada").send(Deposit(amount=1))
            with anyio.fail_after(PATIENCE):
                while await run.query(lambda state: state.balance) <= len(took):  # noqa: ASYNC110 - nobody tells
                    await anyio.sleep(0.001)
            took.append(time.perf_counter() - began)

    assert min(took) < 0.1, took
