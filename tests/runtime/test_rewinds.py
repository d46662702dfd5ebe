"""Rewinds: a run goes back, and on from there, in a commit more; what others were told of does not go back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Context, Graph, Retention, Runtime, Update, migrate
from actorflow.engine.policy import RestartPolicy
from actorflow.errors import BadUpdate, CheckpointGone, NoSuchRun, NoSuchTarget, RunFailed, RunOwned
from tests.runtime.asking import Gate, asked, asker, commits, gated, nested
from tests.runtime.graphs import Trail, add, chain, counter

if TYPE_CHECKING:
    from actorflow import Run

NEVER = RestartPolicy(max_restarts=0)


async def seq_after(run: Run[Any], node: str) -> int:
    """The commit in which this node finished first."""
    return min([one.seq async for one in run.views() if one.node == node])


def keyed(keys: list[str]) -> Graph[Trail]:
    """Two nodes, which note the keys they run under."""
    graph = Graph("keyed", Trail)

    async def note(state: Trail, ctx: Context) -> Update:
        keys.append(f"{ctx.node} {ctx.idempotency_key}")
        return {"trace": [ctx.node]}

    graph.node(note, name="a")
    graph.node(note, name="b", after="a")
    return graph


async def test_a_run_that_is_over_goes_on_from_where_it_was(store_url: str) -> None:
    """History is not rewritten: the old commits are there, and the new ones after them."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(chain("a", "b", "c"), id="x")
        await run.result()
        before = await commits(run)

        seq = await run.rewind(await seq_after(run, "a"), by="Ada")

        assert (await run.at(seq)).values["trace"] == ["a"]
        assert (await run.result()).trace == ["a", "b", "c"]
        assert (await commits(run))[: len(before)] == before
        assert await rt.verify() == []


async def test_what_runs_again_does_so_under_new_keys_unless_they_are_kept() -> None:
    """So no effect of the first time is taken for one of the second; who knows better says ``keep_keys``."""
    keys: list[str] = []
    async with Runtime("memory://") as rt:
        run = await rt.spawn(keyed(keys), id="x")
        await run.result()
        for keep in (False, False, True):
            await run.rewind(0, keep_keys=keep)
            await run.result()

    first, second, third, fourth = (keys[at : at + 2] for at in range(0, 8, 2))
    assert fourth == first
    assert len({*first, *second, *third}) == 6


async def test_a_rewind_is_durable_when_it_is_back(store_url: str) -> None:
    """Planted: it is back when the run is claimed, and its commit comes later."""
    gate = Gate()
    graph = gated(gate)

    async def leave() -> None:
        async with Runtime(store_url) as rt:
            run = await rt.spawn(graph, id="x")
            await gate.inside.wait()
            seq = await run.rewind(0)
            async with Runtime(store_url, readonly=True) as other:
                then = await other.get("x").at(seq)
                assert (then.values["trace"], then.frontier) == ([], ("first",))
            raise LookupError

    with pytest.raises(LookupError):
        await leave()


async def test_what_runs_is_cancelled_and_what_it_was_given_is_kept() -> None:
    """The node in flight ends; ``context`` of the run here is its context still."""
    gate, seen = Gate(), []
    graph = Graph("context", Trail)
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def middle(state: Trail, ctx: Context) -> Update:
        seen.append(ctx.context)
        await gate.pass_through()
        return {"trace": ["middle"]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x", context="client")
        await gate.inside.wait()

        await run.rewind(0)
        gate.open.set()

        assert (await run.result()).trace == ["first", "middle"]
    assert (seen, gate.cancelled) == (["client", "client"], True)


async def test_a_rewind_that_is_refused_disturbs_nobody() -> None:
    """Planted: what runs is cancelled first, and then nobody takes the run up."""
    gate = Gate()
    async with Runtime("memory://", recover="never") as rt:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        before = await commits(run)
        for at, update, as_node, error in (
            (99, None, None, LookupError),
            ("0.9", None, None, LookupError),
            ("no such tag", None, None, NoSuchTarget),
            (0, {"n": "text"}, None, BadUpdate),
            (0, {}, "nowhere", NoSuchTarget),
        ):
            with pytest.raises(error):
                await run.rewind(at, update=update, as_node=as_node)
        with pytest.raises(NoSuchRun):
            await rt.get("nobody").rewind(0)

        assert (await commits(run), gate.cancelled) == (before, False)
        gate.open.set()
        assert (await run.result()).trace == ["first", "middle n=0", "last"]


async def test_with_an_update_and_as_a_node_it_is_one_commit() -> None:
    """What if that node had said something else: its successors run, it does not."""
    keys: list[str] = []
    async with Runtime("memory://") as rt:
        run = await rt.spawn(keyed(keys), id="x")
        await run.result()

        seq = await run.rewind(0, update={"n": 7, "trace": ["instead"]}, as_node="a")

        assert (await run.at(seq)).values == {"n": 7, "trace": ["instead"]}
        assert (await run.result()).trace == ["instead", "b"]
    assert [key[0] for key in keys] == ["a", "b", "b"]


async def test_before_an_answer_the_question_is_asked_again_under_a_new_key() -> None:
    """The old answer is forgotten, and its name does not fit any more."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(str), id="x")
        await run.wait()
        (old,) = await run.interrupts()
        asks = (await run.at()).seq
        await run.answer("first")
        await run.result()

        await run.rewind(asks)

        assert await run.wait() == "waiting"
        (new,) = await run.interrupts()
        assert new.id != old.id
        await run.answer("second", to=new.id)
        assert (await run.result()).trace == ["answer='second'", "last"]


async def test_a_record_inside_a_commit_is_a_place_too() -> None:
    """Parallel branches that came in one commit: after the first of them, the second is open."""
    graph, gates = Graph("both", Trail), [Gate(), Gate()]
    add(graph, "start", after=None)

    @graph.node(after="start")
    async def left(state: Trail) -> Update:
        return {"trace": ["left"]}

    @graph.node(after="start")
    async def right(state: Trail) -> Update:
        return {"trace": ["right"]}

    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.result()
        views = [one async for one in run.views()]
        first = next(one for one in views if one.node == "left")
        assert gates

        seq = await run.rewind(f"{first.seq}.{first.record}")

        assert (await run.at(seq)).values["trace"] == ["start", "left"]
        assert (await run.result()).trace == ["start", "left", "right"]


async def test_to_a_tag() -> None:
    """A name is a place."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(chain("a", "b"), id="x")
        await run.result()
        await run.tag("after a", await seq_after(run, "a"))

        seq = await run.rewind("after a")

        assert (await run.at(seq)).values["trace"] == ["a"]
        await run.result()
        await run.rewind("after a")  # names stay
        assert (await run.result()).trace == ["a", "b"]


async def test_inside_a_fan_out_finished_items_stay_finished() -> None:
    """Only the open one runs again, and those that had not begun; results are in the items' order."""
    graph, calls = Graph("fan", Trail), []

    async def item(number: int) -> str:
        calls.append(number)
        return str(number)

    graph.map(item, over=4, into="trace", limit=1)
    async with Runtime("memory://") as rt:
        run = await rt.spawn(graph, id="x")
        await run.result()
        views = [one async for one in run.views()][::-1]
        second = [one for one in views if one.node == "item"][1]
        calls.clear()

        await run.rewind(f"{second.seq}.{second.record}")

        assert (await run.result()).trace == ["0", "1", "2", "3"]
    assert calls == [2, 3]


async def test_inside_a_graph_three_deep_it_goes_on_there() -> None:
    """The scopes around it are open again, and finish once."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(nested(3), id="x")
        await run.wait()
        there = (await run.at()).seq
        await run.answer("one")
        await run.result()

        await run.rewind(there)

        (one,) = await asked(run)
        assert one.scope == "level3/level2/level1"
        await run.answer("two")
        assert (await run.result()).trace == ["two"]


async def test_a_failed_run_goes_back_before_its_failure() -> None:
    """And is not failed any more, until it fails again."""
    graph = Graph("fails", Trail)
    add(graph, "first", after=None)

    @graph.node(after="first")
    async def divide(state: Trail) -> Update:
        return {"trace": [str(6 // state.n)]}

    async with Runtime("memory://", restarts=NEVER) as rt:
        run = await rt.spawn(graph, id="x")
        with pytest.raises(RunFailed):
            await run.result()

        await run.rewind(0, update={"n": 3})

        assert (await run.result()).trace == ["first", "2"]


async def test_a_paused_and_a_cancelled_run_go_on() -> None:
    """Going back is a wish to go on."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        await run.pause()
        await run.rewind(0)
        assert await run.wait() == "waiting"
        await run.cancel()
        await run.rewind(0)
        assert await run.wait() == "waiting"
        await run.answer(1)
        assert (await run.result()).trace == ["answer=1", "last"]


async def test_two_rewinds_at_once_are_two_rewinds() -> None:
    """Planted: the second is handed the life that the first began, and says that it went back, too."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(asker(), id="x")
        await run.wait()
        seqs: list[int] = []

        async def back() -> None:
            seqs.append(await run.rewind(0))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(back)

        assert len(set(seqs)) == 3
        for seq in seqs:
            assert (await run.at(seq)).values["trace"] == []
        await run.wait()
        await run.cancel()


async def test_what_retention_let_go_of_is_gone(store_url: str) -> None:
    """`CheckpointGone` says what is the oldest that is kept; from there it goes."""
    async with Runtime(store_url) as rt:
        run = await rt.spawn(counter(1500), id="x")
        await run.result()
        assert (await rt.gc(Retention(last=5))).files
        with pytest.raises(CheckpointGone) as caught:
            await run.rewind(1)

        await run.rewind(caught.value.oldest)

        assert (await run.result()).n == 1500


async def test_a_commit_of_an_older_schema_is_migrated(store_url: str) -> None:
    """The state then, under the code of now."""

    class Older(Trail, version=1, name="Kept"):
        pass

    class Newer(Trail, version=2, name="Kept"):
        pass

    @migrate(from_=1, to=2)
    def up(old: dict[str, Any]) -> dict[str, Any]:
        return {**old, "n": old["n"] + 100}

    def graph(state: type[Trail], **how: Any) -> Graph[Any]:
        made: Graph[Any] = Graph("kept", state, **how)
        made.node(_a, name="a")
        return made

    async with Runtime(store_url) as rt:
        await rt.run(graph(Older), id="x")
    async with Runtime(store_url, graphs=[graph(Newer, migrations=[up])]) as rt:
        run = rt.get("x")

        await run.rewind(0)

        assert (await run.result()) == Newer(n=101, trace=["a"])
        assert await rt.verify() == []


async def _a(state: Any) -> Update:
    return {"n": state.n + 1, "trace": ["a"]}


async def test_a_run_that_lives_elsewhere_is_not_taken_back(store_url: str) -> None:
    """Its owner goes on; nothing is written."""
    gate = Gate()
    async with Runtime(store_url) as rt, Runtime(store_url, recover="never") as other:
        run = await rt.spawn(gated(gate), id="x")
        await gate.inside.wait()
        other.register(gated(gate))
        with pytest.raises(RunOwned):
            await other.get("x").rewind(0)
        gate.open.set()
        assert (await run.result()).trace == ["first", "middle n=0", "last"]
