"""What type checkers say about messages and what handles them. A line marked E is wrong on purpose, as in graphs.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from actorflow import (
    END,
    Context,
    DeadLetter,
    Down,
    End,
    Goto,
    Graph,
    Letter,
    Mailbox,
    Message,
    Reply,
    Run,
    Send,
    State,
    Update,
)


class Account(State, version=1):
    balance: int = 0


class Other(State):
    n: int = 0


class Deposit(Message, version=1):
    amount: int
    by: str = ""


class Close(Message, version=1): ...


# -- messages -----------------------------------------------------------------

assert_type(Deposit(amount=3).by, str)
Deposit()  # E: amount is missing
Deposit(3)  # E: positional
Deposit(amount="3")  # E: wrong type
Deposit(amount=3).amount = 4  # E: frozen

account = Graph("account", Account, lifetime="actor", messages=[Close], mailbox=Mailbox(messages=100, hours=1.5))
Graph("account", Account, lifetime="visit")  # E: no lifetime
Graph("account", Account, messages=[Other])  # E: no type of messages
Graph("account", Account, mailbox=100)  # E: no Mailbox


# -- handlers: what is accepted, and that nothing is lost of its type ---------


def covered(state: Account, msg: Deposit) -> None: ...


@account.on(Deposit)
async def deposit(state: Account, msg: Deposit) -> Update:
    assert_type(msg.amount, int)
    return {"balance": state.balance + msg.amount}


@account.on(Deposit, name="again", validate=covered, goto=("audit", END), timeout=3)
async def reply(state: Account, msg: Deposit, ctx: Context) -> Reply | Goto | End | None:
    return Reply(state.balance, update={"balance": 0})


@account.on(Close)
def close(state: Account, msg: Close) -> End:
    return END


@account.on(Down)
def ended(state: State, msg: Message) -> None: ...


async def called_as_it_is(ctx: Context) -> None:
    assert_type(await deposit(Account(), Deposit(amount=1)), Update)
    await reply(Account(), Deposit(amount=1))  # E: it takes the context as well


assert_type(close, Callable[[Account, Close], End])
assert_type(account.on(Close, close, name="other"), Callable[[Account, Close], End])
account.on(Deposit, lambda state, msg: {"balance": state.balance + msg.amount}, name="short")


# -- handlers: what is refused ------------------------------------------------


@account.on(Deposit)  # E: another State
def wrong_state(state: Other, msg: Deposit) -> None: ...


@account.on(Deposit)  # E: another message
def wrong_message(state: Account, msg: Close) -> None: ...


@account.on(Deposit)  # E: no message
def too_few(state: Account) -> None: ...


@account.on(Deposit)  # E: too many parameters
def too_many(state: Account, msg: Deposit, ctx: Context, more: int) -> None: ...


@account.on(Deposit)  # E: no outcome
def wrong_return(state: Account, msg: Deposit) -> int:
    return 1


@account.on(Deposit)  # E: handlers send nothing to nodes
def wrong_routing(state: Account, msg: Deposit) -> Send:
    return Send("audit", 1)


@account.node  # E: nobody asked a node
def wrong_reply(state: Account) -> Reply:
    return Reply(1)


def wrong_check(state: Account, msg: Close) -> None: ...


account.on(Deposit, close)  # E: another message
account.on(Other, deposit)  # E: no type of messages
account.on(Deposit, deposit, validate=wrong_check)  # E: another message
account.on(Deposit, deposit, after="audit")  # E: no edge leads there


# -- sending ------------------------------------------------------------------


async def sends(run: Run[Account]) -> None:
    assert_type(await run.ask(Deposit(amount=3), type=int), int)
    assert_type(await run.ask(Deposit(amount=3)), Any)
    assert_type(await run.mailbox(), list[Letter])
    assert_type(await run.dead_letters(), list[DeadLetter])
    await run.send(Deposit(amount=3), id="payday", by="Ada", timeout=1.5)
    await run.send(Other(n=1))  # E: no message
    await run.send(Deposit)  # E: the type
    await run.ask(Deposit(amount=3), id=7)  # E: no id
