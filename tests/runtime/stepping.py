"""A process with a step in it, which the tests let die: python stepping.py FOLDER MODE before|after|never."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import anyio

from actorflow import Context, Done, Graph, Intent, NotDone, Runtime, State, Update
from actorflow.errors import OutcomeUnknown

FOLDER, MODE, WHERE = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
EFFECTS = FOLDER / "effects"


class Said(State):
    """What the node says in the end."""

    said: str = ""


graph = Graph("stepping", Said)


def die() -> None:
    """As a machine does."""
    os.kill(os.getpid(), signal.SIGKILL)


async def effect(idempotency_key: str) -> str:
    """A line with the key, in a file that the next process finds."""
    if WHERE == "before":
        die()
    with EFFECTS.open("a") as file:
        file.write(f"{idempotency_key}\n")
        file.flush()
        os.fsync(file.fileno())
    if WHERE == "after":
        die()
    return "done"


async def look(intent: Intent) -> Done | NotDone:
    """Whether the line is there."""
    lines = EFFECTS.read_text().splitlines() if EFFECTS.exists() else []
    return Done("found") if intent.idempotency_key in lines else NotDone()


@graph.node
async def node(state: Said, ctx: Context) -> Update:
    """One effect."""
    how: dict[str, Any] = {"mode": "at_least_once" if MODE == "at_least_once" else "at_most_once"}
    try:
        return {"said": await ctx.step("effect", effect, reconcile=look if MODE == "asked" else None, **how)}
    except OutcomeUnknown:
        return {"said": "unknown"}


async def main() -> None:
    """Go on with the run, and say what came of it."""
    async with Runtime(FOLDER) as rt:
        print((await rt.run(graph, id="x")).said)


if __name__ == "__main__":
    anyio.run(main)
