"""Who sends to a run that another process has reads of it what is new, however long it is."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Graph, Message, Reply, Runtime, State
from actorflow.errors import IdempotencyConflict, MessageRejected
from actorflow.runtime import following
from actorflow.store.keys import log_prefix
from actorflow.store.memory import MemoryBackend
from actorflow.store.observing import Call, ObservedBackend
from tests.runtime.mailing import Deposit, Total, banking

MANY = 40
"""Commits of the run before; there is no snapshot among them."""


class Reads(ObservedBackend):
    """Counts which objects of the log of run ada are read."""

    def __init__(self, inner: MemoryBackend) -> None:
        super().__init__(inner)
        self.keys = list[str]()

    def saw(self, call: Call) -> None:
        """Note it."""
        if call.kind == "get" and call.key.startswith(log_prefix("ada")):
            self.keys.append(call.key)


class Old(State, version=1, name="Counter"):
    """Of version 1."""

    n: int = 0


class New(State, version=2, name="Counter"):
    """Of version 2, from which no way leads back."""

    n: int = 0


class Up(Message, version=1):
    """Adds one."""


def counter(state: Any) -> Graph[Any]:
    """Counts messages."""
    graph: Graph[Any] = Graph("counter", state, lifetime="actor")

    @graph.on(Up)
    async def up(state: Any, msg: Up) -> Reply:
        return Reply(state.n + 1, {"n": state.n + 1})

    return graph


async def test_of_a_long_run_each_message_reads_what_is_new() -> None:
    """With an id, and of a type that the handler validates; and so does who waits for a reply.

    Planted: reading it whole for each message, as it was: some hundred objects.
    """
    bucket = MemoryBackend()
    reads = Reads(bucket)
    async with Runtime(bucket) as rt, Runtime(reads, recover="never", graphs=[banking()]) as other:
        run = await rt.spawn(banking(), id="ada")
        for _ in range(MANY):
            await run.ask(Deposit(amount=1))
        await other.get("ada").send(Deposit(amount=1), id="first")
        reads.keys.clear()

        for number in range(10):
            await other.get("ada").send(Deposit(amount=1), id=f"m{number}")
        assert await other.get("ada").ask(Deposit(amount=1), id="last") == MANY + 12
        assert len(reads.keys) <= 60  # the newest commit, and what is new with it, however often it is looked at
        await rt.get("ada").cancel()


@pytest.mark.parametrize("most", [1_000, 20, 0])
async def test_what_is_read_on_is_what_is_there(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """An id that was used since, a state that refuses since, a reply asked for twice; also across a snapshot."""
    monkeypatch.setattr(following, "MOST_RECORDS", most)
    bucket = MemoryBackend()
    async with Runtime(bucket) as rt, Runtime(bucket, recover="never", graphs=[banking()]) as other:
        run, there = await rt.spawn(banking(), id="ada"), other.get("ada")
        await there.ask(Deposit(amount=1), id="a")

        await run.ask(Deposit(amount=2), id="b")
        with pytest.raises(IdempotencyConflict):
            await there.send(Deposit(amount=3), id="b")
        assert await there.ask(Deposit(amount=2), id="b") == 3

        await run.ask(Deposit(amount=999_000))
        with pytest.raises(MessageRejected, match="too much"):
            await there.send(Deposit(amount=999_000))
        assert await there.ask(Total(), id="total") == 999_003

        for _ in range(70):  # on a bucket a snapshot comes with every 64th commit
            await run.ask(Deposit(amount=1))
        with pytest.raises(MessageRejected, match="too much"):
            await there.send(Deposit(amount=1_000))
        assert await there.ask(Total(), id="then") == 999_073
        await run.cancel()


async def test_what_is_kept_of_runs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was asked for last is kept, however large.

    Planted: keeping them all.
    """
    bucket = MemoryBackend()
    async with Runtime(bucket) as rt, Runtime(bucket, recover="never", graphs=[banking()]) as other:
        for name in "abc":
            await rt.spawn(banking(), id=name)
        for most, kept in ((1_000_000, ["a", "b", "c"]), (0, ["c"])):
            monkeypatch.setattr(following, "MOST_BYTES", most)
            for name in "abc":
                await other.get(name).send(Deposit(amount=1))
            assert list(other._open().abroad._following._seen) == kept
        for name in "abc":
            await rt.get(name).cancel()


async def test_a_run_that_this_code_cant_run_is_not_read_for_that() -> None:
    """Its header says of which version it is.

    Planted: reading it whole before that is looked at, as it was.
    """
    bucket = MemoryBackend()
    reads = Reads(bucket)
    async with Runtime(bucket) as rt, Runtime(reads, recover="never", graphs=[counter(Old)]) as old:
        run = await rt.spawn(counter(New), id="ada")
        for _ in range(MANY):
            await run.ask(Up())
        reads.keys.clear()

        for number in range(5):
            await old.get("ada").send(Up(), id=f"m{number}")

        assert len(reads.keys) <= 10  # the newest commit, as it is then
        await run.cancel()
