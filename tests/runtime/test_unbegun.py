"""A run that is deleted has begun the runs that it spawned: what was committed happens, or the run stays."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from actorflow import Context, Graph, Retention, Runtime, State
from actorflow.engine.decide import decide
from actorflow.engine.events import Answering, Outgoing, Returned
from actorflow.engine.records import Body, encode_body
from actorflow.errors import ChildNotBegun, RunDeleted
from actorflow.graph.schema import schema_of
from actorflow.runtime.claiming import Limits, claiming_run
from actorflow.runtime.conversion import form_of
from actorflow.store.backend import whole
from actorflow.store.frames import Draft
from actorflow.store.store import open_store
from tests.runtime.correspondents import Pay, Work, killed_everywhere, runtime, sleeper, till, until, worker

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Plan(State, version=1):
    """Of a parent."""

    n: int = 0


def asking(*, then: bool = False) -> Graph[Plan]:
    """A run that waits for an answer, and then has one more node or none."""
    graph = Graph("asking", Plan)

    @graph.node
    async def ask(state: Plan, ctx: Context) -> None:
        await ctx.interrupt("Now?")

    if then:

        @graph.node(after=ask)
        async def last(state: Plan, ctx: Context) -> None:
            await ctx.interrupt("And now?")

    return graph


async def asleep(url: str, graph: Graph[Any]) -> None:
    """Run mum waits, and nobody has it."""
    async with Runtime(url, linger=0.0) as rt:
        await (await rt.spawn(graph, id="mum")).wait()


def send_and_die(url: str, graph: Graph[Any], *outgoing: Outgoing) -> None:
    """A process answers mum, commits what its node sends with how it goes on, and dies before anybody has it."""
    store = open_store(url)
    adopted = whole(claiming_run(store, graph, "mum", Limits(migration_timeout=1, max_crashes=9), reopen=None))
    answered = decide(graph.plan, adopted.run, Answering(True))
    (node,) = answered.run.open
    records = tuple(answered.records)
    returned = decide(graph.plan, answered.run, Returned(node, None, outgoing=outgoing))
    run, header = returned.run, adopted.ownership.header
    adopted.ownership.commit(
        Draft(
            kind="release" if run.ended else "commit",
            epoch=header.epoch,
            status=run.standing,
            opening=header.opening,
            crashes=header.crashes,
            file=adopted.ownership.file,
            body=encode_body(Body((*records, *returned.records))),
        )
    )
    adopted.ownership.close()
    store.close()


def kid(child: Graph[Work], *, close: Any = "abandon") -> Outgoing:
    """The beginning of a child."""
    return Outgoing("spawn", "kid", form_of(child.schema), [{"n": 3}, {}], graph=child.name, on_close=close)


async def is_there(rt: Runtime, run_id: str) -> bool:
    """Whether there is such a run, now."""
    return await rt.ask(lambda store: store.log(run_id).tip()) is not None


@pytest.mark.parametrize("then", [False, True], ids=["over", "unfinished"])
async def test_it_stays_where_its_child_cant_begin_and_goes_when_it_has(
    store_url: str, tmp_path: Path, *, then: bool
) -> None:
    """Whoever deletes, archives or collects it is told of which graph the child is; it begins as soon as that is there.

    Planted: a deletion that looks for no child, as all did: there is no kid, and nobody ever hears of it.
    """
    child, graph = sleeper(), asking(then=then)
    await asleep(store_url, graph)
    send_and_die(store_url, graph, kid(child))

    async with Runtime(store_url, recover="never") as rt:
        with pytest.raises(ChildNotBegun, match="'kid' of graph 'sleeper'") as caught:
            await rt.archive("mum", str(tmp_path / "over"))
        with pytest.raises(ChildNotBegun):
            await rt.delete("mum")  # which has cancelled it, if it was not over
        for dry_run in (True, False):
            collected = await rt.gc(Retention(ended=0.0), dry_run=dry_run)
            assert "'kid'" in collected.failed["mum"]
            assert not collected.deleted
    assert caught.value.children == {"kid": "sleeper"}

    async with runtime(store_url, [child]) as rt:
        await until(lambda: is_there(rt, "kid"))
        await rt.delete("mum")
        with pytest.raises(RunDeleted):
            await rt.get("mum").state()
        assert (await rt.get("kid").state()).n == 3
        await rt.delete("kid")


@pytest.mark.parametrize("then", [False, True], ids=["over", "unfinished"])
async def test_where_the_graph_is_known_the_child_begins_first(store_url: str, *, then: bool) -> None:
    """Nobody recovers anything there: the deletion sees to it.

    Planted: as above: there is no kid.
    """
    child, graph = sleeper(), asking(then=then)
    await asleep(store_url, graph)
    send_and_die(store_url, graph, kid(child))

    async with Runtime(store_url, graphs=[child], recover="never") as rt:
        await rt.delete("mum")

        with pytest.raises(RunDeleted):
            await rt.get("mum").state()
        assert await is_there(rt, "kid")
        await rt.delete("kid")


async def test_a_child_that_would_be_cancelled_at_once_is_not_waited_for(store_url: str) -> None:
    """It was to end with its parent: that it never began is the same to everybody."""
    child, graph = sleeper(), asking()
    await asleep(store_url, graph)
    send_and_die(store_url, graph, kid(child, close="cancel"))

    async with Runtime(store_url, recover="never") as rt:
        await rt.delete("mum")

        assert not await is_there(rt, "kid")


async def test_an_id_under_which_there_was_another_run_is_not_waited_for(store_url: str) -> None:
    """As nothing would begin there any more: so a run whose child's graph is gone for good can be deleted."""
    child, graph = sleeper(), asking()
    await asleep(store_url, graph)
    send_and_die(store_url, graph, kid(child))

    async with Runtime(store_url, recover="never") as rt:
        await rt.run(worker(), id="kid")
        await rt.delete("kid")
        await rt.delete("mum")

        assert await rt.runs() == []


async def test_whoever_is_killed_when_the_child_of_a_deleted_run_begins() -> None:
    """The run ends and is deleted at once, again and again.

    Planted: as above: who was killed before the child began has a store without it.
    """

    def graphs() -> list[Graph[Any]]:
        child, graph = sleeper(), Graph("mum", Plan)

        @graph.node
        async def begin(state: Plan, ctx: Context) -> None:
            await ctx.spawn(child, Work(n=3), id="kid", parent_close="abandon")

        return [child, graph]

    async def scene(rt: Runtime, its: Sequence[Graph[Any]]) -> None:
        with suppress(RunDeleted):
            await (await rt.spawn(its[1], id="mum", on_conflict="attach")).result()
        await rt.delete("mum")
        assert await is_there(rt, "kid")

    assert await killed_everywhere(graphs, scene) > 10


async def test_what_it_had_sent_to_a_run_that_is_over_is_a_dead_letter_there(store_url: str) -> None:
    """Its sender, which would have it otherwise, is gone.

    Planted: something that says nothing in its place, as it was: nobody has the message.
    """
    over, graph = till(), asking()
    await asleep(store_url, graph)
    async with Runtime(store_url) as rt:
        await (await rt.spawn(over, id="over")).cancel()
    send_and_die(store_url, graph, Outgoing("message", "over", form_of(schema_of(Pay)), {"amount": 5}))

    async with Runtime(store_url, graphs=[over], recover="never") as rt:
        await rt.delete("mum")

        assert [(one.type, one.reason) for one in await rt.get("over").dead_letters()] == [("Pay", "ended")]
