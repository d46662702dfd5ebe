"""Sagas: what the steps of a run did is undone, the latest first, however often the process is killed meanwhile."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest

from actorflow import Context, Graph, RestartPolicy, Retry, Runtime, Update
from actorflow.errors import GraphError, RunFailed, UnknownUndo, WaitInMiddleware
from tests.runtime.graphs import Trail

NEVER = RestartPolicy(max_restarts=0)
AGAIN = Retry(attempts=9, backoff=0.0)


class Travel:
    """What is outside: bookings, and what was done with them."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.keys: list[str] = []
        self.fails = 0

    def book(self, what: str) -> dict[str, str]:
        """Book something."""
        self.log.append(f"book {what}")
        return {"booking": what}

    def cancel(self, booking: dict[str, str], ctx: Context | None = None) -> None:
        """Cancel it; fails the first times."""
        self.log.append(f"cancel {booking['booking']}")
        if ctx is not None:
            self.keys.append(ctx.idempotency_key)
        if self.fails > 0:
            self.fails -= 1
            raise ConnectionError("busy")


def trip(travel: Travel, *, names: str = "ab", retry: Retry | None = None, then: Any = None) -> Graph[Trail]:
    """Nodes that each book something that can be cancelled; a last one that rolls back, and then does something."""
    graph = Graph("trip", Trail)
    graph.undo(travel.cancel, name="cancel", retry=retry)

    async def book(state: Trail, ctx: Context, *, what: str) -> Update:
        await ctx.step("book", travel.book, what, undo="cancel")
        return {"trace": [what]}

    before = None
    for what in names:
        graph.node(partial(book, what=what), name=what, after=before)
        before = what

    async def back(state: Trail, ctx: Context) -> Update:
        undone = await ctx.rollback()
        if then is not None:
            then(ctx)
        return {"trace": undone}

    graph.node(back, name="back", after=before, retry=AGAIN)
    return graph


async def test_what_was_done_is_undone_the_latest_first() -> None:
    """Whichever nodes did it; and the names of the steps are told."""
    travel = Travel()

    async with Runtime("memory://") as rt:
        state = await rt.run(trip(travel, names="abc"))

    assert travel.log == ["book a", "book b", "book c", "cancel c", "cancel b", "cancel a"]
    assert state.trace == ["a", "b", "c", "book", "book", "book"]
    assert len(set(travel.keys)) == 3


async def test_what_was_undone_is_not_undone_again_and_is_told_again() -> None:
    """A node that rolled back and then failed has the same to say on its next attempt."""
    travel, told = Travel(), []

    def fails_once(ctx: Context) -> None:
        told.append(ctx.attempt)
        if ctx.attempt == 1:
            raise RuntimeError("boom")

    async with Runtime("memory://") as rt:
        state = await rt.run(trip(travel, then=fails_once))

    assert travel.log == ["book a", "book b", "cancel b", "cancel a"]
    assert (state.trace, told) == (["a", "b", "book", "book"], [1, 2])


async def test_undoing_is_tried_again_under_the_same_key() -> None:
    """By the retry of the undo function; what was undone before stays undone."""
    travel = Travel()
    travel.fails = 2

    async with Runtime("memory://") as rt:
        await rt.run(trip(travel, retry=Retry(attempts=3, backoff=0.0)))

    assert travel.log == ["book a", "book b", *["cancel b"] * 3, "cancel a"]
    assert len(set(travel.keys[:3])) == 1


class Stubborn(Travel):
    """One booking of its is not cancelled at the first try."""

    def cancel(self, booking: dict[str, str], ctx: Context | None = None) -> None:
        """Cancel it."""
        self.fails = int(booking["booking"] == "a" and "cancel a" not in self.log)
        super().cancel(booking, ctx)


async def test_each_undo_is_remembered_by_itself() -> None:
    """What was undone before the one that failed stays undone. Planted: all are recorded when the last one is over."""
    travel = Stubborn()

    async with Runtime("memory://") as rt:
        state = await rt.run(trip(travel, names="abc"))

    assert travel.log[3:] == ["cancel c", "cancel b", "cancel a", "cancel a"]
    assert state.trace == ["a", "b", "c", "book", "book", "book"]


async def test_what_can_not_be_undone_stays_to_be_undone() -> None:
    """The error leaves the rollback with a note; who resumes the run goes on with what is left."""
    travel = Travel()
    travel.fails = 1
    graph = trip(travel)

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        state = await run.result()  # tried again by the node's retry

    assert travel.log == ["book a", "book b", "cancel b", "cancel b", "cancel a"]
    assert state.trace[-2:] == ["book", "book"]


async def test_the_error_of_an_undo_says_what_was_being_undone() -> None:
    """As a note on the exception, which is the user's own."""
    travel = Travel()
    travel.fails = 99

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(trip(travel), id="x")

    cause = caught.value.__cause__
    assert isinstance(cause, ConnectionError)
    assert "while step 'book' was being undone by 'cancel'; it is still to be undone" in cause.__notes__


async def test_an_error_handler_rolls_back_what_other_nodes_did() -> None:
    """A node for errors in place of the rest: the usual saga."""
    travel, graph = Travel(), Graph("trip", Trail)

    @graph.undo
    async def cancel(booking: dict[str, str]) -> None:
        travel.cancel(booking)

    @graph.node(on_error="give_up")
    async def hotel(state: Trail, ctx: Context) -> Update:
        await ctx.step("hotel", travel.book, "hotel", undo=cancel)
        return {}

    @graph.node(after=hotel, on_error="give_up")
    async def flight(state: Trail, ctx: Context) -> Update:
        await ctx.step("flight", travel.book, "flight", undo=cancel)
        raise ValueError("no seat")

    @graph.node(name="give_up")
    async def give_up(state: Trail, ctx: Context) -> Update:
        return {"trace": await ctx.rollback()}

    async with Runtime("memory://") as rt:
        state = await rt.run(graph)

    assert state.trace == ["flight", "hotel"]
    assert travel.log == ["book hotel", "book flight", "cancel flight", "cancel hotel"]


async def test_graphs_inside_declare_what_undoes_their_steps() -> None:
    """The graph around rolls it back, too."""
    travel = Travel()
    inner: Graph[Any] = Graph("inner", Trail)
    outer: Graph[Any] = Graph("outer", Trail)

    @inner.undo
    def cancel(booking: dict[str, str]) -> None:
        travel.cancel(booking)

    @inner.node
    async def book(state: Trail, ctx: Context) -> Update:
        await ctx.step("book", travel.book, "a", undo=cancel)
        return {}

    inside = outer.subgraph(inner)

    @outer.node(after=inside)
    async def back(state: Trail, ctx: Context) -> Update:
        return {"trace": await ctx.rollback()}

    async with Runtime("memory://") as rt:
        state = await rt.run(outer)

    assert (state.trace, travel.log) == (["book"], ["book a", "cancel a"])


async def test_an_undo_that_is_not_declared_is_refused_before_anything_is_done() -> None:
    """A run finds it by its name alone, so it must be there after a restart."""
    travel, graph = Travel(), Graph("trip", Trail)
    graph.undo(print, name="shout")

    @graph.node
    async def book(state: Trail, ctx: Context) -> Update:
        await ctx.step("book", travel.book, "a", undo=travel.cancel)
        return {}

    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph)

    assert isinstance(caught.value.__cause__, UnknownUndo)
    assert "cancel" in str(caught.value.__cause__)
    assert "(declared: shout)" in str(caught.value.__cause__)
    assert travel.log == []


async def test_an_undo_that_newer_code_lacks_is_named_and_nothing_is_lost() -> None:
    """Code that has it again undoes what is left."""
    travel, seen = Travel(), []
    travel.fails = 99
    graph = trip(travel)
    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed):
            await rt.run(graph, id="x")
        travel.fails = 0
        lacking = Graph("trip", Trail)
        for name, node in graph.plan.nodes.items():
            lacking.node(node.fn, name=name, after=None if name == "a" else "a" if name == "b" else "b")
        with pytest.raises(RunFailed) as caught:
            await (await rt.resume(lacking, "x")).result()
        seen.append(caught.value.__cause__)
        await (await rt.resume(graph, "x")).result()

    assert isinstance(seen[0], UnknownUndo)
    assert travel.log[-2:] == ["cancel b", "cancel a"]


async def test_two_nodes_that_roll_back_at_once_undo_nothing_twice() -> None:
    """One after the other; the second finds nothing left."""
    travel, graph = Travel(), Graph("trip", Trail)
    busy = anyio.Event()

    @graph.undo
    async def cancel(booking: dict[str, str]) -> None:
        busy.set()
        travel.cancel(booking)

    @graph.node
    async def book(state: Trail, ctx: Context) -> Update:
        for what in "ab":
            await ctx.step("book", travel.book, what, undo=cancel)
        return {}

    async def back(state: Trail, ctx: Context) -> Update:
        return {"trace": await ctx.rollback()}

    graph.node(back, name="left", after=book)
    graph.node(back, name="right", after=book)

    async with Runtime("memory://") as rt:
        state = await rt.run(graph)

    assert travel.log == ["book a", "book b", "cancel b", "cancel a"]
    assert state.trace == ["book", "book"]


async def test_who_undoes_can_not_wait() -> None:
    """It is not called again with an answer."""
    graph = Graph("trip", Trail)

    @graph.undo
    async def cancel(booking: str, ctx: Context) -> None:
        await ctx.interrupt("Really?")

    @graph.node
    async def book(state: Trail, ctx: Context) -> Update:
        await ctx.step("book", str, "a", undo=cancel)
        with pytest.raises(WaitInMiddleware, match="an undo function of node"):
            await ctx.rollback()
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(graph)


async def test_what_undoes_a_step_may_have_steps() -> None:
    """Each undoing under a key of its own, so that the steps of one are not taken for those of another."""
    travel, graph = Travel(), Graph("trip", Trail)

    @graph.undo
    async def cancel(booking: dict[str, str], ctx: Context) -> None:
        await ctx.step("cancel", travel.cancel, booking)
        if ctx.attempt == 1:
            raise RuntimeError("boom")

    @graph.node(retry=AGAIN)
    async def book(state: Trail, ctx: Context) -> Update:
        for what in "ab":
            await ctx.step("book", travel.book, what, undo=cancel)
        return {"trace": await ctx.rollback()}

    async with Runtime("memory://") as rt:
        state = await rt.run(graph)

    assert travel.log == ["book a", "book b", "cancel b", "cancel a"]
    assert state.trace == ["book", "book"]


@pytest.mark.parametrize(
    ("declare", "match"),
    [
        (lambda graph: [graph.undo(print, name="u"), graph.undo(str, name="u")], "declared twice"),
        (lambda graph: graph.undo(lambda result: None), "no name of its own"),
        (lambda graph: graph.undo(lambda: None, name="u"), "takes no positional parameter"),
        (lambda graph: graph.undo(print, name="u", retry=3), "retry=3"),
        (lambda graph: graph.undo(print, name=""), "name is empty"),
    ],
)
def test_a_wrong_declaration_is_a_problem_of_the_graph(declare: Any, match: str) -> None:
    """Reported with all others, before anything runs."""
    graph = Graph("trip", Trail)
    graph.node(lambda state: None, name="node")

    declare(graph)

    with pytest.raises(GraphError, match=match):
        _ = graph.plan


def test_two_graphs_of_a_run_can_not_call_different_functions_by_one_name() -> None:
    """The same function in both is one."""
    inner: Graph[Any] = Graph("inner", Trail)
    outer: Graph[Any] = Graph("outer", Trail)
    inner.node(lambda state: None, name="node")
    outer.subgraph(inner)
    for graph in (inner, outer):
        graph.undo(print, name="same")
    assert set(outer.plan.all_undos) == {"same"}

    inner.undo(print, name="other")
    outer.undo(repr, name="other")

    with pytest.raises(GraphError, match="one function in graph 'outer' and another in graph 'inner'"):
        _ = outer.plan
