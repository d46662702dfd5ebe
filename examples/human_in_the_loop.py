"""A run asks a question and its process ends. Another process, whenever it likes, answers, and the run goes on there.

python examples/human_in_the_loop.py
"""

from __future__ import annotations

import subprocess
import sys
from typing import Literal

import anyio

from actorflow import Context, Graph, Runtime, State, Update
from actorflow.errors import RunWaiting

RUN_ID = "invoice-17"


class Payment(State, version=1):
    """What is to be paid, and what became of it."""

    payee: str
    amount: int
    outcome: str = ""


payments = Graph("payments", Payment)


@payments.node
async def prepare(state: Payment) -> None:
    """Done once, before anybody is asked."""
    say(f"prepare {state.amount} for {state.payee}")


@payments.node(after=prepare)
async def approve(state: Payment, ctx: Context) -> Update:
    """Asks. With the answer it runs again from its start, so what comes before a question should do no harm twice."""
    answer = await ctx.interrupt(f"Pay {state.amount} to {state.payee}?", type=Literal["yes", "no"])
    return {"outcome": "approved" if answer == "yes" else "refused"}


@payments.node(after=approve)
async def pay(state: Payment) -> Update | None:
    """Sees what was decided."""
    say(f"pay: {state.outcome}")
    return {"outcome": "paid"} if state.outcome == "approved" else None


def say(text: str) -> None:
    """Print at once: the process is about to end."""
    print(f"  {text}", flush=True)


async def ask() -> None:
    """The first process. It need not stay for the answer."""
    async with Runtime() as rt:
        try:
            await rt.run(payments, Payment(payee="the plumber", amount=250), id=RUN_ID)
        except RunWaiting as waiting:
            say(f"{waiting}")


async def answer(with_: str) -> None:
    """The second process: what waits in the store, and an answer to it."""
    async with Runtime() as rt:
        rt.register(payments)
        for info in await rt.runs(status="waiting"):
            run = rt.get(info.id)
            for question in await run.interrupts():
                say(f"{info.id} asks: {question.question}")
                await run.answer(with_, to=question.id, by="the treasurer")
            say(f"{(await run.result()).outcome}")


def main() -> None:
    """Two processes, one after the other."""
    for number, role in enumerate((["ask"], ["answer", "yes"]), 1):
        print(f"process {number}:", flush=True)
        subprocess.run([sys.executable, __file__, *role], check=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["ask"]:
            anyio.run(ask)
        case ["answer", word]:
            anyio.run(answer, word)
        case _:
            main()
