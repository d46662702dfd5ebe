"""Forks: a new run that begins as another one was; the two share nothing, and both go on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow import Context, Graph, Runtime, Update
from actorflow.engine.policy import RestartPolicy
from actorflow.engine.records import Forked
from actorflow.errors import (
    BadRunId,
    BadUpdate,
    CommitRefused,
    CorruptCheckpoint,
    NoSuchRun,
    NoSuchTarget,
    RunExists,
    RunFailed,
)
from actorflow.runtime.replay import unpack
from actorflow.store.keys import blobs_prefix
from actorflow.store.memory import MemoryBackend
from tests.runtime.asking import Gate, asker, commits, gated
from tests.runtime.graphs import Trail, add, chain
from tests.runtime.test_rewinds import keyed, seq_after

if TYPE_CHECKING:
    from actorflow.runtime.validation import Commit

NEVER = RestartPolicy(max_restarts=0)


async def test_a_fork_of_a_finished_run_goes_on_from_the_middle() -> None:
    """With another state; the origin stays as it is, and the first commit says where the fork is from."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a", "b", "c"), id="x")
        await run.result()
        before = await commits(run)

        fork = await run.fork(await seq_after(run, "a"), id="f", update={"trace": ["fork"]}, by="Ada", tags={"k": "v"})

        assert (await fork.result()).trace == ["a", "fork", "b", "c"]
        first = await fork.at(0)
        assert (first.values["trace"], first.by) == (["a", "fork"], "Ada")
        _, records = unpack([*rt.living().store.log("f").backwards()][-1][0], None)
        assert [(one.run_id, one.seq) for one in records if isinstance(one, Forked)] == [("x", 1)]
        assert (await run.result()).trace == ["a", "b", "c"]
        assert await commits(run) == before
        assert [info.id for info in await rt.runs(tags={"k": "v"})] == ["f"]
        assert await rt.verify() == []


async def test_a_fork_has_keys_of_its_own() -> None:
    """Two forks of one place, too."""
    keys: list[str] = []
    async with Runtime("memory://") as rt:
        run = await rt.spawn(keyed(keys), id="x")
        await run.result()
        for fork_id in ("f", "g"):
            await (await run.fork(0, id=fork_id)).result()
    assert len(set(keys)) == 6


async def test_of_a_running_run_it_is_as_it_was_committed_last() -> None:
    """What is in flight there runs in the fork, too; the origin is not disturbed."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()

        fork = await run.fork(id="f")
        gate.open.set()

        assert (await fork.result()).trace == (await run.result()).trace == ["first", "middle n=0", "last"]
    assert (gate.calls, gate.cancelled) == (2, False)


async def test_of_a_waiting_run_it_asks_itself() -> None:
    """The question of each is answered apart; an answer of before is not there."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(str), id="x")
        await run.wait()
        fork = await run.fork(id="f")
        assert await fork.wait() == "waiting"
        (one,), (other,) = await run.interrupts(), await fork.interrupts()
        assert one.id != other.id

        await fork.answer("fork")

        assert (await fork.result()).trace == ["answer='fork'", "last"]
        assert await run.status() == "waiting"
        await run.answer("origin")
        assert (await run.result()).trace == ["answer='origin'", "last"]


async def test_of_a_failed_run_it_tries_again() -> None:
    """With the update; the origin stays failed."""
    graph = Graph("fails", Trail)

    @graph.node
    async def divide(state: Trail) -> Update:
        return {"trace": [str(6 // state.n)]}

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        with pytest.raises(RunFailed):
            await run.result()

        assert (await (await run.fork(update={"n": 2}, id="f")).result()).trace == ["3"]
        assert await run.status() == "failed"


async def test_of_a_fork_and_of_a_run_that_went_back() -> None:
    """Both are runs as any other."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a", "b"), id="x")
        await run.result()
        await run.rewind(0, update={"trace": ["back"]})
        await run.result()
        fork = await run.fork(id="f")
        await fork.result()
        second = await fork.fork(0, id="g", update={"trace": ["g"]})

        assert (await second.result()).trace == ["back", "a", "b", "g"]
        await second.rewind(0)
        assert (await second.result()).trace == ["back", "a", "b", "g"]


@pytest.mark.parametrize("url", ["disk", "memory"])
async def test_large_values_are_copied(store_url: str, url: str) -> None:
    """The origin may be deleted; the fork is whole, and goes on in another runtime."""
    place = store_url if url == "disk" else "memory://"
    async with Runtime(place) as rt:
        run = await rt.spawn(chain("a", "b"), Trail(trace=["x" * 700_000]), id="x")
        await run.result()
        fork = await run.fork(0, id="f")
        await fork.result()
        await run.delete()
        assert await rt.verify() == []
        assert [len(one) for one in (await fork.state()).trace] == [700_000, 1, 1]
        assert (await (await fork.fork(0, id="g")).result()).trace[1:] == ["a", "b"]


async def test_a_fork_of_what_has_lost_a_large_value_leaves_nothing() -> None:
    """It fails, and names what is missing: no run, no marker, no file of the fork is there."""
    bucket = MemoryBackend()
    async with Runtime(bucket) as rt:
        run = await rt.spawn(chain("a", "b"), Trail(trace=["x" * 700_000]), id="x")
        await run.result()
        (lost,) = bucket.list(blobs_prefix("x"))
        bucket.delete([lost])
        there = bucket.list("runs/") + bucket.list("active/")

        with pytest.raises(CorruptCheckpoint, match="missing") as missing:
            await run.fork(0, id="f")

        assert missing.value.path == lost
        assert bucket.list("runs/") + bucket.list("active/") == there
        with pytest.raises(NoSuchRun):
            await rt.get("f").status()


async def test_an_id_that_is_taken_is_refused() -> None:
    """Also one that lives here. Planted: then a handle of that run is returned as if it were the fork."""
    gate = Gate()
    async with Runtime("memory://") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        over = await rt.spawn(chain("a"), id="over")
        await over.result()
        for taken in ("x", "over"):
            with pytest.raises(RunExists):
                await run.fork(id=taken)
        with pytest.raises(BadRunId):
            await run.fork(id="")
        with pytest.raises(NoSuchRun):
            await rt.get("nobody").fork()
        gate.open.set()
        assert (await run.fork()).id not in {"x", "over"}


async def test_a_fork_that_is_refused_leaves_nothing() -> None:
    """No run, no marker, no file."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()
        with pytest.raises(BadUpdate):
            await run.fork(id="f", update={"n": "text"})
        with pytest.raises(NoSuchTarget):
            await run.fork(id="f", as_node="nowhere")
        with pytest.raises(LookupError):
            await run.fork(99, id="f")
        with pytest.raises(TypeError):
            await run.fork(id="f", tags={"k": 1})  # type: ignore[dict-item]

        assert [info.id for info in await rt.runs()] == ["x"]
        with pytest.raises(NoSuchRun):
            await rt.get("f").status()
        assert await rt.verify() == []


async def test_a_fork_that_is_over_at_once_is_over_properly() -> None:
    """As if its last node had finished: it is listed as finished, and nothing is left to recover."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()

        fork = await run.fork(id="f", update={"n": 4}, as_node="ask")
        await fork.result()
        last = await run.fork(0, id="g", update={"n": 5}, as_node="last")
        await last.wait()
        await last.cancel()
        await run.cancel()

        end = await rt.spawn(chain("a"), id="y")
        await end.result()
        ended = await end.fork(id="z", update={"n": 6}, as_node="a")
        assert (await ended.result()).n == 6
        assert {info.id: info.status for info in await rt.runs()}["z"] == "finished"
        assert await rt.recover() == []


async def test_an_id_of_a_deleted_run_is_used_again_only_if_that_is_said() -> None:
    """As with `spawn`."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()
        old = await run.fork(id="f")
        await old.result()
        await old.delete()
        with pytest.raises(Exception, match="deleted"):
            await run.fork(id="f")

        fork = await run.fork(0, id="f", reuse=True)

        assert (await fork.result()).trace == ["a"]
        assert await rt.verify() == []


async def test_the_rule_for_commits_sees_a_fork_before_it_is_written() -> None:
    """Planted: only what its actor commits later passes the rule."""

    def rule(commit: Commit) -> None:
        if commit.state.n > 5:  # type: ignore[attr-defined]
            raise ValueError("too much")

    async with Runtime("memory://", validate=rule) as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()

        with pytest.raises(CommitRefused, match="too much"):
            await run.fork(id="f", update={"n": 6})

        with pytest.raises(NoSuchRun):
            await rt.get("f").status()


async def test_a_fork_of_a_run_that_lives_here_has_its_context() -> None:
    """Or the one that is given."""
    graph, gate, seen = Graph("context", Trail), Gate(), []
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail, ctx: Context) -> Update:
        seen.append((ctx.run_id, ctx.context))
        await gate.pass_through()
        return {}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x", context="client")
        await gate.inside.wait()
        forks = [await run.fork(id="f"), await run.fork(id="g", context="other")]
        gate.open.set()
        for fork in forks:
            await fork.result()
    assert sorted(seen) == [("f", "client"), ("g", "other"), ("x", "client")]


async def test_an_archived_run_is_forked_from_its_archive(store_url: str) -> None:
    """Where it went, it is a run as any other: a fork of it goes on there."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(chain("a"), id="x")
        await run.result()
        archived = await run.archive()
        with pytest.raises(Exception, match="x"):
            await run.fork(id="f")
    async with Runtime(archived.url, graphs=[chain("a")]) as rt:
        assert (await (await rt.get(archived.archive_id).fork(0, id="f")).result()).trace == ["a"]  # type: ignore[attr-defined]
