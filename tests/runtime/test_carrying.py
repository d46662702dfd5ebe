"""Carrying: what a run has sent arrives once and in its order, although the store fails while it is carried."""

from __future__ import annotations

import math

import anyio
import anyio.lowlevel

from actorflow import Context, Graph, Mailbox, Runtime
from actorflow.errors import StoreUnavailable
from actorflow.store.memory import MemoryBackend
from actorflow.store.wrappers import WrappedBackend
from actorflow.testing import VirtualClock
from tests.runtime.correspondents import Pay, Till, Work, till, until
from tests.runtime.mailing import Deposit, Gate, Hold, banking


class Failing(WrappedBackend):
    """A store whose inbox takes nothing for a while."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())
        self.off = True
        self.refused = 0

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, unless it is for an inbox, and that is off."""
        if self.off and key.startswith("inbox/"):
            self.refused += 1
            raise StoreUnavailable(key, "it is off")
        return self.inner.put_new(key, data, durable=durable)


def paying() -> Graph[Work]:
    """Pays three times, and waits."""
    graph = Graph("paying", Work)

    @graph.node
    async def pay(state: Work, ctx: Context) -> None:
        for amount in (1, 2, 3):
            await ctx.send("till", Pay(amount=amount))

    @graph.node(after=pay)
    async def wait(state: Work, ctx: Context) -> None:
        await ctx.interrupt("Enough?")

    return graph


async def test_what_could_not_be_carried_is_carried_again() -> None:
    """Nothing is taken for delivered because it failed. Planted: a failure that counts as an arrival."""
    store = Failing()
    async with Runtime(store.inner, drain="park") as other:
        await other.spawn(till(), id="till")

    # which does not know the other graph
    async with VirtualClock(), Runtime(store, drain="park", recover="never") as rt:
        sender = await rt.spawn(paying(), id="sender")
        await until(lambda: _is(store.refused > 0))
        _, run = await rt.load("sender")
        assert [parcel.number for parcel in run.mail.outbox] == [1, 2, 3]

        store.off = False
        await until(lambda: _is_empty(rt))
        await sender.answer(None)

    async with Runtime(store.inner, drain="park", graphs=[till()]) as other:
        run_there = await other.resume(till(), "till")
        await until(lambda: run_there.query(lambda state: state.sum == 6))
        assert await run_there.query(_entries) == [1, 2, 3]


def flooding(count: int) -> Graph[Work]:
    """Lets the account hold, and sends it more than it has room for."""
    graph = Graph("flooding", Work)

    @graph.node
    async def flood(state: Work, ctx: Context) -> None:
        await ctx.send("ada", Hold())
        for number in range(count):
            await ctx.send("ada", Deposit(amount=1, label=str(number)))

    @graph.node(after=flood)
    async def wait(state: Work, ctx: Context) -> None:
        await ctx.interrupt("Enough?")

    return graph


async def test_what_a_full_mailbox_has_no_room_for_waits_in_its_inbox() -> None:
    """Of a run in the same process. Planted: what is refused for want of room counts as delivered."""
    gate = Gate()
    # were it put to sleep before it is sent anything, whoever wakes it would not know its gate
    async with Runtime("memory://", drain="park", linger=math.inf) as rt:
        account = await rt.spawn(banking(mailbox=Mailbox(messages=2)), id="ada", context=gate)
        await rt.spawn(flooding(9), id="sender")
        await gate.inside.wait()
        await until(lambda: _is_empty(rt))
        stats = account.stats()
        assert stats is not None
        assert stats.mailbox == 2
        assert len(await account.mailbox()) == 9
        gate.open.set()

        await until(lambda: account.query(lambda state: state.balance == 9))
        assert (await account.state()).trace == ["held", *map(str, range(9))]


async def _is(true: bool) -> bool:
    await anyio.lowlevel.checkpoint()
    return true


async def _is_empty(rt: Runtime) -> bool:
    _, run = await rt.load("sender")
    return not run.mail.outbox


def _entries(state: Till) -> list[int]:
    return state.entries
