"""New code for runs that live: what runs is finished by the old code, and what comes next is the new code's.

python examples/hot_reload.py
"""

from __future__ import annotations

from typing import Annotated, Any

import anyio

from actorflow import Context, Graph, Runtime, State, Update, extend, migrate
from actorflow.errors import ReloadRefused


class Stove:
    """What the cooks have as context: it takes a while, long enough for somebody to change the code."""

    def __init__(self) -> None:
        self._lit = anyio.Event()

    async def cook(self) -> None:
        """Cook one dish."""
        self._lit.set()
        await anyio.sleep(0.5)

    async def lit(self) -> None:
        """Wait until somebody cooks."""
        await self._lit.wait()


class OrderV1(State, name="Order", version=1):
    """What the kitchen knew of an order at first."""

    dish: str = "soup"
    guests: int = 2
    log: Annotated[list[str], extend] = []


kitchen_v1 = Graph("kitchen", OrderV1)


@kitchen_v1.node
async def cook(state: OrderV1, ctx: Context) -> Update:
    """As well as it can."""
    if ctx.context is not None:
        await ctx.context.cook()
    return {"log": [f"v1 cooked {state.dish} for {state.guests}"]}


@kitchen_v1.node(after=cook)
async def serve(state: OrderV1) -> Update:
    """Carries it out."""
    return {"log": ["v1 served it"]}


class OrderV2(State, name="Order", version=2):
    """Guests are portions now, and some want two."""

    dish: str = "soup"
    portions: float = 2.0
    log: Annotated[list[str], extend] = []


@migrate(from_=1, to=2)
def guests_to_portions(old: dict[str, Any]) -> dict[str, Any]:
    """Half a portion more for each: the guests were hungry."""
    return {"dish": old["dish"], "portions": old["guests"] * 1.5, "log": old["log"]}


kitchen_v2 = Graph("kitchen", OrderV2, migrations=[guests_to_portions])


@kitchen_v2.node(name="cook")
async def cook_v2(state: OrderV2, ctx: Context) -> Update:
    """As before."""
    if ctx.context is not None:
        await ctx.context.cook()
    return {"log": [f"v2 cooked {state.portions:g} portions of {state.dish}"]}


@kitchen_v2.node(name="serve", after=cook_v2)
async def serve_v2(state: OrderV2) -> Update:
    """Knows how much to bring."""
    return {"log": [f"v2 served {state.portions:g} portions"]}


class OrderV3(State, name="Order", version=3):
    """A version that nobody wrote a migration for."""

    dish: str = "soup"


kitchen_v3 = Graph("kitchen", OrderV3, migrations=[guests_to_portions])


@kitchen_v3.node(name="cook")
async def cook_v3(state: OrderV3) -> None:
    """As before."""


async def main() -> None:
    """One order is taken over by the new code as it is cooked; then a version comes that can't go on with another."""
    async with Runtime() as rt:
        first = await rt.spawn(kitchen_v1, OrderV1(guests=4), context=(stove := Stove()))
        await stove.lit()
        done = await rt.reload(kitchen_v2)
        print(f"reloaded: {len(done.runs)} run went on, {len(done.changed)} was migrated")
        print("  " + "\n  ".join((await first.result()).log))

        second = await rt.spawn(kitchen_v2, OrderV2(dish="pie"), context=(stove := Stove()))
        await stove.lit()
        try:
            await rt.reload(kitchen_v3)
        except ReloadRefused as error:
            (reason,) = error.reasons.values()
            print(f"refused: {reason.partition(';')[0]}")
        print("  " + "\n  ".join((await second.result()).log))


if __name__ == "__main__":
    anyio.run(main)
