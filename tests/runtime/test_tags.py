"""Tags: names for commits, by which they are found again, and which retention keeps."""

from __future__ import annotations

import pytest

from actorflow import Retention, Runtime
from actorflow.errors import CheckpointGone, NoSuchRun, NoSuchTarget
from tests.runtime.asking import Gate, asker, commits, gated
from tests.runtime.graphs import Trail, chain, counter


async def test_a_tag_names_the_newest_commit_or_the_one_that_is_given() -> None:
    """Whatever the run does: it lives, waits, or is over; its status stays."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        live = await rt.spawn(gated(gate), id="live")
        await gate.inside.wait()
        waits = await rt.spawn(asker(), id="waits")
        await waits.wait()
        over = await rt.spawn(chain("a"), id="over")
        await over.result()
        for run, status in ((live, "running"), (waits, "waiting"), (over, "finished")):
            newest = (await run.at()).seq
            seq = await run.tag("here", by="Ada")
            await run.tag("begin", at=0)

            assert seq > newest
            assert (await run.fork("here", id=f"{run.id}-fork")).id == f"{run.id}-fork"
            assert await run.status() == status
            assert [info.status for info in await rt.runs() if info.id == run.id] == [status]
        gate.open.set()
        await waits.cancel()
        await rt.get("waits-fork").cancel()


async def test_a_name_moves_and_is_taken_away() -> None:
    """The last one counts; without it nobody finds the commit by it."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a", "b"), id="x")
        await run.result()
        await run.tag("t", 0)
        await run.tag("t", 1)
        fork = await run.fork("t", id="f")
        assert (await fork.at(0)).values["trace"] == ["a"]

        await run.untag("t")
        await run.untag("t")

        with pytest.raises(NoSuchTarget, match="t"):
            await run.fork("t")


async def test_what_is_no_name_and_what_is_no_commit_is_refused() -> None:
    """Planted: any number is taken for a commit, and text is written where a number must be."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()
        before = await commits(run)
        for name in ("", "12", "1.5"):
            with pytest.raises(ValueError, match="name"):
                await run.tag(name)
        for name in (3, None):
            with pytest.raises(TypeError):
                await run.tag(name)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="character"):
            await run.tag("\ud800")
        for at in (99, -1):
            with pytest.raises(LookupError):
                await run.tag("t", at)
        for wrong in ("0", 1.0, True):
            with pytest.raises(TypeError):
                await run.tag("t", wrong)  # type: ignore[arg-type]
        with pytest.raises(NoSuchRun):
            await rt.get("nobody").tag("t")

        assert await commits(run) == before


async def test_tagging_needs_no_code(store_url: str) -> None:
    """A run that is over, or that nobody owns, is named without its graph, and stays as it is."""
    async with Runtime(store_url) as rt:
        await rt.run(chain("a"), id="x")
    async with Runtime(store_url) as rt:
        await rt.get("x").tag("golden")
        assert await rt.verify() == []
    async with Runtime(store_url, graphs=[chain("a")]) as rt:
        assert (await (await rt.get("x").fork("golden", id="f")).result()).trace == ["a"]


async def test_retention_keeps_what_has_a_name(store_url: str) -> None:
    """Planted: the policy looks at headers alone, which know nothing of names. What is older than the name may go."""
    graph = counter(1500)
    async with Runtime(store_url) as rt:
        await rt.run(graph, Trail(), id="x")
        run = rt.get("x")
        newest = (await run.at()).seq
        middle = newest // 2
        await run.tag("keep", middle)

        await rt.gc(Retention(last=5))

        assert (await run.at(middle)).seq == middle
        assert (await (await run.fork("keep", id="f")).result()).n == 1500
        assert await rt.verify() == []
        assert not (await rt.gc(Retention(last=5))).trimmed.get("x")

        await run.untag("keep")
        collected = await rt.gc(Retention(last=5))
        assert collected.files
        with pytest.raises(CheckpointGone):
            await run.at(middle)
        with pytest.raises(CheckpointGone):
            await run.tag("late", middle)


async def test_retention_leaves_waiting_runs_and_their_questions(store_url: str) -> None:
    """However old: it is not over, and what it asks is in what is kept."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(asker(str), id="x")
        await run.wait()

        await rt.gc(Retention(last=1, age=0, ended=0))

        assert len(await run.interrupts()) == 1
        await run.answer("yes")
        assert (await run.result()).trace == ["answer='yes'", "last"]


async def test_a_fork_needs_nothing_of_its_origin(store_url: str) -> None:
    """They share no files: what retention takes from the one is still in the other."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(chain("a"), Trail(trace=["x" * 600_000]), id="x")
        await run.result()
        fork = await run.fork(id="f")
        await fork.result()
        await run.delete()
        await rt.gc(Retention(last=1, age=0))

        assert len((await fork.state()).trace[0]) == 600_000
        assert await rt.verify() == []
