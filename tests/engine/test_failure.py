"""Failing: crashes, retries, branches that raise, and how a run comes back."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow.engine.events import Crash, Retry, Start
from actorflow.engine.records import Attempted, Failed, Finished, Merged, describe
from actorflow.errors import BadUpdate, UndeclaredTarget
from actorflow.graph.graph import Graph
from actorflow.graph.retry import Retry as Policy
from actorflow.graph.routing import END
from actorflow.graph.state import State
from tests.engine.driver import Driver


class Tally(State):
    """The state of these graphs."""

    n: int = 0


def node(state: Tally) -> None:
    """Never called: decide() is told what it returned."""


def with_retry(retry: Policy | None) -> Driver:
    """A run of one node with this policy."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", retry=retry)
    return Driver(graph, Tally())


# -- let it crash ---------------------------------------------------------------------


def test_an_exception_without_retry_crashes_the_actor() -> None:
    """Nothing is recorded: the run is as its last file says, and the supervisor decides."""
    run = with_retry(None)
    error = RuntimeError("boom")

    decision = run.raises("a", error)

    assert decision.records == []
    assert decision.commands == [Crash(1, error)]
    assert run.run.status == "running"


def test_a_restart_runs_it_again() -> None:
    """From its base, under its key, as its first attempt."""
    run = with_retry(None)
    before = run.open_at("a")
    run.raises("a")

    decision = run.recover()

    assert decision.commands == [Start(before.id)]
    assert run.open_at("a") == before


def test_giving_up_fails_the_run_and_reopening_runs_exactly_what_was_open() -> None:
    """Status alone changes: the sibling that was cancelled is open still, and so is the one that failed."""
    graph = Graph("g", Tally)
    graph.node(node, name="a")
    for name in "bc":
        graph.node(node, name=name, after="a")
    run = Driver(graph, Tally())
    run.returns("a", {"n": 1})
    keys = [activation.key for activation in run.run.open.values()]
    run.raises("c", RuntimeError("boom"))

    run.gives_up()

    assert (run.run.status, run.run.failed_in) == ("failed", "c")
    assert run.run.error is not None
    assert (run.run.error.type, run.run.error.message) == ("RuntimeError", "boom")
    decision = run.reopen()
    assert decision.commands == [Start(2), Start(3)]
    assert [activation.key for activation in run.run.open.values()] == keys
    assert (run.run.status, run.run.error, run.run.failed_in, run.run.opening) == ("running", None, None, 2)


def test_a_broken_rule_is_no_crash() -> None:
    """An update of the wrong type can't go away by itself, so no restart is tried."""
    run = with_retry(None)

    decision = run.returns("a", {"n": "x"})

    assert isinstance(decision.records[0], Failed)
    assert decision.commands == []
    assert isinstance(decision.cause, BadUpdate)


# -- retry ------------------------------------------------------------------------------


def test_a_retry_waits_longer_each_time_and_then_fails_the_run() -> None:
    """Attempts count calls, the first included; a node with a policy is not restarted by the supervisor."""
    run = with_retry(Policy(attempts=3, backoff=0.1, jitter=False))

    delays = [run.raises("a").commands for _ in range(2)]
    last = run.raises("a", RuntimeError("still"))

    assert delays == [[Retry(1, 2, 0.1)], [Retry(1, 3, 0.2)]]
    assert last.commands == []
    assert run.run.status == "failed"
    assert str(last.cause) == "still"


def test_a_short_pause_is_no_record() -> None:
    """It would cost more than it saves."""
    run = with_retry(Policy(attempts=3, backoff=0.999, jitter=False))

    assert run.raises("a").records == []


def test_a_long_pause_is_recorded_and_outlives_the_process() -> None:
    """The next incarnation knows how often it was tried, and when it is due."""
    run = with_retry(Policy(attempts=3, backoff=1.0, jitter=False))

    decision = run.raises("a", now=100.0)
    assert isinstance(decision.records[0], Attempted)
    run.recover()

    assert (run.open_at("a").attempt, run.open_at("a").due) == (1, 101.0)
    run.raises("a", now=101.0)
    run.recover()
    run.raises("a", now=103.0)
    assert run.run.status == "failed"


def test_unrecorded_attempts_count_with_the_next_recorded_one() -> None:
    """The record names the number of the attempt, not one more than was recorded."""
    run = with_retry(Policy(attempts=4, backoff=0.6, jitter=False))
    run.raises("a")

    run.raises("a")

    assert run.open_at("a").attempt == 2


def test_reopening_grants_fresh_attempts() -> None:
    """Whoever resumes a run wants it tried again, at once."""
    run = with_retry(Policy(attempts=2, backoff=5.0, jitter=False))
    run.raises("a")
    run.raises("a")

    run.reopen()

    assert (run.open_at("a").attempt, run.open_at("a").due) == (0, None)
    assert run.raises("a").commands == [Retry(1, 2, 5.0)]


def test_an_error_that_the_policy_does_not_name_fails_at_once() -> None:
    """Another attempt would not help, and neither would a restart."""
    run = with_retry(Policy(attempts=3, on=ConnectionError))

    run.raises("a", ValueError("no"))

    assert run.run.status == "failed"


def test_a_condition_sees_error_and_state() -> None:
    """The state is the one that the node had."""
    seen: list[Any] = []

    def on(error: Exception, state: Tally) -> bool:
        seen.append((error, state))
        return False

    run = with_retry(Policy(attempts=3, on=on))
    error = ValueError("no")

    run.raises("a", error)

    assert seen == [(error, Tally())]
    assert run.cause is error


def test_a_condition_that_raises_retries_nothing() -> None:
    """The run fails with what the node raised, and a note says what the condition did."""

    def on(error: Exception, state: Tally) -> bool:
        raise LookupError("typo")

    run = with_retry(Policy(attempts=3, on=on))
    error = ValueError("no")

    run.raises("a", error)

    assert run.run.status == "failed"
    assert run.cause is error
    assert error.__notes__ == ["Retry(on=) raised LookupError('typo')"]


def test_a_bad_update_is_an_attempt_like_any_other() -> None:
    """A language model that answers nonsense may do better next time."""
    run = with_retry(Policy(attempts=2, jitter=False))

    assert run.returns("a", {"n": "x"}).commands == [Retry(1, 2, 0.1)]
    run.returns("a", {"n": "x"})

    assert isinstance(run.cause, BadUpdate)


# -- branches -----------------------------------------------------------------------------


class Moody:
    """A branch that raises until it is well."""

    def __init__(self) -> None:
        self.well = False
        self.asked: list[int] = []

    def __call__(self, state: Tally) -> Any:
        self.asked.append(state.n)
        if not self.well:
            raise RuntimeError("unwell")
        return "b"


def moody_run(branch: Any) -> Driver:
    """A run whose first node is followed by this branch."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="b")
    graph.branch(branch, after="a", to=("b", END))
    return Driver(graph, Tally())


def test_a_branch_that_raises_fails_the_run_and_keeps_the_work() -> None:
    """The update is merged and recorded; only the routing is missing."""
    run = moody_run(Moody())

    decision = run.returns("a", {"n": 5}, took=2.0)

    assert [type(record) for record in decision.records] == [Merged, Failed]
    assert decision.commands == []
    assert (run.run.status, run.run.failed_in, run.state.n, run.frontier) == ("failed", "a", 5, ["a"])


def test_reopening_asks_the_branch_again_without_running_the_node() -> None:
    """The same state is asked about, and the node is not started."""
    branch = Moody()
    run = moody_run(branch)
    run.returns("a", {"n": 5})
    run.reopen()
    assert run.run.status == "failed"
    branch.well = True

    decision = run.reopen()

    assert branch.asked == [5, 5, 5]
    assert decision.commands == [Start(run.open_at("b").id)]
    assert (run.frontier, run.state.n, run.open_at("b").base["n"]) == (["b"], 5, 5)


def test_the_key_after_a_second_asking_is_that_of_the_first() -> None:
    """What happened in between is no cause of what follows."""
    well, unwell = Moody(), Moody()
    well.well = True
    straight, late = moody_run(well), moody_run(unwell)
    straight.returns("a")
    late.returns("a")
    unwell.well = True

    late.reopen()

    assert straight.open_at("b").key == late.open_at("b").key


def test_an_undeclared_target_of_a_branch_keeps_the_work() -> None:
    """As if it had raised."""
    run = moody_run(lambda state: "nowhere")

    run.returns("a", {"n": 5})

    assert isinstance(run.cause, UndeclaredTarget)
    assert (run.run.status, run.state.n) == ("failed", 5)


def test_a_merged_activation_goes_on_after_its_branch_is_gone() -> None:
    """Under newer code its edges say where it leads."""
    run = moody_run(Moody())
    run.returns("a", {"n": 5})
    graph = Graph("g", Tally)
    graph.node(node, name="a")
    graph.node(node, name="c", after="a")

    run.reopen(graph=graph)

    assert (run.frontier, run.state.n) == (["c"], 5)


def test_siblings_go_on_after_a_branch_is_asked_again() -> None:
    """What was open beside the branch is started by the same sweep."""
    branch = Moody()
    graph = Graph("g", Tally)
    graph.node(node, name="s")
    graph.node(node, name="a", after="s")
    graph.node(node, name="c", after="s")
    graph.node(node, name="b")
    graph.branch(branch, after="a", to="b")
    run = Driver(graph, Tally())
    run.returns("s")
    run.returns("a", {"n": 5})
    branch.well = True

    decision = run.reopen()

    assert run.frontier == ["c", "b"]
    assert decision.commands == [Start(one.id) for one in run.run.open.values()]
    assert [type(record) for record in decision.records] == [Finished]


# -- what is kept of an exception -----------------------------------------------------------


class Unspeakable(Exception):
    """An exception that can't be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("error", [Unspeakable(), ValueError("\ud800"), ValueError("x" * 100_000), KeyError()])
def test_any_exception_can_be_kept(error: Exception) -> None:
    """Text that can be encoded, of bounded length, whatever the exception does."""
    kept = describe(error)

    assert kept.type == type(error).__name__
    kept.message.encode()
    assert len(kept.message) <= 8_000
    assert len(kept.traceback) <= 8_000
