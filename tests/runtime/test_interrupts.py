"""Interrupts: a node asks somebody outside; the run waits, costs nothing, and goes on with the answer."""

from __future__ import annotations

from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest
from anyio import from_thread

from actorflow import Context, Graph, Retry, Runtime, Update
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import BadAnswer, NotWaiting, RunFailed, RunWaiting
from actorflow.testing import VirtualClock
from tests.runtime.asking import Gate, asked, asker, commits, nested
from tests.runtime.graphs import Trail, add, chain

NEVER = RestartPolicy(max_restarts=0)


async def test_a_waiting_run_has_no_actor_and_no_open_file(store_url: str) -> None:
    """It has been let go of in full: any process may answer it, and none needs to hold it in memory."""
    async with Runtime(store_url, recover="never") as rt:
        run = await rt.spawn(asker(), id="x")

        assert await run.wait() == "waiting"

        assert rt.life_of("x") is None
        assert [kind for _, kind, _ in await commits(run)] == ["claim", "commit", "release"]
        async with Runtime(store_url, recover="never") as other:  # the claim of another owner, while this one lives
            other.register(asker())
            await other.get("x").answer(1)
            assert (await other.get("x").result()).trace == ["answer=1", "last"]


async def test_run_says_that_it_waits_and_for_what() -> None:
    """`rt.run` has no result to give; the run is durable, and running it again says the same."""
    async with Runtime("memory://") as rt:
        for _ in range(2):
            with pytest.raises(RunWaiting, match="Go on") as caught:
                await rt.run(asker(), id="x")
            assert caught.value.run_id == "x"
        assert len(await rt.get("x").interrupts()) == 1


async def test_a_question_says_all_that_whoever_answers_needs() -> None:
    """Question, payload, node, schema, times, the default; its id is the same as long as it is asked."""
    async with VirtualClock(auto=False), Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(asker(bool, timeout=900, default=False), Trail(n=7), id="x")

        (one,) = await asked(run)

        assert (one.kind, one.question, one.payload, one.node, one.scope, one.index) == (
            *("ask", "Go on?", {"n": 7}, "ask", ""),
            None,
        )
        assert (one.schema, one.default) == ({"type": "boolean"}, False)
        assert one.due is not None
        assert one.due - one.asked == 900


async def test_several_questions_of_a_node_are_asked_one_after_the_other() -> None:
    """Each answer is there again when the node asks the next one; the same text counts."""
    graph, calls = Graph("several", Trail), []

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        calls.append(ctx.idempotency_key)
        answers = [await ctx.interrupt(text, type=int) for text in ("one", "two", "one")]
        return {"trace": [str(answers)]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for number in range(3):
            assert await run.wait() == "waiting"
            await run.answer(number)

        assert (await run.result()).trace == ["[0, 1, 2]"]
    assert (len(calls), len(set(calls))) == (4, 1)  # each time under its one key


async def test_a_node_may_ask_several_things_at_once() -> None:
    """In a task group each of the questions is there; the node goes on when all are answered."""
    graph = Graph("at-once", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        answers: dict[str, str] = {}

        async def one(text: str) -> None:
            with suppress(BaseException):  # so that the other one is asked, too
                answers[text] = await ctx.interrupt(text, type=str)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one, "a")
            tasks.start_soon(one, "b")
        return {"trace": [answers["a"] + answers["b"]]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        assert sorted(one.question for one in await run.interrupts()) == ["a", "b"]

        await run.answer("B", to="b")
        assert await run.wait() == "waiting"
        await run.answer("A")

        assert (await run.result()).trace == ["AB"]


async def test_a_wait_inside_a_task_group_of_the_node_is_a_wait() -> None:
    """What leaves such a node is a group; its siblings are cancelled, and it is asked once."""
    graph = Graph("grouped", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        got: list[int] = []

        async def one() -> None:
            got.append(await ctx.interrupt("n?", type=int))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(one)
            if not got:
                await anyio.lowlevel.checkpoint()
        return {"n": got[0]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()

        await run.answer(4)

        assert (await run.result()).n == 4


@pytest.mark.parametrize("kind", [Exception, BaseException])
async def test_no_except_of_a_node_takes_a_wait_for_an_error(kind: type[BaseException]) -> None:
    """Even one that swallows everything, and then returns as if nothing had been."""
    graph = Graph("swallowing", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        try:
            return {"trace": [await ctx.interrupt("what?", type=str)]}
        except kind:
            return {"trace": ["swallowed"]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        assert await run.wait() == "waiting"

        await run.answer("this")

        assert (await run.result()).trace == ["this"]


async def test_a_sync_node_can_ask_from_its_thread() -> None:
    """Through `anyio.from_thread`, as it calls anything of the event loop."""
    graph = Graph("sync", Trail)

    @graph.node
    def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [str(from_thread.run(ctx.interrupt, "thread?"))]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        assert await run.wait() == "waiting"
        await run.answer("yes")

        assert (await run.result()).trace == ["yes"]


async def test_questions_of_parallel_nodes_are_answered_apart() -> None:
    """Each by its node, its text or its id, in any order; a wait never cancels a sibling."""
    graph, gate = Graph("parallel", Trail), Gate()
    add(graph, "start", after=None)

    @graph.node(after="start")
    async def left(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("left?", type=str)]}

    @graph.node(after="start")
    async def right(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("right?", type=str)]}

    @graph.node(after="start")
    async def busy(state: Trail) -> Update:
        await gate.pass_through()
        return {"trace": ["busy"]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await asked(run, 2)
        assert await run.status() == "running"  # something goes on

        await run.answer("R", to="right")
        gate.open.set()
        assert await run.wait() == "waiting"
        (one,) = await run.interrupts()
        await run.answer("L", to=one.id)

        final = await run.result()
        assert (sorted(final.trace), gate.calls, gate.cancelled) == (["L", "R", "busy", "start"], 1, False)


async def test_items_of_a_map_ask_with_their_index() -> None:
    """The others go on; an answered item is not asked again, and results are in the items' order."""
    graph, calls = Graph("items", Trail), []

    async def item(number: int, ctx: Context) -> str:
        calls.append(number)
        return await ctx.interrupt("what?", number, type=str) if number % 2 else f"{number}"

    graph.map(item, over=4, into="trace")
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        assert [(one.index, one.payload) for one in await run.interrupts()] == [(1, 1), (3, 3)]

        await run.answer("three", to="item[3]")
        await run.wait()
        await run.answer("one")

        assert (await run.result()).trace == ["0", "one", "2", "three"]
    assert sorted(calls) == [0, 1, 1, 2, 3, 3]


async def test_a_question_three_graphs_deep_says_where_it_is(store_url: str) -> None:
    """The scope is its path; the run is taken up by another runtime, and every owner around it finishes once."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(nested(3), id="x")
        await run.wait()
        (one,) = await run.interrupts()
        assert (one.node, one.scope, one.payload) == ("ask", "level3/level2/level1", "level3/level2/level1")
    async with Runtime(store_url) as rt:
        rt.register(nested(3))
        await rt.get("x").answer("deep", to="level3/level2/level1/ask")

        assert (await rt.get("x").result()).trace == ["deep"]


async def test_steps_one_by_one() -> None:
    """``interrupt_before="*"`` waits before each node, and each sees what was edited meanwhile."""
    graph = Graph("steps", Trail, interrupt_before="*")
    for name, before in (("a", None), ("b", "a"), ("c", "b")):
        graph.node(_note, name=name, after=before)

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for number, name in enumerate("abc"):
            assert await run.wait() == "waiting"
            assert [(one.kind, one.node) for one in await run.interrupts()] == [("before", name)]
            await run.update({"n": number})
            await run.answer()

        assert (await run.result()).trace == ["a n=0", "b n=1", "c n=2"]


async def _note(state: Trail, ctx: Context) -> Update:
    return {"trace": [f"{ctx.node} n={state.n}"]}


async def test_after_a_node_the_human_sees_its_update_and_routing_sees_the_human() -> None:
    """``interrupt_after``: merged, then asked, then led on by what the state is by then."""
    graph = Graph("after", Trail, interrupt_after=["decide"])

    @graph.node
    async def decide(state: Trail) -> Update:
        return {"n": 1}

    add(graph, "low", after=None)
    add(graph, "high", after=None)
    graph.branch(lambda state: "high" if state.n > 5 else "low", after=decide, to=("low", "high"))
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        assert (await run.state()).n == 1

        await run.update({"n": 9})
        await run.answer()

        assert (await run.result()).trace == ["high"]


@pytest.mark.parametrize("way", ["map", "subgraph"])
async def test_what_waits_after_many_is_merged_once_whoever_takes_the_run_up(store_url: str, way: str) -> None:
    """Planted: the sweep of the next owner looks at a fan-out, or a graph inside, whose work is merged already."""

    def graph() -> Graph[Trail]:
        made = Graph("after-many", Trail, interrupt_after=["many"])

        async def item(number: int) -> str:
            return str(number)

        if way == "map":
            made.map(item, name="many", over=2, into="trace")
        else:
            made.subgraph(chain("0", "1", name="inner"), name="many")
        return made

    async with Runtime(store_url) as rt:
        await (await rt.spawn(graph(), id="x")).wait()
    async with Runtime(store_url) as rt:
        rt.register(graph())
        run = rt.get("x")
        await run.update({"n": 1})  # a claim, and a sweep

        assert ((await run.state()).trace, await run.wait()) == (["0", "1"], "waiting")
        await run.answer()
        assert (await run.result()).trace == ["0", "1"]


async def test_a_node_that_is_answered_runs_once() -> None:
    """Planted: the answer begins it, and the sweep of the claim begins it again beside that."""
    calls: list[str] = []
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(calls=calls), id="x")
        await run.wait()

        await run.answer("yes")

        await run.result()
    assert len(calls) == 2  # once to ask, once with the answer


async def test_a_question_that_nobody_answers_in_time_takes_its_default() -> None:
    """The run goes on by itself; history says that it expired."""
    async with Runtime("memory://") as rt:
        assert (await rt.run(asker(bool, timeout=0.05, default=False), id="x")).trace == ["answer=False", "last"]


async def test_an_expiry_is_kept_across_processes(store_url: str) -> None:
    """Let go of before its time, the run is taken up at it by whoever looks after the store, and not before."""
    async with VirtualClock(auto=False) as clock:
        async with Runtime(store_url, drain="park") as rt:
            await asked(await rt.spawn(asker(bool, timeout=900, default=True), id="x"))
        async with Runtime(store_url, recover="never") as rt:
            assert (await rt.get("x").at()).kind == "released"
        async with Runtime(store_url, graphs=[asker(bool, timeout=900, default=True)], scan_every=0.05) as rt:
            await clock.advance(899)
            assert await rt.get("x").status() == "waiting"
            await clock.advance(1)
            clock.auto = True
            assert (await rt.get("x").result()).trace == ["answer=True", "last"]


async def test_cancelling_a_waiting_run_ends_it() -> None:
    """Nobody need own it; afterwards there is nothing to answer."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()

        assert await run.cancel(by="me") == "cancelled"

        assert await run.status() == "cancelled"


async def test_a_retried_node_keeps_its_answers_and_its_count_of_attempts() -> None:
    """An attempt that fails after the answer is tried again without asking; waiting is no attempt that failed."""
    graph, attempts = Graph("retried", Trail), []

    @graph.node(retry=Retry(attempts=3, backoff=0.0))
    async def ask(state: Trail, ctx: Context) -> Update:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError("before the question")
        answer = await ctx.interrupt("what?", type=str)
        if ctx.attempt == 2:
            raise ValueError("after the answer")
        return {"trace": [answer]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        await run.answer("this")

        assert (await run.result()).trace == ["this"]
    assert attempts == [1, 2, 2, 3]


async def test_a_group_of_exceptions_is_an_exception_of_the_node() -> None:
    """Planted: it is taken for a wait's group, and takes the whole actor with it."""
    graph = Graph("groups", Trail)

    @graph.node
    async def fail(state: Trail) -> Update:
        raise ExceptionGroup("several", [ValueError("one")])

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, id="x")

        assert isinstance(caught.value.__cause__, ExceptionGroup)
        assert rt.why_blocked("x") is None


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"timeout": float("nan")}, ValueError),
        ({"timeout": float("inf")}, ValueError),
        ({"timeout": -1}, ValueError),
        ({"timeout": 1e12}, ValueError),
        ({"timeout": 5, "default": "no bool"}, BadAnswer),
        ({"timeout": 5}, BadAnswer),  # None is none, either
        ({"payload": object()}, TypeError),
        ({"question": 3}, TypeError),
        ({"question": "\ud800"}, ValueError),
    ],
)
async def test_a_question_that_can_not_be_kept_fails_its_node(how: dict[str, object], error: type[Exception]) -> None:
    """Planted: it is committed, and then the history can't be read; or the commit raises, and the actor is gone."""
    graph = Graph("bad", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        await ctx.interrupt(**{"question": "q?", "type": bool, **how})  # type: ignore[arg-type]
        return {}

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, id="x")

        assert isinstance(caught.value.__cause__, error)
        assert await rt.get("x").interrupts() == []


async def test_a_question_may_be_called_as_the_graph_calls_its_own() -> None:
    """A node that asks "(before)" or "(after)" is not taken for one that its graph asks about."""
    graph = Graph("called", Trail, interrupt_before="*", interrupt_after="*")

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("(before)", type=str), await ctx.interrupt("(after)", type=str)]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        kinds: list[str] = []
        while await run.wait() == "waiting":
            (one,) = await run.interrupts()
            kinds.append(one.kind)
            await run.answer(one.question)

        assert (kinds, (await run.result()).trace) == (["before", "ask", "ask", "after"], ["(before)", "(after)"])


async def test_questions_are_told_apart_whatever_they_are_called() -> None:
    """A text that looks like the second one of another text has an answer of its own."""
    graph = Graph("twins", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt(text, type=str) for text in ("a#2", "a", "a")]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        for answer in ("first", "second", "third"):
            await run.wait()
            await run.answer(answer)

        assert (await run.result()).trace == ["first", "second", "third"]


async def test_nothing_is_asked_by_a_run_that_is_over() -> None:
    """An end withdraws what is open: no question, and nothing to answer."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()

        assert await run.interrupts() == []
        with pytest.raises(Exception, match="finished") as caught:
            await run.answer(1)
        assert not isinstance(caught.value, NotWaiting)
