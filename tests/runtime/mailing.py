"""Actors that tests send messages to."""

from __future__ import annotations

from typing import Annotated, Any

import anyio

from actorflow import END, Context, End, Goto, Graph, Mailbox, Message, Reply, State, Update, append


class Account(State, version=1):
    """What deposits sum up to, and in which order they came."""

    balance: int = 0
    trace: Annotated[list[str], append] = []


class Deposit(Message, version=1):
    """Adds an amount."""

    amount: int
    label: str = ""


class Total(Message, version=1):
    """Asks for the balance."""


class Break(Message, version=1):
    """Its handler raises."""

    why: str = "broken"


class Close(Message, version=1):
    """Ends the actor."""


class Hold(Message, version=1):
    """Its handler waits for the gate."""


class Gate:
    """Where a handler waits until a test lets it go on."""

    def __init__(self) -> None:
        self.inside = anyio.Event()
        self.open = anyio.Event()


def is_positive(state: Account, msg: Deposit) -> None:
    """Refuse what is no deposit, and what would be too much."""
    if msg.amount <= 0:
        raise ValueError(f"{msg.amount} is no deposit")
    if state.balance + msg.amount > 1_000_000:
        raise ValueError("too much")


def banking(*, mailbox: Mailbox | None = None, lifetime: Any = "actor") -> Graph[Account]:
    """An account that takes deposits, tells its balance, breaks and closes; its context is a `Gate`."""
    graph = Graph("account", Account, lifetime=lifetime, mailbox=mailbox or Mailbox())

    @graph.on(Deposit, validate=is_positive)
    async def deposit(state: Account, msg: Deposit) -> Reply:
        balance = state.balance + msg.amount
        return Reply(balance, {"balance": balance, "trace": msg.label or f"+{msg.amount}"})

    @graph.on(Total)
    async def total(state: Account, msg: Total) -> Reply:
        return Reply(state.balance)

    @graph.on(Break)
    async def fail(state: Account, msg: Break) -> Update:
        raise ValueError(msg.why)

    @graph.on(Close)
    async def close(state: Account, msg: Close) -> End:
        return END

    @graph.on(Hold)
    async def hold(state: Account, msg: Hold, ctx: Context) -> Update:
        gate: Gate = ctx.context
        gate.inside.set()
        await gate.open.wait()
        return {"trace": "held"}

    return graph


def working() -> Graph[Account]:
    """A run whose node waits for the gate, and which takes deposits meanwhile; one of 100 leads to a bonus."""
    graph = Graph("working", Account)

    @graph.node
    async def work(state: Account, ctx: Context) -> Update:
        gate: Gate = ctx.context
        gate.inside.set()
        await gate.open.wait()
        return {"balance": state.balance * 2, "trace": f"worked at {state.balance}"}

    @graph.node
    async def bonus(state: Account) -> Update:
        return {"trace": "bonus"}

    @graph.on(Deposit, goto=[bonus])
    async def deposit(state: Account, msg: Deposit) -> Update | Goto:
        update = {"balance": state.balance + msg.amount, "trace": f"+{msg.amount}"}
        return Goto(bonus, update=update) if msg.amount == 100 else update

    return graph
