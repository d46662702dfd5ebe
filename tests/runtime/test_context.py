"""``context=``: reaches every node wherever a run is taken up, and is refused at once if it is of a wrong class."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Protocol, TypedDict, runtime_checkable

import pytest

from actorflow import Context, Graph, RestartPolicy, Runtime, State, Update, extend
from actorflow.errors import BadContext, NoSuchRun, RunFailed
from tests.runtime.asking import Gate, Room, asked
from tests.runtime.graphs import Trail, add


class Clients(NamedTuple):
    """What nodes use."""

    name: str


class Measured(State):
    """What a fan-out reads and fills."""

    trace: Annotated[list[str], extend] = []
    sizes: list[int] = []


class Elsewhere:
    """No Clients."""


def noting(name: str = "noting", **how: Any) -> Graph[Trail]:
    """A node that asks, and then one that notes whose clients it was given."""
    graph = Graph(name, Trail, context=Clients, **how)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        before = ctx.context.name
        await ctx.interrupt("Go on?")
        return {"trace": [f"ask: {before}"]}

    @graph.node(after=ask)
    async def note(state: Trail, ctx: Context) -> Update:
        return {"trace": [f"note: {ctx.context.name}"]}

    return graph


def files(url: str) -> dict[str, bytes]:
    """Everything that is in a store, but the locks of those that have it open."""
    root = Path(url)
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and "hosts" not in path.parts
    }


async def test_a_context_reaches_graphs_inside_and_the_items_of_a_fan_out() -> None:
    """It is that of the run, wherever a node stands, in a worker thread, too."""
    inner, outer, clients = Graph("inner", Room), Graph("outer", Measured, context=Clients), Clients("one")
    seen: list[tuple[str, object]] = []

    @inner.node
    def deep(state: Room, ctx: Context) -> None:
        seen.append((ctx.scope, ctx.context))

    @outer.node
    async def begin(state: Measured) -> Update:
        return {"trace": ["a", "b"]}

    async def measure(item: str, ctx: Context) -> int:
        seen.append((item, ctx.context))
        return 1

    below = outer.subgraph(inner, after=begin)
    outer.map(measure, after=below, over="trace", into="sizes")

    async with Runtime("memory://") as rt:
        await rt.run(outer, context=clients)

    assert sorted(seen) == [("a", clients), ("b", clients), ("inner", clients)]


async def test_who_answers_a_run_need_not_know_its_context(store_url: str) -> None:
    """The nodes get what was registered with the graph in the process that takes the run up."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(noting(), id="x", context=Clients("first"))
        assert await run.wait() == "waiting"

    async with Runtime(store_url) as rt:
        rt.register(noting(), context=Clients("registered"))
        await rt.get("x").answer(True)

        final = await rt.get("x").result()

    assert final.trace == ["ask: registered", "note: registered"]


async def test_a_recovered_run_gets_the_registered_context(store_url: str) -> None:
    """Nobody is there to give it one."""
    graph, gate, seen = Graph("gated", Trail, context=Clients), Gate(), []

    @graph.node
    async def look(state: Trail, ctx: Context) -> None:
        seen.append(ctx.context)
        await gate.pass_through()

    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is left in the middle of its node
        async with Runtime(store_url) as rt:
            await rt.spawn(graph, id="x", context=Clients("first"))
            await gate.inside.wait()
            raise ZeroDivisionError
    gate.open.set()

    async with Runtime(store_url, recover="never") as rt:  # but when it is asked to
        rt.register(graph, context=Clients("registered"))
        for run in await rt.recover():
            await run.result()

    assert seen == [Clients("first"), Clients("registered")]


@pytest.mark.parametrize("given", [None, Clients("given")])
async def test_a_resumed_run_gets_what_it_is_given_or_what_was_registered(
    store_url: str, given: Clients | None
) -> None:
    """What is given with the call goes before what was registered."""
    graph, seen = Graph("failing", Trail, context=Clients), []

    @graph.node
    async def look(state: Trail, ctx: Context) -> None:
        seen.append(ctx.context)
        if len(seen) == 1:
            raise ConnectionError

    async with Runtime(store_url, restarts=RestartPolicy(max_restarts=0)) as rt:
        rt.register(graph, context=Clients("registered"))
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x", context=Clients("first"))

        await (await rt.resume(graph, "x", context=given)).result()

    assert seen == [Clients("first"), given or Clients("registered")]


async def register(rt: Runtime, graph: Graph[Any], *, context: Any) -> None:
    """As the other ways in, to be awaited."""
    rt.register(graph, context=context)


@pytest.mark.parametrize("way", [partial(Runtime.run, id="x"), partial(Runtime.spawn, id="x"), register])
async def test_a_context_of_another_class_is_refused_before_anything_is_written(store_url: str, way: Any) -> None:
    """The message names the graph and both classes."""
    async with Runtime(store_url) as rt:
        before = files(store_url)

        with pytest.raises(BadContext, match=r"graph 'noting' declares Graph\(context=Clients\).* type Elsewhere"):
            await way(rt, noting(), context=Elsewhere())

        assert files(store_url) == before
        with pytest.raises(NoSuchRun):
            await rt.get("x").status()


async def test_a_run_is_not_taken_up_with_a_context_of_another_class(store_url: str) -> None:
    """Neither resuming, nor answering, forking or rewinding writes anything; the run waits as it did."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(noting(), id="x", context=Clients("first"))
        await run.wait()
        await asked(run)
    before = files(store_url)

    async with Runtime(store_url, recover="never") as rt:
        rt.register(noting())
        for way in (
            lambda: rt.resume(noting(), "x", context=Elsewhere()),
            lambda: rt.get("x").answer(True, context=Elsewhere()),
            lambda: rt.get("x").fork(id="f", context=Elsewhere()),
            lambda: rt.get("x").rewind(0, context=Elsewhere()),
        ):
            with pytest.raises(BadContext):
                await way()

    assert files(store_url) == before


async def test_a_live_run_is_not_disturbed_by_a_rewind_with_a_context_of_another_class() -> None:
    """It is refused before the node that runs is cancelled."""
    graph, gate = Graph("gated", Trail, context=Clients), Gate()
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail) -> None:
        await gate.pass_through()

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x", context=Clients("first"))
        await gate.inside.wait()
        with pytest.raises(BadContext):
            await run.rewind(0, context=Elsewhere())
        gate.open.set()
        await run.result()

    assert (gate.calls, gate.cancelled) == (1, False)


class Named(Protocol):
    """A protocol that nobody can ask whether it is kept."""

    name: str


@runtime_checkable
class Closing(Protocol):
    """One that can be asked."""

    def close(self) -> None:
        """Close."""


class Settings(TypedDict):
    """A typing construct."""

    name: str


@pytest.mark.parametrize("kind", [Named, Settings, dict[str, int], Any, None])
async def test_what_cannot_be_told_is_not_refused(kind: Any) -> None:
    """A protocol that is not runtime_checkable and typing's constructs are for type checkers alone."""
    graph = Graph("loose", Trail, context=kind)
    add(graph, "only", after=None)

    async with Runtime("memory://") as rt:
        assert (await rt.run(graph, context=Elsewhere())).trace == ["only"]


async def test_a_runtime_checkable_protocol_is_checked() -> None:
    """It says itself that it can be."""
    graph = Graph("closing", Trail, context=Closing)
    add(graph, "only", after=None)

    async with Runtime("memory://") as rt:
        with pytest.raises(BadContext):
            await rt.run(graph, context=Elsewhere())


def test_two_classes_of_one_name_are_told_apart() -> None:
    """With the modules that they are from."""
    same = type("Clients", (), {"__module__": "other"})

    assert "(context=tests.runtime.test_context.Clients), and was given a context of type other.Clients" in str(
        BadContext("g", Clients, same())
    ).replace(__name__, "tests.runtime.test_context")
