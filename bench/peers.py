"""The peer: LangGraph with its SQLite savers in ``durability="sync"``, each step committed before the next.

Needs ``pip install -r bench/requirements.txt``, in an environment of its own if you like: see README.md.
"""

from __future__ import annotations

import asyncio
import operator
from typing import TYPE_CHECKING, Annotated, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from measure import Answer, answer, clocked, median

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Ticks(TypedDict):
    """The state of the loop: how often it went round."""

    n: int
    until: int


def tick(state: Ticks) -> dict[str, int]:
    """A trivial activation."""
    return {"n": state["n"] + 1}


async def tick_async(state: Ticks) -> dict[str, int]:
    """A trivial activation on the event loop, without LangGraph's own thread hop for sync nodes."""
    return {"n": state["n"] + 1}


def again(state: Ticks) -> str:
    """Go round until the count is reached."""
    return "tick" if state["n"] < state["until"] else END


def loop(node: object) -> StateGraph:
    """A graph of one node that goes round."""
    graph = StateGraph(Ticks)
    graph.add_node("tick", node)
    graph.add_edge(START, "tick")
    graph.add_conditional_edges("tick", again, ["tick", END])
    return graph


def sequential(root: Path, commits: int) -> Answer:
    """One run of many activations with SqliteSaver."""
    with SqliteSaver.from_conn_string(str(root / "runs.sqlite")) as saver:
        saver.setup()
        graph = loop(tick).compile(checkpointer=saver)
        config = {"configurable": {"thread_id": "x"}, "recursion_limit": commits + 10}
        with clocked() as span:
            final = graph.invoke({"n": 0, "until": commits}, config, durability="sync")
        pragmas = [saver.conn.execute(f"pragma {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert final["n"] == commits
    return {"wall": span.wall, "cpu": span.cpu, "pragmas": pragmas}


def concurrent(root: Path, runs: int, commits: int) -> Answer:
    """Many runs at once with AsyncSqliteSaver."""

    async def measure() -> Answer:
        async with AsyncSqliteSaver.from_conn_string(str(root / "runs.sqlite")) as saver:
            await saver.setup()
            graph = loop(tick_async).compile(checkpointer=saver)

            async def run(name: str) -> int:
                config = {"configurable": {"thread_id": name}, "recursion_limit": commits + 10}
                return (await graph.ainvoke({"n": 0, "until": commits}, config, durability="sync"))["n"]

            with clocked() as span:
                counts = await asyncio.gather(*(run(f"run-{number}") for number in range(runs)))
        assert counts == [commits] * runs
        return {"wall": span.wall, "cpu": span.cpu}

    return asyncio.run(measure())


class Wide(TypedDict):
    """The state of a fan-out: what its branches bring, and what is made of that."""

    brought: Annotated[list[int], operator.add]
    total: int


def fan_out(root: Path, width: int, repeat: int) -> Answer:
    """Branches and a join with SqliteSaver, the fastest of its savers at this; the median of so many times."""

    def branch(number: int) -> Callable[[Wide], dict[str, list[int]]]:
        return lambda state: {"brought": [number]}

    graph = StateGraph(Wide)
    graph.add_node("start", lambda state: {})
    graph.add_edge(START, "start")
    names = [f"branch-{number}" for number in range(width)]
    for number, name in enumerate(names):
        graph.add_node(name, branch(number))
        graph.add_edge("start", name)
    graph.add_node("join", lambda state: {"total": sum(state["brought"])})
    graph.add_edge(names, "join")
    graph.add_edge("join", END)
    spans: list[Answer] = []
    with SqliteSaver.from_conn_string(str(root / "runs.sqlite")) as saver:
        saver.setup()
        compiled = graph.compile(checkpointer=saver)
        for number in range(repeat):
            with clocked() as span:
                config = {"configurable": {"thread_id": f"run-{number}"}}
                final = compiled.invoke({"brought": []}, config, durability="sync")
            assert final["total"] == sum(range(width))
            spans.append({"wall": span.wall, "cpu": span.cpu})
    return median(spans)


def unsaved(root: Path, nodes: int) -> Answer:
    """A chain of trivial nodes without a checkpointer: the median of several runs in one process."""
    graph = StateGraph(Ticks)
    for number in range(nodes):
        graph.add_node(f"n{number}", tick_async)
        graph.add_edge(f"n{number - 1}" if number else START, f"n{number}")
    graph.add_edge(f"n{nodes - 1}", END)
    compiled = graph.compile()

    async def measure() -> Answer:
        spans: list[Answer] = []
        for _ in range(3):
            with clocked() as span:
                final = await compiled.ainvoke({"n": 0, "until": nodes}, {"recursion_limit": nodes + 10})
            assert final["n"] == nodes
            spans.append({"wall": span.wall, "cpu": span.cpu})
        return median(spans)

    return asyncio.run(measure())


def sends(root: Path, messages: int) -> Answer:
    """DBOS: durable sends to one workflow of this process, which receives them one after the other."""
    from dbos import DBOS, DBOSConfig

    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": f"sqlite:///{root / 'system.sqlite'}",
        "run_admin_server": False,
        "log_level": "ERROR",
        "notification_listener_polling_interval_sec": 0.01,  # its default is a second
    }
    DBOS(config=config)

    @DBOS.workflow()
    def receiver(count: int) -> int:
        total = 0
        for _ in range(count):
            total += DBOS.recv("deposit", timeout_seconds=60) or 0
        return total

    DBOS.launch()
    try:
        handle = DBOS.start_workflow(receiver, messages)
        with clocked() as span:
            for _ in range(messages):
                DBOS.send(handle.workflow_id, 1, "deposit")
            assert handle.get_result() == messages
    finally:
        DBOS.destroy()
    return {"wall": span.wall, "cpu": span.cpu}


if __name__ == "__main__":
    answer({"sequential": sequential, "concurrent": concurrent, "fan_out": fan_out, "unsaved": unsaved, "sends": sends})
