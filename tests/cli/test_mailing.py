"""``send`` and ``mailbox``: messages from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project

BANK = """
from actorflow import END, End, Graph, Message, Reply, State


class Account(State):
    balance: int = 0


class Deposit(Message, version=1):
    amount: int


class Close(Message, version=1):
    pass


def positive(state: Account, msg: Deposit) -> None:
    if msg.amount <= 0:
        raise ValueError("no deposit")


account = Graph("account", Account, lifetime="actor")


@account.on(Deposit, validate=positive)
async def deposit(state: Account, msg: Deposit) -> Reply:
    if msg.amount == 13:
        raise ValueError("unlucky")
    return Reply({"balance": state.balance + msg.amount}, {"balance": state.balance + msg.amount})


@account.on(Close)
async def close(state: Account, msg: Close) -> End:
    return END
"""
GRAPH = "bank.py:account"
IDLE = ["spawned", "released"]
"""The history of an account that nobody sent anything."""


@pytest.fixture
def bank(project: Project) -> Project:
    """An account that waits for messages."""
    (project.folder / "bank.py").write_text(BANK)
    result = project.call("run", GRAPH, "--id", "ada")
    assert result.exit_code == 8, result.stderr
    return project


def test_a_message_is_sent_and_asked(bank: Project) -> None:
    """An id counts once; the reply is JSON."""
    sent = bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": 5}', "--id", "payday")
    asked = [
        bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": 5}', "--id", id_, "--ask")
        for id_ in ("payday", "next")
    ]

    assert (sent.exit_code, sent.stdout) == (0, ""), sent.stderr
    assert [json.loads(one.stdout) for one in asked] == [{"balance": 5}, {"balance": 10}]


def test_what_is_no_message_is_refused(bank: Project) -> None:
    """Each with what would be right."""
    unknown = bank.call("send", "ada", "Withdraw", GRAPH)
    unfit = bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": "much"}')
    rejected = bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": -1}')

    assert [one.exit_code for one in (unknown, unfit, rejected)] == [2, 2, 2]
    assert "it takes Close, Deposit" in unknown.stderr
    assert "Expected `int`" in unfit.stderr
    assert "no deposit" in rejected.stderr


def test_a_message_that_fails_is_a_dead_letter(bank: Project) -> None:
    """The asker is told; ``show`` counts it and ``mailbox --dead`` lists it."""
    failed = bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": 13}', "--ask", "--by", "Bob")

    assert failed.exit_code == 1
    assert "ValueError: unlucky" in failed.stderr
    assert "actorflow mailbox ada --dead" in failed.stderr
    (dead,) = (json.loads(line) for line in bank.call("mailbox", "ada", "--dead", "--json").stdout.splitlines())
    assert (dead["type"], dead["values"], dead["by"], dead["reason"]) == ("Deposit", {"amount": 13}, "Bob", "failed")
    assert "unlucky" in bank.call("mailbox", "ada", "--dead").stdout
    assert "1 dead" in bank.call("show", "ada").stdout


def test_what_waits_is_listed(bank: Project) -> None:
    """A paused run handles nothing."""
    assert bank.call("mailbox", "ada").stdout == "nothing\n"
    bank.call("pause", "ada", GRAPH)

    bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": 5}')

    assert '{"amount": 5}' in bank.call("mailbox", "ada").stdout
    assert "1 waiting" in bank.call("show", "ada").stdout


def test_what_is_left_is_handled_elsewhere(bank: Project) -> None:
    """Not even begun: the handler may need what only the service has."""
    sent = bank.call("send", "ada", "Deposit", GRAPH, "--values", '{"amount": 5}', "--leave")

    assert sent.exit_code == 0
    assert [row["kind"] for row in bank.rows("history", "ada")] == IDLE


def test_a_run_that_is_over_takes_none(bank: Project) -> None:
    """And says so."""
    bank.call("send", "ada", "Close", GRAPH)

    result = bank.call("send", "ada", "Close", GRAPH)

    assert result.exit_code == 2
    assert "finished" in result.stderr
