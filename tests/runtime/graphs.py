"""Small graphs that the runtime's tests share; each call makes its own, so tests don't meet in one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from actorflow import END, Graph, Retry, State, Update, extend

if TYPE_CHECKING:
    import anyio


class Trail(State, version=1):
    """Which nodes ran, in order, and a number to count with."""

    n: int = 0
    trace: Annotated[list[str], extend] = []


def chain(*names: str, name: str = "chain", ran: list[str] | None = None) -> Graph[Trail]:
    """Nodes in a row; each adds its name to the trace, and to ``ran`` outside the state."""
    graph = Graph(name, Trail)
    before: str | None = None
    for node in names:
        add(graph, node, after=before, ran=ran)
        before = node
    return graph


def add(graph: Graph[Trail], node: str, *, after: str | None, ran: list[str] | None = None) -> None:
    """A node that adds its name to the trace."""

    async def step(state: Trail) -> Update:
        if ran is not None:
            ran.append(node)
        return {"trace": [node]}

    graph.node(step, name=node, after=after)


def counter(limit: int, *, max_activations: int = 100_000, after: anyio.Event | None = None) -> Graph[Trail]:
    """A loop that counts to ``limit``, from when ``after`` is set."""
    graph = Graph("counter", Trail, max_activations=max_activations)

    @graph.node(entry=True)
    async def step(state: Trail) -> Update:
        if after is not None:
            await after.wait()
        return {"n": state.n + 1}

    graph.branch(lambda state: "step" if state.n < limit else END, after=step, to=("step", END))
    return graph


def failing(times: int, calls: list[int], *, retry: Retry | None = None) -> Graph[Trail]:
    """First → flaky → last; ``flaky`` raises ``times`` times, then works. Each call is noted in ``calls``."""
    graph = Graph("failing", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        return {"trace": ["first"]}

    @graph.node(after=first, retry=retry)
    async def flaky(state: Trail) -> Update:
        calls.append(len(calls) + 1)
        if len(calls) <= times:
            raise ConnectionError(f"call {len(calls)}")
        return {"trace": ["flaky"]}

    @graph.node(after=flaky)
    async def last(state: Trail) -> Update:
        return {"trace": ["last"]}

    return graph
