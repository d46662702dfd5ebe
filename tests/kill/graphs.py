"""The graphs under fire: a chain, a loop, branches with joins, and a list that grows, over two versions of a State."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Literal

from anyio import sleep

from actorflow import END, Context, End, Graph, State, Update, extend, migrate
from actorflow.store.crashpoints import reached

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.kill.sidelog import SideLog

Durability = Literal["sync", "async", "exit"]
DURABILITIES: tuple[Durability, ...] = ("sync", "async", "exit")
SHAPES = ("chain", "loop", "branches", "growing")

LINKS = [f"link{number}" for number in range(12)]
TURNS = 30
ARMS = ["left", "middle", "right"]
ITEMS = 30
PAGE = "x" * 8000  # written over a few times, it makes a snapshot due, and with it a new file


class Work(State, version=1, name="Work"):
    """What every shape works on."""

    n: int = 0
    trace: Annotated[list[str], extend] = []
    items: Annotated[list[str], extend] = []
    page: str = ""


@migrate(from_=1, to=2)
def add_origin(old: dict[str, Any]) -> dict[str, Any]:
    """A migration that can be killed in its middle."""
    reached("migrate")
    return {**old, "origin": "version 1"}


class Work2(State, version=2, name="Work", migrations=[add_origin]):
    """The same with a field more."""

    n: int = 0
    trace: Annotated[list[str], extend] = []
    items: Annotated[list[str], extend] = []
    page: str = ""
    origin: str = "version 2"


def run_ids() -> list[str]:
    """Each shape under each durability."""
    return [f"{shape}-{durability}" for shape in SHAPES for durability in DURABILITIES]


def graphs(version: int, log: SideLog) -> dict[str, Graph[Any]]:
    """Every shape as a graph over the State of this version; its nodes tell ``log`` when they start."""
    state_type: type[Any] = Work if version == 1 else Work2
    declare = {"chain": _chain, "loop": _loop, "branches": _branches, "growing": _growing}
    made = {shape: Graph(shape, state_type) for shape in SHAPES}
    for shape, graph in made.items():
        declare[shape](graph, log)
    return made


def _chain(graph: Graph[Any], log: SideLog) -> None:
    for before, link in zip([None, *LINKS], LINKS, strict=False):
        graph.node(_node(log, link, _count), name=link, after=before)


def _loop(graph: Graph[Any], log: SideLog) -> None:
    def turn(state: Any) -> Update:
        return {"n": state.n + 1, "page": f"{state.n}:{PAGE}"}

    def again(state: Any) -> str | End:
        return "turn" if state.n < TURNS else END

    graph.node(_node(log, "turn", turn), name="turn", entry=True)
    graph.branch(again, after="turn", to=("turn", END))


def _branches(graph: Graph[Any], log: SideLog) -> None:
    graph.node(_node(log, "fork", _count), name="fork")
    for arm in ARMS:
        graph.node(_thread_node(log, arm), name=arm, after="fork")
        graph.node(_node(log, f"{arm}-hand", lambda _: {}), name=f"{arm}-hand", after=arm)
    graph.node(_node(log, "join", _count), name="join", after=tuple(f"{arm}-hand" for arm in ARMS))


def _growing(graph: Graph[Any], log: SideLog) -> None:
    def grow(state: Any) -> Update:
        return {"items": [f"{len(state.items)}:{PAGE}"]}

    def enough(state: Any) -> str | End:
        return "grow" if len(state.items) < ITEMS else END

    graph.node(_node(log, "grow", grow), name="grow", entry=True)
    graph.branch(enough, after="grow", to=("grow", END))


def _count(state: Any) -> Update:
    return {"n": state.n + 1}


def _node(log: SideLog, name: str, update: Callable[[Any], Update]) -> Callable[[Any, Context], Any]:
    async def node(state: Any, ctx: Context) -> Update:
        log.tell("started", ctx.run_id, key=ctx.idempotency_key, text=name)
        reached("node.begins")
        if not ctx.run_id.endswith("-exit"):  # those begin anew each time
            await sleep(random.uniform(0, 0.01))  # time to be killed in
        reached("node.ends")
        return {**update(state), "trace": [name]}

    return node


def _thread_node(log: SideLog, name: str) -> Callable[[Any, Context], Any]:
    def node(state: Any, ctx: Context) -> Update:
        log.tell("started", ctx.run_id, key=ctx.idempotency_key, text=name)
        return {"trace": [name]}

    return node


def problem_of_result(shape: str, values: Mapping[str, Any]) -> str | None:
    """What is wrong with the final values of a run, computed without the engine; None: nothing."""
    trace, n, items = values["trace"], values["n"], values["items"]
    match shape:
        case "chain":
            right = trace == LINKS and n == len(LINKS)
        case "loop":
            right = trace == ["turn"] * TURNS and n == TURNS and values["page"] == f"{TURNS - 1}:{PAGE}"
        case "branches":
            hands = [f"{arm}-hand" for arm in ARMS]
            inner = Counter(trace[1:-1]) == Counter(ARMS + hands)
            right = trace[0] == "fork" and trace[-1] == "join" and inner and n == 2
        case _:
            right = items == [f"{index}:{PAGE}" for index in range(ITEMS)] and trace == ["grow"] * ITEMS
    return None if right else f"{shape} ended with n={n}, {len(items)} items and trace {trace}"
