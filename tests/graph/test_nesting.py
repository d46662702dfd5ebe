"""Nesting: what is wrong with a graph inside is said before a run begins, not when it gets there."""

from __future__ import annotations

from typing import Annotated

import pytest

from actorflow import Graph, State, Update, extend
from actorflow.errors import GraphError


class Outer(State):
    """The state of the graph around."""

    notes: list[str] = []
    words: Annotated[list[str], extend] = []


class Inner(State, name="inner"):
    """The state of the graph inside."""

    words: list[str] = []


class Other(State, name="inner"):
    """Another class under the same name."""

    text: str = ""


def sound(name: str, state_type: type[State]) -> Graph[State]:
    """A graph of one node."""
    graph = Graph(name, state_type)

    @graph.node
    async def work(state: State) -> Update:
        return {}

    return graph


def test_a_mistake_inside_is_found_before_the_run_gets_there() -> None:
    """With the name of the graph that has it, however deep it is."""
    deepest = Graph("deepest", Inner)
    middle, outer = Graph("middle", Inner), Graph("outer", Outer)
    middle.subgraph(deepest)
    outer.subgraph(middle, leave={})

    assert [str(finding) for finding in outer.check()] == [
        "error: graph 'deepest' inside: the graph has no nodes",
    ]
    with pytest.raises(GraphError, match="'deepest' inside"):
        _ = outer.plan


def test_two_classes_under_one_name_are_refused() -> None:
    """Files know a schema by its name: values of one would be read as the other."""
    outer = Graph("outer", Outer)
    first = outer.subgraph(sound("a", Inner), leave={})
    outer.subgraph(sound("b", Other), after=first, leave={})

    with pytest.raises(GraphError, match="another class than the 'inner'"):
        _ = outer.plan


def test_a_graph_may_contain_itself() -> None:
    """It is checked once."""
    graph = Graph("again", Inner)

    @graph.node(goto=("again", "done"))
    async def work(state: Inner) -> Update:
        return {}

    graph.subgraph(graph)
    graph.node(work, name="done")

    assert graph.check() == []


def test_different_reducers_in_and_out_are_a_warning() -> None:
    """What went in would come out again, and be added a second time."""
    outer = Graph("outer", Outer)
    outer.subgraph(sound("a", Inner))

    assert ["through different reducers" in str(finding) for finding in outer.check()] == [True]
