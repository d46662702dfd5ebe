"""Deciding: what a finish opens, how joins pair, how a run ends, and which records say so."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest

from actorflow.engine.decide import decide
from actorflow.engine.events import Returned, Start
from actorflow.engine.inputs import checked_input, input_digest
from actorflow.engine.records import Ended, Finished
from actorflow.engine.spawn import spawn
from actorflow.errors import BadUpdate, ConcurrentWrite, JoinStarved, TooManyActivations, UndeclaredTarget
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import Overwrite, extend
from actorflow.graph.routing import END, Goto
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from tests.engine.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable


class Tally(State):
    """The state of these graphs."""

    n: int = 0
    m: int = 0
    total: Annotated[int, operator.add] = 0
    log: Annotated[list[str], extend] = []


def graph_of(*nodes: str, edges: str = "", **options: Any) -> Graph[Tally]:
    """A graph of nodes that only a test lets return. ``edges`` such as ``"a>b a>c b+c>d"``; the first node starts."""
    graph = Graph("g", Tally, **options)
    for name in nodes:
        graph.node(_node(), name=name, entry=name == nodes[0])
    for edge in edges.split():
        sources, target = edge.split(">")
        graph.edge(sources.split("+"), END if target == "END" else target)
    return graph


def _node() -> Callable[[Tally], None]:
    def node(state: Tally) -> None:
        """Never called: decide() is told what it returned."""

    return node


def linear() -> Graph[Tally]:
    """a, then b, then c."""
    return graph_of("a", "b", "c", edges="a>b b>c")


DIAMOND = "a>b a>c b+c>d"


def test_a_linear_graph_runs_one_node_after_the_other() -> None:
    """Each finish opens the next node, and the last one ends the run in the same decision."""
    run = Driver(linear(), Tally())

    seen = [run.frontier]
    for node in "abc":
        run.returns(node, {"n": run.state.n + 1})
        seen.append(run.frontier)

    assert seen == [["a"], ["b"], ["c"], []]
    assert (run.run.status, run.state.n) == ("finished", 3)
    assert isinstance(run.history[-1], Ended)


def test_a_node_sees_the_update_of_the_one_before() -> None:
    """The base is the scope's state after the record that opened the activation."""
    run = Driver(linear(), Tally())

    run.returns("a", {"n": 7})

    assert run.open_at("b").base["n"] == 7


def test_only_what_was_opened_is_started() -> None:
    """A decision starts the activations that its records opened, and nothing else."""
    run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())

    first = run.returns("a")
    second = run.returns("b")

    assert first.commands == [Start(2), Start(3)]
    assert second.commands == []


def test_an_event_of_something_that_is_not_open_leads_to_nothing() -> None:
    """A result that comes twice, or late, is dropped."""
    run = Driver(linear(), Tally())
    twice = Returned(run.open_at("a").id, {"n": 1})
    run.settle(twice)

    decision = run.settle(twice)

    assert (decision.records, decision.commands, run.state.n) == ([], [], 1)


def test_an_ended_run_decides_nothing() -> None:
    """What was still running when the run failed or was cancelled is not merged into what was reported."""
    run = Driver(graph_of("a", "b", "c", edges="a>b a>c"), Tally())
    run.returns("a")
    run.stop()

    decision = run.returns("b", {"n": 1})

    assert (decision.records, decision.commands) == ([], [])
    assert (run.run.status, run.state.n) == ("cancelled", 0)


def test_a_join_waits_for_all_its_legs() -> None:
    """In whatever order they come, the join opens with the last one, and once."""
    for order in ("bc", "cb"):
        run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
        run.returns("a")
        run.returns(order[0])

        assert run.frontier == [order[1]]

        run.returns(order[1])

        assert run.frontier == ["d"]


def test_a_join_of_two_groups_opens_for_each() -> None:
    """Each tuple is an inlet of its own."""
    run = Driver(graph_of("a", "b", "c", "x", "y", "d", edges="a>b a>c a>x a>y b+c>d x+y>d"), Tally())
    run.returns("a")

    for node in "bxcy":
        run.returns(node)

    assert run.frontier == ["d", "d"]
    assert len({activation.key for activation in run.run.open.values()}) == 2


def test_a_join_in_a_loop_pairs_the_tokens_of_each_round() -> None:
    """Leg b comes three times before leg c comes at all: three rounds wait, and open one by one."""
    graph = graph_of("a", "b", "c", "d", edges="a>b a>c b+c>d b>b")
    run = Driver(graph, Tally())
    run.returns("a")
    for _ in range(3):
        run.returns("b", {"total": 1})
    rounds = [token.key for token in run.run.root.waiting["d"]["b"]]

    run.returns("c")

    assert run.frontier == ["b", "d"]
    assert [token.key for token in run.run.root.waiting["d"]["b"]] == rounds[1:]


def test_rounds_of_a_join_have_keys_of_their_own() -> None:
    """Every activation in a loop is caused by another one, so none shares a key."""
    run = Driver(graph_of("a", "b", "c", "d", edges="a>b a>c b+c>d d>a"), Tally())
    keys = [run.open_at("a").key]

    for _ in range(3):
        for node in "abcd":
            keys.append(run.open_at(node).key)
            run.returns(node)

    assert len(set(keys)) == 12


def test_a_starved_join_fails_the_run_and_names_its_legs() -> None:
    """One leg ended with END; nothing is open, and the join holds the other one."""
    graph = Graph("g", Tally)
    graph.node(_node(), name="a")
    graph.node(_node(), name="b", after="a")
    graph.node(_node(), name="c", after="a", goto=END)
    graph.node(_node(), name="d", after=("b", "c"))
    run = Driver(graph, Tally())
    run.returns("a")
    run.returns("b", {"n": 5})

    run.returns("c", END)

    assert run.run.status == "failed"
    assert isinstance(run.cause, JoinStarved)
    assert run.cause.waiting == {"d": ("c",)}
    assert run.state.n == 5


def test_end_takes_only_its_own_token() -> None:
    """The other branch goes on, and the run with it."""
    graph = Graph("g", Tally)
    graph.node(_node(), name="a")
    graph.node(_node(), name="b", after="a", goto=END)
    graph.node(_node(), name="c", after="a")
    graph.node(_node(), name="d", after="c")
    run = Driver(graph, Tally())
    run.returns("a")

    run.returns("b", END)

    assert (run.run.status, run.frontier) == ("running", ["c"])
    run.returns("c")
    run.returns("d")
    assert run.run.status == "finished"


def test_goto_replaces_edges_and_branches() -> None:
    """The node's own answer counts, its branch is not asked, and its update is merged."""
    graph = graph_of("a", "b", "c", edges="a>b")
    graph.node(_node(), name="x", after="c", goto=("a", END))

    @graph.branch(after="x")
    def never(state: Tally) -> Literal["b"]:
        raise AssertionError

    graph.edge("b", "c")
    run = Driver(graph, Tally())
    for node in "abc":
        run.returns(node)

    run.returns("x", Goto("a", update={"n": 1}))

    assert (run.frontier, run.state.n) == (["a"], 1)


def test_goto_may_name_several_targets() -> None:
    """END among them stands for nothing."""
    graph = graph_of("a", "b", "c")
    graph = Graph("g", Tally)
    graph.node(_node(), name="a", entry=True, goto=("b", "c", END))
    graph.node(_node(), name="b")
    graph.node(_node(), name="c")
    run = Driver(graph, Tally())

    run.returns("a", Goto("c", "b", END))

    assert run.frontier == ["c", "b"]


def test_end_with_an_update_need_not_be_declared() -> None:
    """As little as END alone: a Goto is how an update comes with it."""
    run = Driver(linear(), Tally())

    run.returns("a", Goto(END, update={"n": 1}))

    assert (run.run.status, run.frontier, run.state.n) == ("finished", [], 1)


def test_an_undeclared_goto_fails_the_attempt() -> None:
    """Nothing of it is merged: the node itself answered wrongly."""
    run = Driver(linear(), Tally())

    run.returns("a", Goto("c", update={"n": 1}))

    assert isinstance(run.cause, UndeclaredTarget)
    assert (run.run.status, run.run.failed_in, run.state.n) == ("failed", "a", 0)


def branching(answer: Callable[[Tally], Any]) -> Graph[Tally]:
    """Node a branches to b or c, and leads to d in any case."""
    graph = graph_of("a", "b", "c", "d", edges="a>d")
    graph.branch(answer, after="a", to=("b", "c", END))
    return graph


def test_a_branch_sees_the_update_merged() -> None:
    """It is asked on exactly the state that its successors start from."""
    run = Driver(branching(lambda state: "b" if state.n == 1 else "c"), Tally())

    run.returns("a", {"n": 1})

    assert run.frontier == ["b", "d"]


def test_a_branch_that_answers_costs_no_record_of_its_own() -> None:
    """Nobody could be told of anything between the update and where it leads."""
    run = Driver(branching(lambda state: "b"), Tally())

    decision = run.returns("a", {"n": 1})

    assert [type(record) for record in decision.records] == [Finished]


def test_a_list_that_a_branch_sees_longer_is_not_copied_for_that() -> None:
    """Planted: trying the update on the list that is shared, so that the run's own must be copied to grow."""
    graph = graph_of("a")
    graph.branch(lambda state: "a", after="a", to=("a",))
    run = Driver(graph, Tally())
    run.returns("a", {"log": ["0"]})
    items = run.run.root.values["log"].items

    for n in range(1, 4):
        run.returns("a", {"log": [str(n)]})

    assert run.run.root.values["log"].items is items
    assert run.state.log == ["0", "1", "2", "3"]


def test_a_branch_may_return_several_targets() -> None:
    """All of them open; END among them stands for nothing, and a target named twice opens once."""
    run = Driver(branching(lambda state: ["c", "b", "c", END]), Tally())

    run.returns("a")

    assert run.frontier == ["c", "b", "d"]


def test_all_branches_of_a_node_contribute() -> None:
    """Two branches may name one node, which then runs twice, each time under its own key."""
    graph = branching(lambda state: "b")
    graph.branch(lambda state: ["b", "c"], after="a", to=("b", "c"))
    run = Driver(graph, Tally())

    run.returns("a")

    assert sorted(run.frontier) == ["b", "b", "c", "d"]
    assert len({activation.key for activation in run.run.open.values()}) == 4


def test_targets_are_in_the_record() -> None:
    """History says where a token went; no branch is asked when it is read."""
    asked: list[int] = []

    def answer(state: Tally) -> str:
        asked.append(state.n)
        return "c"

    run = Driver(branching(answer), Tally())
    run.returns("a", {"n": 3})

    run.recover()

    assert (asked, run.frontier) == ([3], ["c", "d"])


# -- writes that nothing orders -----------------------------------------------------


def test_two_branches_that_write_a_plain_field_conflict() -> None:
    """Whichever comes second fails the run, and the first write stays."""
    for order in ("bc", "cb"):
        run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
        run.returns("a")
        run.returns(order[0], {"n": 1})

        run.returns(order[1], {"n": 2, "m": 2})

        assert isinstance(run.cause, ConcurrentWrite)
        assert run.cause.fields == ("n",)
        assert (run.run.status, run.run.failed_in) == ("failed", order[1])
        assert (run.state.n, run.state.m) == (1, 0)


def test_a_reducer_makes_concurrent_writes_well_defined() -> None:
    """Fields with reducer never conflict, plain fields only with themselves."""
    run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
    run.returns("a")

    run.returns("b", {"total": 1, "log": ["b"], "n": 1})
    run.returns("c", {"total": 2, "log": ["c"], "m": 1})

    assert (run.state.total, run.state.log, run.state.n, run.state.m) == (3, ["b", "c"], 1, 1)


def test_two_overwrites_of_one_field_conflict() -> None:
    """What goes past the reducer is a plain write."""
    run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
    run.returns("a")
    run.returns("b", {"log": Overwrite(["b"])})

    run.returns("c", {"log": Overwrite(["c"])})

    assert isinstance(run.cause, ConcurrentWrite)


def test_a_join_has_seen_what_its_legs_wrote() -> None:
    """What one of the legs has seen, the join has: it may write both fields again."""
    run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
    run.returns("a")
    run.returns("b", {"n": 1})
    run.returns("c", {"m": 1})

    run.returns("d", {"n": 2, "m": 2})

    assert (run.run.status, run.state.n, run.state.m) == ("finished", 2, 2)


def test_a_late_branch_conflicts_with_what_came_after_its_sibling() -> None:
    """Not overlap in time counts but order in the graph: c never saw what follows b."""
    run = Driver(graph_of("a", "b", "c", "x", edges="a>b a>c b>x"), Tally())
    run.returns("a")
    run.returns("b")
    run.returns("x", {"n": 1})

    run.returns("c", {"n": 2})

    assert isinstance(run.cause, ConcurrentWrite)


def test_a_leaf_conflicts_even_when_it_is_the_only_one_open() -> None:
    """One open activation proves nothing about what it has seen."""
    run = Driver(graph_of("a", "b", "c", "x", edges="a>b a>c c>x"), Tally())
    run.returns("a")
    run.returns("b", {"n": 1})
    run.returns("c")

    run.returns("x", {"n": 2})

    assert isinstance(run.cause, ConcurrentWrite)


def test_a_conflict_comes_back_when_the_run_is_reopened() -> None:
    """It is a property of the graph, so resume() alone does not mend it; a write that was dropped does."""
    run = Driver(graph_of("a", "b", "c", edges="a>b a>c"), Tally())
    run.returns("a")
    run.returns("b", {"n": 1})
    run.returns("c", {"n": 2})

    run.reopen()
    run.returns("c", {"n": 2})
    assert isinstance(run.cause, ConcurrentWrite)

    run.reopen()
    run.returns("c", {"m": 2})
    assert run.run.status == "finished"


# -- ends and bounds ------------------------------------------------------------------


def test_a_leaf_parks_its_token() -> None:
    """One for each leaf, for the day when the graph grows; END leaves none."""
    run = Driver(graph_of("a", "b", "c", edges="a>b a>c c>END"), Tally())

    for node in "abc":
        run.returns(node)

    assert list(run.run.root.parked) == ["b"]


def test_a_loop_without_end_comes_to_one() -> None:
    """The activation that passes the limit fails the run, and stays open."""
    run = Driver(graph_of("a", "b", edges="a>b b>a", max_activations=5), Tally())

    for node in "ababa":
        run.returns(node)

    assert isinstance(run.cause, TooManyActivations)
    assert (run.run.status, run.frontier) == ("failed", ["b"])


def test_reopening_grants_a_fresh_budget() -> None:
    """Another five, from where it stopped."""
    run = Driver(graph_of("a", "b", edges="a>b b>a", max_activations=5), Tally())
    for node in "ababa":
        run.returns(node)

    run.reopen()
    for node in "babab":
        assert run.run.status == "running"
        run.returns(node)
    run.returns("a")

    assert run.run.status == "failed"
    assert run.frontier == ["b"]


def test_a_crash_grants_no_fresh_budget() -> None:
    """Only opening the run again counts from zero."""
    run = Driver(graph_of("a", "b", edges="a>b b>a", max_activations=5), Tally())
    for node in "abab":
        run.returns(node)

    run.recover()
    run.returns("a")

    assert run.run.status == "failed"


def test_cancelling_is_a_recorded_outcome() -> None:
    """What is open stays open, for resume()."""
    run = Driver(linear(), Tally())
    run.returns("a")

    run.stop()

    assert run.history[-1] == Ended("cancelled", "a test")
    run.reopen()
    assert (run.run.status, run.frontier) == ("running", ["b"])


def test_a_finished_run_that_is_reopened_ends_again() -> None:
    """Nothing is left to do, and nothing is done."""
    run = Driver(linear(), Tally())
    for node in "abc":
        run.returns(node)

    decision = run.reopen()

    assert decision.records == [Ended("finished")]
    assert decision.commands == []


def test_a_sweep_starts_what_is_open_and_changes_nothing() -> None:
    """It is level-triggered: every claim repeats it."""
    run = Driver(graph_of("a", "b", "c", "d", edges=DIAMOND), Tally())
    run.returns("a")

    first, second = run.recover(), run.recover()

    assert first.commands == second.commands == [Start(2), Start(3)]
    assert first.records == second.records == []


# -- what nodes return ------------------------------------------------------------------


def test_a_whole_state_is_the_fields_that_differ() -> None:
    """What the node left as it was, a sibling may have written meanwhile."""
    run = Driver(graph_of("a", "b", "c", edges="a>b a>c"), Tally())
    run.returns("a")
    run.returns("b", {"n": 1})

    run.returns("c", Tally(m=2))

    assert (run.run.status, run.state.n, run.state.m) == ("finished", 1, 2)


class Other(State):
    """Not the State of these graphs."""


class NotAMapping:
    """Has items, but not as a mapping has them."""

    items = ()


class Sulking(dict[str, Any]):
    """A mapping that raises when it is read."""

    def items(self) -> Any:
        raise KeyError("not today")


@pytest.mark.parametrize("value", [5, "text", ["n"], Other(), NotAMapping(), {"n": "x"}, {"nope": 1}, {1: 2}])
def test_what_is_no_update_fails_the_run_at_once(value: Any) -> None:
    """A restart would not help: the node is named, and nothing is merged."""
    run = Driver(linear(), Tally())

    run.returns("a", value)

    assert isinstance(run.cause, BadUpdate)
    assert (run.run.status, run.run.failed_in, run.frontier) == ("failed", "a", ["a"])


def test_a_state_with_wrong_types_is_a_bad_update() -> None:
    """Making a Struct checks no types, so the merge does."""
    for wrong in (Tally(log=5), Tally(n="x"), Tally(total=None)):  # type: ignore[arg-type]
        run = Driver(linear(), Tally())

        run.returns("a", wrong)

        assert isinstance(run.cause, BadUpdate)


def test_an_update_that_raises_when_it_is_read_crashes_its_node() -> None:
    """Whatever the user's objects raise is the node's exception, never one of decide()."""
    run = Driver(linear(), Tally())

    run.returns("a", Sulking(n=1))

    assert run.crashed is not None
    assert isinstance(run.crashed.error, KeyError)


@pytest.mark.parametrize("value", [None, {}, Tally()])
def test_nothing_to_say_is_no_write(value: Any) -> None:
    """An activation that changes nothing finishes without operations."""
    run = Driver(linear(), Tally())

    run.returns("a", value)

    finished = run.history[-1]
    assert isinstance(finished, Finished)
    assert finished.operations == ()


# -- the beginning ------------------------------------------------------------------------


def test_several_entries_start_together() -> None:
    """In the order of their declaration."""
    graph = Graph("g", Tally)
    for name in "ab":
        graph.node(_node(), name=name, entry=True)

    assert Driver(graph, Tally()).frontier == ["a", "b"]


def keys_of(run_id: str, life: int = 1) -> list[bytes]:
    """The keys that a new run begins with."""
    decision = spawn(linear().plan, Tally(), run_id=run_id, life=life)
    return [activation.key for activation in decision.run.open.values()]


def test_keys_tell_runs_and_lives_apart() -> None:
    """An effect's idempotency key is never that of another run, nor of an earlier run under this id."""
    assert keys_of("x") == keys_of("x")
    assert len({*keys_of("x"), *keys_of("y"), *keys_of("x", life=2)}) == 3


@pytest.mark.parametrize("state", [Other(), Tally(n="x"), Tally(log=["\ud800"])])  # type: ignore[arg-type]
def test_a_bad_input_is_refused(state: State) -> None:
    """Before anything is written."""
    with pytest.raises(BadUpdate, match="the input"):
        spawn(linear().plan, state, run_id="x")


class Wide(State):
    """Values whose order means nothing."""

    ids: set[int] = set()
    names: dict[str, int] = {}
    numbers: dict[int, str] = {}
    mixed: dict[int | str, int] = {}


def digest_of(state: Wide) -> bytes:
    """What tells this input from another."""
    schema = schema_of(Wide)
    return input_digest(schema, checked_input(schema, state))


def test_the_digest_of_an_input_is_that_of_its_value() -> None:
    """Neither the order of a dict nor that of a set makes it another input."""
    one = Wide(ids={0, 8}, names={"x": 1, "y": 2}, numbers={1: "x", 2: "y"})
    two = Wide(ids={8, 0}, names={"y": 2, "x": 1}, numbers={2: "y", 1: "x"})

    assert list(one.ids) != list(two.ids)
    assert digest_of(one) == digest_of(two)
    assert digest_of(one) != digest_of(Wide(ids={0}))
    assert digest_of(Wide(mixed={1: 1, "1": 2})) != digest_of(Wide())


def test_decide_changes_nothing_but_the_run_it_was_given() -> None:
    """The plan is frozen and the decision is all there is: the same history decides the same."""
    runs = [spawn(linear().plan, Tally(), run_id="x").run for _ in range(2)]

    decisions = [decide(linear().plan, run, Returned(1, {"n": 1})) for run in runs]

    assert decisions[0].records == decisions[1].records
    assert decisions[0].commands == decisions[1].commands
