"""The peer: LangGraph with its SQLite savers in ``durability="sync"``, each step committed before the next.

Needs ``pip install -r bench/requirements.txt``, in an environment of its own if you like: see README.md.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.graph import END, START, StateGraph
from measure import Answer, answer, clocked

if TYPE_CHECKING:
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


if __name__ == "__main__":
    answer({"sequential": sequential, "concurrent": concurrent})
