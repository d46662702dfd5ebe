"""run: a graph from a plain script, without an event loop of the caller's own."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from actorflow.errors import ActorflowError
from actorflow.graph.state import State
from actorflow.runtime.runtime import Runtime

if TYPE_CHECKING:
    import os

    from actorflow.graph.graph import Graph

S = TypeVar("S", bound=State)


def run(
    graph: Graph[S],
    state: S | None = None,
    *,
    id: str | None = None,
    store: str | os.PathLike[str] = "./.actorflow",
    context: Any = None,
    backend: str = "asyncio",
) -> S:
    """Run a graph to its end and return its final state: `Runtime.run` for scripts that have no event loop.

    Call it again with the same ``id`` after a crash: it goes on. In a notebook,
    which has an event loop already, it is ``async with Runtime() as rt: await rt.run(...)``.

    Args:
        graph: what to run.
        state: the input; by default the State with all defaults.
        id: the run's id; by default a new one each time.
        store: a folder or URL.
        context: what nodes read as ``ctx.context``.
        backend: "asyncio" or "trio".

    Example:
        >>> from actorflow import Graph, State, run
        >>> class Sum(State):
        ...     a: int
        ...     total: int = 0
        >>> graph = Graph("sum", Sum)
        >>> @graph.node
        ... def add(state: Sum):
        ...     return {"total": state.a + 1}
        >>> run(graph, Sum(a=1), store="memory://").total
        2

    Raises:
        RuntimeError: an event loop is running in this thread.
        Whatever `Runtime.run` raises.
    """
    if _is_in_event_loop():
        raise RuntimeError(
            "run() starts an event loop, and one is running in this thread already; "
            "there it is `async with Runtime(store) as rt: await rt.run(graph, ...)`"
        )

    async def main() -> S:
        async with Runtime(store) as runtime:
            return await runtime.run(graph, state, id=id, context=context)

    try:
        return anyio.run(main, backend=backend)
    except ActorflowError as error:
        # the message says it all, and its cause where it happened; the frames in between are the event loop's
        failure = error.with_traceback(None)
    raise failure


def _is_in_event_loop() -> bool:
    if "asyncio" in sys.modules:  # else none of its loops is running
        import asyncio

        with suppress(RuntimeError):
            asyncio.get_running_loop()  # also outside a task, as in a REPL
            return True
    try:
        anyio.current_time()
    except RuntimeError:
        return False
    return True
