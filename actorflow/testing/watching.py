"""A graph under observation: the same graph, but each call of a node is told before it is made."""

from __future__ import annotations

from functools import wraps
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

    def __init__(
        self, graph: Graph[S], tell: Callable[[Context], None], *, known: dict[int, WatchedGraph[Any]] | None = None
    ) -> None:
        """Watch a graph.

        Args:
            graph: with all those that are inside it.
            tell: called with the context of each attempt, in whichever thread makes it.
            known: those that are watched already, by `id` of the graph: one may contain itself.
        """
        vars(self).update(vars(graph))  # not declared anew: it is the same declaration
        self._graph = graph
        self._tell = tell
        self._known: dict[int, WatchedGraph[Any]] = {} if known is None else known
        self._known[id(graph)] = self
        self._watching: Plan | None = None

    @property
    def plan(self) -> Plan:
        """That of the graph when it was first asked for."""
        if self._watching is None:
            plan = self._graph.plan
            self._watching = replace(plan, nodes={name: self._watched(node) for name, node in plan.nodes.items()})
        return self._watching

    def _watched(self, node: Node) -> Node:
        if node.inner is not None:
            inner = node.inner.graph
            graph = self._known.get(id(inner)) or WatchedGraph(inner, self._tell, known=self._known)
            return replace(node, inner=replace(node.inner, graph=graph))
        # here and not in a worker process: a call there could be told only after it was made
        return replace(node, fn=_telling(node, self._tell), takes_context=True, isolated=None)


def _telling(node: Node, tell: Callable[[Context], None]) -> Callable[..., Any]:
    fn = node.fn

    def given(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        tell(arguments[-1])
        return arguments if node.takes_context else arguments[:-1]

    async def call_async(*arguments: Any) -> Any:
        return await fn(*given(arguments))

    def call_sync(*arguments: Any) -> Any:
        return fn(*given(arguments))

    call = wraps(fn)(call_async if node.is_async else call_sync)
    # a Goto or a branch may name a node by its function, which is known by these two
    vars(call).update(__self__=getattr(fn, "__self__", None), __func__=getattr(fn, "__func__", fn))
    return call
