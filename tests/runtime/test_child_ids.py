"""Ids of children: one for each time that a node or a handler begins one, and never a run that is somebody else's."""

from __future__ import annotations

from typing import Annotated

from actorflow import END, Context, End, Graph, Message, Reply, Runtime, State, Update, extend
from tests.runtime.correspondents import Work, ended, sleeper, until, worker


class Begin(Message, version=1):
    """Is answered with the id of a child."""


class Close(Message, version=1):
    """Ends the actor."""


class Family(State, version=1):
    """The children, in the order in which they were begun."""

    children: Annotated[list[str], extend] = []


def parent(*, id: str | None = None) -> Graph[Family]:
    """An actor that begins a child for each message."""
    graph, child = Graph("parent", Family, lifetime="actor"), worker()

    @graph.on(Begin)
    async def begin(state: Family, msg: Begin, ctx: Context) -> Reply:
        name = await ctx.spawn(child, Work(n=len(state.children)), id=id)
        return Reply(name, {"children": [name]})

    @graph.on(Close)
    async def close(state: Family, msg: Close) -> End:
        return END

    return graph


async def test_each_time_begins_a_child_of_its_own() -> None:
    """The same handler, and the same line of it. Planted: ids that say the node, and not its activation."""
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(parent(), id="mum")

        names = [await run.ask(Begin(), type=str) for _ in range(3)]
        await until(lambda: _sent_everything(rt))

        assert len(set(names)) == 3
        assert [await ended(rt, name) for name in names] == ["finished"] * 3
        assert sorted([(await rt.get(name).state()).n for name in names]) == [0, 2, 4]


async def test_a_node_in_a_loop_begins_a_child_each_time() -> None:
    """Activations of one node are different activations."""
    graph, child = Graph("parent", Family), worker()

    @graph.node(entry=True)
    async def begin(state: Family, ctx: Context) -> Update:
        return {"children": [await ctx.spawn(child, Work(n=len(state.children)))]}

    graph.branch(lambda state: "begin" if len(state.children) < 3 else END, after=begin, to=("begin", END))

    async with Runtime("memory://") as rt:
        children = (await rt.run(graph, id="mum")).children
        assert len(set(children)) == 3


async def test_a_run_of_another_graph_does_not_become_a_child(store_url: str) -> None:
    """Its id was taken. It does not end with who wanted it for a child. Planted: an id is enough."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(sleeper(), id="taken")
        run = await rt.spawn(parent(id="taken"), id="mum")
        await run.ask(Begin())
        await until(lambda: _sent_everything(rt))
        await run.send(Close())
        await ended(rt, "mum")

    async with Runtime(store_url, recover="never") as rt:
        assert await rt.get("taken").status() == "waiting"


async def test_children_of_a_run_that_is_cancelled_in_the_store_are_cancelled_by_who_does_it(store_url: str) -> None:
    """It looks for no orphans: there is nobody else to do it."""
    graph, child = Graph("parent", Family), sleeper()

    @graph.node
    async def node(state: Family, ctx: Context) -> None:
        await ctx.spawn(child, Work(), id="kid")
        await ctx.interrupt("Enough?")

    async with Runtime(store_url) as rt:
        await rt.spawn(graph, id="mum")
        await rt.get("mum").wait()
        await until(lambda: _sent_everything(rt))

    async with Runtime(store_url, graphs=[child], recover="never") as rt:
        await rt.get("mum").cancel()
        assert await ended(rt, "kid") == "cancelled"


async def _sent_everything(rt: Runtime) -> bool:
    _, run = await rt.load("mum")
    return not run.mail.outbox
