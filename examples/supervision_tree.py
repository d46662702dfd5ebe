"""A tree of supervisors: desks of a bank that crash are restarted together, and what had been done is not done again.

python examples/supervision_tree.py
"""

from __future__ import annotations

from typing import Annotated

import anyio

from actorflow import Context, Graph, Runtime, State, Update, extend
from actorflow.errors import RestartIntensity


class Desk(State, version=1):
    """A desk of the bank, and what was done there."""

    name: str = "counter"
    log: Annotated[list[str], extend] = []


desks = Graph("desks", Desk)


@desks.node
async def unlock(state: Desk) -> Update:
    """Done once: its commit is kept, however often the desk is restarted."""
    return {"log": ["unlocked"]}


@desks.node(after=unlock)
async def serve(state: Desk, ctx: Context) -> Update:
    """Serves until the desk closes; some days it crashes."""
    await ctx.context.serve(state.name)
    return {"log": ["closed"]}


class Bank:
    """The world around the desks: the card desk needs the ledger to be open, and crashes twice."""

    def __init__(self) -> None:
        self.crashes = {"cards": 2, "loans": 9}
        self.ledger = anyio.Event()
        self.evening = anyio.Event()

    async def serve(self, desk: str) -> None:
        """Returns in the evening. Raises while the desk has crashes left."""
        if desk == "cards":
            await self.ledger.wait()
        print(f"  {desk} opens")
        if self.crashes.get(desk):
            self.crashes[desk] -= 1
            print(f"  {desk} crashes")
            raise ConnectionError(f"no line to the {desk} company")
        if desk != "ledger":
            self.evening.set()
            return
        self.ledger.set()
        try:
            await self.evening.wait()
        except anyio.get_cancelled_exc_class():
            self.ledger = anyio.Event()
            print("  ledger is stopped")
            raise


async def main() -> None:
    """Desks that need each other under a supervisor that may restart them once, and that under one like it."""
    bank = Bank()
    async with Runtime("memory://") as rt:
        rt.register(desks, context=bank)

        print("payments:")
        async with (
            rt.supervise("bank", max_restarts=1, backoff=0.01) as around,
            around.supervise("payments", strategy="one_for_all", max_restarts=1, backoff=0.01) as payments,
        ):
            ledger = await payments.spawn(desks, Desk(name="ledger"), id="ledger")
            cards = await payments.spawn(desks, Desk(name="cards"), id="cards")
            for run in (ledger, cards):
                print(f"  {run.id}: {(await run.result()).log}")
            print(f"  restarts: {payments.path} {payments.stats().restarts}, bank {around.stats().restarts}")

        print("credit:")
        try:
            async with rt.supervise("credit", max_restarts=2, backoff=0.01) as credit:
                await credit.run(desks, Desk(name="loans"), id="loans")
        except RestartIntensity as gave_up:
            print(f"  {gave_up}")
            print(f"  because of {gave_up.__cause__!r}; loans is {await rt.get('loans').status()}")


if __name__ == "__main__":
    anyio.run(main)
