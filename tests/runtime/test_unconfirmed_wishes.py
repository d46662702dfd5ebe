"""Wishes of which their run does not know that they arrived, monitors, links and questions: the other one is over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import anyio
import pytest

from actorflow import Context, Down, Graph, Runtime, State, Update, extend
from actorflow.engine.records import Body, Ended, encode_body
from actorflow.errors import AskFailed
from actorflow.runtime import deletion
from actorflow.runtime.claiming import Limits, claiming_run
from actorflow.store.backend import whole
from actorflow.store.frames import Draft
from actorflow.store.store import open_store
from tests.runtime.correspondents import Total, ended, runtime, sleeper, till, until

if TYPE_CHECKING:
    from actorflow.store.store import Store


class Log(State, version=1):
    """What was heard."""

    heard: Annotated[list[str], extend] = []


def watcher(*, links: bool) -> Graph[Log]:
    """Watches a run, and notes how that ends; it goes on for ever, unless it is linked."""
    graph = Graph("watcher", Log, lifetime="actor")

    @graph.node
    async def begin(state: Log, ctx: Context) -> None:
        if links:
            ctx.link("kid")
        else:
            ctx.monitor("kid")

    @graph.on(Down)
    async def down(state: Log, msg: Down) -> Update:
        return {"heard": [f"{msg.run_id} {msg.status}"]}

    return graph


def asker() -> Graph[Log]:
    """Asks a till how much is in it, and notes what became of that."""
    graph = Graph("asker", Log)

    @graph.node
    async def ask(state: Log, ctx: Context) -> Update:
        try:
            return {"heard": [str(await ctx.ask("kid", Total()))]}
        except AskFailed as error:
            return {"heard": [f"{type(error).__name__}: {error}"]}

    return graph


async def _watched_from_afar(url: str, watch: Graph[Any], kid: Graph[Any] | None = None) -> None:
    """A run that nobody looks after, and in its inbox what another one wants of it."""
    kid = kid or sleeper()
    async with runtime(url, [kid]) as rt:
        await rt.spawn(kid, id="kid")
        await until(lambda: _sleeps(rt, "kid"))
    with anyio.fail_after(60):
        async with runtime(url, [watch]) as rt:
            await rt.spawn(watch, id="watch")
            await until(lambda: _letters(rt, "kid"))


async def _sleeps(rt: Runtime, run_id: str) -> bool:
    tip = await rt.ask(lambda store: store.log(run_id).tip())
    return tip is not None and tip.header.kind == "release"


async def _letters(rt: Runtime, run_id: str) -> bool:
    return bool(await rt.ask(lambda store: store.inbox.letters(run_id)))


async def _is_watched(rt: Runtime, run_id: str) -> bool:
    _, run = await rt.load(run_id)
    return bool(run.mail.watchers)


async def _owes_nothing(rt: Runtime, run_id: str) -> bool:
    _, run = await rt.load(run_id)
    return not run.mail.outbox


def _is_unmarked(store: Store) -> bool:
    return not store.markers.active()


def _cancel_and_die(url: str) -> None:
    """A process takes the run up, records that it is cancelled, and dies before it looked into its inbox."""
    store = open_store(url)
    adopted = whole(claiming_run(store, sleeper(), "kid", Limits(migration_timeout=1, max_crashes=9), reopen=None))
    header = adopted.ownership.header
    adopted.ownership.commit(
        Draft(
            kind="release",
            epoch=header.epoch,
            status="cancelled",
            opening=header.opening,
            crashes=header.crashes,
            file=adopted.ownership.file,
            body=encode_body(Body((Ended("cancelled"),))),
        )
    )
    adopted.ownership.close()
    store.close()


async def test_a_wish_that_nobody_takes_holds_up_nobody_who_leaves(store_url: str) -> None:
    """Whoever has both graphs carries on with it. Planted: a run is left when others have all that it sent: never."""
    watch = watcher(links=False)
    await _watched_from_afar(store_url, watch)

    async with runtime(store_url, [watch, sleeper()]) as rt:
        await until(lambda: _is_watched(rt, "kid"))
        await rt.get("kid").cancel()
        await until(lambda: _heard(rt))
        assert await _heard(rt) == ["kid cancelled"]


async def test_a_link_to_a_run_that_had_ended_leaves_nothing_to_be_done(store_url: str) -> None:
    """Its wish stands in an inbox that nobody looks into, and under its number nothing else can be put.

    Planted: taking that for a conflict: what is over tries for ever to fill the number, and keeps its marker.
    """
    watch = watcher(links=True)
    await _watched_from_afar(store_url, watch)
    _cancel_and_die(store_url)

    async with runtime(store_url, [watch]) as rt:
        assert await ended(rt, "watch") == "failed"
        await until(lambda: rt.ask(_is_unmarked))


async def test_word_of_an_end_comes_once_though_the_run_is_deleted_before_its_watcher_looks(store_url: str) -> None:
    """The watcher does not know that its wish had arrived, and who was deleted can't be asked.

    Planted: only word of a deletion answers such a wish: it bounces, and the watcher hears of a second end.
    """
    watch = watcher(links=False)
    await _watched_from_afar(store_url, watch)
    async with runtime(store_url, [sleeper()]) as rt:
        await until(lambda: _is_watched(rt, "kid"))
        await rt.get("kid").cancel()
        assert await ended(rt, "kid") == "cancelled"
        await until(lambda: _letters(rt, "watch"))
    async with Runtime(store_url, recover="never") as rt:
        await rt.delete("kid")

    async with runtime(store_url, [watch]) as rt:
        await until(lambda: _owes_nothing(rt, "watch"))
        await until(lambda: _heard(rt))
        assert await _heard(rt) == ["kid cancelled"]


@pytest.mark.parametrize("watch", [watcher(links=False), asker()], ids=["monitors", "asks"])
async def test_who_is_deleted_answers_what_lies_unread_though_its_id_is_used_again_at_once(
    store_url: str, watch: Graph[Log]
) -> None:
    """The next life begins behind it. Planted: nobody reads it: for the sender it was taken, and is never answered."""
    await _watched_from_afar(store_url, watch, till())

    async with Runtime(store_url, recover="never") as rt:
        await rt.delete("kid")
        await rt.spawn(till(), id="kid", reuse=True)

    async with runtime(store_url, [watch]) as rt:
        await until(lambda: _heard(rt))
        (word,) = await _heard(rt)
    assert "deleted" in word


async def test_who_monitors_a_run_that_is_being_deleted_waits_for_its_word(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleter died before it said anything. Planted: there is no such run any more: a second word follows."""
    watch = watcher(links=False)
    await _watched_from_afar(store_url, watch)

    def dies(*_: object) -> None:
        raise LookupError("on purpose")

    async with Runtime(store_url, recover="never") as rt:
        monkeypatch.setattr(deletion, "take_leave", dies)
        with pytest.raises(LookupError, match="on purpose"):
            await rt.delete("kid")
        monkeypatch.undo()

    async with Runtime(store_url, recover="never") as rt:
        await rt.resume(watch, "watch")
        await rt.living().dispatcher.tried("watch")
        assert await _heard(rt) == []
        await rt.delete("kid")

    async with runtime(store_url, [watch]) as rt:
        await until(lambda: _owes_nothing(rt, "watch"))
        await until(lambda: _heard(rt))
        assert await _heard(rt) == ["kid deleted"]


async def test_a_run_that_was_over_says_nothing_to_what_lies_unread(store_url: str) -> None:
    """Whoever sent that was told by their own process. Planted: it is answered all the same, a second time."""
    watch = watcher(links=False)
    await _watched_from_afar(store_url, watch)
    _cancel_and_die(store_url)
    async with runtime(store_url, [watch]) as rt:
        await until(lambda: _heard(rt))
        await until(lambda: _owes_nothing(rt, "watch"))

    async with Runtime(store_url, graphs=[watch], recover="never") as rt:
        assert await _letters(rt, "kid")
        await rt.delete("kid")
        assert not await _letters(rt, "watch")
        assert await _heard(rt) == ["kid cancelled"]


async def _heard(rt: Runtime) -> list[str]:
    state: list[str] = (await rt.get("watch").state()).heard
    return state
