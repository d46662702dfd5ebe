"""Overtaking: who wants to steer a run, or only to look, waits for no message; a message waits for those before it."""

from __future__ import annotations

from functools import partial

import anyio
import pytest

from actorflow import Mailbox, Runtime
from actorflow.errors import MailboxFull
from tests.runtime.correspondents import until
from tests.runtime.mailing import Deposit, Gate, Hold, Total, banking

WAITING = 3


async def test_a_pause_overtakes_the_messages_that_wait() -> None:
    """What is being handled is finished; nothing after it begins until the run goes on."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        for _ in range(WAITING):
            await run.send(Deposit(amount=1))

        await run.pause()
        gate.open.set()
        await until(lambda: run.query(lambda state: state.trace))
        await anyio.wait_all_tasks_blocked()
        assert (await run.state()).trace == ["held"]
        assert len(await run.mailbox()) == WAITING

        await run.unpause()
        assert await run.ask(Total()) == WAITING


async def test_a_cancellation_overtakes_the_messages_that_wait() -> None:
    """It waits neither for them nor for what is being handled; they are left as dead letters."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        for _ in range(WAITING):
            await run.send(Deposit(amount=1))

        with anyio.fail_after(20):
            await run.cancel()

        assert await run.status() == "cancelled"
        assert [letter.reason for letter in await run.dead_letters()] == ["ended"] * (1 + WAITING)


async def test_a_query_overtakes_the_messages_that_wait() -> None:
    """It shows the state as it is, in the middle of a handler."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(), id="ada", context=gate)
        await run.send(Deposit(amount=5))
        await run.ask(Total())
        await run.send(Hold())
        await gate.inside.wait()
        for _ in range(WAITING):
            await run.send(Deposit(amount=1))

        with anyio.fail_after(20):
            assert await run.query(lambda state: state.balance) == 5
        assert len(await run.mailbox()) == WAITING
        gate.open.set()


async def test_a_small_message_does_not_overtake_a_large_one_that_waits_for_room() -> None:
    """There would be room for it. Planted: one that is let in at once if it fits."""
    gate = Gate()
    large, small = "l" * 600, "s" * 10
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(bytes=1_000)), id="ada", context=gate)
        await run.send(Hold())
        await gate.inside.wait()
        await run.send(Deposit(amount=1, label=large))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(run.send, Deposit(amount=1, label=large)))
            await anyio.wait_all_tasks_blocked()
            tasks.start_soon(partial(run.send, Deposit(amount=1, label=small)))
            await anyio.wait_all_tasks_blocked()
            gate.open.set()

        assert await run.ask(Total()) == 3
        assert (await run.state()).trace == ["held", large, large, small]


async def test_who_does_not_wait_is_let_in_where_there_is_room() -> None:
    """But not before those who do."""
    gate = Gate()
    async with Runtime("memory://", drain="park") as rt:
        run = await rt.spawn(banking(mailbox=Mailbox(messages=1)), id="ada", context=gate)
        await run.send(Hold(), timeout=0)
        await gate.inside.wait()

        await run.send(Deposit(amount=1), timeout=0)
        with pytest.raises(MailboxFull):
            await run.send(Deposit(amount=1), timeout=0)
        gate.open.set()

        assert await run.ask(Total()) == 1
