"""Between two lives: a run that waits for its restart, one that just ended, a handle of one that was let go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
from anyio import to_thread

from actorflow import RestartPolicy, Runtime
from actorflow.errors import StoreFull
from actorflow.store.ownership import Ownership
from tests.runtime.graphs import Trail, counter, failing
from tests.runtime.scenes import waiting

if TYPE_CHECKING:
    from actorflow.runtime.run import Run
    from actorflow.store.frames import Draft

LATER = RestartPolicy(backoff=3600.0, max_backoff=3600.0)


async def until_it_waits(handle: Run[Trail]) -> None:
    """Wait until a run has crashed and waits for its restart."""
    with anyio.fail_after(30):
        while handle._life is None or not handle._life.restarts:
            await anyio.lowlevel.checkpoint()


async def test_a_run_that_waits_for_its_restart_is_released_when_the_runtime_is_left(store_url: str) -> None:
    """An orderly leaving is no death of a process: it must not count towards quarantine."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url, recover="never", restarts=LATER) as rt:
            await until_it_waits(await rt.spawn(failing(9, []), Trail(), id="x"))
            raise ZeroDivisionError

    async with Runtime(store_url, recover="never") as rt:
        assert (await rt.tip("x")).header.kind == "release"


async def test_parking_does_not_wait_for_a_restart(store_url: str) -> None:
    """`drain="park"`: nothing of the run is running, so there is nothing to wait for."""
    with anyio.fail_after(30):
        async with Runtime(store_url, recover="never", restarts=LATER, drain="park") as rt:
            await until_it_waits(await rt.spawn(failing(9, []), Trail(), id="x"))

    async with Runtime(store_url, recover="never") as rt:
        assert (await rt.tip("x")).header.kind == "release"


async def test_cancelling_does_not_wait_for_a_restart(store_url: str) -> None:
    """The run is cancelled now, not when its backoff is over."""
    async with Runtime(store_url, recover="never", restarts=LATER) as rt:
        handle = await rt.spawn(failing(9, []), Trail(), id="x")
        await until_it_waits(handle)
        with anyio.fail_after(30):
            assert await handle.cancel() == "cancelled"


async def test_a_failed_run_can_be_resumed_before_its_actor_has_left(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is in the store a moment before its actor knows of it: resume opens it again, and is not told of it."""
    commit, committed, go_on = Ownership.committing, threading.Event(), threading.Event()

    def slow(ownership: Ownership, draft: Draft) -> Any:
        yield from commit(ownership, draft)
        if draft.status == "failed":
            committed.set()
            go_on.wait(5)

    monkeypatch.setattr(Ownership, "committing", slow)
    graph, resumed = failing(1, []), list[Trail]()

    async def resume() -> None:
        resumed.append(await (await rt.resume(graph, "x")).result())

    async with Runtime(store_url, recover="never", restarts=RestartPolicy(max_restarts=0)) as rt:
        beside = await rt.spawn(waiting(), Trail(), id="beside")  # two live runs commit in threads
        await rt.spawn(graph, Trail(), id="x")
        await to_thread.run_sync(committed.wait)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(resume)
            while (await rt.tip("x")).header.status != "failed":
                await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            go_on.set()
        await beside.cancel()

    assert resumed[0].trace == ["first", "flaky", "last"]


async def test_a_handle_of_a_run_that_was_let_go_tells_how_it_ended(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk stops the run here; once the scan took it up again and it ended, that error is history."""
    commit, filling, left = Ownership.committing, anyio.Event(), [2]
    graph = counter(5, after=filling)

    def full_once(ownership: Ownership, draft: Draft) -> Any:
        left[0] -= 1
        if left[0] == 0:
            raise StoreFull("disk", "no space left")
        yield from commit(ownership, draft)

    async with Runtime(store_url, graphs=[graph], scan_every=0.01) as rt:
        handle = await rt.spawn(graph, Trail(), id="x")
        monkeypatch.setattr(Ownership, "committing", full_once)
        filling.set()
        with anyio.fail_after(30):
            while await handle.status() != "finished":  # noqa: ASYNC110 - the store is where it can be seen
                await anyio.sleep(0.01)

        assert (await handle.result()).n == 5
