"""What type checkers say about steps and what goes with them. A line marked E is wrong on purpose, as in graphs.py."""

from __future__ import annotations

from datetime import datetime
from random import Random
from typing import assert_type
from uuid import UUID

from actorflow import Context, Done, Graph, Intent, NotDone, Retry, State, Timeout, Unknown, Update


class Order(State):
    """What is worked on."""

    total: int
    receipt: str = ""


orders = Graph("orders", Order)


async def charge(total: int, idempotency_key: str) -> str:
    """An async effect."""
    return f"{total} {idempotency_key}"


def weigh(name: str) -> float:
    """A sync one."""
    return float(len(name))


async def look(intent: Intent) -> Done | NotDone | Unknown:
    """What became of one."""
    return Done(intent.idempotency_key)


@orders.undo
async def refund(receipt: str, ctx: Context) -> None:
    """Undoes one."""


@orders.undo(name="forget", retry=Retry(attempts=2))
def forget(weight: float) -> None:
    """Undoes another."""


@orders.node
async def pay(state: Order, ctx: Context) -> Update:
    """Steps of all kinds."""
    assert_type(await ctx.step("charge", charge, state.total), str)
    assert_type(await ctx.step("weigh", weigh, "lamp", key="k", undo=forget), float)
    assert_type(await ctx.step("plain", lambda: 7), int)
    assert_type(await ctx.step("said", dict, type=Order), Order)
    once = await ctx.step("once", charge, 1, mode="at_most_once", reconcile=look, timeout=Timeout(total=9), undo=refund)
    assert_type(once, str)
    assert_type(await ctx.rollback(), list[str])
    assert_type(await ctx.now(), datetime)
    assert_type(ctx.uuid("order"), UUID)
    assert_type(ctx.random, Random)
    await ctx.sleep(hours=3, key="k")
    await ctx.step("mode", weigh, "lamp", mode="exactly_once")  # E: exactly_once
    await ctx.step("reconcile", weigh, "lamp", reconcile=weigh)  # E: reconcile
    await ctx.step("retry", weigh, "lamp", retry=3)  # E: a Retry
    await ctx.step("timeout", weigh, "lamp", timeout="1 s")  # E: seconds
    await ctx.step("undo", weigh, "lamp", undo=3)  # E: a name or a function
    await ctx.step("key", weigh, "lamp", key=3)  # E: str
    await ctx.step("nothing")  # E: fn is missing
    await ctx.step(weigh, "lamp")  # E: a name first
    await ctx.rollback("charge")  # E: all or nothing
    await ctx.sleep(weeks=2)  # E: weeks
    await ctx.sleep(until="tomorrow")  # E: a datetime
    ctx.uuid(7)  # E: str
    ctx.random = Random()  # E: it is read
    Intent("charge")  # E: keywords
    return {"receipt": once}
