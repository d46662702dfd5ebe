"""Archiving: a run goes whole into a store of its own, and is gone where it was, wherever the archiver dies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import actorflow.runtime.archive
from actorflow import Runtime, Update
from actorflow.errors import (
    BadRunId,
    BadStoreUrl,
    CorruptCheckpoint,
    NoSuchRun,
    RunDeleted,
    RunOwned,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from actorflow.store.memory import MemoryBackend
from tests.runtime.graphs import Trail, chain
from tests.runtime.scenes import scene
from tests.store.children import run as child

if TYPE_CHECKING:
    from actorflow.store.backend import Backend

POINTS = [
    "archive.after_claim",
    "archive.after_copy",
    "archive.after_end",
    *("delete.before_clearing", "delete.after_letters", "delete.after_blobs", "delete.after_log"),
    *("delete.after_markers", "put.before_link:2", "put.before_link:3"),
]

LARGE = "x" * 300_000

ARCHIVER = """
import anyio
from actorflow import Runtime

async def main():
    async with Runtime(url, recover="never") as rt:
        archived = await rt.archive("r")
        say(archived.archive_id, len(archived.checkpoints))

anyio.run(main)
"""


@pytest.fixture(params=["disk", "bucket"])
def here(request: pytest.FixtureRequest, store_url: str) -> str | Backend:
    """The store that a run is taken out of."""
    return store_url if request.param == "disk" else MemoryBackend()


@pytest.fixture(params=["disk", "bucket"])
def there(request: pytest.FixtureRequest, tmp_path: Path) -> str | Backend:
    """The archive."""
    return str(tmp_path / "over") if request.param == "disk" else MemoryBackend()


def logs(url: str) -> dict[str, bytes]:
    """The files of run r's log."""
    return {path.name: path.read_bytes() for path in Path(url, "runs/r/log").iterdir()}


def damage(url: str) -> dict[str, bytes]:
    """Change a byte of the run's only file; the files then."""
    (name,) = logs(url)
    data = bytearray(logs(url)[name])
    data[-40] ^= 1
    Path(url, "runs/r/log", name).write_bytes(data)
    return logs(url)


async def story(rt: Runtime, run_id: str) -> list[tuple[Any, ...]]:
    """What is told of a run, oldest first, but for claims and releases: with its states."""
    told = [
        (one.kind, one.node, one.status, one.time, one.owner, one.values)
        async for one in rt.get(run_id).views()
        if one.kind not in ("claimed", "released", "imported")
    ]
    return told[::-1]


async def test_an_archived_run_is_whole_there_and_gone_here(here: str | Backend, there: str | Backend) -> None:
    """Its history, states and large values; its id is free for a next life, which is archived beside it."""
    async with Runtime(here) as rt:
        await rt.run(chain("a", "b"), Trail(n=1, trace=[LARGE]), id="r")
        before = await story(rt, "r")

        archived = await rt.get("r").archive(there, by="me")

        assert (archived.run_id, archived.life, archived.archive_id) == ("r", 1, "r@1")
        assert [one.status for one in archived.checkpoints][-1] == "running"
        assert {one.node for one in archived.checkpoints} == {None, "a", "b"}
        assert await rt.runs() == []
        assert await rt.verify() == []
        with pytest.raises(RunDeleted):
            await rt.get("r").state()

        await (await rt.spawn(chain("a", name="other"), Trail(n=2), id="r", reuse=True)).result()
        assert (await rt.archive("r", there)).archive_id == "r@2"

    async with Runtime(there) as over:
        assert await story(over, "r@1") == before
        assert (await over.get("r@1").at(node="b")).values == {"n": 1, "trace": [LARGE, "a", "b"]}
        assert {info.id: info.status for info in await over.runs()} == {"r@1": "finished", "r@2": "finished"}
        assert [one.status async for one in over.get("r@1").history()] == [one.status for one in archived.checkpoints]
        assert await over.verify() == []


async def test_the_archive_of_a_store_is_a_folder_of_it_that_nothing_there_touches(store_url: str) -> None:
    """Listings, verify, gc and recovery of the store leave it alone; it is opened as a store of its own."""
    graph = chain("a", "b")
    async with Runtime(store_url, graphs=[graph]) as rt:
        await rt.run(graph, Trail(n=1), id="r")
        archived = await rt.archive("r")
        assert archived.url == f"{store_url}/archive"
        assert await rt.runs() == []
        assert await rt.recover() == []
        assert await rt.verify() == []
        await rt.import_run("r@1", archived.url)
        assert (await rt.resume(graph, "r@1")).id == "r@1"
        assert (await rt.get("r@1").at(node="b")).values == {"n": 1, "trace": ["a", "b"]}

    async with Runtime(f"{store_url}/archive", readonly=True) as over:
        assert [info.id for info in await over.runs()] == ["r@1"]


async def test_a_named_store_in_memory_has_an_archive_and_others_want_to_be_told(anyio_backend_name: str) -> None:
    """Where a store has no folders, nothing is guessed."""
    url = f"memory://archived-{anyio_backend_name}"
    async with Runtime(url) as rt:
        await rt.run(chain("a"), Trail(), id="r")
        await rt.archive("r")
    async with Runtime(f"{url}/archive") as over:
        assert (await over.get("r@1").status()) == "finished"

    for store in ("memory://", MemoryBackend()):
        async with Runtime(store) as rt:
            await rt.run(chain("a"), Trail(), id="r")
            with pytest.raises(BadStoreUrl, match="archive\\(to="):
                await rt.archive("r")
            assert await rt.get("r").status() == "finished"


async def test_a_run_that_lives_here_is_let_go_of_first(here: str | Backend, there: str | Backend) -> None:
    """What runs just now ends and is committed, nothing new begins; there it can be gone on with."""
    graph, begun, release = chain("a"), anyio.Event(), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        begun.set()
        await release.wait()
        return {"trace": ["b"]}

    @graph.node(after=b)
    async def c(state: Trail) -> Update:
        return {"trace": ["c"]}

    async with Runtime(here) as rt:
        run = await rt.spawn(graph, Trail(), id="r")
        await begun.wait()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.archive, there)
            await anyio.wait_all_tasks_blocked()
            release.set()
        with pytest.raises(RunDeleted):
            await run.result()

    async with Runtime(there) as over:
        assert (await over.get("r@1").at()).frontier == ("c",)
        assert (await (await over.resume(graph, "r@1")).result()).trace == ["a", "b", "c"]
        assert await over.verify() == []


async def test_a_run_that_lives_elsewhere_is_not_archived(store_url: str, anyio_backend: str) -> None:
    """It is refused by name, before the archive is made anything of."""
    with scene("hold", store_url, anyio_backend) as other:
        assert other.line() == "inside"
        async with Runtime(store_url) as rt:
            with pytest.raises(RunOwned):
                await rt.archive("x")
            assert (await rt.get("x").at()).frontier == ("wait",)
        async with Runtime(f"{store_url}/archive") as over:
            assert await over.runs() == []


async def test_what_can_not_be_archived_is_refused_and_stays(store_url: str) -> None:
    """An unknown run, one that was deleted, one with an id too long, and by a runtime that only looks."""
    long = "i" * 512
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id="gone")
        await rt.delete("gone")
        await rt.run(chain("a"), Trail(), id=long)

        with pytest.raises(NoSuchRun):
            await rt.archive("missing")
        with pytest.raises(RunDeleted):
            await rt.archive("gone")
        with pytest.raises(BadRunId):
            await rt.archive(long)
        with pytest.raises(TypeError):
            await rt.archive(long, by=7)  # type: ignore[arg-type]
        assert await rt.get(long).status() == "finished"
    async with Runtime(store_url, readonly=True) as rt:
        with pytest.raises(StoreDenied):
            await rt.archive(long)


async def test_a_damaged_run_is_not_archived(store_url: str) -> None:
    """Nothing is written after a damaged commit, and nothing of it is deleted."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id="r")
        damaged = damage(store_url)

        with pytest.raises(CorruptCheckpoint):
            await rt.archive("r")

        assert logs(store_url) == damaged


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_the_run_is_here_or_the_archive_is_whole(store_url: str, point: str) -> None:
    """And asking again finishes it: the archive is the same, and nothing is left here."""
    anyio.run(_run_one, store_url)
    before = anyio.run(_story, store_url, "r")

    status, _ = child(ARCHIVER, store_url, ACTORFLOW_CRASH=point)

    assert status < 0
    found = [anyio.run(_story, *place) for place in ((store_url, "r"), (f"{store_url}/archive", "r@1"))]
    assert before in found
    assert child(ARCHIVER, store_url)[0] == 0
    assert anyio.run(_story, f"{store_url}/archive", "r@1") == before
    assert anyio.run(_story, store_url, "r") is None
    assert anyio.run(_oddities, store_url) == []


def test_planted_deleting_before_the_copy_is_whole_is_what_the_kill_finds(store_url: str) -> None:
    """Planted: the run is deleted first, and then its copy is ended. Killed in between it is in neither."""
    anyio.run(_run_one, store_url)
    before = anyio.run(_story, store_url, "r")
    planted = """
from actorflow.runtime import archive, deletion

def copy_run(store, target, run_id, *, to_id):
    deletion.delete_run(store, run_id, by=None)
    return lambda: None

archive.copy_run, archive._verify = copy_run, lambda *_: None
archive.claim_as_is, archive.release_as_is = (lambda *_: Nothing), (lambda *_: None)

class Nothing:
    close = staticmethod(lambda: None)
"""

    status, _ = child(planted + ARCHIVER, store_url, ACTORFLOW_CRASH="archive.after_copy")

    assert status < 0
    assert before not in [anyio.run(_story, *place) for place in ((store_url, "r"), (f"{store_url}/archive", "r@1"))]


async def test_whoever_went_on_after_an_archiving_that_was_cut_off_loses_nothing(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off between the last two steps, and gone on with: the archive has the older one and, beside it, the newer."""

    def stop(*_: object, **__: object) -> None:
        raise StoreUnavailable(store_url, "on purpose")

    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id="r")
        with monkeypatch.context() as patch:
            patch.setattr(actorflow.runtime.archive, "delete_run", stop)
            with pytest.raises(StoreUnavailable):
                await rt.archive("r")
        await (await rt.resume(chain("a", "b"), "r")).result()

        archived = await rt.archive("r")

        assert archived.archive_id == "r@1.2"
    async with Runtime(f"{store_url}/archive") as over:
        assert (await over.get("r@1").at()).values["trace"] == ["a"]
        assert (await over.get("r@1.2").at()).values["trace"] == ["a", "b"]


async def test_planted_an_archive_that_is_older_than_the_run_is_taken_for_all_of_it(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: whatever lies under the name counts as archived. What came after is lost."""

    def holds_all(*_: object) -> bool:
        return True

    monkeypatch.setattr(actorflow.runtime.archive, "_holds_all", holds_all)
    with pytest.raises(AssertionError):
        await test_whoever_went_on_after_an_archiving_that_was_cut_off_loses_nothing(store_url, monkeypatch)


async def test_an_archive_that_does_not_read_back_deletes_nothing(store_url: str) -> None:
    """A store that keeps other bytes than it took is found out before anything is deleted, and the run is released."""

    class Forgetful(MemoryBackend):
        def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
            if "/blobs/" in key:
                data = data[:-1] + bytes([data[-1] ^ 1])
            return super().put_new(key, data, durable=durable)

    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(trace=[LARGE]), id="r")

        with pytest.raises(CorruptCheckpoint):
            await rt.archive("r", Forgetful())

        assert (await rt.get("r").at()).kind == "released"
        assert (await rt.get("r").state()).trace == [LARGE, "a"]  # type: ignore[attr-defined]
        assert await rt.verify() == []


async def test_an_archive_that_fails_at_any_write_leaves_the_run_to_be_gone_on_with(store_url: str) -> None:
    """And the same call finishes it, whatever was there already."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a", "b"), Trail(trace=[LARGE]), id="r")
        before = await story(rt, "r")
        bucket, takes = Failing(), 0
        for takes in range(40):
            bucket.takes = takes
            try:
                await rt.archive("r", bucket)
            except StoreError:
                assert await story(rt, "r") == before
            else:
                break

    bucket.takes = -1
    async with Runtime(bucket) as over:
        assert takes > 3
        assert await story(over, "r@1") == before


class Failing(MemoryBackend):
    """Takes so many writes, and then none."""

    takes = -1

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        if self.takes == 0:
            raise StoreFull(key, "on purpose")
        self.takes -= 1
        return super().put_new(key, data, durable=durable)


async def _run_one(url: str) -> None:
    async with Runtime(url) as rt:
        await rt.run(chain("a", "b"), Trail(n=1, trace=[LARGE]), id="r")


async def _story(url: str, run_id: str) -> list[tuple[Any, ...]] | None:
    """What is told of a run that is whole; None if there is none."""
    try:
        async with Runtime(url, readonly=True) as rt:
            return await story(rt, run_id) if await rt.get(run_id).status() == "finished" else None
    except (NoSuchRun, RunDeleted, StoreError):
        return None


async def _oddities(url: str) -> list[str]:
    async with Runtime(url, readonly=True) as rt:
        return [finding.what for finding in await rt.verify()]
