"""validate=: a rule of the user's own, before anything is written."""

from __future__ import annotations

import pytest

from actorflow import END, Commit, Graph, Runtime, State
from actorflow.errors import CommitRefused


class Count(State):
    """A number."""

    n: int = 0


def counting(limit: int) -> Graph[Count]:
    """A loop that counts."""
    graph = Graph("count", Count)

    @graph.node(entry=True)
    async def step(state: Count) -> dict[str, int]:
        return {"n": state.n + 1}

    graph.branch(lambda state: "step" if state.n < limit else END, after=step, to=("step", END))
    return graph


def at_most_three(commit: Commit) -> None:
    """The rule."""
    assert isinstance(commit.state, Count)
    if commit.state.n > 3:
        raise ValueError(f"{commit.state.n} is too many")


async def test_a_refused_commit_is_not_written_and_the_run_stops_here(store_url: str) -> None:
    """Whoever waits is told by whom and why; what was committed before stays."""
    async with Runtime(store_url, validate=at_most_three) as rt:
        run = await rt.spawn(counting(9), id="r")
        with pytest.raises(CommitRefused, match="4 is too many") as caught:
            await run.result()
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.run_id == "r"
    async with Runtime(store_url) as rt:
        assert (await (await rt.resume(counting(9), "r")).result()).n == 9
        history = [one.state async for one in rt.get("r").views() if one.kind == "finished"]
        assert [one.n for one in reversed(history)] == list(range(1, 10))


async def test_a_refused_input_begins_no_run(store_url: str) -> None:
    """It is commit 0."""
    async with Runtime(store_url, validate=at_most_three) as rt:
        with pytest.raises(CommitRefused, match="commit 0"):
            await rt.spawn(counting(9), Count(n=7), id="r")
        assert await rt.runs() == []


async def test_the_rule_sees_every_commit_in_order(store_url: str) -> None:
    """With number, node, tags and status; the last one says how the run ended."""
    seen: list[Commit] = []
    async with Runtime(store_url, validate=seen.append) as rt:
        await (await rt.spawn(counting(2), id="r", tags={"team": "a"})).result()
    assert [(one.seq, one.node, one.status, one.state.n) for one in seen if isinstance(one.state, Count)] == [
        (0, None, "running", 0),
        (1, "step", "running", 1),
        (2, "step", "finished", 2),
    ]
    assert {one.tags["team"] for one in seen} == {"a"}
