"""Steps that must not run twice: what may have been done is asked about, or is unknown; it is not done again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Retry, Runtime, Update
from actorflow.errors import (
    OutcomeUnknown,
    RunFailed,
    StepFailed,
)
from actorflow.graph.effects import Done, Intent, NotDone, Unknown
from tests.runtime.outside import AGAIN, SOON, World, cause_of, of

if TYPE_CHECKING:
    from tests.runtime.graphs import Trail


async def test_a_step_that_must_not_run_twice_is_not_tried_again() -> None:
    """What it raised is final: it may have been done."""
    world, errors = World(fails=1), []

    async def node(state: Trail, ctx: Context) -> Update:
        try:
            await ctx.step("pay", world.do, mode="at_most_once")
        except StepFailed as error:
            errors.append(error.type_name)
        if ctx.attempt < 3:
            raise RuntimeError("boom")
        return {}

    async with Runtime("memory://") as rt:
        await rt.run(of(node, retry=AGAIN))

    assert (world.done, errors) == (["it"], ["ConnectionError"] * 3)


async def begin_and_leave(ctx: Context, world: World, **how: Any) -> None:
    """A step that is cancelled in the middle of its effect."""

    async def pay(idempotency_key: str = "") -> None:
        await world.do(idempotency_key=idempotency_key)
        scope.cancel()
        await anyio.sleep_forever()

    with anyio.CancelScope() as scope:
        await ctx.step("pay", pay, mode="at_most_once", **how)
    if scope.cancelled_caught:
        raise RuntimeError("boom")


async def test_a_step_that_was_begun_and_not_recorded_is_unknown() -> None:
    """It was cancelled in the middle: the next attempt does not do it, and says so, with its key."""
    world, errors = World(), []

    async def node(state: Trail, ctx: Context) -> Update:
        try:
            await begin_and_leave(ctx, world, key="k")
        except OutcomeUnknown as error:
            errors.append(error)
        return {"n": ctx.attempt}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (state.n, len(world.done)) == (2, 1)
    assert [(error.step, error.key, error.idempotency_key) for error in errors] == [("pay", "k", world.keys[0])]


async def test_an_unknown_outcome_fails_the_run_at_once_and_again_when_it_is_resumed() -> None:
    """A restart can't find out; the effect was had once."""
    world = World()

    async def node(state: Trail, ctx: Context) -> Update:
        await begin_and_leave(ctx, world)
        return {}

    async with Runtime("memory://", restarts=SOON) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(of(node), id="x")
        with pytest.raises(RunFailed):
            await (await rt.resume(of(node), "x")).result()

    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert world.done == ["it"]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_who_knows_is_asked_what_became_of_a_step(asynchronous: bool) -> None:
    """After an exception, with all that it can be found by; what is said counts as the step's result."""
    world, intents = World(fails=1), []

    def look(intent: Intent) -> Done:
        intents.append(intent)
        return Done("receipt 7")

    async def look_later(intent: Intent) -> Done:
        return look(intent)

    async def node(state: Trail, ctx: Context) -> Update:
        reconcile = look_later if asynchronous else look
        return {"trace": [await ctx.step("pay", world.do, key="k", mode="at_most_once", reconcile=reconcile)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node))

    assert (state.trace, len(world.done)) == (["receipt 7"], 1)
    (intent,) = intents
    assert (intent.name, intent.key, intent.idempotency_key) == ("pay", "k", world.keys[0])
    assert intent.when.tzinfo is not None


async def test_who_knows_is_asked_about_a_step_that_was_begun_and_not_recorded() -> None:
    """By the next attempt, which does not do it again. Planted: an answer that is asked for, and not taken."""
    world, intents = World(), []

    def look(intent: Intent) -> Done:
        intents.append(intent)
        return Done("receipt 7")

    async def node(state: Trail, ctx: Context) -> Update:
        if ctx.attempt == 1:
            await begin_and_leave(ctx, world, reconcile=look)
        return {"trace": [await ctx.step("pay", world.do, mode="at_most_once", reconcile=look)]}

    async with Runtime("memory://") as rt:
        state = await rt.run(of(node, retry=AGAIN))

    assert (state.trace, len(world.done)) == (["receipt 7"], 1)
    assert [intent.idempotency_key for intent in intents] == world.keys


async def test_a_step_that_was_not_done_runs_again_by_its_retry() -> None:
    """Who knows said so; without a retry the error is the node's, and the next attempt asks again."""
    for retry, node_attempts in ((Retry(attempts=3, backoff=0.0), 1), (None, 3)):
        world = World(fails=2)

        async def node(state: Trail, ctx: Context, *, world: World, retry: Any) -> Update:
            async def look(intent: Intent) -> NotDone:
                return NotDone()

            got = await ctx.step("pay", world.do, mode="at_most_once", reconcile=look, retry=retry)
            return {"trace": [f"{got} {ctx.attempt}"]}

        async with Runtime("memory://") as rt:
            state = await rt.run(of(partial(node, world=world, retry=retry), retry=AGAIN))

        assert (state.trace, len(world.done), len(set(world.keys))) == ([f"it {node_attempts}"], 3, 1)


async def test_who_is_asked_may_not_know_either() -> None:
    """Then it is as if nobody had been asked; and what says nothing at all is a mistake."""
    for answer, kind in ((Unknown(), OutcomeUnknown), (None, TypeError)):

        async def node(state: Trail, ctx: Context, *, answer: Any) -> Update:
            await ctx.step("pay", World(fails=1).do, mode="at_most_once", reconcile=lambda intent: answer)
            return {}

        cause = await cause_of(of(partial(node, answer=answer)))

        assert isinstance(cause, kind)
