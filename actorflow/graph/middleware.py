"""Middleware: functions around the functions of nodes, given to a graph or to a node.

A middleware is ``async def mw(state, ctx, call) -> Update``. It awaits
``call()`` for what the node returns, and returns that or something else in its
place. The first one given is the outermost, those of the graph are around
those of the node. They are inside ``retry`` and ``timeout``: each attempt goes
through them. They are around functions only: neither around a subgraph nor
around the nodes in it, which have the middleware of their own graph.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from actorflow.graph.context import Context
from actorflow.graph.routing import label
from actorflow.graph.signature import has_parameters, is_async, is_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

Call = Callable[[], Awaitable[Any]]
"""What is inside a middleware: the next one, or the node's function. Await it for what the node returns."""

Middleware = Callable[[Any, Context, Call], Awaitable[Any]]
"""``async def mw(state, ctx, call) -> Update``. An item of a map comes in place of the state."""

_logger = logging.getLogger("actorflow.node")


def timing(report: Callable[[str, float], None] | None = None) -> Middleware:
    """A middleware that tells how long each call of a node took, also of one that raised.

    Args:
        report: is given the node's name and the seconds; by default they are logged, as information.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Runtime, State, timing
        >>> class Text(State):
        ...     text: str = ""
        >>> graph = Graph("text", Text, middleware=[timing(lambda node, seconds: print(f"{node} took its time"))])
        >>> @graph.node
        ... async def write(state: Text):
        ...     return {"text": "hello"}
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         await rt.run(graph)
        >>> anyio.run(main)
        write took its time
    """

    async def timed(_: Any, ctx: Context, call: Call) -> Any:
        started = time.perf_counter()
        try:
            return await call()
        finally:
            seconds = time.perf_counter() - started
            if report is None:
                ctx.log.info("node %r took %.3f s", ctx.node, seconds)
            else:
                report(ctx.node, seconds)

    return timed


def degrade(
    update: Mapping[str, Any] | Callable[[Any, Exception], Any],
    *,
    on: type[Exception] | tuple[type[Exception], ...] = Exception,
    attempt: int = 1,
) -> Middleware:
    """A middleware that lets the run go on with a lesser update when a node raises. The error is logged.

    A node that waits for an answer is no failure, nor is one that is cancelled or over its time.
    To do more than that, or to go on elsewhere in the graph, say ``on_error=``.

    Args:
        update: what the node is taken to have returned, or ``(state, error) -> update``.
        on: the exceptions that it is for.
        attempt: the first that it is for; errors before that are passed on, so that a `Retry` tries again.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Runtime, State, degrade
        >>> class News(State):
        ...     headline: str = ""
        >>> graph = Graph("news", News)
        >>> @graph.node(middleware=[degrade({"headline": "(offline)"}, on=OSError)])
        ... async def fetch(state: News):
        ...     raise ConnectionError("no network")
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         print((await rt.run(graph)).headline)
        >>> anyio.run(main)
        (offline)
    """

    async def degraded(state: Any, ctx: Context, call: Call) -> Any:
        try:
            return await call()
        except on as error:
            if ctx.attempt < attempt:
                raise
            ctx.log.warning("node %r failed, and the run goes on without it: %r", ctx.node, error)
            return update(state, error) if callable(update) else update

    return degraded


def problems_of_middleware(given: object) -> Iterator[str]:
    """Why this can't be what ``middleware=`` is given."""
    if not isinstance(given, list | tuple):
        yield f"middleware={given!r}: give a list of functions (state, ctx, call) -> update"
        return
    for one in cast("Sequence[Any]", given):
        if not callable(one):
            yield f"middleware: {one!r} is no function"
        elif not is_async(one) or is_generator(one):
            yield f"middleware: {label(one)} must be an async def that returns an update"
        elif not has_parameters(one, 3):
            yield f"middleware: {label(one)} is called as (state, ctx, call)"
