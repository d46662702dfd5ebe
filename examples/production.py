"""A small class around a runtime, as a service would have it: execute, resume, status, retention; files compressed.

python examples/production.py    (compression is in the extra: pip install 'actorflow[zstd]')
"""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import anyio

from actorflow import Context, Graph, Retention, Retry, Runtime, Sealing, State, Update, extend
from actorflow.errors import RunFailed

DAY = 86_400.0  # seconds


class Order(State, version=1):
    """What was ordered, and what was done about it."""

    item: str
    log: Annotated[list[str], extend] = []


orders = Graph("orders", Order, retry=Retry(attempts=2, backoff=0.01))


@orders.node
async def charge(state: Order, ctx: Context) -> Update:
    """Asks the bank, which knows by the key whether it has been asked before."""
    return {"log": [ctx.context.charge(state.item, key=ctx.idempotency_key)]}


@orders.node(after=charge)
async def ship(state: Order) -> Update:
    """Comes after the charge is in a file."""
    return {"log": [f"shipped a {state.item}"]}


class Bank:
    """A bank that has opening hours."""

    is_open = True

    def charge(self, item: str, *, key: str) -> str:
        """Raises when it is closed."""
        if not self.is_open:
            raise ConnectionError("the bank is closed")
        return f"charged for a {item}"


class Orders:
    """The orders of a shop, over a runtime that is entered while the shop is open."""

    retention = Retention(last=50, ended=30 * DAY, tagged={"audit": "yes"})

    def __init__(self, runtime: Runtime, bank: Bank) -> None:
        self.runtime = runtime
        runtime.register(orders, context=bank)  # from now on, what a dead process had begun is taken up by itself

    async def execute(self, number: str, item: str) -> Order:
        """Begin an order, or go on with it: whoever is unsure whether it was begun just calls this again."""
        return await self.runtime.run(orders, Order(item=item), id=number)

    async def resume(self, number: str) -> Order:
        """Try again what failed, without the need to know what was ordered."""
        return await (await self.runtime.resume(orders, number)).result()

    async def status(self) -> Counter[str]:
        """How many orders there are of each status. No state is read for it."""
        return Counter(info.status for info in await self.runtime.runs(graph=orders))

    async def clean_up(self) -> int:
        """Call it once a day: orders that ended 30 days ago are deleted, unless somebody audits them."""
        return len((await self.runtime.gc(self.retention)).deleted)


async def main() -> None:
    """A good order, one that fails and is resumed, and a look at all of them."""
    bank = Bank()
    async with Runtime("shop", sealing=Sealing(compress="zstd")) as rt:
        shop = Orders(rt, bank)
        print("17:", (await shop.execute("17", "lamp")).log)

        bank.is_open = False
        try:
            await shop.execute("18", "chair")
        except RunFailed as failed:
            print(f"18: {failed}")
        print("status:", dict(await shop.status()))

        bank.is_open = True
        print("18:", (await shop.resume("18")).log)
        print("status:", dict(await shop.status()))
        print("deleted:", await shop.clean_up())


if __name__ == "__main__":
    anyio.run(main)
