"""Graphs that ask, for the tests of interrupts and of steering; each call makes its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.lowlevel

from actorflow import Context, Graph, State, Update, extend
from tests.runtime.graphs import Trail, add

if TYPE_CHECKING:
    from actorflow import Interrupt, Run


class Room(State):
    """What an inner graph works on."""

    n: int = 0
    trace: Annotated[list[str], extend] = []


def asker(type_: Any = Any, *, calls: list[str] | None = None, **how: Any) -> Graph[Trail]:
    """A node that asks once and notes the answer; then another node."""
    graph = Graph("asker", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        if calls is not None:
            calls.append(ctx.idempotency_key)
        answer = await ctx.interrupt("Go on?", {"n": state.n}, type=type_, **how)
        return {"trace": [f"answer={answer!r}"]}

    add(graph, "last", after="ask")
    return graph


def nested(depth: int) -> Graph[Any]:
    """A graph with as many graphs inside each other, of which the innermost asks."""
    inner: Graph[Any] = Graph("deep0", Room)

    @inner.node
    async def ask(state: Room, ctx: Context) -> Update:
        return {"trace": [str(await ctx.interrupt("How deep?", ctx.scope, type=str))]}

    for level in range(1, depth + 1):
        outer: Graph[Any] = Graph(f"deep{level}", Trail if level == depth else Room)
        outer.subgraph(inner, name=f"level{level}")
        inner = outer
    return inner


class Gate:
    """A node that tells when it runs, and waits until it may go on."""

    def __init__(self) -> None:
        self.inside = anyio.Event()
        self.open = anyio.Event()
        self.cancelled = False
        self.calls = 0

    async def pass_through(self) -> None:
        """Wait until the gate is open."""
        self.calls += 1
        self.inside.set()
        try:
            await self.open.wait()
        except anyio.get_cancelled_exc_class():
            self.cancelled = True
            raise


def gated(gate: Gate, *, name: str = "gated", write: str | None = None) -> Graph[Trail]:
    """First → middle, which waits at a gate (and then overwrites ``n``, if told) → last."""
    graph = Graph(name, Trail)
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail) -> Update:
        await gate.pass_through()
        return {"trace": [f"middle n={state.n}"], **({"n": state.n + 1} if write else {})}

    add(graph, "last", after="middle")
    return graph


async def asked(run: Run[Any], count: int = 1) -> list[Interrupt]:
    """The questions of a run, as soon as there are so many; a test's own time limit bounds it."""
    while len(found := await run.interrupts()) < count:
        await anyio.lowlevel.checkpoint()
    return found


async def commits(run: Run[Any]) -> list[tuple[int, str, str]]:
    """Number, kind and status of each commit of a run, oldest first."""
    return [(one.seq, one.kind, one.status) async for one in run.history()][::-1]
