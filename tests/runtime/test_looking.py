"""Looking at a store without changing it: a readonly Runtime, and a preview of what resuming would do."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from actorflow import Graph, Runtime, State, Update, migrate
from actorflow.errors import Blocked, NoSuchRun, RunFailed, StoreDenied, StoreError, WrongGraph
from tests.runtime.graphs import Trail, add, chain, counter


def files_of(store_url: str) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    return {str(path): path.read_bytes() for path in Path(store_url).rglob("*") if path.is_file()}


async def test_a_readonly_runtime_reads_and_leaves_every_file_as_it_is(store_url: str) -> None:
    """Listing, reading, verifying and previewing write nothing, not even a lock."""
    graph = chain("a", "b")
    async with Runtime(store_url) as rt:
        await rt.run(graph, Trail(n=1), id="r")
    before = files_of(store_url)

    async with Runtime(store_url, readonly=True, graphs=[graph]) as rt:
        listed = [info.id for info in await rt.runs()]
        trace = (await rt.get("r").state()).trace
        findings = await rt.verify()
        during = files_of(store_url)

    assert (listed, trace, findings) == (["r"], ["a", "b"], [])
    assert during == before
    assert files_of(store_url) == before


async def test_a_readonly_runtime_refuses_to_begin_resume_or_cancel(store_url: str) -> None:
    """What would write is refused before anything is written."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(), id="over")
    before = files_of(store_url)
    grown = chain("a", "b")

    async with Runtime(store_url, readonly=True) as rt:
        with pytest.raises(StoreDenied, match="readonly"):
            await rt.spawn(grown, Trail(), id="new")
        with pytest.raises(StoreDenied, match="readonly"):
            await rt.resume(grown, "over")
        with pytest.raises(StoreDenied, match="readonly"):
            await rt.get("over").cancel()

    assert files_of(store_url) == before


async def test_a_readonly_runtime_makes_no_store(store_url: str) -> None:
    """Where no store is, there is none afterwards."""
    with pytest.raises(StoreError):
        async with Runtime(store_url, readonly=True):
            pass

    assert files_of(store_url) == {}


async def test_preview_of_a_failed_run_names_the_node_that_failed(store_url: str) -> None:
    """A resumed run begins with what is open."""
    graph = chain("a")

    @graph.node(after="a")
    async def broken(state: Trail) -> Update:
        return {"n": "no number"}

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="r")

        assert await rt.preview(graph, "r") == ("broken",)
        assert await rt.get("r").status() == "failed"


async def test_preview_of_a_finished_run_names_the_nodes_that_the_graph_grew_by(store_url: str) -> None:
    """Only what is new and reachable would run; under the same graph nothing would."""
    graph, grown = chain("a", "b"), chain("a", "b")
    add(grown, "c", after="b")
    add(grown, "d", after="c")
    async with Runtime(store_url) as rt:
        await rt.run(graph, Trail(), id="r")

        assert await rt.preview(graph, "r") == ()
        assert await rt.preview(grown, "r") == ("c",)


async def test_preview_says_why_this_code_could_not_go_on(store_url: str) -> None:
    """A missing migration, another graph and a missing run are told apart; with a migration all is well."""

    class Changed(State, version=2, name="Trail"):
        m: int

    changed = Graph("chain", Changed)
    changed.node(lambda state: None, name="a")
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), Trail(n=1), id="r")

        with pytest.raises(Blocked, match="no migration"):
            await rt.preview(changed, "r")
        with pytest.raises(WrongGraph):
            await rt.preview(chain("a", name="other"), "r")
        with pytest.raises(NoSuchRun):
            await rt.preview(changed, "missing")

        @migrate(from_=1, to=2)
        def rename(old: dict[str, object]) -> dict[str, object]:
            return {"m": old["n"]}

        mended = Graph("chain", Changed, migrations=[rename])
        mended.node(lambda state: None, name="a")
        assert await rt.preview(mended, "r") == ()


async def test_history_names_the_fields_that_a_node_in_front_of_a_branch_wrote(store_url: str) -> None:
    """A node's update and where its token goes are two records of one commit, and one checkpoint."""
    async with Runtime(store_url) as rt:
        await rt.run(counter(2), Trail(), id="r")

        history = [checkpoint async for checkpoint in rt.get("r").views()]

    assert [(one.node, tuple(one.writes)) for one in history] == [("step", ("n",)), ("step", ("n",)), (None, ())]


async def test_history_shows_the_error_of_a_commit_in_which_another_node_finished(store_url: str) -> None:
    """A checkpoint that says failed also says why, whichever node it stands for."""
    graph = Graph("pair", Trail)
    both = anyio.Event()

    @graph.node(entry=True)
    async def good(state: Trail) -> Update:
        await both.wait()
        return {"trace": ["good"]}

    @graph.node(entry=True)
    async def bad(state: Trail) -> Update:
        both.set()
        return {"n": "no number"}

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, Trail(), id="r")

        newest = await rt.get("r").at()

    assert newest.status == "failed"
    assert newest.error is not None
    assert newest.error.type == "BadUpdate"
