"""A graph under observation: the same graph, but each call of a node is told before it is made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec.structs import replace

from actorflow.graph.graph import Graph
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.graph.context import Context
    from actorflow.graph.node import Node
    from actorflow.graph.plan import Plan

S = TypeVar("S", bound=State)


class WatchedGraph(Graph[S]):
    """What ``graph`` is, by the same name and in the same topology, so that runs of the one are runs of the other."""

    def __init__(self, graph: Graph[S], tell: Callable[[Context], None]) -> None:
        """Watch ``graph``: ``tell`` is called with the context of each attempt, in whichever thread makes it."""
        vars(self).update(vars(graph))  # not declared anew: it is the same declaration
        plan = graph.plan
        self._watched = replace(plan, nodes={name: _watched(node, tell) for name, node in plan.nodes.items()})

    @property
    def plan(self) -> Plan:
        """That of the graph when the watching began."""
        return self._watched


def _watched(node: Node, tell: Callable[[Context], None]) -> Node:
    fn = node.fn

    def given(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        tell(arguments[-1])
        return arguments if node.takes_context else arguments[:-1]

    async def call_async(*arguments: Any) -> Any:
        return await fn(*given(arguments))

    def call_sync(*arguments: Any) -> Any:
        return fn(*given(arguments))

    call = functools.wraps(fn)(call_async if node.is_async else call_sync)
    # a Goto or a branch may name a node by its function, which is known by these two
    vars(call).update(__self__=getattr(fn, "__self__", None), __func__=getattr(fn, "__func__", fn))
    return replace(node, fn=call, takes_context=True)
