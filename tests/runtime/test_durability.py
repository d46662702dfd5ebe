"""What sync, async and exit commit and when; snapshots and the files they begin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pytest

from actorflow import END, Graph, Runtime, State, Update, extend
from tests.runtime.graphs import Trail, chain, counter

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.runtime.options import Durability


async def commits(rt: Runtime, run_id: str) -> int:
    """How many commits a run took."""
    return (await rt.tip(run_id)).header.seq + 1


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_every_mode_comes_to_the_same_state_and_history(store_url: str, durability: Durability) -> None:
    """Durability relaxes when a successor may start, never what happens."""
    async with Runtime(store_url) as rt:
        handle = await rt.spawn(counter(20), Trail(), id="x", durability=durability)
        assert (await handle.result()).n == 20
        nodes = [one.node async for one in handle.views() if one.kind == "finished"]

        assert nodes == ["step"] * 20
        assert await handle.status() == "finished"


async def test_sync_commits_each_activation_and_exit_only_the_end(store_url: str) -> None:
    """A chain of twenty: twenty-one commits, or two."""
    async with Runtime(store_url) as rt:
        for durability in ("sync", "exit"):
            await (await rt.spawn(counter(20), Trail(), id=durability, durability=durability)).result()

        assert await commits(rt, "sync") == 21
        assert await commits(rt, "exit") == 2


async def test_branches_that_finish_together_share_commits(store_url: str) -> None:
    """A fan-out of forty quick branches costs a few commits, not forty."""
    graph = chain("start", name="wide")
    names = [f"b{index}" for index in range(40)]
    for name in names:

        async def branch(state: Trail) -> Update:
            return {"trace": ["b"]}

        graph.node(branch, name=name, after="start")

    @graph.node(after=names)
    async def join(state: Trail) -> Update:
        return {"n": len(state.trace)}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Trail(), id="x")).n == 41
        assert await commits(rt, "x") <= 6


async def test_exit_loses_only_what_nothing_outside_was_told_of(store_url: str) -> None:
    """Leaving by an exception releases the run, and with it all that was waiting."""
    graph = counter(10)
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.spawn(graph, Trail(), id="x", durability="exit")
            raise ZeroDivisionError
    async with Runtime(store_url) as rt:
        assert (await rt.run(graph, Trail(), id="x")).n == 10
        nodes = [one.node async for one in rt.get("x").views() if one.kind == "finished"]
    assert len(nodes) == 10


class Log(State):
    """A list that grows."""

    n: int = 0
    lines: Annotated[list[str], extend] = []
    big: str = ""


def grower(limit: int, *, overwrite: bool = False) -> Graph[Log]:
    """Adds a line of 1 kB per activation, or overwrites a field of 4 kB."""
    graph = Graph("grower", Log)

    @graph.node(entry=True)
    async def grow(state: Log) -> Update:
        if overwrite:
            return {"n": state.n + 1, "big": str(state.n % 10) * 4096}
        return {"n": state.n + 1, "lines": ["x" * 1024]}

    graph.branch(lambda state: "grow" if state.n < limit else END, after=grow, to=("grow", END))
    return graph


def log_files(store: str) -> list[Path]:
    """The checkpoint files of the only run."""
    from pathlib import Path

    return sorted(Path(store).glob("runs/*/log/*.ckpt"))


async def test_a_growing_list_is_stored_once_not_once_a_commit(store_url: str) -> None:
    """A commit costs what changed: the files stay within 1.5 times the data."""
    async with Runtime(store_url) as rt:
        await rt.run(grower(200), Log(), id="x")

    assert sum(file.stat().st_size for file in log_files(store_url)) < 1.5 * 200 * 1024


async def test_a_snapshot_is_taken_when_records_outgrow_it_and_begins_a_file(store_url: str) -> None:
    """Overwriting one field again and again: recovery reads a few times the state, not all of history."""
    async with Runtime(store_url) as rt:
        await rt.run(grower(100, overwrite=True), Log(), id="x")
        files = log_files(store_url)
        frames = await rt.read("x")

        assert len(files) > 2  # a snapshot begins a file
        assert sum(frame.size for frame in frames) < 100 * 1024  # of 400 kB written
        assert (await rt.get("x").state()).n == 100
        assert len([one async for one in rt.get("x").views()]) == 101


async def test_a_run_goes_on_from_its_snapshot(store_url: str) -> None:
    """What was committed before the snapshot is not read, and nothing is lost."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.spawn(grower(60, overwrite=True), Log(), id="x")
            while (await rt.tip("x")).header.snapshot == 0:
                pass
            raise ZeroDivisionError
    async with Runtime(store_url) as rt:
        final = await rt.run(grower(60, overwrite=True), Log(), id="x")

    assert final.n == 60
