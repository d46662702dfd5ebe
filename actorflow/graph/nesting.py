"""Nesting: the graphs inside a graph, and what is wrong with them as parts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.graph.inner import warnings_of_inner
from actorflow.graph.undo import clashes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.graph import Graph
    from actorflow.graph.plan import Plan

Compiled = tuple["Graph[Any]", "Plan", tuple[str, ...]]
"""A graph, its plan, and what is wrong with it."""


def graphs_inside(graph: Graph[Any]) -> Iterator[Compiled]:
    """This graph and all inside it, outermost first, each once: one may contain itself."""
    seen: set[int] = set()
    todo = [graph]
    while todo:
        one = todo.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        plan, problems = one.compiled()
        yield one, plan, problems
        todo += [node.inner.graph for node in plan.nodes.values() if node.inner is not None]


def problems_inside(graph: Graph[Any]) -> Iterator[str]:
    """What is wrong with the graphs inside, and with this one as what contains them."""
    types: dict[str, type[Any]] = {}
    yield from clashes(graph.compiled()[0])
    received = _received(graph.compiled()[0])
    for one, plan, problems in graphs_inside(graph):
        if one is not graph:
            yield from (f"graph {one.name!r} inside: {problem}" for problem in problems)
        yield from _problems_of_actors(plan)
        if unknown := [type_.__name__ for type_ in _received(plan) if type_ not in received]:
            yield (
                f"graph {one.name!r} inside receives {', '.join(unknown)}, and messages come to the outermost graph; "
                f"say messages=[{', '.join(unknown)}] there, too"
            )
        schema = plan.schema
        other = types.setdefault(schema.name, schema.state_type)
        if other is not schema.state_type:
            yield (
                f"graph {one.name!r}: its State is another class than the {schema.name!r} of a graph around or beside "
                "it, and files tell schemas apart by name; say State(..., name=)"
            )


def _received(plan: Plan) -> list[type[Any]]:
    """The types of messages that are there for nodes to receive."""
    return [schema.state_type for name, schema in plan.messages.items() if name not in plan.handlers]


def _problems_of_actors(plan: Plan) -> Iterator[str]:
    """What handles messages, and what waits for them without end, can't be inside: messages are sent to runs."""
    for node in plan.nodes.values():
        if node.inner is None:
            continue
        inner = node.inner.graph.compiled()[0]
        what = "handles messages" if inner.handlers else "has lifetime='actor'" if inner.lifetime == "actor" else ""
        if what:
            yield (
                f"{node.place}: graph {inner.graph!r} {what}, and so can't be inside another one; run it on its own, "
                "or let its nodes receive messages, with messages= and ctx.receive()"
            )


def warnings_inside(graph: Graph[Any]) -> Iterator[str]:
    """What is doubtful about what goes in and out of the graphs inside."""
    for _, plan, _ in graphs_inside(graph):
        for name, node in plan.nodes.items():
            if node.inner is not None and node.fan is None:
                yield from warnings_of_inner(name, node.inner, plan.schema)
