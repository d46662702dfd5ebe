"""One bad run never stops the others: whatever is wrong with it, they are found, recovered and committed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from msgspec import field

from actorflow import Graph, Message, Runtime, State, Update, migrate
from actorflow.errors import Blocked
from tests.runtime.graphs import Trail

if TYPE_CHECKING:
    from actorflow.graph.migrate import Migration


class Old(State, version=1, name="Saved"):
    """What was saved."""

    n: int = 0


class New(State, version=2, name="Saved"):
    """What is saved now."""

    n: int = 0


def hanging(go_on: threading.Event) -> Migration:
    """A migration that takes until then."""

    @migrate(from_=1, to=2)
    def slow(values: dict[str, Any]) -> dict[str, Any]:
        go_on.wait(50)
        return values

    return slow


def graph_of(state_type: type[State], *, done: bool) -> Graph[Any]:
    """One node, which comes to its end or never does."""
    graph: Graph[Any] = Graph("saved", state_type)

    @graph.node(name="wait")
    async def wait(state: Any) -> Update:
        if not done:
            await anyio.sleep_forever()
        return {"n": 1}

    return graph


async def leave_unfinished(store_url: str, *ids: str, graph: Graph[Any] | None = None) -> None:
    """Runs that whoever comes next may take up."""
    graph = graph or graph_of(Old, done=False)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception leaves them so
        async with Runtime(store_url, recover="never") as rt:
            for run_id in ids:
                await rt.spawn(graph, id=run_id)
            raise ZeroDivisionError


async def until(rt: Runtime, run_id: str, status: str) -> None:
    """Wait until a run has this status."""
    with anyio.fail_after(30):
        while await rt.get(run_id).status() != status:  # noqa: ASYNC110 - the store is where it can be seen
            await anyio.sleep(0.01)


async def counted(rt: Runtime, run_id: str) -> None:
    """Wait until it has counted one."""
    with anyio.fail_after(30):
        while (await rt.get(run_id).state()).n != 1:  # noqa: ASYNC110 - the store is where it can be seen
            await anyio.sleep(0.01)


async def test_a_run_behind_a_symbolic_link_stops_no_recovery_and_no_listing(store_url: str) -> None:
    """It can't be read for another reason than damage; the others are taken up all the same."""
    await leave_unfinished(store_url, "a", "b")
    log = Path(store_url) / "runs" / "a" / "log"
    elsewhere = log.rename(log.with_name("elsewhere"))
    log.symlink_to(elsewhere)

    async with Runtime(store_url, graphs=[graph_of(Old, done=True)], scan_every=0.01) as rt:
        await until(rt, "b", "finished")
        listed = {info.id: info.status for info in await rt.runs()}

    assert listed == {"a": "corrupt", "b": "finished"}


async def test_a_default_that_raises_stops_no_other_run(store_url: str) -> None:
    """The user's code may raise anything while a run is taken up; the runtime lives on."""
    await leave_unfinished(store_url, "a")

    def refuse() -> str:
        raise LookupError("no default today")

    class Raising(State, version=1, name="Saved"):
        n: int = 0
        extra: str = field(default_factory=refuse)

    async with Runtime(store_url, scan_every=0.01) as rt:
        await rt.recover()
        rt.register(graph_of(Raising, done=True))
        assert await rt.recover() == []
        with pytest.raises(LookupError, match="no default today"):
            await rt.resume(graph_of(Raising, done=True), "a")


async def test_claims_that_take_long_hold_up_no_commit(store_url: str) -> None:
    """More migrations that hang than there are threads for commits: another run goes on beside them."""
    ids = [f"r{number}" for number in range(17)]
    await leave_unfinished(store_url, *ids)
    go_on, started = threading.Event(), anyio.Event()

    newer = graph_of(New, done=True)
    newer.migrate(hanging(go_on))
    other = Graph("other", Trail)

    @other.node
    async def first(state: Trail) -> None:
        await started.wait()

    async with Runtime(store_url, recover="never") as rt:
        lives = [(await rt.spawn(other, Trail(), id=f"o{number}"))._life for number in range(2)]
        async with anyio.create_task_group() as tasks:
            for run_id in ids:
                tasks.start_soon(rt.resume, newer, run_id)
            await anyio.wait_all_tasks_blocked()
            started.set()
            try:
                with anyio.fail_after(30):
                    for life in lives:
                        assert life is not None
                        await life.done.wait()
            finally:
                go_on.set()


async def test_a_migration_that_hangs_holds_up_no_other_claim(store_url: str) -> None:
    """All are claimed together, and one of them was saved by an older version: only that one waits for it."""
    ids = [f"r{number}" for number in range(20)]
    await leave_unfinished(store_url, "old")
    go_on = threading.Event()

    newer, patient = graph_of(New, done=True), graph_of(New, done=False)
    newer.migrate(hanging(go_on))
    await leave_unfinished(store_url, *ids, graph=patient)

    async with Runtime(store_url, graphs=[newer]) as rt:
        try:
            for run_id in ids:
                await until(rt, run_id, "finished")
            assert await rt.get("old").status() == "running"
        finally:
            go_on.set()
        await until(rt, "old", "finished")


async def test_a_message_whose_migration_hangs_holds_up_no_others(store_url: str) -> None:
    """Many look into their inboxes at once, and one of them finds a message of an older version."""
    ids = [f"r{number}" for number in range(20)]
    go_on = threading.Event()

    class Older(Message, version=1, name="Count"):
        n: int = 0

    class Newer(Message, version=2, name="Count", migrations=[hanging(go_on)]):
        n: int = 0

    def counter(message: type[Message]) -> Graph[Any]:
        graph: Graph[Any] = Graph("counter", Old, lifetime="actor")

        @graph.on(message)
        async def count(state: Old, msg: Any) -> Update:
            return {"n": state.n + msg.n}

        return graph

    async with Runtime(store_url, drain="park") as rt:
        for run_id in ("old", *ids):
            await rt.spawn(counter(Older), id=run_id)
    async with Runtime(store_url, recover="never") as rt:  # nobody takes them up: what is sent stays in the inboxes
        await rt.get("old").send(Older(n=1))
        for run_id in ids:
            await rt.get(run_id).send(Newer(n=1))

    async with Runtime(store_url, graphs=[counter(Newer)], drain="park") as rt:
        try:
            for run_id in ids:
                await counted(rt, run_id)
            assert (await rt.get("old").state()).n == 0
        finally:
            go_on.set()
        await counted(rt, "old")


async def test_who_awaits_a_run_that_is_blocked_here_is_told_so(store_url: str) -> None:
    """The scan found that this code can't run it: waiting for its end would have none."""
    await leave_unfinished(store_url, "a")
    graph = Graph("saved", Old)

    @graph.node
    async def another(state: Old) -> None:
        pass

    async with Runtime(store_url, graphs=[graph], scan_every=0.01) as rt:
        await until(rt, "a", "blocked")
        with anyio.fail_after(30), pytest.raises(Blocked, match="wait"):
            await rt.get("a").result()


async def test_a_runtime_that_is_entered_again_recovers_again(store_url: str) -> None:
    """Having been left once, it does not stay leaving for ever."""
    rt = Runtime(store_url, graphs=[graph_of(Old, done=True)], scan_every=0.01)
    async with rt:
        pass
    await leave_unfinished(store_url, "a")

    async with rt:
        await until(rt, "a", "finished")
