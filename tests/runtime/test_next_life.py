"""What the next life of an id knows of messages: what its lanes had come to, and nothing else."""

from __future__ import annotations

from typing import Any

import anyio

from actorflow import Context, Graph, Message, Runtime, State, Update


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
