"""Message: what a run is sent, typed and versioned as its state is, and how much of it may wait."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from msgspec import Struct

from actorflow.graph.node import problems_of_name
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator


class Message(State):
    """What a run is sent. Subclass it; give it a version, so that those that wait can be migrated.

    It is declared as a `State` is, and known in files as one: by its name and
    version. A graph says what it does with it: `Graph.on` declares a function
    that handles it, ``Graph(messages=[...])`` that its nodes wait for it.

    Example:
        >>> from actorflow import Graph, Message, State, Update
        >>> class Account(State):
        ...     balance: int = 0
        >>> class Deposit(Message, version=1):
        ...     amount: int
        >>> account = Graph("account", Account, lifetime="actor")
        >>> @account.on(Deposit)
        ... async def deposit(state: Account, msg: Deposit) -> Update:
        ...     return {"balance": state.balance + msg.amount}
    """


class Down(Message, version=1, name="actorflow.Down"):
    """Sent by actorflow, once, to a run that monitors another one, when that one has ended.

    Args:
        run_id: the run that ended.
        status: how: ``"finished"``, ``"failed"`` or ``"cancelled"``; or that it was ``"deleted"`` before it had ended.
        error: of a failed run what it failed with, as text; else empty.
    """

    run_id: str
    status: str
    error: str = ""


class Envelope(Struct, frozen=True, kw_only=True):
    """What is known of the message that a handler handles, beside what it says. See `Context.message`.

    Args:
        id: the same in every execution.
        sender: the run that sent it; None: somebody outside of any run.
        at: when it was accepted, in seconds since 1970.
        by: who is behind it, as its sender said.
    """

    id: str
    sender: str | None
    at: float
    by: str | None


class Mailbox(Struct, frozen=True, kw_only=True):
    """How much may wait for a run to handle it, and how long the ids that callers choose are remembered.

    Args:
        messages: how many messages may wait. Who sends more waits, too, or is refused.
        bytes: how many bytes they may take together, encoded.
        ids: how many ids are remembered. While so many came within ``hours``, messages with new ids are refused.
        hours: how long an id is remembered at least. A message that is sent again later is another message.

    Example:
        >>> from actorflow import Graph, Mailbox, State
        >>> class Account(State):
        ...     balance: int = 0
        >>> account = Graph("account", Account, lifetime="actor", mailbox=Mailbox(messages=100))
    """

    messages: int = 1_000
    bytes: int = 16 * 1024 * 1024
    ids: int = 10_000
    hours: float = 24


def problems_of_message(given: object) -> Iterator[str]:
    """Why this can't be a type of messages. What is wrong with its fields, its schema says."""
    if not (isinstance(given, type) and issubclass(given, Message)):
        what = given.__name__ if isinstance(given, type) else repr(given)
        yield f"{what} is no type of messages; declare class {what if what.isidentifier() else 'It'}(Message)"
    elif given is Message:
        yield "Message itself has no fields; give a subclass of it"
    else:
        yield from (f"{given.__name__}: {problem}" for problem in problems_of_name(given.schema_name))


def problems_of_mailbox(given: object) -> Iterator[str]:
    """Why this can't be what ``mailbox=`` is given."""
    if not isinstance(given, Mailbox):
        yield f"mailbox={given!r}: give a Mailbox"
        return
    for name in ("messages", "bytes", "ids"):
        bound = getattr(given, name)
        if type(bound) is not int or bound < 1:
            yield f"mailbox: {name}={bound!r}: give a number of at least 1"
    hours = cast("object", given.hours)
    if isinstance(hours, bool) or not isinstance(hours, int | float) or not 0 <= hours < math.inf:
        yield f"mailbox: hours={hours!r}: give hours, at least 0"
