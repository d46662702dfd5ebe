"""The explorer with what makes a run an actor: messages, steps and sleeps may be killed at every operation, too."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import pytest

from actorflow import END, Context, End, Goto, Graph, Message, State, Update, extend
from actorflow.testing import VirtualClock, assert_resumes_equal, explore

if TYPE_CHECKING:
    from actorflow import Run

DAY = 86_400.0


class Account(State, version=1):
    """What messages change."""

    balance: int = 0
    reports: Annotated[list[str], extend] = []


class Deposit(Message, version=1):
    """Money comes in."""

    amount: int


class Close(Message, version=1):
    """Nothing comes any more."""


def bank() -> Graph[Account]:
    """An account that reports large deposits, until it is closed."""
    account = Graph("account", Account, lifetime="actor")

    @account.on(Deposit, goto="report")
    async def deposit(state: Account, msg: Deposit) -> Update | Goto:
        update = {"balance": state.balance + msg.amount}
        return update if msg.amount < 10 else Goto("report", update=update)

    @account.on(Close)
    async def close(state: Account, msg: Close) -> End:
        return END

    @account.node
    async def report(state: Account) -> Update:
        return {"reports": [f"{state.balance} are there"]}

    return account


async def test_an_actor_that_is_sent_messages_ends_the_same_wherever_it_is_killed() -> None:
    """Whoever sends them does so again in each process, under the same ids: each counts once."""

    async def customer(run: Run[Account]) -> None:
        await run.send(Deposit(amount=1), id="small")
        await run.send(Deposit(amount=20), id="large")
        await run.send(Close(), id="close")

    report = await assert_resumes_equal(bank(), outside=customer, depth=1)

    assert report.expected is not None
    assert report.expected.state == Account(balance=21, reports=["21 are there"])
    assert {calls.node for calls in report.calls.values()} == {"deposit", "close", "report"}


async def test_planted_a_customer_without_ids_deposits_twice() -> None:
    """Planted: a message without an id is another one each time it is sent. The test above sees it."""

    async def customer(run: Run[Account]) -> None:
        await run.send(Deposit(amount=1))
        await run.send(Close(), id="close")

    report = await explore(bank(), outside=customer, depth=1)

    assert any("balance=2" in line for failure in report.failures for line in failure.wrong), str(report)


class Till:
    """What is outside: how often it was paid."""

    def __init__(self) -> None:
        self.paid = Counter[str]()

    async def pay(self, key: str) -> str:
        """The same receipt for the same key."""
        self.paid[key] += 1
        return f"receipt {len(self.paid)}"


def shop(*, in_a_step: bool = True) -> Graph[Account]:
    """It pays, sleeps for a day, and reports the receipt."""
    graph = Graph("shop", Account)

    @graph.node
    async def buy(state: Account, ctx: Context) -> Update:
        till: Till = ctx.context
        key = ctx.idempotency_key if in_a_step else f"{len(till.paid)}"
        receipt = await ctx.step("pay", lambda: till.pay(key)) if in_a_step else await till.pay(key)
        await ctx.sleep(DAY)
        return {"reports": [receipt]}

    return graph


async def test_steps_and_sleeps_end_the_same_wherever_they_are_killed() -> None:
    """On a virtual clock, since each lifetime takes a day; its time limit is in that time, too."""
    async with VirtualClock() as clock:
        report = await assert_resumes_equal(
            shop(), context=Till, depth=1, kinds=["before", "after"], time_limit=10 * DAY
        )

    assert clock.elapsed == pytest.approx(report.lifetimes * DAY, rel=0.01)


async def test_planted_a_node_that_pays_outside_of_a_step_is_found() -> None:
    """Planted: it is called again after its sleep, pays once more, and has another receipt."""
    async with VirtualClock():
        report = await explore(shop(in_a_step=False), context=Till, depth=1, kinds=["before"], time_limit=10 * DAY)

    assert any("receipt" in line for failure in report.failures for line in failure.wrong), str(report)
