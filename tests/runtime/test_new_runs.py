"""New runs: how often is looked for one that is not there, who was slower, and what a life keeps of its beginning."""

from __future__ import annotations

import gc
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Graph, Runtime, State, Update
from actorflow.engine.decision import Decision
from actorflow.engine.spawn import spawn
from actorflow.errors import RunExists
from actorflow.runtime.beginning import _Start
from actorflow.runtime.claiming import creating_run
from actorflow.store.backend import whole
from actorflow.store.keys import RUNS
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import ObservedBackend
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from actorflow.store.observing import Call
    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store


class Sum(State, version=1):
    """What is counted."""

    n: int = 0


def adding() -> Graph[Sum]:
    """A graph of one node."""
    graph = Graph("adding", Sum)

    @graph.node
    async def add(state: Sum) -> Update:
        return {"n": state.n + 1}

    return graph


class Counting(ObservedBackend):
    """A bucket that counts the calls about the logs of runs."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.calls = Counter[str]()

    def saw(self, call: Call) -> None:
        """Count it."""
        if call.key.startswith(RUNS):
            self.calls[call.kind] += 1


async def test_on_a_bucket_a_run_begins_after_one_look_or_none() -> None:
    """Who names a run looks whether it is there; nobody has an id that was made up just now."""
    bucket = Counting()
    async with Runtime(bucket, recover="never") as rt:
        bucket.calls.clear()
        await rt.run(adding(), id="named")
        assert bucket.calls == {"list": 1, "put_new": 2}
        bucket.calls.clear()

        await rt.run(adding())

    assert bucket.calls == {"put_new": 2}


async def test_a_life_keeps_nothing_of_how_it_began() -> None:
    """What was asked for, with the decision to spawn it, is gone when it lives: there may be thousands."""
    began, gate = anyio.Event(), anyio.Event()
    graph = Graph("waiting", Sum)

    @graph.node
    async def wait(state: Sum) -> Update:
        began.set()
        await gate.wait()
        return {"n": state.n + 1}

    async with Runtime(MemoryBackend()) as rt:
        run = await rt.spawn(graph)
        await began.wait()
        # of other tests some may be kept, by the report of one that failed
        kept: list[Any] = [one for one in gc.get_objects() if isinstance(one, _Start) and one.run_id == run.id]
        kept += [one for one in gc.get_objects() if isinstance(one, Decision) and one.run.run_id == run.id]
        gate.set()

    assert kept == []


@pytest.mark.parametrize("place", ["disk", "bucket"])
def test_whoever_did_not_look_and_was_slower_is_told_that_the_run_exists(place: str, tmp_path: Path) -> None:
    """It is the commit that says who was first. The other one's run lives, and is as it was."""
    url = str(tmp_path) if place == "disk" else MemoryBackend()
    first, second = open_store(url), open_store(url)
    ours = begin(first, 1)

    with pytest.raises(RunExists):
        begin(second, 2)

    tip = second.log("x").tip()
    assert tip is not None
    assert tip.header == ours.header
    first.close()
    second.close()


def begin(store: Store, n: int) -> Ownership:
    """Begin run x, without a look."""
    graph = adding()
    decision = spawn(graph.plan, Sum(n=n), run_id="x", life=1, durability="sync")
    return whole(creating_run(store, graph, "x", decision, {}, looked=True)).ownership
