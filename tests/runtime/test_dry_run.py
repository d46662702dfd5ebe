"""A dry run says what a deploy would do with each run, and changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest
from msgspec import defstruct

import actorflow.runtime.dryrun
from actorflow import Graph, RestartPolicy, Runtime, State, Update, Verdict, migrate
from actorflow.errors import GraphError, RunFailed
from tests.runtime.graphs import Trail, chain

OldLeg = defstruct("Leg", [("to", str)])
NewLeg = defstruct("Leg", [("where", str)])


def files_of(store_url: str) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    return {str(path): path.read_bytes() for path in Path(store_url).rglob("*") if path.is_file()}


def spoil(store_url: str, run_id: str) -> None:
    """Change one byte of a run's newest file."""
    file = max(Path(store_url).glob(f"runs/{run_id}/log/*.ckpt"))
    data = bytearray(file.read_bytes())
    data[60] ^= 1
    file.write_bytes(data)


async def three_runs(store_url: str) -> None:
    """One that was let go of, one that failed, one that finished; and one of another graph."""
    graph, begun = chain("a"), anyio.Event()

    @graph.node(after="a")
    async def b(state: Trail) -> Update:
        if state.n == 1:
            raise ValueError
        if state.n == 2:
            begun.set()
            await anyio.sleep_forever()
        return {"trace": ["b"]}

    with anyio.CancelScope() as scope:
        async with Runtime(store_url, restarts=RestartPolicy(max_restarts=0)) as rt:
            await rt.run(graph, Trail(n=0), id="finished")
            with pytest.raises(RunFailed):
                await rt.run(graph, Trail(n=1), id="failed")
            await rt.run(chain("z", name="other"), Trail(), id="other")
            await rt.spawn(graph, Trail(n=2), id="open")
            await begun.wait()
            scope.cancel()
            await anyio.sleep_forever()


async def asked(store_url: str, graph: Graph[Any], *, ended: bool = True) -> dict[str, Verdict]:
    """The verdicts by run."""
    async with Runtime(store_url, readonly=True) as rt:
        return {one.run: one for one in await rt.dry_run(graph, ended=ended)}


def graph_of(state_type: type[State], *nodes: str, **options: Any) -> Graph[Any]:
    """A graph of the same name over another State."""
    graph = Graph("chain", state_type, **options)
    before: str | None = None
    for name in nodes:
        graph.node(lambda state: None, name=name, after=before)
        before = name
    return graph


async def test_the_same_code_goes_on_with_what_is_unfinished(store_url: str) -> None:
    """Ended runs are asked about only on demand, those of other graphs never; nothing is written."""
    await three_runs(store_url)
    before = files_of(store_url)

    unfinished = await asked(store_url, chain("a", "b"), ended=False)
    every = await asked(store_url, chain("a", "b"))

    assert {run: (one.verdict, one.starts) for run, one in unfinished.items()} == {"open": ("ready", ("b",))}
    assert {run: one.verdict for run, one in every.items()} == {"open": "ready", "failed": "ready", "finished": "over"}
    assert files_of(store_url) == before


async def test_what_would_migrate_is_told_with_both_versions(store_url: str) -> None:
    """And what can't, with the reason."""

    class Second(State, version=2, name="Trail"):
        m: int

    @migrate(from_=1, to=2)
    def rename(old: dict[str, Any]) -> dict[str, Any]:
        return {"m": old["n"]}

    await three_runs(store_url)

    good = await asked(store_url, graph_of(Second, "a", "b", migrations=[rename]))
    bad = await asked(store_url, graph_of(Second, "a", "b"))

    assert {one.migrates for one in good.values()} == {(1, 2)}
    assert {one.verdict for one in good.values()} == {"ready", "over"}
    assert {one.verdict for one in bad.values()} == {"blocked"}
    assert all("no migration" in (one.reason or "") for one in bad.values())


async def test_a_node_that_is_gone_blocks_the_runs_that_wait_for_it(store_url: str) -> None:
    """The node is named, and so is what to do."""
    await three_runs(store_url)

    found = await asked(store_url, chain("a", "c"))

    assert (found["open"].verdict, found["failed"].verdict) == ("blocked", "blocked")
    assert "'b'" in (found["open"].reason or "")


async def test_a_state_that_no_node_could_be_given_blocks_the_run(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A type inside a field changed and the version did not: the field table does not show it, loading does.

    Planted: without the load the run would be called ready.
    """

    class Before(State, version=1, name="Trip"):
        legs: list[OldLeg] = []

    class After(State, version=1, name="Trip"):
        legs: list[NewLeg] = []

    async with Runtime(store_url) as rt:
        await rt.run(graph_of(Before, "a"), Before(legs=[OldLeg("sea")]), id="r")

    grown = graph_of(After, "a", "b")
    found = await asked(store_url, grown)
    monkeypatch.setattr(actorflow.runtime.dryrun, "problem_of", lambda graph, run: None)
    planted = await asked(store_url, grown)

    assert (found["r"].verdict, planted["r"].verdict) == ("blocked", "ready")
    assert "where" in (found["r"].reason or "")


async def test_a_damaged_run_is_told_and_the_others_too(store_url: str) -> None:
    """One bad run hides nothing."""
    await three_runs(store_url)
    spoil(store_url, "open")

    found = await asked(store_url, chain("a", "b"))

    assert found["open"].verdict == "corrupt"
    assert found["failed"].verdict == "ready"


async def test_a_graph_that_can_not_run_is_refused(store_url: str) -> None:
    """Before any run is read."""
    async with Runtime(store_url) as rt:
        with pytest.raises(GraphError):
            await rt.dry_run(Graph("empty", Trail))
