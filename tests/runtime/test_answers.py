"""Answers: typed, checked where they are given, durable when they are taken; what is refused leaves no trace."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
import pytest
from anyio import to_thread
from msgspec import Meta, Struct

from actorflow import Context, Graph, Runtime, Update
from actorflow.errors import (
    AmbiguousTarget,
    BadAnswer,
    NoSuchRun,
    NotWaiting,
    RunDeleted,
    RunEnded,
    RunOwned,
    StoreDenied,
    UnknownGraph,
)
from tests.runtime.asking import Gate, asker, commits, gated
from tests.runtime.graphs import Trail, chain
from tests.runtime.scenes import scene

if TYPE_CHECKING:
    from actorflow import Run


class Color(enum.Enum):
    """One of few."""

    RED = "red"
    BLUE = "blue"


class Decision(Struct):
    """What somebody decided."""

    ok: bool
    why: Annotated[str, Meta(min_length=1, max_length=10)] = "-"


class Line(Struct, forbid_unknown_fields=True):
    """Of an order."""

    sku: Annotated[str, Meta(pattern="^[a-z]+$")]
    count: Annotated[int, Meta(ge=1, multiple_of=2)]


NOON = dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)
KEY = uuid.UUID(int=7)


async def waiting(rt: Runtime, type_: Any, **how: Any) -> Run[Trail]:
    """A run that waits for an answer of this type."""
    run = await rt.spawn(asker(type_, **how), id="x")
    assert await run.wait() == "waiting"
    return run


@pytest.mark.parametrize(
    ("type_", "given", "seen"),
    [
        (bool, True, True),
        (int, 3, 3),
        (float, 2, 2.0),
        (str, "text", "text"),
        (bytes, b"\0\1", b"\0\1"),
        (Literal["yes", "no"], "no", "no"),
        (Color, "blue", Color.BLUE),
        (Color, Color.RED, Color.RED),
        (int | None, None, None),
        (str | int, 5, 5),
        (Decision, {"ok": True}, Decision(ok=True)),
        (Decision, Decision(ok=False, why="late"), Decision(ok=False, why="late")),
        (list[Line], [{"sku": "a", "count": 2}], [Line("a", 2)]),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (set[int], [1, 1], {1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (dt.datetime, NOON, NOON),
        (dt.datetime, "2026-01-02T12:00:00Z", NOON),
        (dt.date, "2026-01-02", dt.date(2026, 1, 2)),
        (uuid.UUID, str(KEY), KEY),
        (Decimal, "1.50", Decimal("1.50")),
        (Any, {"free": [1, None]}, {"free": [1, None]}),
    ],
)
async def test_an_answer_is_what_was_asked_for(type_: Any, given: Any, seen: Any) -> None:
    """Given typed or as plain data, from here or as JSON from elsewhere; the node gets it typed."""
    async with Runtime("memory://") as rt:
        run = await waiting(rt, type_)

        await run.answer(given)

        assert (await run.result()).trace == [f"answer={seen!r}", "last"]


@pytest.mark.parametrize(
    ("type_", "given", "problem"),
    [
        (bool, 1, "boolean"),
        (int, True, "integer"),
        (int, "3", "integer"),
        (str, b"no", "string"),
        (bytes, "no", "bytes"),
        (Literal["yes", "no"], "maybe", "'no', 'yes'"),
        (Color, "green", "'blue', 'red'"),
        (int | None, "x", "integer"),
        (Decision, {}, "ok"),
        (Decision, {"ok": True, "why": ""}, "at least 1"),
        (Decision, {"ok": True, "why": "far too long"}, "at most 10"),
        (list[Line], [{"sku": "a", "count": 2}, {"sku": "A", "count": 2}], r"\[1\].sku"),
        (list[Line], [{"sku": "a", "count": 3}], "multiple of 2"),
        (list[Line], [{"sku": "a", "count": 0}], "at least 1"),
        (list[Line], [{"sku": "a", "count": 2, "more": 1}], "more"),
        (dict[str, int], {"a": "b"}, "integer"),
        (uuid.UUID, "no uuid", "uuid"),
        (dt.date, "yesterday", "date"),
        (Decimal, "much", "decimal"),
        (Any, object(), "encoded"),
        (Any, "\ud800", "encoded"),
    ],
)
async def test_an_invalid_answer_changes_nothing(type_: Any, given: Any, problem: str) -> None:
    """Not one commit more, not even a claim; the question is open, and a good answer is taken."""
    async with Runtime("memory://") as rt:
        run = await waiting(rt, type_)
        before = await commits(run)

        with pytest.raises(BadAnswer, match=problem):
            await run.answer(given)

        assert await commits(run) == before
        assert (await run.status(), len(await run.interrupts())) == ("waiting", 1)


async def test_who_answered_is_in_the_history() -> None:
    """``by=`` and the value are kept with the commit that `answer` returns."""
    async with Runtime("memory://") as rt:
        run = await waiting(rt, str)

        seq = await run.answer("yes", by="Ada")

        await run.result()
        answered = await run.at(seq)
        assert (answered.kind, answered.by) == ("answered", "Ada")
        assert [(one.kind, one.value, one.by) async for one in run.events("waits") if one.seq == seq] == [
            ("answered", "yes", "Ada")
        ]
        with pytest.raises(TypeError, match="by"):
            await run.update({}, by=7)  # type: ignore[arg-type]


async def test_an_answer_names_its_question_or_the_choices_are_told() -> None:
    """Without ``to`` there must be one; a name that fits none is no question."""
    graph = Graph("two", Trail)

    @graph.node(entry=True)
    async def a(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("same", type=str)]}

    @graph.node(entry=True)
    async def b(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("same", type=str)]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
        ids = {one.id for one in await run.interrupts()}
        before = await commits(run)

        for to in (None, "same"):
            with pytest.raises(AmbiguousTarget) as caught:
                await run.answer("x", to)
            assert set(caught.value.choices) == ids
        with pytest.raises(NotWaiting, match="elsewhere"):
            await run.answer("x", "elsewhere")
        assert await commits(run) == before

        await run.answer("B", "b")
        await run.answer("A", "same")
        assert sorted((await run.result()).trace) == ["A", "B"]


async def test_who_can_not_be_answered_says_why() -> None:
    """Running, ended, deleted, unknown, of an unregistered graph, in a runtime that only looks."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        with pytest.raises(NotWaiting) as running:
            await run.answer(1)
        assert running.value.status == "running"
        gate.open.set()
        await run.result()

        with pytest.raises(RunEnded):
            await run.answer(1)
        with pytest.raises(NoSuchRun):
            await rt.get("nobody").answer(1)
        await run.delete()
        with pytest.raises(RunDeleted):
            await run.answer(1)


async def test_answering_takes_the_code(store_url: str) -> None:
    """A runtime that does not know the graph can't say what the answer leads to; one that only looks may not."""
    async with Runtime(store_url) as rt:
        await waiting(rt, str)
    async with Runtime(store_url) as rt:
        with pytest.raises(UnknownGraph, match="asker"):
            await rt.get("x").answer("yes")
        assert len(await rt.get("x").interrupts()) == 1
    async with Runtime(store_url, readonly=True, graphs=[asker()]) as rt:
        with pytest.raises(StoreDenied):
            await rt.get("x").answer("yes")


async def test_two_answers_at_once_are_one_answer() -> None:
    """Exactly one is taken; the other is told that nobody asks any more."""
    async with Runtime("memory://") as rt:
        run = await waiting(rt, int)
        taken: list[int] = []
        refused: list[str] = []

        async def answer(value: int) -> None:
            try:
                await run.answer(value)
                taken.append(value)
            except (NotWaiting, RunEnded) as error:
                refused.append(type(error).__name__)

        async with anyio.create_task_group() as tasks:
            for value in range(5):
                tasks.start_soon(answer, value)

        assert (len(taken), len(refused)) == (1, 4)
        assert (await run.result()).trace == [f"answer={taken[0]}", "last"]


async def test_what_is_acknowledged_when_the_run_has_just_ended_is_done_all_the_same() -> None:
    """Planted: two requests in one batch; the first ends the run, and the second is acknowledged and forgotten."""
    graph, gate = Graph("ends", Trail), Gate()

    @graph.node
    async def only(state: Trail) -> None:
        await gate.pass_through()

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await gate.inside.wait()
        await run.pause()

        async with anyio.create_task_group() as tasks:
            for one in ("one", "two"):  # as if the node had finished with it
                tasks.start_soon(partial(run.update, {"trace": [one]}, as_node="only"))

        assert sorted((await run.result()).trace) == ["one", "two"]
        assert (gate.calls, gate.cancelled) == (1, True)


async def test_a_run_that_waits_is_answered_by_another_process(store_url: str, anyio_backend: str) -> None:
    """The process that asked is gone; one that only knows the store and the code answers, and is killed at once."""
    with scene("asks", store_url, anyio_backend) as child:
        assert await to_thread.run_sync(child.line) == "waiting"
        child.go()
        assert await to_thread.run_sync(child.line) == "left"
    with scene("answers", store_url, anyio_backend, "Ada") as child:
        assert await to_thread.run_sync(child.line) == "answered"  # and killed itself
    async with Runtime(store_url, recover="never") as rt:
        run = await rt.resume(asker(str), "x")
        assert (await run.result()).trace == ["answer='Ada'", "last"]


async def test_a_run_that_somebody_else_owns_is_answered_there(store_url: str, anyio_backend: str) -> None:
    """While its owner lives, nobody else writes: `RunOwned` names the process; nothing is written."""
    with scene("holds", store_url, anyio_backend) as child:
        assert await to_thread.run_sync(child.line) == "asked"
        async with Runtime(store_url, recover="never", graphs=[asker(str, timeout=900, default="")]) as rt:
            run = rt.get("x")
            before = await commits(run)
            for request in (run.answer("mine"), run.pause(), run.update({"n": 1}), run.rewind(0), run.tag("here")):
                with pytest.raises(RunOwned) as caught:
                    await request
                assert caught.value.pid == child.pid
            assert await commits(run) == before
            assert len(await run.interrupts()) == 1  # looking is free


async def test_an_answer_may_be_large(store_url: str) -> None:
    """Payload and answer of a megabyte, across a restart."""
    graph = Graph("large", Trail)

    @graph.node
    async def ask(state: Trail, ctx: Context) -> Update:
        return {"trace": [await ctx.interrupt("big?", "p" * 1_000_000, type=str)]}

    async with Runtime(store_url) as rt:
        run = await rt.spawn(graph, id="x")
        await run.wait()
    async with Runtime(store_url, graphs=[graph]) as rt:
        run = rt.get("x")
        assert len((await run.interrupts())[0].payload) == 1_000_000
        await run.answer("a" * 1_000_000)
        assert (await run.result()).trace == ["a" * 1_000_000]
        assert not await rt.verify()


async def test_a_graph_that_asks_for_another_type_by_now_says_so() -> None:
    """The answer that was recorded is not what the new code asks for: the node fails, naming the question."""
    async with Runtime("memory://") as rt:
        run = await waiting(rt, Any)
        rt.register(asker(int))
        await run.answer("no number")

        with pytest.raises(Exception, match=r"Expected `int`, got `str`") as caught:
            await run.result()
        assert isinstance(caught.value.__cause__, BadAnswer)
        rt.register(chain("ask", "last", name="asker"))
        assert (await (await rt.resume(chain("ask", "last", name="asker"), "x")).result()).trace == ["ask", "last"]
