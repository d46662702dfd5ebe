"""What if? Two runs that begin where a third one was, each with a changed state; the third one does not notice.

python examples/branch.py
"""

from __future__ import annotations

import anyio

from actorflow import Graph, Runtime, State, Update, diff


class Offer(State, version=1):
    """What a customer is asked to pay."""

    hours: int
    rate: int = 0
    total: int = 0


offers = Graph("offers", Offer)


@offers.node
async def look_up_rate(state: Offer) -> Update:
    """Slow and expensive: done once, for all three."""
    print("look_up_rate runs")
    return {"rate": 100}


@offers.node(after=look_up_rate)
async def add_up(state: Offer) -> Update:
    """Runs in each of them."""
    return {"total": state.hours * state.rate}


async def main() -> None:
    """An offer, and two others from the middle of it."""
    async with Runtime() as rt:
        offer = await rt.spawn(offers, Offer(hours=40))
        await offer.result()
        middle = (await offer.at(node="look_up_rate")).seq

        cheaper = await offer.fork(middle, update={"rate": 80}, tags={"what if": "cheaper"})
        longer = await offer.fork(middle, update={"hours": 60}, tags={"what if": "longer"})

        for name, run in (("offer", offer), ("cheaper", cheaper), ("longer", longer)):
            state = await run.result()
            print(f"{name:8} {state.hours} hours at {state.rate}: {state.total}")
        for change in diff(await offer.at(), await longer.at()):
            print(f"longer, by {change.field}: {change.old} -> {change.new}")


if __name__ == "__main__":
    anyio.run(main)
