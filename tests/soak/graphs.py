"""The graphs of a soak: those of the kill loop, one that takes seconds, and actors that are sent messages."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from anyio import sleep

from actorflow import END, Context, End, Graph, Update
from tests.kill import graphs as quick
from tests.soak.ledger import COURIER, LEDGER, courier, ledger, problem_of_courier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.soak.told import SideLog

LONG = "long"
TURNS = 120
PAGE = "y" * 1000  # written over a few times, it makes a snapshot due
LONGEST_TURN = 0.08  # seconds


def graphs(version: int, log: SideLog) -> dict[str, Graph[Any]]:
    """Every shape as a graph over the State of this version; its nodes tell ``log`` when they start."""
    made = quick.graphs(version, log)  # type: ignore[arg-type]  # a log is asked for no more than `tell`
    long: Graph[Any] = Graph(LONG, quick.Work if version == 1 else quick.Work2)

    async def turn(state: Any, ctx: Context) -> Update:
        log.tell("started", ctx.run_id, key=ctx.idempotency_key, text="turn")
        await sleep(random.uniform(0, LONGEST_TURN))  # time to be killed in
        return {"n": state.n + 1, "page": f"{state.n}:{PAGE}", "trace": ["turn"]}

    def again(state: Any) -> str | End:
        return "turn" if state.n < TURNS else END

    long.node(turn, name="turn", entry=True)
    long.branch(again, after="turn", to=("turn", END))
    return {**made, LONG: long, LEDGER: ledger(version), COURIER: courier(version)}


def new_id(who: int, number: int) -> str:
    """An id that nobody else makes, and that says what to run: ``who-number.shape-durability``."""
    shape = random.choices((LONG, COURIER, random.choice(quick.SHAPES)), (3, 1, 3))[0]
    return f"{who}-{number}.{shape}-{random.choice(quick.DURABILITIES)}"


def shape_of(run_id: str) -> str:
    """The name of the graph that a run was begun with."""
    return run_id.partition(".")[2].partition("-")[0]


def durability_of(run_id: str) -> quick.Durability:
    """When its successors may start."""
    return next(word for word in quick.DURABILITIES if run_id.endswith(f"-{word}"))


def problem_of_result(run_id: str, values: Mapping[str, Any]) -> str | None:
    """What is wrong with the final values of a run, computed without the engine; None: nothing."""
    shape = shape_of(run_id)
    if shape == LEDGER:
        return None  # what was sent to it says what it must be
    if shape == COURIER:
        return problem_of_courier(values)
    if shape != LONG:
        return quick.problem_of_result(shape, values)
    trace, n = values["trace"], values["n"]
    if trace == ["turn"] * TURNS and n == TURNS and values["page"] == f"{TURNS - 1}:{PAGE}":
        return None
    return f"{shape} ended with n={n} and a trace of {len(trace)}"
