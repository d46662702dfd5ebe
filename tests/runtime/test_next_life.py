"""What the next life of an id knows of messages: what its lanes had come to, and nothing else."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from actorflow import Context, Graph, Message, Retention, Runtime, State, Update
from actorflow.runtime import deletion
from actorflow.store.deletion import clear_away


class Box(State):
    """What was taken."""

    got: tuple[int, ...] = ()


class Note(Message, version=1):
    """Is sent along."""

    n: int


class Go(Message, version=1):
    """Makes the sender send."""

    n: int


def receiver() -> Graph[Box]:
    """Keeps what it is sent."""
    graph = Graph("receiver", Box, lifetime="actor")

    @graph.on(Note)
    async def note(state: Box, msg: Note) -> Update:
        return {"got": (*state.got, msg.n)}

    return graph


def sender() -> Graph[Box]:
    """Sends to run r."""
    graph = Graph("sender", Box, lifetime="actor")

    @graph.on(Go)
    async def go(state: Box, msg: Go, ctx: Context) -> None:
        await ctx.send("r", Note(n=msg.n))

    return graph


async def has(rt: Runtime, n: int) -> Any:
    """What run r has, once this is among it."""
    while n not in (got := (await rt.get("r").state()).got):  # noqa: ASYNC110 - as its sender, it may be elsewhere
        await anyio.sleep(0.01)
    return got


async def test_the_next_life_of_an_id_takes_what_follows_and_nothing_again(store_url: str) -> None:
    """A lane goes on where it was when its receiver was deleted; a sender's next life begins another one."""
    async with Runtime(store_url) as rt:
        with anyio.fail_after(20):
            source = await rt.spawn(sender(), id="s")
            await rt.spawn(receiver(), id="r")
            await source.ask(Go(n=1))
            assert await has(rt, 1) == (1,)

            await rt.get("r").delete()
            await rt.spawn(receiver(), id="r", reuse=True)
            await source.ask(Go(n=2))
            assert await has(rt, 2) == (2,)

            await source.delete()
            source = await rt.spawn(sender(), id="s", reuse=True)
            await source.ask(Go(n=3))
            assert await has(rt, 3) == (2, 3)
            for run in (source, rt.get("r")):
                await run.cancel()


async def arrived(rt: Runtime) -> None:
    """Until something is in the inbox of run r."""
    while not rt.living().store.inbox.letters("r"):  # noqa: ASYNC110 - as above
        await anyio.sleep(0.01)


async def test_what_could_not_be_delivered_to_a_deleted_run_leaves_no_gap_for_its_next_life(store_url: str) -> None:
    """Its number is filled, and stays filled, whoever clears up after the deletion once more. Seen to wait for ever."""
    async with Runtime(store_url) as rt:
        with anyio.fail_after(20):
            source = await rt.spawn(sender(), id="s")
            run = await rt.spawn(receiver(), id="r")
            await run.delete()
            await source.ask(Go(n=1))
            await arrived(rt)
            await rt.gc(Retention())

            await rt.spawn(receiver(), id="r", reuse=True)
            await source.ask(Go(n=2))

            assert await has(rt, 2) == (2,)
            for run in (source, rt.get("r")):
                await run.cancel()


async def deleted_with_what_it_had_not_taken(store_url: str, *, within: float = 20) -> None:
    """A run is deleted while a message waits for it in its inbox, and its next life is sent the next one."""
    async with Runtime(store_url, drain="park") as rt:
        await rt.spawn(receiver(), id="r")
    async with Runtime(store_url, drain="park", recover="never") as rt:
        with anyio.fail_after(20):
            source = await rt.spawn(sender(), id="s")
            await source.ask(Go(n=1))
            await arrived(rt)
            await rt.get("r").delete()
            assert rt.living().store.inbox.letters("r") == []
    async with Runtime(store_url, drain="park", graphs=[sender()]) as rt:
        with anyio.fail_after(within):
            await rt.spawn(receiver(), id="r", reuse=True)
            await rt.get("s").ask(Go(n=2))
            assert await has(rt, 2) == (2,)


async def test_what_is_deleted_with_a_run_leaves_no_gap_for_its_next_life(store_url: str) -> None:
    """Its marks pass what goes with it: the next message of that sender is the one to come. Seen to wait for ever."""
    await deleted_with_what_it_had_not_taken(store_url)


async def test_planted_marks_that_stay_behind_what_is_deleted_are_found(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: the deleted run's messages go, and its marks stay where they were."""
    monkeypatch.setattr(deletion, "past", lambda marks, letters: marks)
    monkeypatch.setattr(deletion, "clear_away", _clear_all)

    with pytest.raises(TimeoutError):
        await deleted_with_what_it_had_not_taken(store_url, within=1)


def _clear_all(store: Any, run_id: str) -> None:
    store.inbox.delete(store.inbox.letters(run_id))
    clear_away(store, run_id)
