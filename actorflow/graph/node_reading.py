"""Node reading: from what was declared of a node, and what its graph says for all of them, to the node."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from msgspec import UNSET

from actorflow.graph.accepting import problems_of_validate
from actorflow.graph.cache import cached_of, problems_of_cache
from actorflow.graph.fan import AT_ONCE, fan_of, item_type, problems_of_fan
from actorflow.graph.importable import NotImportable
from actorflow.graph.inner import inner_of, problems_of_inner
from actorflow.graph.message import problems_of_message
from actorflow.graph.middleware import problems_of_middleware
from actorflow.graph.node import (
    Handler,
    Node,
    input_type,
    problems_of_function,
    problems_of_handler,
    takes_context,
)
from actorflow.graph.remote import Remote, remote
from actorflow.graph.retry import policies_of, problems_of_retry
from actorflow.graph.routing import NodeHandle, as_tuple, label
from actorflow.graph.signature import has_parameters, is_async
from actorflow.graph.timeouts import problems_of_timeout, timeout_of

if TYPE_CHECKING:
    from typing import Any

    from actorflow.graph.cache import Cached
    from actorflow.graph.declaration import Declaration, DeclaredNode, Join
    from actorflow.graph.middleware import Middleware
    from actorflow.graph.naming import Names
    from actorflow.graph.problems import Problems
    from actorflow.graph.retry import Retry
    from actorflow.graph.schema import Schema
    from actorflow.graph.timeouts import Timeout


class NodeReader:
    """Reads the nodes of one graph, and notes what is wrong with them."""

    def __init__(self, graph: Declaration, schema: Schema | None, names: Names, problems: Problems) -> None:
        """Begin with what is said for all of them.

        Args:
            graph: as it was declared.
            schema: of its state; None: it has none that could be.
            names: what references mean.
            problems: takes what is wrong.
        """
        self._graph = graph
        self._schema = schema
        self._names = names
        self._note = problems.note
        # for nodes that don't say their own
        self._of_graph = self._handler("the graph", graph.on_error, graph.catch)

    def read(self, name: str, declared: DeclaredNode) -> Node:
        """The node that was declared by this name."""
        fn, graph, schema = declared.fn, self._graph, self._schema
        place = self._names.place(name)
        inner, fan, message = declared.inner, declared.fan, declared.message
        sync = inner is None and not is_async(fn)
        stoppable, isolated = not sync or declared.isolate == "process", None
        if schema is not None:
            if fan is not None:
                self._note(place, problems_of_fan(fan, schema))
            if inner is not None:
                problems = list(problems_of_inner(inner, schema, fan=fan))
                self._note(place, problems)
                if problems:
                    inner = None
            else:
                takes: Any = "item" if fan is not None else "state" if declared.takes is None else "input"
                if message is None or not any(problems_of_message(message)):
                    self._note(place, problems_of_function(fn, graph.state_type, takes=takes, message=message))
                    self._note(place, problems_of_validate(declared.validate, graph.state_type, message))
            isolated = self._isolated(place, declared, schema)
        else:
            inner = None
        if declared.join not in ("all", "any") and (type(declared.join) is not int or declared.join < 1):
            self._note(place, [f"join={declared.join!r}: give 'all', 'any', or how many legs open it"])
        if fan is not None and declared.goto != ():
            self._note(place, ["goto= is for what may return a Goto, and items return results; edge() leads on"])
        retry, timeout, middleware = self._around(place, declared, stoppable=stoppable)
        takes_type = declared.takes
        if fan is not None and schema is not None and inner is None:
            takes_type = item_type(fan, schema, input_type(fn))
        return Node(
            name=name,
            fn=fn,
            is_async=not sync,
            takes_context=inner is None and takes_context(fn, after=1 if message is None else 2),
            takes=takes_type,
            message=None if message is None else getattr(message, "schema_name", label(message)),
            validate=declared.validate,
            retry=retry,
            timeout=timeout,
            cache=self._cached(place, declared),
            middleware=middleware,
            isolated=isolated,
            goto=self._names.targets(as_tuple(declared.goto), f"{place}, goto="),
            send=tuple(str(name) for name in self._names.targets(as_tuple(declared.send), f"{place}, send=")),
            limit=self._limit(place, declared),
            entry=declared.entry,
            join=_need(declared.join),
            defer=declared.defer,
            fan=None if fan is None else fan_of(fan),
            inner=None if inner is None or schema is None else inner_of(inner, schema, fan=fan),
            site=declared.site,
            on_error=self._taking_over(name, place, declared),
        )

    def _limit(self, place: str, declared: DeclaredNode) -> int:
        """How many of the inputs that are sent to a node are open at a time."""
        if (limit := declared.limit) is UNSET:
            return AT_ONCE
        if type(limit) is not int or limit < 1:
            self._note(place, [f"limit={limit!r}: give a number of at least 1"])
        elif declared.takes is None and declared.inner is None:
            self._note(place, ["limit= is for what is sent to a node; this one takes the state: give takes=, too"])
        return limit

    def _around(
        self, place: str, declared: DeclaredNode, *, stoppable: bool
    ) -> tuple[tuple[Retry, ...], Timeout | None, tuple[Middleware, ...]]:
        """What is around the function of a node: its own, or as the graph says."""
        graph = self._graph
        retry, timeout, given = declared.retry, declared.timeout, declared.middleware
        problems = [*problems_of_middleware(given)]
        if declared.inner is not None:
            what = [("timeout", timeout not in (UNSET, None)), ("middleware", bool(given))]
            what += [("retry", declared.fan is None and retry not in (UNSET, None))]
            problems += [f"{name}= is for functions; give it to the nodes inside" for name, said in what if said]
            timeout = None  # the graph's own is for functions, too, as is its middleware
            retry = None if retry is UNSET else retry
        elif timeout is UNSET:
            timeout = graph.timeout if stoppable else None  # it is for the nodes that can be stopped
        if retry is UNSET:
            retry = graph.retry
        else:
            problems += problems_of_retry(retry)
        problems += problems_of_timeout(timeout, sync=not stoppable)
        self._note(place, problems)
        if problems or [*problems_of_middleware(graph.middleware), *problems_of_retry(graph.retry)]:
            return (), None, ()
        around = () if declared.inner is not None else (*graph.middleware, *given)
        return policies_of(retry), timeout_of(timeout), around

    def _cached(self, place: str, declared: DeclaredNode) -> Cached | None:
        if declared.cache is None:
            return None
        problems = [*problems_of_cache(declared.cache, declared.fn)]
        if declared.inner is not None:
            problems = ["cache= is for functions; give it to the nodes inside"]
        self._note(place, problems)
        return None if problems else cached_of(declared.cache, declared.fn)

    def _taking_over(self, name: str, place: str, declared: DeclaredNode) -> Handler | None:
        """Who takes over for a node: its own handler, or the graph's; but that is not its own.

        The graph's is for nodes. A message that can't be handled is its sender's business.
        """
        if declared.on_error is UNSET and declared.message is not None:
            return None
        if declared.on_error is UNSET:
            return None if self._of_graph is not None and self._of_graph.node == name else self._of_graph
        return self._handler(place, declared.on_error, declared.catch)

    def _handler(self, place: str, given: object, catch: object) -> Handler | None:
        """Who takes over when a node fails: a node of the graph, if it is one, else the function itself."""
        kinds = cast("tuple[type[Exception], ...]", catch if isinstance(catch, tuple) else (catch,))
        if not kinds or not all(map(_is_exception, kinds)):
            self._note(place, [f"catch={catch!r}: give an Exception class, or a tuple of them"])
            return None
        if given is None:
            return None
        is_node = isinstance(given, str | NodeHandle) or self._names.is_known(given)
        if is_node:
            name = self._names.find(given, f"{place}, on_error=")
            return None if name is None else Handler(None, name, kinds)
        if not callable(given):
            self._note(place, [f"on_error={given!r}: give a node, or a function (state, error) -> update"])
            return None
        self._note(place, (f"on_error: {problem}" for problem in problems_of_handler(given, self._graph.state_type)))
        return Handler(given, None, kinds, is_async(given), has_parameters(given, 3))

    def _isolated(self, place: str, declared: DeclaredNode, schema: Schema) -> Remote | None:
        """How a worker process finds what the node is, if it is to run there."""
        if declared.isolate is None:
            return None
        where = f"{place}, isolate={declared.isolate!r}"
        if declared.isolate != "process":
            self._note(where, ["give 'process'"])
        elif declared.inner is not None:
            self._note(where, ["it is for functions; give it to the nodes of the graph inside"])
        elif sys.platform == "win32":
            self._note(where, ["worker processes are there on Linux and macOS"])
        else:
            try:
                return remote(declared.fn, schema, takes=declared.takes, fan=declared.fan, message=declared.message)
            except NotImportable as error:
                self._note(where, [str(error)])
        return None


def _is_exception(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def _need(join: Join) -> int | None:
    """How many legs open a join; None: all of them."""
    if isinstance(join, int):
        return join
    return 1 if join == "any" else None
