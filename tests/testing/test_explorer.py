"""The crash explorer: sound graphs are found sound wherever they are killed, and what is planted is found."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from actorflow import Graph, Run, State
from actorflow.engine import tokens
from actorflow.errors import GraphError
from actorflow.runtime import claiming
from actorflow.runtime.replay import replay
from actorflow.store.memory import MemoryBackend
from actorflow.testing import KINDS, assert_resumes_equal, explore
from tests.simulation.planted import BUGS
from tests.testing.graphs import (
    Trail,
    Words,
    approving,
    charging,
    counting,
    failing,
    forgetting,
    loop,
    measuring,
    rescued,
    same_nodes,
    survey,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from actorflow.runtime.options import Durability
    from actorflow.store.frames import Frame

# -- what is sound ------------------------------------------------------------------------


async def test_a_sound_graph_ends_the_same_wherever_it_is_killed() -> None:
    """Branches, a join and a sync node: every operation with every kind of fault, some of them followed by others."""
    report = await assert_resumes_equal(survey(), compare=same_nodes, depth=3)

    assert report.expected is not None
    assert report.expected.status == "finished"
    writes = sum(operation.writes for operation in report.operations)
    assert report.lifetimes > 2 + 2 * len(report.operations) + 2 * writes  # and those with a second fault


@pytest.mark.parametrize("durability", ["async", "exit"])
async def test_what_may_run_again_ends_the_same(durability: Durability) -> None:
    """A process that dies loses what it had not committed, and nobody was told of it."""
    await assert_resumes_equal(survey(), durability=durability, compare=same_nodes, operations=6)


async def test_a_sound_graph_ends_the_same_on_a_local_disk(tmp_path: Path) -> None:
    """Killed at points between the system calls of the append log, and after that at others."""
    report = await assert_resumes_equal(survey(), compare=same_nodes, folder=tmp_path, operations=12)

    points = {operation.key for operation in report.operations}
    assert {"claim.before_link", "append.before_write", "append.after_write", "append.after_sync"} <= points
    assert report.lifetimes >= 2 + 12


async def test_each_item_of_a_fan_out_counts_once() -> None:
    """Items, those of a graph inside each item, and inputs that were sent: none is lost, none counts twice."""
    report = await assert_resumes_equal(measuring(), Words(words=["to", "be", "or", "not"]), context=dict, operations=8)

    assert report.expected is not None
    assert report.expected.state is not None
    assert report.expected.state.lengths == [2, 2, 2, 3]
    assert report.expected.state.found == ["TO", "BE", "OR", "NOT", "be", "not", "or", "to"]
    assert Counter(calls.node for calls in report.calls.values())["loud"] == len("tobeornot")


async def test_a_loop_by_a_functions_name_is_explored() -> None:
    """Watching a graph leaves its routing as it was."""
    report = await assert_resumes_equal(loop(), operations=5)

    assert report.expected is not None
    assert report.expected.state == Trail(n=3)


async def test_a_run_that_fails_must_fail_again() -> None:
    """The end to be reached is that of the uninterrupted run, whatever it is; a failed run is not tried again."""
    report = await assert_resumes_equal(failing(), operations=8)

    assert report.expected is not None
    assert (report.expected.status, report.expected.node, report.expected.state) == ("failed", "fail", Trail(n=1))


async def test_an_error_inside_is_handled_once() -> None:
    """What a graph inside had written before it failed stays inside, wherever the process dies."""
    report = await assert_resumes_equal(rescued(), operations=8)

    assert report.expected is not None
    assert report.expected.state == Trail(trace=["rescued", "end"])


async def test_a_run_is_steered_by_whoever_lives() -> None:
    """Paused, found to stand still, and let go on: again in each process, and harmless when it was done before."""

    async def stop_and_go(run: Run[Trail]) -> None:
        await run.pause()
        await run.wait()
        await run.unpause()

    report = await assert_resumes_equal(loop(), outside=stop_and_go, operations=8)

    assert report.expected is not None
    assert report.expected.state == Trail(n=3)


async def test_what_is_done_from_outside_is_done_in_each_process() -> None:
    """A run that never ends by itself is cancelled: by whoever lives."""
    graph = Graph("endless", Trail)

    @graph.node
    async def wait(state: Trail) -> None:
        await anyio.sleep_forever()

    async def cancel(run: Run[Trail]) -> None:
        await run.cancel()

    report = await assert_resumes_equal(graph, outside=cancel, operations=8)

    assert report.expected is not None
    assert report.expected.status == "cancelled"


ANSWERS = {"Which word?": "to", "Which one after it?": "be", "Is to right?": True, "Is be right?": False}


async def test_questions_are_answered_by_whoever_lives() -> None:
    """A process that asked, one that waited and one that answered may die: the run goes on with each answer once."""
    report = await assert_resumes_equal(approving(), Words(words=[]), answers=ANSWERS, operations=8)
    by_function = await explore(approving(), Words(words=[]), answers=lambda one: ANSWERS[one.question], operations=1)

    assert report.expected is not None
    assert report.expected.state == Words(words=["to", "be"], found=["to", "-"])
    assert by_function.expected == report.expected


async def test_a_question_without_an_answer_is_told() -> None:
    """A run that waits for somebody does not end by itself."""
    report = await explore(approving(), Words(words=[]), time_limit=0.2)

    assert "it waits, and nobody answers: say answers= or outside=" in str(report)


async def test_a_state_that_is_not_equal_to_itself_is_the_same() -> None:
    """A NaN is compared as it is kept."""

    class Weather(State):
        rain: float = 0.0

    graph = Graph("weather", Weather)

    @graph.node
    async def measure(state: Weather) -> dict[str, float]:
        return {"rain": float("nan")}

    assert await explore(graph, operations=2)


async def test_calls_are_counted_by_key() -> None:
    """A node whose process is killed is called again with the same key, and not more often than processes die."""
    report = await assert_resumes_equal(charging(once=True), context=Counter, depth=1)

    assert {calls.node: calls.most for calls in report.calls.values()} == {"charge": 2, "ship": 2}


async def test_the_same_is_explored_again() -> None:
    """No clock and no chance decides what is tried."""
    first = await explore(charging(once=True), context=Counter, seed=1, operations=5)
    second = await explore(charging(once=True), context=Counter, seed=1, operations=5)

    assert first.lifetimes == second.lifetimes
    assert [operation.call for operation in first.operations] == [operation.call for operation in second.operations]


# -- planted in graphs ----------------------------------------------------------------------


async def test_a_node_that_remembers_in_its_process_is_found() -> None:
    """Planted: it differs even if nothing befalls it, and then nothing else is worth trying."""
    report = await explore(counting())

    assert not report
    assert report.lifetimes == 2
    assert "a second run that nothing befell, either, is finished with Trail(trace=[], n=2)" in str(report)


async def test_a_node_that_answers_otherwise_when_called_again_is_found() -> None:
    """Planted: the report names the operation, the kind and the key, and the line it gives shows it again."""
    report = await explore(forgetting(), context=Counter, depth=1)

    failure = report.failures[0]
    number = next(n for n, one in enumerate(report.operations, 1) if one.key.endswith("1.ckpt") and one.call == "put")
    again = await explore(forgetting(), context=Counter, only=failure.faults)
    assert failure.faults == f"{number}:before"
    assert failure.where == f"killed before operation {number}, put runs/explored/log/{1:020}.ckpt"
    assert failure.wrong == ("it is finished with Trail(trace=[], n=2), not finished with Trail(trace=[], n=1)",)
    assert f"explore(..., only='{number}:before')" in str(report)
    assert again.failures == [failure]


async def test_what_is_planted_is_found_on_a_local_disk_too(tmp_path: Path) -> None:
    """Planted: the node is called again when its process was killed before its frame was written."""
    report = await explore(forgetting(), context=Counter, folder=tmp_path, depth=1)

    assert any(failure.where.endswith("pass append.before_write") for failure in report.failures)
    assert all("n=2" in failure.wrong[0] for failure in report.failures)


async def test_an_effect_that_happens_twice_is_found_by_a_check() -> None:
    """Planted: a payment for each call; with the idempotency key it is right."""

    def charged_once(state: Trail, charges: Counter[str]) -> None:
        assert max(charges.values()) == 1, f"charged {max(charges.values())} times"

    with pytest.raises(AssertionError, match="check: charged 2 times"):
        await assert_resumes_equal(charging(once=False), context=Counter, check=charged_once, depth=1)
    await assert_resumes_equal(charging(once=True), context=Counter, check=charged_once, depth=1)


async def test_a_run_without_an_end_is_told_so() -> None:
    """Planted: a node that waits for ever."""
    graph = Graph("endless", Trail)

    @graph.node
    async def wait(state: Trail) -> None:
        await anyio.sleep_forever()

    report = await explore(graph, time_limit=0.05)

    assert "the run does not come to its end within 0.05 s" in str(report)


# -- planted in stores ------------------------------------------------------------------------


class Lossy(MemoryBackend):
    """Planted: it acknowledges the commit with this number, and has it not."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self._lost = f"{number:020}.ckpt"

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put all others."""
        return key.endswith(self._lost) or super().put_new(key, data, durable=durable)


class Forgetful(MemoryBackend):
    """Planted: what was put last is gone when its process is."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete these; and with the last sign of life of a process, its last commit."""
        names = [*keys]
        if any(name.startswith("hosts/") for name in names):
            names += self.list("runs/")[-1:]
        super().delete(names)


@pytest.mark.parametrize("number", [1, 2])
async def test_a_store_that_loses_what_it_acknowledged_is_found(number: int) -> None:
    """In the middle of the history or at its end: whoever was told so could rely on it."""
    report = await explore(charging(once=True), context=Counter, backend=lambda: Lossy(number))

    assert not report
    assert f"{number:020}.ckpt" in str(report)


async def test_a_store_that_forgets_a_commit_is_found() -> None:
    """The run goes on from the commit before, as if nothing had been, and ends the same: it is found nevertheless."""
    report = await explore(charging(once=True), context=Counter, backend=Forgetful)

    assert not report
    assert "it was acknowledged, and is not in the history" in str(report)


@pytest.mark.parametrize(
    ("bug", "told"),
    [
        ("acknowledges before the put", "was called before the commit that opened it was durable"),
        ("starts successors before their commit", "was called before the commit that opened it was durable"),
        ("takes a failure for a success", "it is missing, and the chain needs it"),
        ("marks nothing", "no marker leads to it"),
    ],
)
async def test_a_bug_planted_in_actorflow_is_found(bug: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exploration that can't fail proves nothing."""
    BUGS[bug](monkeypatch)

    report = await explore(survey(), compare=same_nodes, depth=1)

    assert told in str(report)


async def test_a_bug_planted_in_actorflow_is_found_on_a_local_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: a successor starts before the commit that opens it."""
    BUGS["starts successors before their commit"](monkeypatch)

    report = await explore(charging(once=True), context=Counter, folder=tmp_path)

    assert "node 'ship' was called before the commit that opened it was durable" in str(report)


async def test_a_recovery_that_steps_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: whoever takes up a run leaves out its newest commit, and what had finished runs again."""

    def short(frames: Iterable[Frame], *more: Any) -> Any:
        kept = [*frames]
        return replay(kept[:-1] if len(kept) > 1 else kept, *more)

    monkeypatch.setattr(claiming, "replay", short)
    words = Words(words=["be"])

    in_nodes = await explore(charging(once=True), context=Counter, depth=1)
    in_items = await explore(measuring(), words, context=dict, depth=1)

    assert "node 'charge' had finished, durably, and was called again" in str(in_nodes)
    assert "node 'measure' had finished, durably, and was called again" in str(in_items)


async def test_two_activations_under_one_key_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a key does not say which round it is; a service that knows it would leave out the second one."""
    key_of = tokens.key_of
    monkeypatch.setattr(tokens, "key_of", lambda *parts: key_of(*parts[1:]))

    report = await explore(loop())

    assert "is finished 2 times in its history" in str(report)


# -- bad input -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"only": "after"}, "'after' is no fault"),
        ({"only": "0:after"}, "'0:after' is no fault"),
        ({"only": "7:never"}, "'7:never' is no fault"),
        ({"only": "99:after"}, "99:after befell nobody, since its process made"),
        ({"operations": 0}, "operations=0"),
        ({"kinds": ["after"], "folder": "."}, "on a local disk a process is killed 'before' a point"),
        ({"kinds": ["after", "never"]}, "'never' is none of before, after, landed, dropped"),
    ],
)
async def test_what_cant_be_tried_is_refused(how: dict[str, Any], told: str) -> None:
    """In words that say what can."""
    with pytest.raises(ValueError, match=told):
        await explore(survey(), **how)


async def test_a_graph_that_cant_run_is_refused() -> None:
    """With all that is wrong with it."""
    with pytest.raises(GraphError):
        await explore(Graph("empty", Trail))


@pytest.mark.parametrize("kind", KINDS)
async def test_one_kind_alone_can_be_asked_for(kind: Any) -> None:
    """At so many operations, spread evenly over the run."""
    report = await explore(survey(), kinds=[kind], operations=4, depth=1, compare=same_nodes)

    assert report
    assert 2 < report.lifetimes <= 2 + 4
