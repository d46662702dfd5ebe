"""A run that is copied into another store goes on there, whatever kind of log either has."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import actorflow.store.transfer
from actorflow import END, Graph, Overwrite, RestartPolicy, Runtime, State, Update, migrate
from actorflow.errors import (
    ImportUnfinished,
    NoSuchRun,
    RunCancelled,
    RunExists,
    RunFailed,
    RunOwned,
    StoreError,
    StoreUnavailable,
)
from actorflow.runtime import claiming
from actorflow.store.backend import Backend
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail, chain

if TYPE_CHECKING:
    from collections.abc import Iterable

ONCE = RestartPolicy(max_restarts=0)


@pytest.fixture(params=["folder", "bucket"])
def here(request: pytest.FixtureRequest, store_url: str) -> str | Backend:
    """The store where a run begins: one whose files grow, or one with an object per commit."""
    return store_url if request.param == "folder" else MemoryBackend()


@pytest.fixture(params=["folder", "bucket"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> str | Backend:
    """The store that it is copied into."""
    return str(tmp_path / "other") if request.param == "folder" else MemoryBackend()


class Stopping(MemoryBackend):
    """Takes so many writes of commits, and then none until it is told to."""

    def __init__(self, takes: int) -> None:
        super().__init__()
        self.takes = takes

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if key.endswith(".ckpt"):
            if self.takes == 0:
                raise StoreUnavailable(key, "on purpose")
            self.takes -= 1
        return super().put_new(key, data, durable=durable)

    def delete(self, keys: Iterable[str]) -> None:
        super().delete(keys)


def broken_once(ran: list[str]) -> Graph[Trail]:
    """Three nodes in a row; b fails the first time. Each call is noted in ``ran``."""
    graph = chain("a", ran=ran)

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        ran.append("b")
        if ran.count("b") == 1:
            raise ValueError
        return {"trace": ["b"]}

    @graph.node(after=b)
    async def c(state: Trail) -> Update:
        ran.append("c")
        return {"trace": ["c"]}

    return graph


async def begin(store: str | Backend, graph: Graph[Trail], run_id: str = "r") -> list[tuple[object, ...]]:
    """Run until b fails; the history up to there."""
    async with Runtime(store, restarts=ONCE) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(n=1), id=run_id)
        return await story(rt, run_id)


async def leave_open(store: str | Backend, graph: Graph[Trail]) -> None:
    """Run until b has begun, and let go of the run there."""
    begun = anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        if not begun.is_set():
            begun.set()
            await anyio.sleep_forever()
        return {"trace": ["b"]}

    with anyio.CancelScope() as scope:
        async with Runtime(store) as rt:
            await rt.spawn(graph, Trail(), id="r")
            await begun.wait()
            scope.cancel()
            await anyio.sleep_forever()


async def story(rt: Runtime, run_id: str) -> list[tuple[object, ...]]:
    """A history, oldest first, with all that a copy keeps."""
    told = [
        (one.seq, one.kind, one.node, one.status, one.time, one.owner, one.epoch, one.values)
        async for one in rt.get(run_id).views()
    ]
    return told[::-1]


def files_of(store: str | Backend) -> dict[str, bytes]:
    """What is stored, without the locks and heartbeats of those who look."""
    if isinstance(store, Backend):
        keys = [key for key in store.list("") if not key.startswith("hosts/")]
        return {key: store.get(key) for key in keys}
    files = [path for path in Path(store).rglob("*") if path.is_file() and "hosts" not in path.parts]
    return {str(path): path.read_bytes() for path in files}


async def test_a_run_goes_on_in_the_other_store(here: str | Backend, other: str | Backend) -> None:
    """No node that finished runs again; the history up to the copy keeps numbers, times and owners."""
    ran: list[str] = []
    graph = broken_once(ran)
    before = await begin(here, graph)
    stored = files_of(here)
    async with Runtime(here, readonly=True) as rt:
        await rt.export("r", other)

    async with Runtime(other, restarts=ONCE) as rt:
        listed = [(info.id, info.status) for info in await rt.runs()]
        result = await (await rt.resume(graph, "r")).result()
        after = await story(rt, "r")
        findings = await rt.verify()

    assert listed == [("r", "failed")]
    assert (result.trace, ran) == (["a", "b", "c"], ["a", "b", "b", "c"])
    assert after[: len(before)] == before
    assert [kind for _, kind, *_ in after[len(before) :]] == ["imported", "claimed", "finished", "finished"]
    assert findings == []
    assert files_of(here) == stored


@pytest.mark.parametrize("run_id", ["../up", "x" * 400, "A"])
async def test_any_id_comes_along(store_url: str, run_id: str) -> None:
    """Also one that no file name can hold."""
    bucket = MemoryBackend()
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id=run_id)
        await rt.export(run_id, bucket)

    async with Runtime(bucket) as rt:
        assert (await rt.run(chain("a"), Trail(), id=run_id)).trace == ["a"]
        assert [(info.id, info.status, info.node) for info in await rt.runs()] == [(run_id, "finished", "a")]


async def test_a_live_run_is_copied_as_of_its_newest_commit(store_url: str) -> None:
    """Its owner is not disturbed; whoever opens the other store goes on from what was committed."""
    bucket = MemoryBackend()
    graph, started, release = chain("a"), anyio.Event(), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        started.set()
        await release.wait()
        return {"trace": ["b"]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Trail(), id="r")
        await started.wait()
        await rt.export("r", bucket)
        release.set()
        here = await run.result()
    async with Runtime(bucket) as rt:
        before = await rt.get("r").status()
        there = await rt.run(graph, Trail(), id="r")

    assert before == "running"
    assert here.trace == there.trace == ["a", "b"]


async def test_an_orphaned_copy_is_recovered_like_any_run(store_url: str) -> None:
    """The copy is marked as unfinished: a runtime with its graph takes it up without being asked."""
    bucket = MemoryBackend()
    graph = chain("a")
    await leave_open(store_url, graph)
    async with Runtime(store_url) as rt:
        await rt.export("r", bucket)

    async with Runtime(bucket, graphs=[graph], recover="always", scan_every=0.01) as rt:
        assert (await rt.get("r").result()).trace == ["a", "b"]


async def test_a_run_that_was_migrated_keeps_every_schema_it_had(here: str | Backend, other: str | Backend) -> None:
    """Commits before the migration stay in their own schema, in files of their own."""

    class Changed(State, version=2, name="Trail"):
        m: int
        trace: list[str] = []

    @migrate(from_=1, to=2)
    def rename(old: dict[str, Any]) -> dict[str, Any]:
        return {"m": old["n"], "trace": old["trace"]}

    changed = Graph("chain", Changed, migrations=[rename])
    changed.node(lambda state: None, name="a")
    changed.node(lambda state: {"m": state.m + 1}, name="b", after="a")
    changed.node(lambda state: {"m": state.m + 1}, name="c", after="b")
    await begin(here, broken_once([]))
    async with Runtime(here) as rt:
        await (await rt.resume(changed, "r")).result()
        await rt.export("r", other)

    async with Runtime(other) as rt:
        versions = [one.version async for one in rt.get("r").views()]
        result = await rt.run(changed, None, id="r")

    assert result.m == 3
    assert set(versions) == {1, 2}
    assert versions == sorted(versions, reverse=True)


async def test_large_values_come_along(here: str | Backend, other: str | Backend) -> None:
    """What is kept beside the log is copied before the commits that refer to it."""
    big = ["x" * 2_000_000, "small"]
    async with Runtime(here) as rt:
        await rt.run(chain("a"), Trail(trace=big), id="r")
        await rt.export("r", other)

    async with Runtime(other) as rt:
        assert (await rt.run(chain("a"), None, id="r")).trace == [*big, "a"]
        assert await rt.verify() == []


async def test_without_its_history_a_run_begins_at_number_0(here: str | Backend, other: str | Backend) -> None:
    """Only the newest snapshot and what follows it is copied; the run goes on all the same."""
    graph = Graph("long", Trail)

    @graph.node(entry=True)
    async def step(state: Trail) -> Update:
        return {"trace": Overwrite([f"{state.n} " + "x" * 9000]), "n": state.n + 1}

    graph.branch(lambda state: "step" if state.n < 40 else END, after=step, to=("step", END))
    async with Runtime(here) as rt:
        result = await rt.run(graph, Trail(), id="r")
        commits = (await rt.get("r").at()).seq
        await rt.export("r", other, history=False)

    async with Runtime(other) as rt:
        told = [one.seq async for one in rt.get("r").views()]
        findings = await rt.verify()
        again = await rt.run(graph, Trail(), id="r")

    assert again == result
    assert told[-1] == 0
    assert told[0] < commits
    assert findings == []


async def test_a_taken_id_is_refused(here: str | Backend, other: str | Backend) -> None:
    """A run of the other store is never touched, not even by its own copy."""
    await begin(here, broken_once([]))
    await begin(other, broken_once([]))
    stored = files_of(other)

    async with Runtime(here) as rt:
        with pytest.raises(RunExists):
            await rt.export("r", other)

    assert files_of(other) == stored


async def test_a_run_that_is_not_there_makes_no_store(store_url: str, tmp_path: Path) -> None:
    """A misspelt id is told before anything is opened or made."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id="summer")
        with pytest.raises(NoSuchRun, match="did you mean 'summer'"):
            await rt.export("sumer", tmp_path / "other")

    assert not (tmp_path / "other").exists()


async def test_import_is_export_from_the_other_end(here: str | Backend, other: str | Backend) -> None:
    """The store that is copied from is not written to."""
    graph = broken_once([])
    before = await begin(here, graph)
    stored = files_of(here)

    async with Runtime(other) as rt:
        await rt.import_run("r", here)
        told = await story(rt, "r")

    assert told[: len(before)] == before
    assert files_of(here) == stored


async def test_a_moved_run_is_over_where_it_was(here: str | Backend, other: str | Backend) -> None:
    """It goes on in one place only: the source says where it went."""
    graph = chain("a")
    await leave_open(here, graph)
    async with Runtime(here) as rt:
        await rt.export("r", other, move=True)
        with pytest.raises(RunCancelled):
            await rt.get("r").result()

    async with Runtime(other) as rt:
        assert (await (await rt.resume(graph, "r")).result()).trace == ["a", "b"]


@pytest.mark.parametrize("takes", range(4))
async def test_a_move_that_is_cut_off_leaves_the_run_in_one_place_at_most(store_url: str, takes: int) -> None:
    """Wherever it was cut off, no two stores have the run unfinished; asked again, it is whole, and can be resumed."""
    graph, bucket = chain("a"), Stopping(takes)
    await leave_open(store_url, graph)
    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(StoreError):
            await rt.export("r", bucket, move=True)
        bucket.takes = -1
        here = await rt.get("r").status()
        there = open_store(bucket)
        copied = there.log("r").tip()
        there.close()
        await rt.export("r", bucket, move=True)
        assert await rt.get("r").status() == "cancelled"

    assert here == "cancelled" or copied is None or copied.header.status == "importing"
    async with Runtime(bucket) as rt:
        assert (await (await rt.resume(graph, "r")).result()).trace == ["a", "b"]


async def test_a_moved_run_has_ended_here_before_it_begins_there(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end here can't be recorded: then it has not come there either, or both stores would recover it."""
    graph, bucket = chain("a"), MemoryBackend()
    await leave_open(store_url, graph)

    def refused(*_: object, **__: object) -> None:
        raise StoreUnavailable(store_url, "on purpose")

    async with Runtime(store_url, recover="never") as rt:
        monkeypatch.setattr(claiming, "_commit_end", refused)
        with pytest.raises(StoreUnavailable):
            await rt.export("r", bucket, move=True)
        monkeypatch.undo()

    async with Runtime(bucket, graphs=[graph], recover="always") as rt:
        assert await rt.recover() == []
        with pytest.raises(ImportUnfinished):
            await rt.resume(graph, "r")
    async with Runtime(store_url, recover="never") as rt:
        await rt.export("r", bucket, move=True)
    async with Runtime(bucket) as rt:
        assert (await (await rt.resume(graph, "r")).result()).trace == ["a", "b"]


async def test_a_live_run_is_not_moved(store_url: str) -> None:
    """Its owner would go on: it is refused, and nothing is copied."""
    bucket = MemoryBackend()
    graph, release = chain("a"), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> None:
        await release.wait()

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Trail(), id="r")
        with pytest.raises(RunOwned):
            await rt.export("r", bucket, move=True)
        release.set()
        await run.result()

    assert not [key for key in bucket.list("") if key.startswith("runs/")]


async def test_nobody_goes_on_with_a_copy_that_was_cut_off(store_url: str) -> None:
    """Wherever it was cut off: it is refused by name, and the same call finishes it."""
    ran: list[str] = []
    graph = broken_once(ran)
    before = await begin(store_url, graph)

    for takes in range(1, len(before) + 1):
        bucket = Stopping(takes)
        async with Runtime(store_url) as rt:
            with pytest.raises(StoreError):
                await rt.export("r", bucket)
        bucket.takes = -1
        async with Runtime(bucket, restarts=ONCE) as there:
            with pytest.raises(ImportUnfinished):
                await there.resume(graph, "r")
        async with Runtime(store_url) as rt:
            await rt.export("r", bucket)
        async with Runtime(bucket, restarts=ONCE) as there:
            assert (await story(there, "r"))[: len(before)] == before
            assert (await (await there.resume(graph, "r")).result()).trace == ["a", "b", "c"]

    assert ran.count("a") == 1


async def test_planted_a_copy_that_does_not_say_so_is_gone_on_with(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: without the status that bars half a copy, a run starts over from it, and repeats what it had done."""
    ran: list[str] = []
    graph = broken_once(ran)
    await begin(store_url, graph)
    monkeypatch.setattr(actorflow.store.transfer, "IMPORTING", "running")
    bucket = Stopping(1)
    async with Runtime(store_url) as rt:
        with pytest.raises(StoreError):
            await rt.export("r", bucket)
    bucket.takes = -1

    async with Runtime(bucket, restarts=ONCE) as there:
        await (await there.resume(graph, "r")).result()

    assert ran.count("a") == 2


async def test_the_source_may_go_on_between_two_tries(store_url: str) -> None:
    """What the first try has copied stays, and the second copies what came since, too."""
    graph = broken_once([])
    await begin(store_url, graph)
    bucket = Stopping(1)
    async with Runtime(store_url) as rt:
        with pytest.raises(StoreError):
            await rt.export("r", bucket)
        await (await rt.resume(graph, "r")).result()
        bucket.takes = -1
        await rt.export("r", bucket)

    async with Runtime(bucket) as there:
        assert (await there.get("r").at()).status == "finished"
        assert await there.verify() == []
