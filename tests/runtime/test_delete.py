"""Deleting a run, as its user sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest
from msgspec import structs

from actorflow import Runtime
from actorflow.engine.records import Body, encode_body
from actorflow.errors import CheckpointGone, NoSuchRun, RunDeleted, RunOwned
from actorflow.store.frames import Draft
from actorflow.store.store import open_store
from tests.runtime.graphs import Trail, chain
from tests.runtime.scenes import waiting

if TYPE_CHECKING:
    from actorflow.store.frames import FilePart, Header, Kind
    from actorflow.store.log import Tip


@pytest.fixture(params=["memory://", ""], ids=["memory", "disk"])
def any_url(request: pytest.FixtureRequest, store_url: str) -> str:
    """A place for a store of each kind."""
    return str(request.param or store_url)


async def test_a_deleted_run_is_gone_for_everybody(any_url: str) -> None:
    """Whatever is asked about it says so by name."""
    graph = chain("first", "last")
    async with Runtime(any_url) as runtime:
        await runtime.run(graph, Trail(n=1), id="a")
        run = runtime.get("a")

        await run.delete(by="me")

        for ask in (
            run.status,
            run.state,
            run.at,
            run.cancel,
            run.result,
            lambda: runtime.run(graph, Trail(n=1), id="a"),
            lambda: runtime.spawn(graph, id="a"),
            lambda: runtime.spawn(graph, id="a", on_conflict="attach"),
            lambda: runtime.resume(graph, "a"),
            lambda: runtime.preview(graph, "a"),
        ):
            with pytest.raises(RunDeleted):
                await ask()
        assert await runtime.runs() == []
        assert await runtime.recover() == []
        assert await runtime.verify() == []
        with pytest.raises(NoSuchRun):
            await runtime.delete("b")


async def test_its_id_may_be_used_again(any_url: str) -> None:
    """If asked by name: the new life knows nothing of the old one, and is resumed and listed like any run."""
    graph, other = chain("first", "last"), chain("only", name="other")
    async with Runtime(any_url) as runtime:
        await runtime.run(graph, Trail(n=1), id="a")
        await runtime.delete("a")

        run = await runtime.spawn(other, Trail(n=2), id="a", reuse=True)

        assert (await run.result()).trace == ["only"]
        history = [one async for one in run.views()]
        assert [one.node for one in history] == ["only", None]
        assert (await runtime.run(other, Trail(n=2), id="a")).n == 2
        assert [(info.id, info.graph) for info in await runtime.runs()] == [("a", "other")]
        with pytest.raises(CheckpointGone, match="let go of"):
            await run.at(0)
        await run.delete()
        with pytest.raises(RunDeleted):
            await run.status()


async def test_without_a_deleted_run_reuse_changes_nothing(any_url: str) -> None:
    """It spawns like any spawn."""
    async with Runtime(any_url) as runtime:
        run = await runtime.spawn(chain("only"), id="a", reuse=True)

        assert (await run.result()).trace == ["only"]


async def test_a_new_life_survives_its_process(store_url: str) -> None:
    """It is recovered under its own graph, from its own beginning."""
    async with Runtime(store_url) as runtime:
        await runtime.run(chain("x"), Trail(), id="a")
        await runtime.delete("a")
    with anyio.CancelScope() as leaving:
        async with Runtime(store_url) as runtime:
            await runtime.spawn(waiting(leaving.cancel), Trail(n=3), id="a", reuse=True)
            await anyio.sleep_forever()

    async with Runtime(store_url) as runtime:
        result = await (await runtime.resume(chain("first", "wait", name="waiting"), "a")).result()

    assert (result.n, result.trace) == (3, ["first", "wait"])


async def test_a_run_that_lives_here_is_cancelled_first(any_url: str) -> None:
    """Its node ends before its files go."""
    inside = anyio.Event()
    async with Runtime(any_url) as runtime:
        run = await runtime.spawn(waiting(inside.set), id="a")
        await inside.wait()

        await run.delete()

        with pytest.raises(RunDeleted):
            await run.status()


async def test_a_run_that_lives_elsewhere_is_not_deleted(store_url: str) -> None:
    """Another runtime owns it; it goes on."""
    async with Runtime(store_url) as owner, Runtime(store_url, recover="never") as other:
        run = await owner.spawn(waiting(), id="a")

        with pytest.raises(RunOwned):
            await other.delete("a")

        assert await run.status() == "running"
        await run.cancel()


async def test_large_values_go_with_it(any_url: str) -> None:
    """No blob is left, and the next life may have its own."""
    graph = chain("only")
    async with Runtime(any_url) as runtime:
        await runtime.run(graph, Trail(trace=["x" * 1_000_000]), id="a")
        store = runtime._open().store
        assert len(store.blobs("a").names()) == 1

        await runtime.delete("a")
        assert store.blobs("a").names() == []

        run = await runtime.spawn(graph, Trail(trace=["y" * 1_000_000]), id="a", reuse=True)
        assert (await run.result()).trace == ["y" * 1_000_000, "only"]
        assert len((await runtime.get("a").state()).trace) == 2


async def test_marks_in_a_header_are_carried_on(store_url: str) -> None:
    """By claims, by commits, by the end: what a tombstone kept of its life is there in the next, and stays."""
    async with Runtime(store_url) as rt:
        await (await rt.spawn(chain("a"), id="r")).result()
    store = open_store(store_url)
    owned = store.log("r").claim(_marked, actor=b"a" * 16)
    owned.commit(_draft_after(owned.header, owned.file, kind="release"))
    owned.close()
    store.close()
    async with Runtime(store_url) as rt:
        await (await rt.resume(chain("a", "b", "c"), "r")).result()

    frames = open_store(store_url, readonly=True).log("r").read(first=0)
    later = [frame.header for frame in frames if frame.header.epoch > 1]
    assert {header.kind for header in later} == {"claim", "commit", "release"}
    assert {header.marks for header in later} == {b"marks"}


def _marked(tip: Tip | None) -> Draft:
    assert tip is not None
    header = structs.replace(tip.header, marks=b"marks")
    return _draft_after(header, tip.file, kind="claim", epoch=header.epoch + 1)


def _draft_after(header: Header, file: FilePart, *, kind: Kind, epoch: int | None = None) -> Draft:
    return Draft(
        kind=kind,
        epoch=epoch or header.epoch,
        status=header.status,
        opening=header.opening,
        crashes=0,
        file=file,
        body=encode_body(Body(())),
        node=header.node,
        tags=header.tags,
        marks=b"marks",
    )
