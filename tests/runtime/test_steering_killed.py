"""Steering, killed: at each operation of the store; what was acknowledged is there, the rest is whole or absent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow import Context, Graph, Retention, Run, Runtime, Update
from actorflow.errors import InputPending, NoSuchRun, NotWaiting, RunEnded
from actorflow.runtime import actor
from actorflow.testing import assert_resumes_equal, explore
from tests.runtime.asking import asker
from tests.runtime.graphs import Trail, add

if TYPE_CHECKING:
    from pathlib import Path

OPERATIONS = 6


def talk() -> Graph[Trail]:
    """Three nodes, of which the middle one asks two things."""
    graph = Graph("talk", Trail)
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail, ctx: Context) -> Update:
        one = await ctx.interrupt("one?", type=str)
        two = await ctx.interrupt("two?", type=str)
        return {"trace": [f"{one}+{two}"]}

    add(graph, "last", after="middle")
    return graph


async def _answer(run: Run[Any]) -> None:
    """Answer what is asked, as often as it is; whoever was first is right."""
    for one in await run.interrupts():
        try:
            await run.answer(one.question, to=one.id)
        except NotWaiting:  # with the question before, in the process before
            return


async def _updates(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        if "update" not in (await run.state()).trace:
            await run.update({"trace": ["update"]}, by="somebody")
        await _answer(run)


async def _goes_on_as_a_node(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        await run.update({"trace": ["instead"]}, as_node="middle")


async def _rewinds(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        if "back" not in (await run.state()).trace:
            await run.rewind(0, update={"trace": ["back"]})
        else:
            await _answer(run)


async def _pauses(run: Run[Any]) -> None:
    while (status := await run.wait()) in {"waiting", "paused"}:
        if status == "paused":
            await run.unpause()
        elif (await run.interrupts())[0].question == "one?":
            await run.pause()
            await _answer(run)
        else:
            await _answer(run)


async def _tags(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        await run.tag("here", 0)
        await _answer(run)


async def _gives_input(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        state = await run.state()
        if state.n == 0:
            try:
                await run.input({"n": 1, "trace": ["input"]})
            except InputPending:
                await run.input({"n": 1, "trace": ["input"]}, on_pending="discard")
        await _answer(run)


async def _forks(run: Run[Any]) -> None:
    while await run.wait() == "waiting":
        fork = run._runtime.get("fork")  # the handle knows its runtime
        try:
            status = await fork.status()
        except NoSuchRun:
            status = await (await run.fork(id="fork", update={"trace": ["fork"]})).wait()
        if status == "running":
            await run._runtime.resume(run._graph, "fork")
            await fork.wait()
        try:
            while await fork.wait() == "waiting":
                await _answer(fork)
        except RunEnded:
            pass
        assert (await fork.result()).trace == ["first", "fork", "one?+two?", "last"]
        await _answer(run)


WAYS = {
    "update": (_updates, ["first", "update", "one?+two?", "last"]),
    "as-node": (_goes_on_as_a_node, ["first", "instead", "last"]),
    "rewind": (_rewinds, ["back", "first", "one?+two?", "last"]),
    "pause": (_pauses, ["first", "one?+two?", "last"]),
    "tag": (_tags, ["first", "one?+two?", "last"]),
    "input": (_gives_input, ["first", "input", "first", "one?+two?", "last"]),
    "fork": (_forks, ["first", "one?+two?", "last"]),
}


@pytest.mark.parametrize("way", WAYS)
async def test_whoever_steers_can_be_killed_anywhere(way: str) -> None:
    """On a bucket: before, after and without a reply. The next process finds what was acknowledged, and no half."""
    outside, trace = WAYS[way]

    report = await assert_resumes_equal(talk(), outside=outside, operations=OPERATIONS)

    assert report.expected is not None
    assert report.expected.state is not None
    assert report.expected.state.trace == trace


async def test_whoever_steers_can_be_killed_on_a_disk(tmp_path: Path) -> None:
    """At the points between its system calls."""
    outside, trace = WAYS["rewind"]

    report = await assert_resumes_equal(
        talk(), outside=outside, operations=OPERATIONS, folder=tmp_path, kinds=("before",)
    )

    assert report.expected is not None
    assert report.expected.state is not None
    assert report.expected.state.trace == trace


async def test_whoever_answers_can_be_killed_anywhere() -> None:
    """Each question is answered once, whatever befalls whom."""
    await assert_resumes_equal(talk(), answers={"one?": "1", "two?": "2"}, operations=OPERATIONS)


async def test_what_is_acknowledged_before_its_commit_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: whoever asks is told as soon as it is decided; who is killed then has told what nobody knows."""
    decided = actor.Actor._answer_requests
    told: list[int] = []

    def answer_requests(self: actor.Actor) -> None:
        decided(self)
        for request in self._accepted:
            request.seq = self.header.seq + 1
            request.done.set()

    async def once(run: Run[Any]) -> None:
        while await run.wait() == "waiting":
            if not told:
                told.append(await run.update({"trace": ["update"]}))
            await _answer(run)

    def context() -> None:
        told.clear()

    def check(state: Trail, _: object) -> None:
        assert "update" in state.trace, "it was acknowledged, and is not there"

    monkeypatch.setattr(actor.Actor, "_answer_requests", answer_requests)

    report = await explore(talk(), outside=once, kinds=("before",), depth=1, context=context, check=check)

    assert "it was acknowledged, and is not there" in str(report)


async def test_retention_beside_a_run_that_is_steered(store_url: str) -> None:
    """However often it is swept between the verbs: all of them find what they need."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(asker(str), Trail(trace=["x" * 300_000]), id="x")
        for number in range(6):
            await run.wait()
            await rt.gc(Retention(last=1))
            await run.update({"trace": [str(number) * 300_000]})
            await rt.gc(Retention(last=1))
            newest = (await run.at()).seq
            await run.tag("here", newest)
            await run.rewind("here")
            await run.wait()
            await rt.gc(Retention(last=1))
        fork = await run.fork(id="f")
        await rt.gc(Retention(last=1))
        for one in (run, fork):
            await one.wait()
            await one.answer("yes")
            assert [len(text) for text in (await one.result()).trace][:7] == [300_000] * 7
        assert await rt.verify() == []
