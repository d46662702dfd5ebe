"""Values that no field is for, as replies and answers: what could not be read back is refused where it is given."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from msgspec.msgpack import Ext

from actorflow import Context, Graph, Message, Reply, Runtime, State, Update
from actorflow.errors import AskFailed, BadAnswer, BadStepResult, RunFailed


class Bag(State, version=1):
    """Whatever."""

    held: Any = None


class Echo(Message, version=1):
    """Is answered with what no file can hold."""


def deep() -> list[Any]:
    """Nested deeper than may be read again."""
    value: list[Any] = []
    for _ in range(150):
        value = [value]
    return value


UNREADABLE = pytest.mark.parametrize("value", [Ext(1, bytes(56)), {"a": [Ext(2, bytes(56))]}, deep()])


@UNREADABLE
async def test_a_reply(value: Any) -> None:
    """The handler fails, and who asked is told; the actor goes on."""
    graph = Graph("echo", Bag, lifetime="actor")

    @graph.on(Echo)
    async def echo(state: Bag, msg: Echo) -> Reply:
        return Reply(value)

    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(graph, id="e")
        with pytest.raises(AskFailed, match="reply can't be encoded"):
            await run.ask(Echo())
        assert [dead.reason for dead in await run.dead_letters()] == ["failed"]


@UNREADABLE
async def test_a_step(value: Any) -> None:
    """The node fails, with the name of the step."""
    graph = Graph("steps", Bag)

    @graph.node
    async def work(state: Bag, ctx: Context) -> Update:
        async def make() -> Any:
            return value

        return {"held": await ctx.step("make", make)}

    async with Runtime("memory://") as rt:
        with pytest.raises(RunFailed) as failed:
            await rt.run(graph, Bag(), id="s")
    assert isinstance(failed.value.__cause__, BadStepResult)


@UNREADABLE
async def test_an_answer(value: Any) -> None:
    """It is refused, and the run still waits."""
    graph = Graph("asks", Bag)

    @graph.node
    async def work(state: Bag, ctx: Context) -> Update:
        return {"held": await ctx.interrupt("What?", type=Any)}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="a")
        with anyio.fail_after(30):
            while not await run.interrupts():  # noqa: ASYNC110 - nobody tells
                await anyio.sleep(0.01)
        with pytest.raises(BadAnswer):
            await run.answer(value)
        await run.answer("a word")
        assert (await run.result()).held == "a word"
