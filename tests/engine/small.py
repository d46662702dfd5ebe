"""The smallest runs that decide() is asked about: nodes one after the other, and items of a map."""

from __future__ import annotations

from typing import Any

from actorflow.graph.graph import Graph
from actorflow.graph.state import State
from tests.engine.driver import Driver


class Case(State):
    """What is decided upon."""

    n: int = 0
    ok: bool = False
    items: list[int] = []
    done: list[int] = []


def node(state: Case) -> None:
    """Never called: decide() is told what it returned."""


def item(number: int) -> int:
    """Never called either."""
    raise AssertionError


def linear(nodes: str = "ab", **options: Any) -> Driver:
    """A run of nodes one after the other."""
    graph = Graph("g", Case, **options)
    for before, name in zip(" " + nodes, nodes, strict=False):
        graph.node(node, name=name, after=None if before == " " else before)
    return Driver(graph, Case())


def mapped() -> Driver:
    """A run that does two items."""
    graph = Graph("g", Case)
    graph.map(item, over="items", into="done")
    return Driver(graph, Case(items=[1, 2]))
