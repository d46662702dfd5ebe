"""A run may ask for several reasons how another one ends: each is answered, once."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

from actorflow import Context, Down, Graph, Runtime, State, Update, append
from actorflow.errors import NotWaiting, RunEnded, RunFailed
from tests.runtime.correspondents import WITHIN, Work, ended, killed_everywhere, runtime, sleeper, until

if TYPE_CHECKING:
    from actorflow.engine.run import RunState


class Heard(State, version=1):
    """What was heard, in any order."""

    said: Annotated[list[str], append] = []


def waiting() -> Graph[Heard]:
    """Two of its nodes wait for the result of run kid, and a third for word of its end."""
    graph = Graph("waiting", Heard, messages=[Down])

    @graph.node
    async def begin(state: Heard, ctx: Context) -> None:
        ctx.monitor("kid")

    @graph.node(after=begin)
    async def one(state: Heard, ctx: Context) -> Update:
        return {"said": f"one {(await ctx.result('kid', Work)).n}"}

    @graph.node(after=begin)
    async def two(state: Heard, ctx: Context) -> Update:
        return {"said": f"two {(await ctx.result('kid', Work)).n}"}

    @graph.node(after=begin)
    async def down(state: Heard, ctx: Context) -> Update:
        return {"said": f"down {(await ctx.receive(Down)).status}"}

    return graph


async def questions(rt: Runtime, run_id: str, by: str) -> int:
    """How many questions one run has about another one's end, as that one knows."""
    _, run = await rt.load(run_id)
    watch = run.mail.watchers.get(by)
    return 0 if watch is None else 1 + len(watch.others)


async def test_all_who_wait_for_a_run_hear_how_it_ends_whoever_is_killed_when() -> None:
    """Its result goes to each, and word of its end to whom it was promised.

    Planted: one question for each run that asks, as it was: the first that waited waits for ever.
    """

    def graphs() -> list[Graph[Any]]:
        return [sleeper(), waiting()]

    async def scene(rt: Runtime, its: list[Graph[Any]]) -> None:
        kid = await rt.spawn(its[0], id="kid", on_conflict="attach")
        waits = await rt.spawn(its[1], id="waits", on_conflict="attach")
        await until(lambda: _asked(rt))
        with suppress(NotWaiting, RunEnded):  # answered before its process was killed
            await kid.answer(7)
        assert sorted((await waits.result()).said) == ["down finished", "one 7", "two 7"]

    assert await killed_everywhere(graphs, scene, every=3) > 10


async def _asked(rt: Runtime) -> bool:
    """Whether all three have asked; or it was answered before, when they had."""
    _, kid = await rt.load("kid")
    return await questions(rt, "kid", "waits") == 3 or kid.status == "finished" or not _asks(kid)


def _asks(run: RunState) -> bool:
    return any(one.asks for one in run.open.values())


@pytest.mark.parametrize("first", ["link", "monitor"])
async def test_a_link_stays_beside_a_monitor(store_url: str, first: str) -> None:
    """Whichever came first.

    Planted: as above: a monitor after it takes the link away.
    """
    graph = Graph("linker", Heard, messages=[Down])

    @graph.node
    async def begin(state: Heard, ctx: Context) -> None:
        for what in (ctx.link, ctx.monitor) if first == "link" else (ctx.monitor, ctx.link):
            what("kid")

    @graph.node(after=begin)
    async def wait(state: Heard, ctx: Context) -> None:
        await ctx.interrupt("Which?")

    async with Runtime(store_url) as rt:
        kid = await rt.spawn(sleeper(), id="kid")
        run = await rt.spawn(graph, id="linker")
        await until(lambda: _linked(rt))
        await kid.cancel()
        assert await ended(rt, "linker") == "failed"
        with pytest.raises(RunFailed, match="linked to run 'kid', which is cancelled"):
            await run.result()


async def _linked(rt: Runtime) -> bool:
    _, kid = await rt.load("kid")
    _, linker = await rt.load("linker")
    return "linker" in kid.mail.watchers and not linker.mail.outbox


async def test_who_monitors_a_child_and_waits_for_it_hears_both(store_url: str) -> None:
    """Although the child is forgotten with the first word of its end."""
    child, graph = sleeper(), Graph("parent", Heard, messages=[Down])

    @graph.node
    async def begin(state: Heard, ctx: Context) -> None:
        await ctx.spawn(child, Work(), id="kid", monitor=True)

    @graph.node(after=begin)
    async def result(state: Heard, ctx: Context) -> Update:
        return {"said": f"result {(await ctx.result('kid', Work)).n}"}

    @graph.node(after=begin)
    async def down(state: Heard, ctx: Context) -> Update:
        return {"said": f"down {(await ctx.receive(Down)).status}"}

    async with runtime(store_url, [child]) as rt:
        run = await rt.spawn(graph, id="mum")
        await until(lambda: _both(rt))
        await rt.get("kid").answer(3)
        with anyio.fail_after(WITHIN):
            assert sorted((await run.result()).said) == ["down finished", "result 3"]


async def _both(rt: Runtime) -> bool:
    tip = await rt.ask(lambda store: store.log("kid").tip())
    return tip is not None and await questions(rt, "kid", "mum") == 2
