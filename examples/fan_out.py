"""A process dies in the middle of a fan-out. Started again, it works on the items that had not finished, on no others.

python examples/fan_out.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import anyio
from text import write

from actorflow import Context, Graph, Runtime, State, Update

RUN_ID = "reviews"


class Reviews(State, version=1):
    """Books, and what is thought of each."""

    books: list[str]
    opinions: list[str] = []
    report: str = ""


reviews = Graph("reviews", Reviews)


def read(book: str, ctx: Context) -> str:
    """Takes an item and returns its result, which is committed as soon as it is there."""
    if ctx.context == "accident" and ctx.index == 4:
        say("SIGKILL")
        os.kill(os.getpid(), signal.SIGKILL)
    say(f"read {book}")
    return write(f"In one sentence: what do you think of {book}?")


reviews.map(read, over="books", into="opinions", limit=2)  # two at a time; results in the order of the items


@reviews.node(after="read")
async def report(state: Reviews) -> Update:
    """Sees all results at once."""
    return {"report": f"{len(state.opinions)} opinions on {len(state.books)} books"}


def say(text: str) -> None:
    """Print at once, in one piece: what is in a buffer dies with its process, and two threads may print."""
    print(f"  {text}\n", end="", flush=True)


async def work(accident: str | None = None) -> None:
    """Every start is this same call."""
    books = ["Dune", "Emma", "Faust", "Hamlet", "Kim", "Lolita", "Momo", "Ulysses"]
    async with Runtime() as rt:
        done = await rt.run(reviews, Reviews(books=books), id=RUN_ID, context=accident)
        say(done.report)


def main() -> None:
    """Start the job in a process that dies, then start it again in this one."""
    print("first start:", flush=True)
    first = subprocess.run([sys.executable, __file__, "accident"], check=False)
    say(f"(exit status {first.returncode})")
    print("second start, same id:")
    anyio.run(work)


if __name__ == "__main__":
    if sys.argv[1:] == ["accident"]:
        anyio.run(work, "accident")
    else:
        main()
