"""Receive: a node takes the message that it waits for, and leaves the others."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

import anyio
import pytest

from actorflow import Context, Graph, Message, Run, Runtime, State, Update, extend, migrate
from actorflow.engine import waits
from actorflow.errors import BadMessage, NotWaiting, RunEnded, RunWaiting
from actorflow.testing import VirtualClock
from tests.runtime.correspondents import ended, killed_everywhere, runtime, until


class Log(State, version=1):
    """What was received."""

    heard: Annotated[list[str], extend] = []


class Word(Message, version=1):
    """Is received."""

    text: str


class Order(Message, version=1):
    """Is received, too."""

    number: int


class Handled(Message, version=1):
    """Is handled."""


def listener(*wanted: str) -> Graph[Log]:
    """Takes the words that are these, in this order."""
    graph = Graph("listener", Log, messages=[Word, Order])

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        heard = [(await ctx.receive(Word, where=lambda msg, text=text: msg.text == text)).text for text in wanted]  # type: ignore[misc]
        return {"heard": heard}

    return graph


async def test_a_node_takes_what_it_waits_for_and_leaves_the_rest(store_url: str) -> None:
    """In the order of its waits, not in that of coming; what nobody takes is a dead letter in the end."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(listener("b", "a"), id="run")
        await run.send(Word(text="a"))
        await run.send(Order(number=1))
        await run.send(Word(text="c"))
        await run.send(Word(text="b"))
        assert (await run.result()).heard == ["b", "a"]
        assert [dead.type for dead in await run.dead_letters()] == ["Order", "Word"]


async def test_the_oldest_that_fits_is_taken(store_url: str) -> None:
    """Also if all were there before anybody waited."""
    graph, gate = Graph("listener", Log, messages=[Order]), anyio.Event()

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        await gate.wait()
        even = [await ctx.receive(Order, where=lambda msg: msg.number % 2 == 0) for _ in range(2)]
        rest = [await ctx.receive(Order) for _ in range(2)]
        return {"heard": [str(one.number) for one in (*even, *rest)]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph)
        for number in range(5):
            await run.send(Order(number=number))
        gate.set()
        assert (await run.result()).heard == ["0", "2", "1", "3"]


async def test_a_run_that_waits_for_a_message_leaves_memory_and_comes_back_for_it(store_url: str) -> None:
    """And is taken up by a process that is sent one."""
    graph = listener("x")
    async with runtime(store_url, []) as rt:
        await rt.spawn(graph, id="run")
        await until(lambda: _waits(rt))
    async with runtime(store_url, [graph]) as rt:
        await rt.get("run").send(Word(text="y"))
        await rt.get("run").send(Word(text="x"))
        assert await ended(rt, "run") == "finished"
        assert (await rt.get("run").state()).heard == ["x"]


async def _waits(rt: Runtime) -> bool:
    return await rt.get("run").status() == "waiting"


async def test_who_waits_in_vain_gets_none_and_that_stays_so(store_url: str) -> None:
    """A message that comes later does not change what was decided."""
    graph = Graph("listener", Log, messages=[Word])

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        first = await ctx.receive(Word, timeout=3600)
        second = await ctx.receive(Word)
        return {"heard": [str(first), second.text]}

    async with VirtualClock() as clock, Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="run")
        await anyio.sleep(3601)
        assert await _has_given_up(rt)
        assert 3601 <= clock.elapsed < 3700
        await run.send(Word(text="late"))
        assert (await run.result()).heard == ["None", "late"]


async def _has_given_up(rt: Runtime) -> bool:
    _, run = await rt.load("run")
    return any(ask.key == "(receive) Word#2" for one in run.open.values() for ask in one.asks.values())


async def test_the_time_runs_on_while_others_come(store_url: str) -> None:
    """Who is woken for a message that is not for it does not begin to wait anew."""
    graph = Graph("listener", Log, messages=[Word])

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        found = await ctx.receive(Word, where=lambda msg: msg.text == "mine", timeout=100)
        return {"heard": [str(found)]}

    async with VirtualClock() as clock, Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="run")
        for index in range(3):
            await clock.advance(30)
            await run.send(Word(text=f"other {index}"))
        assert (await run.result()).heard == ["None"]
        assert 100 <= clock.elapsed < 130


async def test_what_is_there_is_looked_at_without_waiting(store_url: str) -> None:
    """With a timeout of 0."""
    graph, gate = Graph("listener", Log, messages=[Word]), anyio.Event()

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        await gate.wait()
        found = [await ctx.receive(Word, timeout=0) for _ in range(2)]
        return {"heard": [one.text if one else "-" for one in found]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph)
        await run.send(Word(text="there"))
        gate.set()
        assert (await run.result()).heard == ["there", "-"]


async def test_a_message_that_comes_while_a_node_looks_is_not_missed(store_url: str) -> None:
    """Between its look into the mailbox and its wait."""
    assert await _send_between_look_and_wait(store_url, within=20) == ["now"]


async def test_planted_a_wait_that_does_not_look_again_is_found(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a node that begins to wait without a second look at the mailbox waits for ever."""
    monkeypatch.setattr(waits, "_has_news", lambda *_: False)

    with pytest.raises(TimeoutError):
        await _send_between_look_and_wait(store_url, within=0.3)


async def _send_between_look_and_wait(store_url: str, *, within: float) -> list[str]:
    graph, looked, go_on = Graph("listener", Log, messages=[Word]), anyio.Event(), anyio.Event()

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold)
            found = await ctx.receive(Word)
        return {"heard": [found.text]}

    async def hold() -> None:
        """Keeps the attempt from ending, although its wait has begun."""
        looked.set()
        with anyio.CancelScope(shield=True):
            await go_on.wait()

    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(graph)
        await looked.wait()
        await run.send(Word(text="now"))
        go_on.set()
        with anyio.fail_after(within):
            return await _heard(run)


async def _heard(run: Run[Log]) -> list[str]:
    while await run.status() != "finished":  # noqa: ASYNC110 - what it looks at is in the store
        await anyio.sleep(0.005)
    return (await run.state()).heard


async def test_a_taken_message_is_taken_once_whoever_is_killed_when() -> None:
    """It is the same one on every later attempt, and nobody else gets it."""

    def graphs() -> list[Graph[Any]]:
        graph = Graph("listener", Log, messages=[Word])

        @graph.node
        async def listen(state: Log, ctx: Context) -> Update:
            one = await ctx.receive(Word)
            two = await ctx.receive(Word)
            return {"heard": [one.text, two.text]}

        return [graph]

    async def scene(rt: Runtime, its: list[Graph[Any]]) -> None:
        run = await rt.spawn(its[0], id="run", on_conflict="attach")
        with suppress(RunEnded):  # in the process before
            for text in ("a", "b"):
                await run.send(Word(text=text), id=text)
        assert await ended(rt, "run") == "finished"
        assert (await run.state()).heard == ["a", "b"]

    assert await killed_everywhere(graphs, scene) > 15


async def test_an_older_message_is_received_as_the_newer_type(store_url: str) -> None:
    """Migrated when it is taken."""

    class Old(Message, version=1, name="Note"):
        """As it was."""

        text: str

    @migrate(from_=1, to=2)
    def split(old: dict[str, Any]) -> dict[str, Any]:
        return {"words": old["text"].split()}

    class New(Message, version=2, name="Note", migrations=[split]):
        """As it is."""

        words: list[str]

    def version(type_: Any) -> Graph[Log]:
        graph = Graph("listener", Log, messages=[type_])

        @graph.node
        async def listen(state: Log, ctx: Context) -> Update:
            await ctx.interrupt("Begin?")
            note = await ctx.receive(type_)
            return {"heard": note.words}

        return graph

    async with Runtime(store_url) as rt:
        run = await rt.spawn(version(Old), id="run")
        await run.send(Old(text="so it was"))
    async with Runtime(store_url) as rt:
        run = await rt.resume(version(New), "run")
        await run.answer(None)
        assert (await run.result()).heard == ["so", "it", "was"]


async def test_nodes_receive_what_the_graph_says_and_nobody_handles(store_url: str) -> None:
    """Otherwise they would wait for ever, so that it is refused."""
    graph = Graph("listener", Log, messages=[Word])

    @graph.on(Handled)
    async def handle(state: Log, msg: Handled) -> None:
        return None

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        problems: list[str] = []
        for type_ in (Handled, Order):
            with pytest.raises(BadMessage) as refused:
                await ctx.receive(type_)
            problems.append(str(refused.value))
        return {"heard": problems}

    async with Runtime(store_url) as rt:
        handled, unknown = (await rt.run(graph)).heard
    assert "node 'handle' handles it" in handled
    assert "Graph(messages=[Order])" in unknown


async def test_a_wait_for_a_message_is_no_question(store_url: str) -> None:
    """Nobody can answer it, and it is in no list of questions."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(listener("x"), id="run")
        await until(lambda: _waits(rt))
        assert await run.interrupts() == []
        with pytest.raises(NotWaiting):
            await run.answer("x")
        with pytest.raises(RunWaiting, match="is waiting for a message Word; it goes on when"):
            await run.outcome()
        await run.cancel()


@pytest.mark.parametrize("since", ["the message was taken", "before that"])
async def test_a_message_in_hand_is_not_lost_by_going_back(store_url: str, since: str) -> None:
    """The node that has taken it, and is not done, has it again; or it waits to be taken again."""
    graph = Graph("listener", Log, messages=[Word])

    @graph.node
    async def listen(state: Log, ctx: Context) -> Update:
        word = await ctx.receive(Word)
        await ctx.interrupt("Is that right?")
        return {"heard": [word.text]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="run")
        await run.send(Word(text="yes"))
        await until(run.interrupts)
        tip = await rt.living().tip("run")
        await run.rewind(tip.header.seq if since == "the message was taken" else 0)
        await until(run.interrupts)
        await run.answer(None)
        assert (await run.result()).heard == ["yes"]
