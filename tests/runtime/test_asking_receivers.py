"""Asking for what nodes receive: the answer is None, and it says that a node has taken the message, durably."""

from __future__ import annotations

from typing import Annotated

import anyio
import pytest

from actorflow import Context, Graph, Message, Runtime, State, Update, extend
from actorflow.errors import AskFailed
from tests.runtime.asking import Gate
from tests.runtime.correspondents import until


class Log(State, version=1):
    """What was received."""

    words: Annotated[list[str], extend] = []


class Word(Message, version=1):
    """Is received."""

    text: str


def receiver(gate: Gate | None = None, *, many: int = 1) -> Graph[Log]:
    """Takes so many words, once it may."""
    graph = Graph("receiver", Log, messages=[Word])

    @graph.node
    async def take(state: Log, ctx: Context) -> Update:
        if gate is not None:
            await gate.pass_through()
        return {"words": [(await ctx.receive(Word, key=f"{n}")).text for n in range(many)]}

    return graph


async def test_who_asks_is_told_when_a_node_has_taken_it(store_url: str) -> None:
    """Not when it is kept: as long as the node is busy with something else, nobody has it."""
    gate, replies = Gate(), list[object]()

    async def ask() -> None:
        replies.append(await run.ask(Word(text="hi")))

    async with Runtime(store_url) as rt:
        run = await rt.spawn(receiver(gate), id="x")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await until(run.mailbox)
            assert replies == []
            gate.open.set()

        assert replies == [None]
        assert (await run.result()).words == ["hi"]


async def test_the_same_id_is_told_the_same_also_after_the_end(store_url: str) -> None:
    """And the message was taken once."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(receiver(many=2), id="x")
        assert await run.ask(Word(text="one"), id="1") is None
        assert await run.ask(Word(text="one"), id="1") is None
        assert await run.ask(Word(text="two"), id="2") is None
        assert (await run.result()).words == ["one", "two"]

        assert await run.ask(Word(text="one"), id="1") is None


async def test_a_run_that_asks_is_told_the_same(store_url: str) -> None:
    """By a reply that says nothing, which comes once."""
    asker = Graph("asker", Log)

    @asker.node
    async def ask(state: Log, ctx: Context) -> Update:
        return {"words": [repr(await ctx.ask("x", Word(text="hi")))]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(receiver(), id="x")
        assert (await rt.run(asker)).words == ["None"]
        assert (await run.result()).words == ["hi"]


async def test_who_wants_more_than_that_is_told_that_there_is_no_more(store_url: str) -> None:
    """A reply of a type is for a handler to give; the message was taken all the same."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(receiver(), id="x")
        with pytest.raises(AskFailed, match="its reply is not what was asked for"):
            await run.ask(Word(text="hi"), type=bool)

        assert (await run.result()).words == ["hi"]


async def test_who_asks_a_run_that_ends_before_it_took_it_is_told_that(store_url: str) -> None:
    """It is a dead letter then."""
    gate = Gate()
    async with Runtime(store_url) as rt:
        run = await rt.spawn(receiver(gate), id="x")

        async def cancel() -> None:
            await until(run.mailbox)
            await run.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel)
            with pytest.raises(AskFailed, match="cancelled"):
                await run.ask(Word(text="hi"))
        (dead,) = await run.dead_letters()
        assert dead.reason == "ended"
