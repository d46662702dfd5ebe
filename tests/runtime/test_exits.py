"""sys.exit() and Ctrl-C inside a node: the process ends with its code, and the runs are left to others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio import to_thread

from actorflow import Runtime
from actorflow.errors import StoreFull
from actorflow.store.ownership import Ownership
from tests.runtime.graphs import Trail
from tests.runtime.scenes import waiting
from tests.store.children import Child

if TYPE_CHECKING:
    from actorflow.store.frames import Draft

EXITING = """
import anyio
from actorflow import Graph, Runtime
from tests.runtime.graphs import Trail, add

backend, beside, exit = sys.argv[2:]
graph = Graph("exiting", Trail)
add(graph, "start", after=None)

@graph.node(after="start")
async def bad(state: Trail):
    await anyio.lowlevel.checkpoint()
    raise SystemExit(7) if exit == "exit" else KeyboardInterrupt

@graph.node(after="start" if beside == "beside" else bad)
async def other(state: Trail):
    await anyio.sleep_forever()

async def main():
    async with Runtime(url) as rt:
        await rt.run(graph, Trail(), id="x")

anyio.run(main, backend=backend)
"""

EXITING_DURING_A_COMMIT = """
import anyio, threading
from actorflow import Graph, Runtime
from actorflow.store.ownership import Ownership
from tests.runtime.graphs import Trail, add
from tests.runtime.scenes import waiting

commit, committing, exited = Ownership.committing, threading.Event(), threading.Event()
graph = Graph("exiting", Trail)
add(graph, "start", after=None)
add(graph, "quick", after="start")

@graph.node(after="start")
async def bad(state: Trail):
    await anyio.to_thread.run_sync(committing.wait)
    exited.set()
    sys.exit(7)

@graph.node(after="start")
async def slow(state: Trail):
    await anyio.sleep_forever()

def slowly(ownership, draft):
    if draft.node == "quick" and draft.kind == "commit":
        committing.set()
        exited.wait(5)
        time.sleep(0.05)
    yield from commit(ownership, draft)

Ownership.committing = slowly

async def main():
    async with Runtime(url) as rt:
        await rt.spawn(waiting(), Trail(), id="beside")  # two live runs commit in threads
        await rt.run(graph, Trail(), id="x")

anyio.run(main, backend=sys.argv[2])
"""


@pytest.mark.parametrize("exit_", ["exit", "interrupt"])
@pytest.mark.parametrize("beside", ["alone", "beside"])
async def test_a_node_that_exits_ends_the_process_in_order(
    store_url: str, anyio_backend: str, beside: str, exit_: str
) -> None:
    """Also on asyncio, whose loop stops at once when a task raises it: nothing hangs, and the run is released."""
    with Child(EXITING, store_url, anyio_backend, beside, exit_) as child:
        code = await to_thread.run_sync(lambda: child.process.wait(45))

    async with Runtime(store_url, recover="never") as rt:
        header = (await rt.tip("x")).header
    assert (header.kind, header.status) == ("release", "running")
    assert code != 0
    assert code == 7 or exit_ == "interrupt"


async def test_a_node_that_exits_while_its_sibling_is_committed_is_heard(store_url: str, anyio_backend: str) -> None:
    """The loop is in the middle of a commit then, and must not go to sleep after it."""
    with Child(EXITING_DURING_A_COMMIT, store_url, anyio_backend) as child:
        code = await to_thread.run_sync(lambda: child.process.wait(45))

    assert code == 7
    async with Runtime(store_url, recover="never") as rt:
        assert (await rt.tip("x")).header.kind == "release"


async def test_a_cancellation_that_can_not_be_recorded_is_no_cancellation(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever cancels a run on a full disk is told so."""
    commit = Ownership.committing

    def full(ownership: Ownership, draft: Draft) -> Any:
        if draft.status == "cancelled":
            raise StoreFull("disk", "no space left")
        yield from commit(ownership, draft)

    monkeypatch.setattr(Ownership, "committing", full)
    inside = anyio.Event()
    async with Runtime(store_url, recover="never") as rt:
        handle = await rt.spawn(waiting(inside.set), Trail(), id="x")
        await inside.wait()
        with pytest.raises(StoreFull):
            await handle.cancel()
