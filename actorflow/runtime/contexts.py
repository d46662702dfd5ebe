"""Contexts: the clients and settings that nodes get in this process, and the graphs whose runs lack them here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actorflow.errors import NoContext
from actorflow.runtime.options import check_context

if TYPE_CHECKING:
    from actorflow.graph.graph import Graph

_logger = logging.getLogger("actorflow.runtime")


class Contexts:
    """By graph, what its runs get where nobody gives them something else. One for each runtime.

    A process that has none for a graph which declares one leaves the runs of
    that graph alone, as if it did not know it: their nodes would fail.
    """

    def __init__(self) -> None:
        self._by_graph: dict[str, Any] = {}
        self._told: set[str] = set()  # graphs that lack one here, of which this was told

    def register(self, graph: Graph[Any], context: object) -> bool:
        """Keep this for the runs of a graph; None keeps what there is. Whether it is another one than before.

        Raises:
            BadContext: it is not what the graph declares.
        """
        check_context(graph, context)
        if context is None or self._by_graph.get(graph.name) is context:
            return False
        self._by_graph[graph.name] = context
        return True

    def choose(self, graph: Graph[Any], given: object, had: object) -> Any:
        """What the nodes of a run get: what was given for it, what it had here before, or what is registered.

        The class of the last two was checked when they came; after a reload it may be one of before.

        Raises:
            BadContext: what was given is not what the graph declares.
        """
        check_context(graph, given)
        of_run = had if given is None else given
        return self._by_graph.get(graph.name) if of_run is None else of_run

    def check_there(self, graph: Graph[Any]) -> None:
        """Refuse a graph whose runs would lack a context here.

        Raises:
            NoContext: naming both.
        """
        if lacks_context(graph, self._by_graph.get(graph.name)):
            raise NoContext(graph.name, graph.context_type)

    def suffice(self, graph: Graph[Any], had: object) -> bool:
        """Whether nobody need give the nodes of a run a context. If not, that is told, once for its graph."""
        if not lacks_context(graph, self.choose(graph, None, had)):
            return True
        if graph.name not in self._told:
            self._told.add(graph.name)
            _logger.warning(
                "runs of graph %r are left to other processes: it declares context=, and was registered without one",
                graph.name,
            )
        return False


def lacks_context(graph: Graph[Any], context: object) -> bool:
    """Whether nodes that count on a context would get None, which is not of the class that the graph declares."""
    if context is not None or graph.context_type is None:
        return False
    try:
        return not isinstance(None, graph.context_type)
    except TypeError:  # a typing construct, or a Protocol that is not runtime_checkable; but None is none of them
        return True
