"""Limits of a graph, as they are met: the run fails with an error that names the limit, and its history is whole."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any
from weakref import WeakSet

import anyio
import anyio.lowlevel
import pytest

from actorflow import END, Graph, RestartPolicy, Retry, Runtime, Send, State, Update, extend, migrate
from actorflow.errors import GraphError, RunFailed, StateTooLarge, TooDeep, TooManyActivations, TooManyItems
from tests.runtime.graphs import Trail

MANY = RestartPolicy(max_restarts=5, backoff=0.0)


async def cause(graph: Graph[Any], state: State, url: str = "memory://") -> BaseException | None:
    """What a run fails with in the end."""
    async with Runtime(url, restarts=MANY) as rt:
        with pytest.raises(RunFailed) as failed:
            await rt.run(graph, state, id="x")
    return failed.value.__cause__


def filling(calls: list[int], **options: Any) -> Graph[Trail]:
    """A loop in which each round adds 100 bytes."""
    graph = Graph("filling", Trail, **options)

    @graph.node(entry=True)
    async def fill(state: Trail) -> Update:
        calls.append(len(state.trace))
        return {"trace": ["x" * 98]}

    graph.branch(lambda state: END if len(state.trace) == 20 else "fill", after=fill, to=("fill", END))
    return graph


async def test_a_state_that_gets_too_large_fails_its_run(store_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning before; after a restart of the process, too, and not again for the same fifth."""
    calls: list[int] = []

    error = await cause(filling(calls, max_state=1000), Trail(), store_url)

    assert isinstance(error, StateTooLarge)
    assert len(calls) == 10
    warnings = [record.getMessage() for record in caplog.records if "max_state allows" in record.getMessage()]
    assert len(warnings) == 1
    assert "run 'x'" in warnings[0]

    async with Runtime(store_url) as rt:
        result = await rt.run(filling(calls, max_state=10_000), Trail(), id="x")
    assert len(result.trace) == 20


async def test_a_handler_may_make_something_smaller_of_it() -> None:
    """It is an error of the node like any other, for `on_error` and for `Retry`."""
    attempts: list[int] = []
    graph = Graph("g", Trail, max_state=1000)

    @graph.node(retry=Retry(attempts=2, backoff=0.0), on_error=lambda state, error: {"trace": [error.type_name]})
    async def large(state: Trail) -> Update:
        attempts.append(1)
        return {"trace": ["x" * 2000]}

    async with Runtime("memory://") as rt:
        assert (await rt.run(graph, Trail())).trace == ["StateTooLarge"]
    assert attempts == [1, 1]


async def test_each_graph_limits_its_own_state() -> None:
    """One inside another has a limit of its own, and what it hands up counts outside."""
    inner = Graph("inner", Trail, max_state=1000)

    @inner.node
    async def fits(state: Trail) -> Update:
        return {"trace": ["x" * 900]}

    for limit, fails in ((2000, False), (500, True)):
        outer = Graph("outer", Trail, max_state=limit)
        outer.subgraph(inner, name="sub")
        if fails:
            error = await cause(outer, Trail())
            assert isinstance(error, StateTooLarge)
            assert error.node == "sub"
        else:
            async with Runtime("memory://") as rt:
                assert len((await rt.run(outer, Trail())).trace) == 1


async def test_a_state_that_was_migrated_is_measured_anew(store_url: str) -> None:
    """What its new schema has made of it may be larger, or smaller."""

    class Text1(State, name="Text", version=1):
        """As it was."""

        text: str = ""

    @migrate(from_=1, to=2)
    def shorten(old: dict[str, Any]) -> dict[str, Any]:
        return {"text": old["text"][:10]}

    class Text2(State, name="Text", version=2, migrations=[shorten]):
        """As it is."""

        text: str = ""

    def growing(state_type: type[State], size: int) -> Graph[Any]:
        graph = Graph("texts", state_type, max_state=1000)

        async def grow(state: Any) -> Update:
            return {"text": state.text + "x" * size}

        async def fail(state: Any) -> None:
            if size == 900:
                raise ValueError

        graph.node(grow, entry=True, name="grow")
        graph.node(fail, name="fail", after="grow")
        graph.node(grow, name="again", after="fail")
        return graph

    assert isinstance(await cause(growing(Text1, 900), Text1(), store_url), ValueError)
    async with Runtime(store_url) as rt:
        run = await rt.resume(growing(Text2, 950), "x")
        assert len((await run.result()).text) == 960


async def test_what_a_fan_out_gathers_counts() -> None:
    """It is merged as one, and the map is who made it so."""

    class Gathered(State):
        """Results."""

        results: Annotated[list[str], extend] = []

    graph = Graph("g", Gathered, max_state=1000)
    graph.map(lambda index: "x" * 100, name="items", over=20, into="results")

    error = await cause(graph, Gathered())

    assert isinstance(error, StateTooLarge)
    assert error.node == "items"


async def test_a_loop_without_an_end_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    """By the number of activations since the run was last opened."""
    calls: list[int] = []

    with caplog.at_level(logging.CRITICAL):
        error = await cause(filling(calls, max_activations=5), Trail())

    assert isinstance(error, TooManyActivations)
    assert error.limit == 5
    assert len(calls) == 5


async def test_a_fan_out_that_is_too_large_begins_none_of_its_items() -> None:
    """What would run is known before."""
    calls: list[int] = []
    graph = Graph("g", Trail, max_items=10)
    graph.map(calls.append, name="items", over=11)

    error = await cause(graph, Trail())

    assert isinstance(error, TooManyItems)
    assert (error.items, error.limit, calls) == (11, 10, [])


async def test_of_ten_thousand_items_only_those_that_are_open_take_memory() -> None:
    """What an item has made for itself is gone when it is done, and before as many others are begun."""

    class Work(State):
        """What came of the items."""

        results: list[int] = []

    class Ballast:
        """What an item holds while it is worked on."""

    alive, most = WeakSet[Ballast](), 0
    graph = Graph("many", Work)

    async def item(number: int) -> int:
        nonlocal most
        ballast = Ballast()
        alive.add(ballast)
        most = max(most, len(alive))
        await anyio.lowlevel.checkpoint()  # others are begun meanwhile
        return number

    graph.map(item, over=10_000, into="results", limit=20)
    async with Runtime("memory://") as rt:
        results = (await rt.run(graph)).results

    assert (results, most) == ([*range(10_000)], 20)


async def test_too_many_inputs_that_are_sent_begin_none_of_theirs() -> None:
    """They are a fan-out like any other. Planted: only those of a map are counted."""
    calls: list[int] = []
    graph = Graph("g", Trail, max_items=10)

    @graph.node(send="work")
    async def first(state: Trail) -> list[Send]:
        return [Send("work", number) for number in range(11)]

    async def work(number: int) -> None:
        calls.append(number)

    graph.node(work, takes=int)

    error = await cause(graph, Trail())

    assert isinstance(error, TooManyItems)
    assert (error.node, error.items, error.limit, calls) == ("work", 11, 10, [])


async def test_a_graph_that_contains_itself_without_an_end_is_stopped() -> None:
    """Before the machine's own stack is."""
    graph = Graph("endless", Trail)
    graph.subgraph(graph, name="itself")

    assert isinstance(await cause(graph, Trail()), TooDeep)


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_state": 0},
        {"max_state": 1.5},
        {"max_state": True},
        {"max_items": 0},
        {"max_steps": 0},
        {"max_activations": True},
        {"record_backoff_over": -1},
        {"record_backoff_over": float("nan")},
        {"record_backoff_over": "1"},
    ],
)
def test_a_limit_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    """When the graph is checked."""
    (name,) = wrong
    with pytest.raises(GraphError, match=f"the graph: {name}="):
        _ = filling([], **wrong).plan


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is looked up where Linux shows it")
async def test_all_files_of_runs_together_are_bounded(tmp_path: Path) -> None:
    """Those that are kept open between commits, and those of runs that are just begun, claimed or ended."""
    most, inside, most_open = 128, 0, 0
    all_there = anyio.Event()
    graph = Graph("counting", Trail)

    @graph.node
    async def count(state: Trail) -> Update:
        nonlocal inside, most_open
        most_open, inside = max(most_open, _open_below(tmp_path)), inside + 1
        if inside == 400:
            all_there.set()
        await all_there.wait()
        most_open = max(most_open, _open_below(tmp_path))
        return {"trace": ["counted"]}

    async with Runtime(tmp_path, max_open_files=most) as rt, anyio.create_task_group() as tasks:
        for number in range(400):
            tasks.start_soon(partial(rt.run, graph, Trail(), id=f"r{number}"))

    assert most // 2 <= most_open <= most + 4  # and the store's own: its root, its lock


def _open_below(folder: Path) -> int:
    """How many files in a folder this process has open."""
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            found += str(folder) in str(entry.readlink())
    return found
