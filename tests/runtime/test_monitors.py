"""Monitors and links: a run is told, once, that another one has ended, or ends with it."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from actorflow import Context, Down, Graph, Runtime, State, Update, extend
from actorflow.errors import BadMessage, Quarantined, RunFailed
from actorflow.runtime.claiming import Limits, claiming_run
from actorflow.store.backend import whole
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store
from tests.runtime.correspondents import Work, ended, killed_everywhere, runtime, sleeper, until, worker


class Watch(State, version=1):
    """What a watcher has heard."""

    downs: Annotated[list[str], extend] = []


def watcher(*targets: str) -> Graph[Watch]:
    """Monitors these, and notes how they end until it has heard of all."""
    graph = Graph("watcher", Watch, messages=[Down])

    @graph.node
    async def begin(state: Watch, ctx: Context) -> None:
        for target in targets:
            ctx.monitor(target)

    @graph.node(after=begin)
    async def hear(state: Watch, ctx: Context) -> Update:
        downs = [await ctx.receive(Down) for _ in targets]
        return {"downs": [f"{down.run_id} {down.status} {down.error}".strip() for down in downs]}

    return graph


async def test_who_monitors_is_told_how_runs_end(store_url: str) -> None:
    """Also of one that is over already, and of one that never was."""
    child = worker()
    async with runtime(store_url, [child]) as rt:
        await rt.run(child, Work(n=1), id="early")
        late = await rt.spawn(sleeper(), id="late")
        run = await rt.spawn(watcher("early", "late", "nobody"), id="watch")
        await until(lambda: _has_heard(rt, 2))
        await late.cancel()
        state = await run.result()

    assert sorted(state.downs)[:2] == ["early finished", "late cancelled"]
    assert sorted(state.downs)[2].startswith("nobody noproc NoSuchRun")


async def _has_heard(rt: Runtime, many: int) -> bool:
    _, state = await rt.load("watch")
    heard = sum(1 for one in state.open.values() for answer in one.answers.values() if answer.value)
    return heard + len(state.mail.queue) >= many


async def test_a_run_that_fails_says_with_what(store_url: str) -> None:
    """As text."""
    child = worker()
    graph = Graph("watcher", Watch, messages=[Down])

    @graph.node
    async def node(state: Watch, ctx: Context) -> None:
        await ctx.spawn(child, Work(n=-1), monitor=True)

    @graph.node(after=node)
    async def hear(state: Watch, ctx: Context) -> Update:
        return {"downs": [(await ctx.receive(Down)).error]}

    async with runtime(store_url, []) as rt:
        assert (await rt.run(graph)).downs == ["ValueError: negative"]


async def test_word_of_an_end_comes_once_whoever_is_killed_when() -> None:
    """A handler notes each; both runs live in a process that dies at every write."""

    def graphs() -> list[Graph[Any]]:
        child = worker()
        graph = Graph("noter", Watch, lifetime="actor")

        @graph.node
        async def begin(state: Watch, ctx: Context) -> None:
            await ctx.spawn(child, Work(n=3), id="kid", monitor=True)

        @graph.on(Down)
        async def note(state: Watch, msg: Down) -> Update:
            return {"downs": [f"{msg.run_id} {msg.status}"]}

        return [graph, child]

    async def scene(rt: Runtime, its: list[Graph[Any]]) -> None:
        await rt.spawn(its[0], id="noter", on_conflict="attach")
        await until(lambda: _noted(rt))
        assert await rt.get("noter").drain() in {"paused", "waiting"}
        assert (await rt.get("noter").state()).downs == ["kid finished"]

    assert await killed_everywhere(graphs, scene) > 20


async def _noted(rt: Runtime) -> bool:
    return bool((await rt.get("noter").state()).downs)


@pytest.mark.parametrize("who", ["linker", "linked"])
async def test_a_link_takes_one_down_with_the_other(store_url: str, who: str) -> None:
    """In both directions, if one ends and not as finished."""
    graph = Graph("linker", Watch)

    @graph.node
    async def link(state: Watch, ctx: Context) -> None:
        ctx.link("linked")

    @graph.node(after=link)
    async def wait(state: Watch, ctx: Context) -> None:
        await ctx.interrupt("Which?")

    async with Runtime(store_url) as rt:
        await rt.spawn(sleeper(), id="linked")
        await rt.spawn(graph, id="linker")
        await until(lambda: _is_linked(rt))
        other = "linked" if who == "linker" else "linker"
        await rt.get(who).cancel()
        assert await ended(rt, other) == "failed"
        with pytest.raises(RunFailed, match=f"linked to run '{who}', which is cancelled"):
            await rt.get(other).result()


async def _is_linked(rt: Runtime) -> bool:
    _, linked = await rt.load("linked")
    _, linker = await rt.load("linker")
    return "linker" in linked.mail.watchers and "linked" in linker.mail.watchers and not linker.mail.outbox


async def test_a_link_to_a_run_that_finishes_is_gone(store_url: str) -> None:
    """The other one goes on."""
    graph, child = Graph("linker", Watch), worker()

    @graph.node
    async def link(state: Watch, ctx: Context) -> None:
        ctx.link(await ctx.spawn(child, Work(n=1)))

    @graph.node(after=link)
    async def wait(state: Watch, ctx: Context) -> Update:
        return {"downs": [await ctx.interrupt("Which?", type=str)]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="linker")
        await until(lambda: _is_alone(rt))
        await run.answer("none")
        assert (await run.result()).downs == ["none"]


async def _is_alone(rt: Runtime) -> bool:
    _, run = await rt.load("linker")
    return run.standing == "waiting" and not run.mail.watchers


async def test_who_could_not_hear_of_it_may_not_monitor(store_url: str) -> None:
    """The graph must say what becomes of a `Down`."""
    graph = Graph("deaf", Watch)

    @graph.node
    async def node(state: Watch, ctx: Context) -> Update:
        with pytest.raises(BadMessage, match=r"Graph\.on\(Down\)"):
            ctx.monitor("somebody")
        return {"downs": ["refused"]}

    async with Runtime(store_url) as rt:
        assert (await rt.run(graph)).downs == ["refused"]


async def test_who_monitors_hears_of_a_run_that_is_quarantined() -> None:
    """Nobody has it any more who could say so but the process that finds it."""
    backend = MemoryBackend()
    graphs: list[Graph[Any]] = [watcher("child"), sleeper()]
    async with runtime(backend, graphs) as rt:
        await rt.spawn(graphs[1], id="child")
        await rt.spawn(graphs[0], id="watch")

        async def is_watched() -> bool:
            _, child = await rt.load("child")
            return "watch" in child.mail.watchers

        await until(is_watched)
    store = open_store(backend)
    with pytest.raises(Quarantined):
        whole(claiming_run(store, graphs[1], "child", Limits(migration_timeout=1, max_crashes=-1), reopen=None))
    store.close()

    async with runtime(backend, graphs) as rt:
        assert await ended(rt, "watch") == "finished"
        assert (await rt.get("watch").state()).downs == ["child quarantined"]
