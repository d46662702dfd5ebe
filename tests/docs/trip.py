"""A run of four stops whose third one meets with an accident: `python trip.py ACCIDENT DURABILITY EVENT-LOOP`."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Literal

import anyio

from actorflow import Context, Graph, RestartPolicy, Runtime, State, Update

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

accidents = sys.argv[1:2]  # happens once


class Trip(State):
    """How far it got."""

    stops: int = 0


trip = Graph("trip", Trip)


def stop(name: str) -> Callable[[Trip, Context], Awaitable[Update]]:
    """A node that says where it is."""

    async def visit(state: Trip, ctx: Context) -> Update:
        print(ctx.node, flush=True)
        accident = accidents.pop() if ctx.node == "c" and accidents else "none"
        if accident == "raise":
            raise ValueError(ctx.node)
        if accident == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if accident == "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            await anyio.sleep_forever()
        return {"stops": state.stops + 1}

    return trip.node(visit, name=name, after=chr(ord(name) - 1) if name > "a" else None)


for name in "abcd":
    stop(name)


async def main(durability: Literal["sync", "async", "exit"]) -> None:
    """Begin the trip, or go on with it."""
    async with Runtime("store", restarts=RestartPolicy(backoff=0)) as rt:
        run = await rt.spawn(trip, id="trip", durability=durability, on_conflict="attach")
        print((await run.result()).stops)


if __name__ == "__main__":
    try:
        anyio.run(main, sys.argv[2], backend=sys.argv[3])
    except KeyboardInterrupt:
        sys.exit(130)
