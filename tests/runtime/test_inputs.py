"""More input: the next turn of a conversation, merged by the reducers, with the entry of the graph open again."""

from __future__ import annotations

from typing import Annotated

import pytest

from actorflow import Graph, Runtime, State, Update, extend
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import BadUpdate, InputPending, ReducerError, RunFailed
from tests.runtime.asking import Gate, asker, commits, gated
from tests.runtime.graphs import Trail, add, chain

NEVER = RestartPolicy(max_restarts=0)


class Chat(State):
    """What was said."""

    said: Annotated[list[str], extend] = []


def once(old: list[str], new: list[str]) -> list[str]:
    """A reducer that takes one value, and then no other."""
    if old and new and old != new:
        raise ValueError("there is one already")
    return new or old


class Once(State):
    """With a field that is written once."""

    value: Annotated[list[str], once] = []


def echo() -> Graph[Chat]:
    """Says what it was told last."""
    graph = Graph("echo", Chat)

    @graph.node
    async def answer(state: Chat) -> Update:
        return {"said": [f"you said {state.said[-1]!r}"]}

    return graph


async def test_a_conversation_goes_on_turn_by_turn(store_url: str) -> None:
    """Each input opens the entry of the finished run again, in this process and in the next."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(echo(), Chat(said=["a"]), id="x")
        await run.result()
        await run.input({"said": ["b"]}, by="Ada")
        assert len((await run.result()).said) == 4
    async with Runtime(store_url, graphs=[echo()]) as rt:
        run = rt.get("x")
        await run.input({"said": ["c"]})
        assert (await run.result()).said == [  # type: ignore[attr-defined]
            *("a", "you said 'a'", "b", "you said 'b'"),
            *("c", "you said 'c'"),
        ]
        assert await rt.verify() == []


async def test_each_turn_has_keys_of_its_own() -> None:
    """An effect of the first turn is not taken for one of the second."""
    keys: list[str] = []
    graph = asker(calls=keys)
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for _ in range(2):
            await run.wait()
            await run.answer(1)
            await run.result()
            await run.input({})
        await run.cancel()
    assert len(set(keys)) == 3


async def test_while_the_run_works_input_is_refused_by_default() -> None:
    """Running, waiting or paused: `InputPending` says how to insist, and nothing has changed."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        live = await rt.spawn(gated(gate), id="live")
        await gate.inside.wait()
        waits = await rt.spawn(asker(), id="waits")
        await waits.wait()
        for run, status in ((live, "running"), (waits, "waiting")):
            before = await commits(run)
            with pytest.raises(InputPending, match="queue") as caught:
                await run.input({"n": 1})
            assert (caught.value.status, await commits(run)) == (status, before)
        with pytest.raises(ValueError, match="on_pending"):
            await live.input({}, on_pending="later")  # type: ignore[arg-type]
        await waits.cancel()
        gate.open.set()


async def test_queued_inputs_have_their_turns_in_order(store_url: str) -> None:
    """They are durable at once, and survive the process; each begins when nothing else goes on."""
    async with Runtime(store_url, drain="park") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        await run.input({"n": 1}, on_pending="queue")
        await run.input({"n": 2}, on_pending="queue")
        assert (await run.state()).n == 0
    async with Runtime(store_url, graphs=[asker()]) as rt:
        run = rt.get("x")
        for number in range(3):
            assert (await run.wait(), (await run.state()).n) == ("waiting", number)  # type: ignore[attr-defined]
            await run.answer(number)
        assert (await run.result()).trace == [  # type: ignore[attr-defined]
            *("answer=0", "last", "answer=1", "last"),
            *("answer=2", "last"),
        ]


async def test_discarding_ends_what_goes_on_and_what_waits_for_its_turn() -> None:
    """The node is cancelled, its result is dropped; inputs in the queue are dropped with it."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        await run.input({"n": 5}, on_pending="queue")
        first, gate.inside = gate.inside, type(gate.inside)()

        await run.input({"n": 7}, on_pending="discard")

        await gate.inside.wait()
        assert (first.is_set(), gate.cancelled, gate.calls) == (True, True, 2)
        gate.open.set()
        final = await run.result()
        assert (final.n, final.trace) == (7, ["first", "first", "middle n=7", "last"])


async def test_discarding_withdraws_questions_and_waiting_tokens() -> None:
    """What was asked is not asked any more, but by the entry, under a new key."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        (old,) = await run.interrupts()

        await run.input({}, on_pending="discard")

        await run.wait()
        (new,) = await run.interrupts()
        assert new.id != old.id
        await run.cancel()


async def test_a_failed_run_takes_input_in_its_turn_or_in_place_of_what_failed() -> None:
    """What failed is still pending: it is tried again before a queued input, or given up for it."""
    graph = Graph("fails", Trail)

    @graph.node
    async def divide(state: Trail) -> Update:
        return {"trace": [str(6 // state.n)]}

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        with pytest.raises(RunFailed):
            await run.result()
        with pytest.raises(InputPending):
            await run.input({"n": 2})

        await run.input({"n": 2}, on_pending="discard")

        assert (await run.result()).trace == ["3"]


async def test_a_queued_input_that_fits_no_more_fails_the_run_and_can_be_discarded() -> None:
    """Planted: what the reducer raises leaves `decide` half way, and takes the actor with it."""
    graph, gate = Graph("once", Once), Gate()

    @graph.node
    async def write(state: Once) -> Update:
        await gate.pass_through()
        return {"value": ["node"]}

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await run.input({"value": ["input"]}, on_pending="queue")  # fits now
        gate.open.set()

        with pytest.raises(RunFailed) as caught:
            await run.result()
        assert isinstance(caught.value.__cause__, ReducerError)
        assert rt.why_blocked("x") is None
        await run.input({}, on_pending="discard")
        assert (await run.result()).value == ["node"]


async def test_input_that_does_not_fit_is_refused_also_if_it_is_only_queued() -> None:
    """Nothing is kept of it."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        before = await commits(run)
        with pytest.raises(BadUpdate):
            await run.input({"n": "text"}, on_pending="queue")
        assert await commits(run) == before
        await run.cancel()


async def test_input_goes_through_a_graph_that_grew(store_url: str) -> None:
    """A finished run whose graph has a further node by now: the input runs all of it, and the old turn none of it."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), id="x")
    grown = chain("a", "b")
    async with Runtime(store_url, graphs=[grown]) as rt:
        run = rt.get("x")
        await run.input({})
        assert (await run.result()).trace == ["a", "a", "b"]  # type: ignore[attr-defined]


async def test_a_paused_run_goes_on_with_input_in_place_of_what_it_had() -> None:
    """Queued, it stays paused; with ``discard`` it goes on."""
    gate, graph = Gate(), Graph("paused", Trail)

    @graph.node
    async def first(state: Trail) -> Update:
        if state.n == 0:
            await gate.pass_through()
        return {"trace": [f"n={state.n}"]}

    add(graph, "last", after="first")
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await run.pause()
        await run.input({"n": 1}, on_pending="queue")
        gate.open.set()
        assert await run.wait() == "paused"

        await run.input({"n": 2}, on_pending="discard")

        assert (await run.result()).trace == ["n=0", "n=2", "last"]
