"""What deciding costs: µs of CPU per activation for decide, fold and encode. Run as ``python -m tests.engine.cost``.

A figure to look at, not a test: the machine's load is no property of the code.
"""

from __future__ import annotations

import operator
import time
from typing import Annotated

from actorflow.engine.decide import decide
from actorflow.engine.events import Returned
from actorflow.engine.merge import typed
from actorflow.engine.records import Body, encode_body
from actorflow.engine.spawn import spawn
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import extend
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State, Update

ACTIVATIONS = 20_000
REPEATS = 5


class Small(State):
    """Two plain fields."""

    n: int = 0
    name: str = "x"


class Reduced(State):
    """A number that is added to, and a list that grows to 1,000 elements."""

    total: Annotated[int, operator.add] = 0
    log: Annotated[list[str], extend] = []


def small(state: Small) -> Update:
    """A plain write."""
    return {"n": state.n + 1}


def reduced(state: Reduced) -> Update:
    """A reducer and an extension."""
    return {"total": 1, "log": ["entry"] if len(state.log) < 1000 else []}


def looped(state_type: type[State], fn: object) -> Graph[State]:
    """Two nodes that lead to each other."""
    graph = Graph("cost", state_type, max_activations=10 * ACTIVATIONS)
    graph.node(fn, name="a", entry=True)  # type: ignore[call-overload]
    graph.node(fn, name="b", after="a")  # type: ignore[call-overload]
    graph.edge("b", "a")
    return graph


def cost(graph: Graph[State]) -> float:
    """µs per activation: the node's state, its update decided and folded, its records encoded."""
    plan, schema = graph.plan, schema_of(graph.state_type)
    decision = spawn(plan, graph.state_type(), run_id="cost")
    started = time.process_time()
    for _ in range(ACTIVATIONS):
        (activation,) = decision.run.open.values()
        value = plan.nodes[activation.node].fn(typed(schema, activation.base))
        decision = decide(plan, decision.run, Returned(activation.id, value))
        encode_body(Body(tuple(decision.records)))
    return (time.process_time() - started) / ACTIVATIONS * 1e6


if __name__ == "__main__":
    for title, graph in (
        ("plain write", looped(Small, small)),
        ("reducer and list of 1,000", looped(Reduced, reduced)),
    ):
        print(f"{title}: {min(cost(graph) for _ in range(REPEATS)):.1f} µs per activation")
