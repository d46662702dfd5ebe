"""Lines: what somebody at a terminal is told of runs as they go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow import Context, Graph, Message, Runtime, State, Update
from actorflow.cli.lines import Lines

if TYPE_CHECKING:
    import pytest


class Seen(State, version=1):
    """What came."""

    word: str = ""


class Word(Message, version=1):
    """Is waited for."""

    text: str


def waits() -> Graph[Seen]:
    """Sleeps for a moment, waits for a message, and asks."""
    graph = Graph("waits", Seen, messages=[Word])

    @graph.node
    async def nap(state: Seen, ctx: Context) -> None:
        await ctx.sleep(0.4)

    @graph.node(after=nap)
    async def hear(state: Seen, ctx: Context) -> Update:
        return {"word": (await ctx.receive(Word)).text}

    @graph.node(after=hear)
    async def ask(state: Seen, ctx: Context) -> None:
        await ctx.interrupt("good?")

    return graph


async def test_each_wait_is_called_what_it_is(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A sleep asks nobody, and a message is no answer. Planted: whatever waits asks."""
    async with Runtime(store_url, hooks=[Lines()]) as rt:
        run = await rt.spawn(waits(), id="x")
        await run.send(Word(text="hello"))
        assert await run.wait() == "waiting"
        await run.answer(True)
        await run.result()

    said = [line.split("  ", 1)[1] for line in capsys.readouterr().out.splitlines()]
    waited = [line for line in said if "  started" not in line and "  finished" not in line]
    assert [one for one in waited if "nap" in one] == ["nap  sleeps", "nap  wakes"]
    assert [one for one in waited if "ask" in one] == ["ask  asks 'good?'", "ask  'good?' is answered"]
    assert not any("asks" in one for one in waited if "hear" in one)
