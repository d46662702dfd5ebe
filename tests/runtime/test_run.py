"""Running, finishing and looking at runs through the public API."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import END, Goto, Graph, Runtime, State, Update, run
from actorflow.engine.operations import Extended
from actorflow.errors import (
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    NoSuchRun,
    RunCancelled,
    RunExists,
    RunFailed,
    RuntimeClosed,
    TooManyActivations,
    WrongGraph,
)
from tests.runtime.graphs import Trail, add, chain, counter

if TYPE_CHECKING:
    from actorflow.runtime.options import Durability


@pytest.fixture(params=["disk", "memory"])
def url(request: pytest.FixtureRequest, store_url: str) -> str:
    """A store on local disk (append log) and one in memory (object log)."""
    return store_url if request.param == "disk" else f"memory://{store_url}"


async def test_a_chain_runs_in_order_and_returns_its_final_state(url: str) -> None:
    """Each node sees what the one before it wrote."""
    async with Runtime(url) as rt:
        final = await rt.run(chain("a", "b", "c"), Trail(n=7))

    assert final == Trail(n=7, trace=["a", "b", "c"])


async def test_a_join_waits_for_both_branches_and_sees_both_updates(url: str) -> None:
    """The join's base has what either branch wrote."""
    graph = chain("start", name="diamond")

    @graph.node(after="start")
    async def left(state: Trail) -> Update:
        return {"trace": ["left"]}

    @graph.node(after="start")
    def right(state: Trail) -> Update:
        return {"trace": ["right"]}

    @graph.node(after=(left, right))
    async def join(state: Trail) -> Update:
        return {"n": len(state.trace)}

    async with Runtime(url) as rt:
        final = await rt.run(graph, Trail())

    assert final.n == 3
    assert sorted(final.trace) == ["left", "right", "start"]


async def test_a_slow_branch_does_not_hold_up_a_fast_one(url: str) -> None:
    """There is no superstep: the fast branch's successor runs while the slow branch still does."""
    graph = chain("start", name="barrier-free")
    passed = anyio.Event()

    @graph.node(after="start")
    async def slow(state: Trail) -> Update:
        await passed.wait()
        return {"trace": ["slow"]}

    @graph.node(after="start")
    async def fast(state: Trail) -> Update:
        return {"trace": ["fast"]}

    @graph.node(after=fast)
    async def after_fast(state: Trail) -> Update:
        passed.set()
        return {"trace": ["after_fast"]}

    async with Runtime(url) as rt:
        with anyio.fail_after(30):
            final = await rt.run(graph, Trail())

    assert final.trace[:2] == ["start", "fast"]  # without which nothing would have released `slow`
    assert sorted(final.trace[2:]) == ["after_fast", "slow"]


async def test_a_loop_runs_until_its_branch_ends_it(url: str) -> None:
    """Every round is an activation of its own."""
    async with Runtime(url) as rt:
        final = await rt.run(counter(25), Trail())

    assert final.n == 25


async def test_goto_replaces_the_edges_and_carries_an_update(url: str) -> None:
    """A returned Goto goes to its target instead of along the edge."""
    graph = Graph("goto", Trail)

    @graph.node(goto=("target",))
    async def start(state: Trail) -> Goto:
        return Goto("target", update={"trace": ["start"]})

    @graph.node(after=start)
    async def skipped(state: Trail) -> Update:
        return {"trace": ["skipped"]}

    @graph.node
    async def target(state: Trail) -> Update:
        return {"trace": ["target"]}

    async with Runtime(url) as rt:
        assert (await rt.run(graph, Trail())).trace == ["start", "target"]


async def test_a_finished_run_returns_its_result_and_runs_nothing(url: str) -> None:
    """`run` with the id of a finished run is a look-up."""
    ran: list[str] = []
    graph = chain("a", "b", ran=ran)
    async with Runtime(url) as rt:
        first = await rt.run(graph, Trail(), id="once")
        second = await rt.run(graph, Trail(), id="once")

        assert first == second
        assert ran == ["a", "b"]


async def test_another_input_under_a_taken_id_is_refused(url: str) -> None:
    """The digest of the input is kept; nothing of the existing run changes."""
    async with Runtime(url) as rt:
        await rt.run(chain("a"), Trail(n=1), id="x")
        with pytest.raises(RunExists, match="another input"):
            await rt.run(chain("a"), Trail(n=2), id="x")
        with pytest.raises(RunExists):
            await rt.spawn(chain("a"), Trail(n=1), id="x")

        assert (await rt.get("x").at()).values["n"] == 1


async def test_attach_takes_an_existing_run_as_it_is(url: str) -> None:
    """`on_conflict="attach"` gives a handle instead of an error."""
    async with Runtime(url) as rt:
        await rt.run(chain("a"), Trail(n=1), id="x")
        attached = await rt.spawn(chain("a"), Trail(n=1), id="x", on_conflict="attach")

        assert (await attached.result()).trace == ["a"]


async def test_an_id_of_another_graph_is_refused(url: str) -> None:
    """A run belongs to the graph that spawned it."""
    async with Runtime(url) as rt:
        await rt.run(chain("a", name="one"), Trail(), id="x")
        with pytest.raises(WrongGraph, match="'one'"):
            await rt.run(chain("a", name="two"), Trail(), id="x")


async def test_an_unknown_id_is_named_with_those_that_look_alike(url: str) -> None:
    """A misspelt id gets help."""
    async with Runtime(url) as rt:
        await rt.run(chain("a"), Trail(), id="artemis-1")
        with pytest.raises(NoSuchRun, match="artemis-1"):
            await rt.resume(chain("a"), "artemis-l")
        with pytest.raises(NoSuchRun):
            await rt.get("nothing like it").status()


async def test_history_lists_every_checkpoint_newest_first(url: str) -> None:
    """One checkpoint per node, addressed by commit; each has the state as it was."""
    async with Runtime(url) as rt:
        handle = await rt.spawn(chain("a", "b"), Trail(), id="x")
        await handle.result()
        seen = [checkpoint async for checkpoint in handle.views()]

        assert [(one.seq, one.kind, one.node, one.status) for one in seen] == [
            (2, "finished", "b", "finished"),
            (1, "finished", "a", "running"),
            (0, "spawned", None, "running"),
        ]
        assert [one.state.trace for one in seen] == [["a", "b"], ["a"], []]
        assert seen[1].frontier == ("b",)
        assert seen[1].writes == {"trace": (Extended("trace", ["a"]),)}


async def test_at_finds_a_checkpoint_by_number_and_by_node(url: str) -> None:
    """The state after a node, or after a commit; another one is a LookupError."""
    async with Runtime(url) as rt:
        handle = await rt.spawn(chain("a", "b"), Trail(), id="x")
        await handle.result()

        assert (await handle.at(node="a")).state.trace == ["a"]
        assert (await handle.at(0)).state.trace == []
        with pytest.raises(LookupError, match="commit 9"):
            await handle.at(9)
        with pytest.raises(LookupError, match="'z'"):
            await handle.at(node="z")


async def test_branches_finishing_in_one_commit_have_a_checkpoint_each(url: str) -> None:
    """`at(node=)` is the state after that node's record, also inside a commit."""
    graph = chain("start", name="fan")
    for name in ("b1", "b2", "b3"):
        add(graph, name, after="start")
    async with Runtime(url) as rt:
        handle = await rt.spawn(graph, Trail(), id="x")
        await handle.result()
        by_node = {one.node: one async for one in handle.views() if one.node}

        assert set(by_node) == {"start", "b1", "b2", "b3"}
        assert sorted(len(one.state.trace) for one in by_node.values()) == [1, 2, 3, 4]


async def test_runs_are_listed_with_status_last_node_and_tags(url: str) -> None:
    """Listings read headers only, and can be filtered."""
    async with Runtime(url) as rt:
        await rt.run(chain("a", "b"), Trail(), id="done")
        tagged = await rt.spawn(chain("a", name="other"), Trail(), id="tagged", tags={"team": "x"})
        await tagged.result()

        listed = {info.id: info for info in await rt.runs()}
        assert (listed["done"].graph, listed["done"].status, listed["done"].node) == ("chain", "finished", "b")
        assert [info.id for info in await rt.runs(tags={"team": "x"})] == ["tagged"]
        assert [info.id for info in await rt.runs(graph="chain")] == ["done"]
        assert [info.id for info in await rt.runs(limit=1)] == ["tagged"]
        assert await rt.runs(status="failed") == []


async def test_cancel_is_a_recorded_outcome_and_resume_reopens(url: str) -> None:
    """The node is cancelled, the run is `cancelled`, and `resume` runs that node again."""
    graph = chain("a", name="cancel")
    entered, release = anyio.Event(), anyio.Event()

    @graph.node(after="a")
    async def slow(state: Trail) -> Update:
        entered.set()
        await release.wait()
        return {"trace": ["slow"]}

    async with Runtime(url) as rt:
        handle = await rt.spawn(graph, Trail(), id="x")
        await entered.wait()
        assert await handle.cancel(by="ops") == "cancelled"
        with pytest.raises(RunCancelled):
            await handle.result()
        with pytest.raises(RunCancelled):
            await rt.run(graph, Trail(), id="x")

        release.set()
        resumed = await rt.resume(graph, "x")
        assert (await resumed.result()).trace == ["a", "slow"]
        assert await resumed.cancel() == "finished"


async def test_cancelling_the_waiter_leaves_the_run_alone(url: str) -> None:
    """Only `cancel` cancels a run; a timeout around `result` ends the wait."""
    graph = Graph("patient", Trail)
    release = anyio.Event()

    @graph.node
    async def wait(state: Trail) -> Update:
        await release.wait()
        return {"n": 1}

    async with Runtime(url) as rt:
        handle = await rt.spawn(graph, Trail(), id="x")
        with anyio.move_on_after(0.01) as scope:
            await handle.result()
        assert scope.cancelled_caught
        assert await handle.status() == "running"

        release.set()
        assert (await handle.result()).n == 1


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_loop_that_never_waits_does_not_starve_the_event_loop(durability: Durability) -> None:
    """Other tasks of the process get their turn between two activations."""
    async with Runtime("memory://", drain="park") as rt:
        handle = await rt.spawn(counter(10**9), Trail(), durability=durability)
        with anyio.move_on_after(0.05) as scope:
            await handle.result()

        assert scope.cancelled_caught
        assert await handle.cancel() == "cancelled"


async def test_concurrent_writes_of_a_plain_field_fail_the_run(url: str) -> None:
    """Two branches that overwrite one field: never a silent lost update, whichever comes first."""
    graph = chain("start", name="conflict")

    @graph.node(after="start")
    async def one(state: Trail) -> Update:
        return {"n": 1}

    @graph.node(after="start")
    async def two(state: Trail) -> Update:
        return {"n": 2}

    async with Runtime(url) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, Trail(), id="x")

        assert isinstance(caught.value.__cause__, ConcurrentWrite)
        assert caught.value.state.n in {1, 2}
        assert caught.value.node in {"one", "two"}


async def test_a_join_that_can_never_be_complete_fails_and_names_the_leg(url: str) -> None:
    """A branch leaves one leg of a join out: JoinStarved, not a silent end."""
    graph = chain("start", name="starved")

    @graph.node(after="start")
    async def left(state: Trail) -> Update:
        return {}

    @graph.node
    async def right(state: Trail) -> Update:
        return {}

    graph.branch(lambda state: END, after="start", to=(right, END))

    @graph.node(after=(left, right))
    async def join(state: Trail) -> Update:
        return {}

    async with Runtime(url) as rt:
        with pytest.raises(RunFailed, match="'join' still waits for right") as caught:
            await rt.run(graph, Trail())

    assert isinstance(caught.value.__cause__, JoinStarved)


async def test_a_loop_without_end_fails_and_resume_gives_a_fresh_budget(url: str) -> None:
    """`max_activations` counts since the run was last opened."""
    graph = counter(15, max_activations=10)
    async with Runtime(url) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, Trail(), id="x")
        assert isinstance(caught.value.__cause__, TooManyActivations)
        assert caught.value.state.n == 10

        assert (await (await rt.resume(graph, "x")).result()).n == 15


async def test_a_branch_that_raises_keeps_the_work_and_is_asked_again(url: str) -> None:
    """The node's update is in; `resume` asks the branch again without running the node."""
    ran: list[str] = []
    graph = chain("work", name="branching", ran=ran)
    answers = [ValueError("not yet"), END]

    def route(state: Trail) -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    graph.branch(route, after="work", to=("work", END))
    async with Runtime(url) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, Trail(), id="x")
        assert isinstance(caught.value.__cause__, ValueError)
        assert caught.value.state.trace == ["work"]

        assert (await (await rt.resume(graph, "x")).result()).trace == ["work"]
        assert ran == ["work"]


async def test_a_failure_seen_from_another_runtime_has_its_text(store_url: str) -> None:
    """The exception of another process comes back as type, message and traceback; nothing is unpickled."""
    graph = Graph("bad", Trail)

    @graph.node
    async def broken(state: Trail) -> Update:
        return {"no_such_field": 1}

    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, Trail(), id="x")
        assert isinstance(caught.value.__cause__, BadUpdate)
    async with Runtime(store_url) as rt:
        with pytest.raises(RunFailed, match="no_such_field") as seen:
            await rt.get("x").result()

    assert type(seen.value.__cause__).__name__ == "RemoteError"


async def test_context_reaches_the_nodes_and_is_never_stored(url: str) -> None:
    """Clients and settings travel beside the state."""
    graph = Graph("ctx", Trail)
    seen: list[object] = []

    @graph.node
    async def look(state: Trail, ctx: object) -> Update:
        seen.extend([ctx.context, ctx.run_id, ctx.node, ctx.attempt, len(ctx.idempotency_key)])  # type: ignore[attr-defined]
        return {}

    client = object()
    async with Runtime(url) as rt:
        await rt.run(graph, Trail(), id="x", context=client)

    assert seen == [client, "x", "look", 1, 32]


async def test_leaving_waits_for_spawned_runs(store_url: str) -> None:
    """`async with Runtime() as rt: await rt.spawn(graph)` is all it takes."""
    async with Runtime(store_url) as rt:
        await rt.spawn(chain("a", "b", "c"), Trail(), id="x")
    async with Runtime(store_url) as rt:
        assert await rt.get("x").status() == "finished"


async def test_a_runtime_that_is_not_open_says_so() -> None:
    """Before entering and after leaving, calls raise RuntimeClosed."""
    rt = Runtime("memory://")
    with pytest.raises(RuntimeClosed):
        await rt.spawn(chain("a"), Trail())
    async with rt:
        pass
    with pytest.raises(RuntimeClosed):
        await rt.runs()


async def test_an_exception_in_the_body_travels_as_it_is(store_url: str) -> None:
    """No exception group around the user's own error."""
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - leaving by an exception is what is tested
        async with Runtime(store_url) as rt:
            await rt.spawn(chain("a"), Trail())
            raise ZeroDivisionError


def test_run_works_from_a_plain_script(store_url: str) -> None:
    """Without an event loop; the second call with the id returns the result."""
    ran: list[str] = []
    graph = chain("a", "b", ran=ran)

    first = run(graph, Trail(), id="x", store=store_url)
    second = run(graph, Trail(), id="x", store=store_url, backend="trio")

    assert first == second == Trail(trace=["a", "b"])
    assert ran == ["a", "b"]


@pytest.mark.parametrize("given", [{"durability": "snyc"}, {"on_conflict": "replace"}])
async def test_a_misspelt_word_begins_no_run(store_url: str, given: dict[str, Any]) -> None:
    """It is neither taken for the default nor kept in a file that could not be read."""
    async with Runtime(store_url) as rt:
        with pytest.raises(ValueError, match="it is one of '"):
            await rt.spawn(chain("a"), Trail(), id="x", **given)

        assert await rt.runs() == []


@pytest.mark.parametrize("given", [{"recover": "nevr"}, {"drain": "later"}])
def test_a_misspelt_word_makes_no_runtime(given: dict[str, Any]) -> None:
    """`recover` and `drain` would be taken for their defaults."""
    with pytest.raises(ValueError, match="it is one of"):
        Runtime("memory://", **given)


async def test_what_is_kept_as_text_must_be_text(store_url: str) -> None:
    """A number among the tags, or as who cancelled, would make a file that can't be read."""
    async with Runtime(store_url) as rt:
        with pytest.raises(TypeError, match="tags: 7 is of type int, not str"):
            await rt.spawn(chain("a"), Trail(), id="x", tags={"customer": 7})  # type: ignore[dict-item]
        run = await rt.spawn(chain("a"), Trail(), id="y")
        with pytest.raises(TypeError, match="by: 7 is of type int, not str"):
            await run.cancel(by=7)  # type: ignore[arg-type]

        assert [info.id for info in await rt.runs()] == ["y"]


async def test_run_in_an_event_loop_says_what_to_write_there() -> None:
    """As in a notebook, where the caller can't start another."""
    with pytest.raises(RuntimeError, match="async with Runtime"):
        run(chain("a"), Trail(), store="memory://")


def test_run_in_a_callback_of_an_event_loop_says_so_too() -> None:
    """As in the REPL of asyncio, which runs what it is given outside any task."""

    async def main() -> str:
        said: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def line() -> None:
            try:
                run(chain("a"), Trail(), store="memory://")
            except RuntimeError as error:
                said.set_result(str(error))

        asyncio.get_running_loop().call_soon(line)
        return await said

    assert "async with Runtime" in asyncio.run(main())


def test_an_error_of_run_shows_no_frames_of_the_event_loop() -> None:
    """From the caller's line to the error there is one of ours; the cause shows the node's own line."""
    graph = Graph("broken", Trail)

    @graph.node
    async def divide(state: Trail) -> Update:
        return {"n": 1 // 0}

    with pytest.raises(RunFailed) as caught:
        run(graph, store="memory://")

    assert [Path(frame.path).name for frame in caught.traceback] == ["test_run.py", "script.py"]
    cause = caught.value.__cause__
    assert traceback.extract_tb(None if cause is None else cause.__traceback__)[-1].name == "divide"


def test_a_state_without_defaults_must_be_given(store_url: str) -> None:
    """Spawning with no state takes the defaults, where there are any."""

    class Needs(State):
        x: int

    graph = Graph("needs", Needs)

    @graph.node
    def use(state: Needs) -> None:
        return None

    with pytest.raises(BadUpdate, match="the input: none was given, and Needs needs 'x'"):
        run(graph, store=store_url)
