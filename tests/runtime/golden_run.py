"""The golden run: a whole store as format 1 keeps it, bodies included, so that later versions can be held to it.

``python -m tests.runtime.golden_run`` writes it, once for each released
format; the files are never made again. The run crashes, is claimed anew, goes
on under a second schema and a grown graph, and has a snapshot, a join, a loop,
a branch and every kind of operation.
"""

from __future__ import annotations

import operator
import shutil
from pathlib import Path
from typing import Annotated
from unittest.mock import patch

import anyio

from actorflow import (
    END,
    Graph,
    Remove,
    RestartPolicy,
    Runtime,
    State,
    Update,
    append,
    bounded,
    dedupe,
    extend,
    merge,
    merge_by,
    migrate,
)

FOLDER = Path(__file__).parents[1] / "golden" / "run1"


class V1(State, version=1, name="Everything"):
    """One field for each way to merge."""

    n: int = 0
    lines: Annotated[list[str], extend] = []
    marks: Annotated[list[int], append] = []
    table: Annotated[dict[str, int], merge] = {}
    recent: Annotated[list[int], bounded(3)] = []
    names: Annotated[list[str], dedupe()] = []
    people: Annotated[list[dict[str, str]], merge_by("name")] = []
    total: Annotated[int, operator.add] = 0
    text: str = ""


class V2(V1, version=2, name="Everything"):
    """A field more."""

    verdict: str = "?"


@migrate(from_=1, to=2)
def judge(old: dict[str, object]) -> dict[str, object]:
    """The field's value for old runs."""
    return {**old, "verdict": "unknown"}


def graph(state_type: type[V1], *, grown: bool, crash: list[int] | None = None) -> Graph[V1]:
    """Start → (left, right) → join → loop (three rounds) → leaf [→ verdict]."""
    made: Graph[V1] = Graph("golden", state_type, migrations=[judge] if grown else [])

    @made.node
    async def start(state: V1) -> Update:
        return {"n": 1, "lines": ["a", "b"], "marks": 7, "table": {"x": 1}, "names": ["p", "q", "p"], "total": 5}

    @made.node(after=start)
    async def left(state: V1) -> Update:
        return {"lines": ["left"], "recent": [1, 2], "people": [{"name": "Ada", "born": "1815"}]}

    @made.node(after=start)
    async def right(state: V1) -> Update:
        if crash:
            crash.pop()
            raise ConnectionError("once")
        return {"lines": ["right"], "table": {"y": 2}, "total": 2}

    @made.node(after=(left, right))
    async def join(state: V1) -> Update:
        return {"people": [{"name": "Ada", "born": "10 December 1815"}, {"name": "Alan", "born": "1912"}]}

    @made.node(after=join)
    async def loop(state: V1) -> Update:
        return {"n": state.n + 1, "recent": [state.n, state.n + 1], "text": str(state.n) * 30_000}

    @made.node
    async def leaf(state: V1) -> Update:
        return {"text": "done", "table": Remove("y")}

    made.branch(lambda state: "loop" if state.n < 4 else "leaf", after=loop, to=(loop, leaf, END))
    if grown:

        @made.node(after=leaf)
        async def verdict(state: V2) -> Update:
            return {"verdict": f"{state.n} rounds"}

    return made


FINAL = V2(
    n=4,
    lines=["a", "b", "left", "right"],
    marks=[7],
    table={"x": 1},
    recent=[3, 3, 4],
    names=["p", "q"],
    people=[{"name": "Ada", "born": "10 December 1815"}, {"name": "Alan", "born": "1912"}],
    total=7,
    text="done",
    verdict="4 rounds",
)


async def write(folder: Path) -> None:
    """Make the run in ``folder``, on no machine in particular."""
    store = str(folder)
    with (
        patch("actorflow.store.liveness.host_name", lambda: "moon"),
        patch("actorflow.store.liveness.machine_id", lambda: "0123456789abcdef"),
        patch("actorflow.store.liveness.boot_id", lambda: "fedcba9876543210"),
        patch("os.getpid", lambda: 1969),
    ):
        async with Runtime(store, restarts=RestartPolicy(backoff=0.0), recover="never") as rt:
            await rt.run(graph(V1, grown=False, crash=[1]), V1(), id="golden run")
        async with Runtime(store, recover="never") as rt:
            await (await rt.resume(graph(V2, grown=True), "golden run")).result()


def main() -> None:
    """Write it, if it is not there."""
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} exists; golden files are never made again")
    anyio.run(write, FOLDER)
    shutil.rmtree(FOLDER / "hosts", ignore_errors=True)


if __name__ == "__main__":
    main()
