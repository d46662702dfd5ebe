"""Bad input, the graph's: what was declared or returned wrongly is named with its place, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from actorflow import END, Graph, Runtime, State, Update, extend
from actorflow.errors import BadUpdate, GraphError, RunFailed, TooManyActivations, UndeclaredTarget
from tests.runtime.graphs import Trail, chain, counter

if TYPE_CHECKING:
    from collections.abc import Callable


class Box(State, version=1):
    """Room for anything."""

    n: int = 0
    text: str = ""
    anything: Any = None
    trace: Annotated[list[str], extend] = []


async def test_a_graph_that_can_not_run_is_refused_with_all_its_problems(store_url: str) -> None:
    """An unknown node, two entries and a loop without a way in are told at once, and no file of a run is made."""
    graph = Graph("broken", Trail)

    async def node(state: Trail) -> Update:
        return {}

    graph.node(node, name="one")
    graph.node(node, name="two")
    graph.node(node, name="three", after="nowhere")
    graph.node(node, name="island", after="island")

    async with Runtime(store_url) as runtime:
        with pytest.raises(GraphError) as caught:
            await runtime.run(graph, id="x")

        assert await runtime.runs() == []
    text = str(caught.value)
    assert "graph 'broken' has" in text
    for name in ("'nowhere'", "island", "one", "two"):
        assert name in text
    assert not (Path(store_url) / "runs").exists()
    assert not (Path(store_url) / "active").exists()


async def test_a_runtime_given_a_broken_graph_opens_no_store(store_url: str) -> None:
    """Graphs that are to be recovered are checked before the store is made."""
    with pytest.raises(GraphError, match="empty"):
        async with Runtime(store_url, graphs=[Graph("empty", Trail)]):
            pass

    assert not Path(store_url).exists()  # noqa: ASYNC240 - nothing else runs here


def cycle() -> list[Any]:
    """A list that holds itself."""
    inner: list[Any] = []
    inner.append(inner)
    return inner


@pytest.mark.parametrize(
    ("make", "field", "words"),
    [
        (lambda: 7, None, "returned int"),
        (lambda: ["n", 1], None, "returned list"),
        (lambda: Trail(n=1), None, "returned a Trail, not a Box"),
        (lambda: {"n": "one"}, "n", "int"),
        (lambda: {"m": 1}, None, "'m'"),
        (lambda: {1: 2}, None, "1"),
        (lambda: {"text": "\ud800"}, "text", "surrogate"),
        (lambda: {"anything": "\udfff"}, "anything", "surrogate"),
        (lambda: {"anything": 2**70}, "anything", "int"),
        (lambda: {"n": 2**70}, "n", "int"),
        (lambda: {"anything": cycle()}, "anything", ""),
        (lambda: {"anything": object()}, "anything", "object"),
        (lambda: {"trace": "abc"}, "trace", "list"),
        (lambda: {"trace": [1]}, "trace", "str"),
    ],
)
async def test_what_a_node_returns_wrongly_fails_it_and_nothing_of_it_is_merged(
    store_url: str, make: Callable[[], Any], field: str | None, words: str
) -> None:
    """The error names node and field; the state is the one before; with better code the run goes on from there."""
    graph = Graph("box", Box)
    good = False

    @graph.node
    async def first(state: Box) -> Update:
        return {"n": 5, "trace": ["first"]}

    @graph.node(after=first)
    async def second(state: Box) -> Any:
        return {"trace": ["second"]} if good else make()

    async with Runtime(store_url) as runtime:
        with pytest.raises(RunFailed) as caught:
            await runtime.run(graph, id="x")

        failed = caught.value
        cause = failed.__cause__
        assert isinstance(cause, BadUpdate)
        assert (cause.node, cause.field) == ("second", field)
        assert "node 'second'" in str(failed)
        assert words in str(cause)
        assert failed.state == Box(n=5, trace=["first"])
        good = True
        assert await runtime.run(graph, id="x") == Box(n=5, trace=["first", "second"])
        assert [finding for finding in await runtime.verify() if finding.broken] == []


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"n": "one"}, "n"),
        ({"text": "\ud800"}, "text"),
        ({"anything": 2**70}, "anything"),
        ({"anything": cycle()}, "anything"),
        ({"anything": object()}, "anything"),
    ],
)
async def test_an_input_that_can_not_be_kept_is_refused(store_url: str, values: dict[str, Any], field: str) -> None:
    """Before anything is written: the id is still free afterwards."""
    graph = Graph("box", Box)

    @graph.node
    async def only(state: Box) -> Update:
        return {"trace": ["only"]}

    async with Runtime(store_url) as runtime:
        with pytest.raises(BadUpdate, match=f"field '{field}'"):
            await runtime.spawn(graph, Box(**values), id="x")

        assert not (Path(store_url) / "runs").exists()
        assert (await runtime.run(graph, Box(n=1), id="x")).trace == ["only"]


async def test_a_forgotten_await_is_named(store_url: str) -> None:
    """What a node returns holds a coroutine."""
    graph = Graph("box", Box)

    async def fetch() -> int:
        return 1

    pending = fetch()

    @graph.node
    async def only(state: Box) -> Update:
        return {"n": pending}

    async with Runtime(store_url) as runtime:
        with pytest.raises(RunFailed, match="is an await missing"):
            await runtime.run(graph, id="x")
    pending.close()


async def test_the_state_of_another_graph_is_refused(store_url: str) -> None:
    """The input must be the graph's own State."""
    async with Runtime(store_url) as runtime:
        with pytest.raises(BadUpdate, match="the input: it is of type Box, not Trail"):
            await runtime.spawn(chain("a"), Box(), id="x")  # type: ignore[arg-type]


async def test_a_branch_to_an_undeclared_target_fails_the_run(store_url: str) -> None:
    """The error names the target and those that are declared."""
    graph = Graph("lost", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    graph.branch(lambda state: "elsewhere", after=first, to=("first", END))

    async with Runtime(store_url) as runtime:
        with pytest.raises(RunFailed, match="'elsewhere'") as caught:
            await runtime.run(graph, id="x")

    assert isinstance(caught.value.__cause__, UndeclaredTarget)
    assert caught.value.state.trace == ["first"]


async def test_an_endless_loop_comes_to_an_end(store_url: str) -> None:
    """The limit is named in the error, with the remedy; what was done is kept."""
    async with Runtime(store_url) as runtime:
        with pytest.raises(RunFailed, match=r"max_activations=") as caught:
            await runtime.run(counter(1_000_000, max_activations=20), id="x")

        assert isinstance(caught.value.__cause__, TooManyActivations)
        assert caught.value.state.n == 20
        assert await runtime.get("x").status() == "failed"
