"""A process that knows a graph and has no context for it leaves its runs to one that has, as if it did not know it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from actorflow import Context, Graph, Message, Reply, Runtime, Update
from actorflow.errors import BadContext, NoContext, ReloadRefused, RunFailed
from actorflow.testing import VirtualClock
from tests.runtime.correspondents import until
from tests.runtime.graphs import Trail, add
from tests.runtime.test_context import Clients, files, noting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SOON = 0.02  # seconds between two looks


class Nudge(Message, version=1):
    """Note who is there."""


def sleeping(name: str = "sleeping", kind: Any = Clients, *, seconds: float = 0.05) -> Graph[Trail]:
    """A node that sleeps, and then one that notes whose clients it was given."""
    graph = Graph(name, Trail, context=kind)

    @graph.node
    async def sleep(state: Trail, ctx: Context) -> None:
        await ctx.sleep(seconds)

    @graph.node(after=sleep)
    async def note(state: Trail, ctx: Context) -> Update:
        return {"trace": [ctx.context.name]}

    return graph


def handling() -> Graph[Trail]:
    """An actor that answers with the name of its clients."""
    graph = Graph("handling", Trail, context=Clients, lifetime="actor")
    add(graph, "begin", after=None)

    @graph.on(Nudge)
    async def nudged(state: Trail, msg: Nudge, ctx: Context) -> Reply:
        return Reply(ctx.context.name)

    return graph


async def orphan(url: str, graph: Graph[Any], run_id: str = "x") -> None:
    """Leave a run in the middle of its first node, or where it waits."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - it is left as it is
        # where no time passes: a node that sleeps does not come to its end here
        async with VirtualClock(auto=False), Runtime(url, linger=0.0) as rt:
            run = await rt.spawn(graph, id=run_id, context=Clients("first"))
            if graph.name in {"noting", "handling"}:  # those that wait for somebody
                await run.wait()
            raise ZeroDivisionError


def of_run_x(url: str) -> dict[str, bytes]:
    """The files of the run ``x``."""
    return {name: data for name, data in files(url).items() if name.startswith("runs/x/")}


async def finished(rt: Runtime, run_id: str = "x") -> bool:
    """Whether a run is over."""
    return await rt.get(run_id).status() == "finished"


def told(caplog: pytest.LogCaptureFixture, what: str) -> list[str]:
    """The warnings about this."""
    return [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING and what in one.getMessage()]


async def test_an_orphan_is_left_alone_and_taken_up_once_there_is_a_context(
    store_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the scan nor ``recover`` claims it; the reason is told once; registering the context ends that.

    Planted: with recovery that asks nobody (``may_run`` always true) its node fails over None here.
    """
    await orphan(store_url, sleeping())
    before = of_run_x(store_url)

    async with Runtime(store_url, scan_every=SOON) as rt:
        rt.register(sleeping())

        async def left_alone() -> list[str]:
            assert await rt.recover() == []
            return told(caplog, "graph 'sleeping' are left to other processes")

        await until(left_alone)
        assert len(await left_alone()) == 1
        assert of_run_x(store_url) == before

        rt.register(sleeping(), context=Clients("late"))
        await until(lambda: finished(rt))

        state = await rt.get("x").state()
    assert state.trace == ["late"]


async def test_a_message_wakes_a_run_only_where_there_is_a_context(store_url: str) -> None:
    """It waits in the inbox until then, whoever sends it: somebody outside, or another run."""
    await orphan(store_url, handling())
    sender = Graph("sender", Trail)

    @sender.node
    async def send(state: Trail, ctx: Context) -> None:
        await ctx.send("x", Nudge())

    async with Runtime(store_url, scan_every=SOON) as rt:
        rt.register(handling())
        await rt.get("x").send(Nudge(), id="outside")
        await rt.run(sender)
        await until(lambda: _waits(rt, 2))
        assert await rt.get("x").dead_letters() == []

    async with Runtime(store_url, scan_every=SOON) as rt:
        rt.register(handling(), context=Clients("other"))
        assert await rt.get("x").ask(Nudge(), id="outside") == "other"
        await until(lambda: _waits(rt, 0))
        await rt.get("x").cancel()


async def _waits(rt: Runtime, many: int) -> bool:
    return len(await rt.get("x").mailbox()) == many


VERBS: list[Callable[[Runtime], Awaitable[Any]]] = [
    lambda rt: rt.run(noting()),
    lambda rt: rt.spawn(noting(), id="y"),
    lambda rt: rt.resume(noting(), "x"),
    lambda rt: rt.get("x").answer(True),
    lambda rt: rt.get("x").update({"trace": ["new"]}),
    lambda rt: rt.get("x").input({}, on_pending="discard"),
    lambda rt: rt.get("x").fork(id="f"),
    lambda rt: rt.get("x").rewind(0),
]


@pytest.mark.parametrize("verb", VERBS)
async def test_who_asks_for_it_is_told_what_is_missing(
    store_url: str, verb: Callable[[Runtime], Awaitable[Any]]
) -> None:
    """Nothing is written; the same with a context is done."""
    await orphan(store_url, noting())
    before = files(store_url)

    async with Runtime(store_url, recover="never") as rt:
        rt.register(noting())
        with pytest.raises(NoContext, match=r"'noting' declares Graph\(context=Clients\), and this process has none"):
            await verb(rt)

    assert files(store_url) == before


async def test_a_run_can_be_paused_without_a_context_and_does_not_go_on_without_one(store_url: str) -> None:
    """Nothing of it begins by that; unpausing needs one, also just after it."""
    await orphan(store_url, sleeping())

    async with Runtime(store_url, recover="never") as rt:
        rt.register(sleeping())
        run = rt.get("x")
        await run.pause()
        assert await run.status() == "paused"
        with pytest.raises(NoContext):
            await run.unpause()
        await run.unpause(context=Clients("given"))

        assert (await run.result()).trace == ["given"]


async def test_a_child_is_refused_where_it_is_begun_if_it_would_lack_a_context() -> None:
    """Its graph is to be registered with one."""
    parent, child = Graph("parent", Trail), sleeping()

    @parent.node
    async def begin(state: Trail, ctx: Context) -> Update:
        return {"trace": (await ctx.result(await ctx.spawn(child, Trail()), Trail)).trace}

    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(parent)
        assert isinstance(caught.value.__cause__, NoContext)
        rt.register(child, context=Clients("registered"))
        assert (await rt.run(parent)).trace == ["registered"]


@pytest.mark.parametrize("kind", [Clients | None, object])
async def test_none_is_a_context_where_the_graph_says_so(kind: Any) -> None:
    """Then nothing is missing."""
    graph = Graph("optional", Trail, context=kind)
    add(graph, "only", after=None)

    async with Runtime("memory://") as rt:
        assert (await rt.run(graph)).trace == ["only"]


async def test_what_was_given_before_a_reload_stays_good_after_it(store_url: str) -> None:
    """The class in the new code is another one of that name: objects of before keep theirs."""

    class Again(NamedTuple):
        """What the new code calls Clients."""

    async with Runtime(store_url, linger=0.0) as rt:
        run = await rt.spawn(sleeping(seconds=0.2), id="x", context=Clients("first"))
        await rt.reload(sleeping(kind=Again))

        assert (await run.result()).trace == ["first"]


async def test_a_reload_can_give_another_context(store_url: str) -> None:
    """To all runs that live here, and those that come; a graph that declares one now is refused without."""
    async with VirtualClock(auto=False) as clock, Runtime(store_url) as rt:
        run = await rt.spawn(sleeping(kind=None), id="x")
        with pytest.raises(ReloadRefused, match=r"run 'x': .* declares Graph\(context=Clients\)"):
            await rt.reload(sleeping())
        with pytest.raises(BadContext):
            await rt.reload(sleeping(), context=1)
        await rt.reload(sleeping(), context=Clients("newer"))
        clock.auto = True  # it sleeps until now

        assert (await run.result()).trace == ["newer"]
        assert (await rt.run(sleeping())).trace == ["newer"]


async def test_a_run_that_this_process_put_to_sleep_keeps_its_context(store_url: str) -> None:
    """Nobody need register it for that: it wakes with what it had."""
    async with Runtime(store_url, linger=0.0) as rt:
        assert (await rt.run(sleeping(), id="x", context=Clients("first"))).trace == ["first"]
