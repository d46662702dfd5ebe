"""Pictures of runs: what is done, open, waiting, failed and skipped, told from what is on disk.

Planted in `runtime/picture.py`, each seen to fail here: what a rewind took back counts; a history that retention cut
short counts as whole; a failure that another node handled counts as done; items count beside the owner of their
fan-out; what goes on inside does not count for the nodes around it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import anyio
import pytest

from actorflow import Context, Graph, Retention, Runtime, State, Update, errors, extend
from actorflow.graph.progress import Tally

if TYPE_CHECKING:
    from actorflow.graph.progress import Progress


class Report(State, version=1):
    """The state of these graphs."""

    pages: list[str] = []
    sizes: list[int] = []
    said: Annotated[list[str], extend] = []
    rounds: int = 0


def report() -> Graph[Report]:
    """Two pages are measured; a graph inside reads twice; a question; one of two ends."""
    reading = Graph("reading", Report)

    @reading.node(entry=True)
    async def read(state: Report) -> Update:
        return {"rounds": state.rounds + 1}

    @reading.branch(after=read, to=(read, "close"))
    def again(state: Report) -> str:
        return "read" if state.rounds < 2 else "close"

    @reading.node
    async def close(state: Report) -> None:
        pass

    graph = Graph("report", Report)

    @graph.node
    async def load(state: Report) -> Update:
        return {"pages": ["a", "bb"]}

    async def measure(page: str) -> int:
        return len(page)

    graph.map(measure, over="pages", into="sizes", after=load)
    graph.subgraph(reading, after="measure", enter=[], leave=[])

    @graph.node(after="reading")
    async def ask(state: Report, ctx: Context) -> Update:
        return {"said": [await ctx.interrupt("Print it?", type=str)]}

    @graph.branch(after=ask)
    def verdict(state: Report) -> Literal["print", "burn"]:
        return "print" if state.said[-1] == "yes" else "burn"

    @graph.node(name="print")
    async def print_(state: Report) -> None:
        pass

    @graph.node
    async def burn(state: Report) -> None:
        pass

    return graph


def marks(progress: Progress, graph: Graph[Report]) -> dict[str, str | None]:
    """What a picture says of each node."""
    return {name: progress.mark((name,)) for name in graph.plan.nodes}


async def test_a_run_that_waits_shows_where(store_url: str) -> None:
    """What was done counts, also inside; what asks waits; what comes later is not reached yet."""
    graph = report()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(), id="r")
        await run.wait()

        progress = await run.progress()

    assert progress.status == "waiting"
    assert progress.nodes == {
        ("load",): Tally(done=1),
        ("measure",): Tally(done=1),
        ("reading",): Tally(done=1),
        ("reading", "read"): Tally(done=2),
        ("reading", "close"): Tally(done=1),
        ("ask",): Tally(waiting=1),
    }
    assert progress.mark(("burn",)) is None


async def test_a_run_that_is_over_shows_what_was_skipped(store_url: str) -> None:
    """Told by a process that only reads, from the files; the picture is that of the graph with it."""
    graph = report()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(), id="r")
        await run.wait()
        await run.answer("yes")
        await run.result()

    async with Runtime(store_url, readonly=True) as rt:
        rt.register(graph)
        run = rt.get("r")
        progress, svg, text = await run.progress(), await run.picture(), await run.picture("text", expand=False)

    assert marks(progress, graph)["burn"] == "skipped"
    assert marks(progress, graph)["print"] == "done"
    assert svg == graph.svg(run=progress)
    assert "  burn  [skipped]\n" in text


async def test_a_failed_run_shows_where_also_around(store_url: str) -> None:
    """The node that failed, and the nodes that it is inside of; what might still come is not skipped."""
    inner, graph = Graph("inner", Report), Graph("outer", Report)

    @inner.node
    async def fine(state: Report) -> None:
        pass

    @inner.node(after=fine)
    async def breaks(state: Report) -> None:
        raise ValueError("on purpose")

    graph.map(inner, over="pages", name="each", enter=lambda item, state: Report())

    @graph.node(after="each")
    async def later(state: Report) -> None:
        pass

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(pages=["a"]), id="r")
        with pytest.raises(errors.RunFailed):
            await run.result()

        progress = await run.progress()

    assert progress.nodes == {
        ("each",): Tally(failed=1, total=1),
        ("each", "fine"): Tally(done=1),
        ("each", "breaks"): Tally(failed=1),
    }
    assert progress.mark(("later",)) is None


async def test_an_open_fan_out_shows_how_many_items_are_done(store_url: str) -> None:
    """While the second one goes on the first is done; the node is open."""
    graph = Graph("g", Report)
    goes_on, may_end = anyio.Event(), anyio.Event()

    async def measure(page: str) -> int:
        if page == "b":
            goes_on.set()
            await may_end.wait()
        return 1

    graph.map(measure, over="pages", into="sizes", limit=1)

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(pages=["a", "b", "c"]), id="r")
        await goes_on.wait()
        progress = await run.progress()  # the second item is begun when the first one is committed
        may_end.set()
        await run.result()

    assert progress.nodes == {("measure",): Tally(open=1, items=1, total=3)}


async def test_what_a_rewind_took_back_is_not_done(store_url: str) -> None:
    """After going back to before the answer, the same nodes are done as then, and none twice."""
    graph = report()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(), id="r")
        await run.wait()
        before, seq = await run.progress(), (await run.at()).seq
        await run.answer("no")
        await run.result()
        burnt = await run.progress()

        await run.rewind(seq)
        await run.wait()
        after = await run.progress()

    assert burnt.mark(("burn",)) == "done"
    assert after.nodes == before.nodes


async def test_what_another_node_handled_has_failed(store_url: str) -> None:
    """The node that failed is not done, and its handler is."""
    graph = Graph("g", Report)

    @graph.node(entry=True, on_error="mend")
    async def breaks(state: Report) -> None:
        raise ValueError("on purpose")

    @graph.node
    async def mend(state: Report) -> None:
        pass

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, Report(), id="r")
        await run.result()

        progress = await run.progress()

    assert progress.nodes == {("breaks",): Tally(failed=1), ("mend",): Tally(done=1)}


async def test_what_retention_let_go_of_is_not_called_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows any more whether those nodes ran; what is left of the history is told."""
    graph = Graph("g", Report)
    for index in range(60):
        graph.node(lambda state: {"pages": ["x" * 300]}, name=f"n{index}", after=f"n{index - 1}" if index else None)
    monkeypatch.setattr("actorflow.runtime.pending.SNAPSHOT_FLOOR", 2_000)
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, Report(), id="r")
        await run.result()
        whole = await run.progress()
        await rt.gc(Retention(last=1))

        kept = await run.progress()

    assert len(whole.nodes) == 60
    assert whole.over
    assert 0 < len(kept.nodes) < 60
    assert kept.mark(("n0",)) is None


async def test_the_graph_must_be_known(store_url: str) -> None:
    """A run of another graph is not drawn into this one; the message names the one that is needed."""
    async with Runtime(store_url) as rt:
        await (await rt.spawn(report(), Report(), id="r")).wait()
    async with Runtime(store_url, readonly=True) as rt:
        with pytest.raises(errors.RunError, match="'report', is not registered"):
            await rt.get("r").picture()
        with pytest.raises(errors.NoSuchRun):
            await rt.get("other").picture()
