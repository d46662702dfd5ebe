"""Steering: what somebody outside changes, and what nobody notices of it."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest

from actorflow.engine.records import Rebased
from actorflow.errors import AmbiguousTarget, BadUpdate, InputPending, NoSuchTarget, NotPaused, ReducerError
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import extend
from actorflow.graph.routing import Goto
from actorflow.graph.state import State
from tests.engine.driver import Driver


def strict(old: int, new: int) -> int:
    """A reducer that refuses what is smaller."""
    if new < old:
        raise ValueError("smaller")
    return new


class Case(State):
    """What is steered."""

    n: int = 0
    m: int = 0
    high: Annotated[int, strict] = 0
    total: Annotated[int, operator.add] = 0
    log: Annotated[list[str], extend] = []
    items: list[int] = []
    done: list[int] = []


def node(state: Case) -> None:
    """Never called: decide() is told what it returned."""


def item(number: int) -> int:
    """Never called either."""
    raise AssertionError


def graph_of(nodes: str = "abc", edges: str = "a>b b>c", **options: Any) -> Graph[Case]:
    """A graph of nodes named by letters; the first starts."""
    graph = Graph("g", Case, **options)
    for name in nodes:
        graph.node(node, name=name, entry=name == nodes[0])
    for edge in edges.split():
        sources, target = edge.split(">")
        graph.edge(sources.split("+"), target)
    return graph


def started(nodes: str = "abc", edges: str = "a>b b>c") -> Driver:
    """A run of such a graph."""
    return Driver(graph_of(nodes, edges), Case())


# -- update ------------------------------------------------------------------------------


def test_an_update_merges_like_a_turn() -> None:
    """Through the reducers, at once."""
    run = started()

    run.updates({"log": ["told"], "n": 5})

    assert (run.state.log, run.state.n, run.running) == (["told"], 5, ["a"])


def test_an_update_that_does_not_fit_changes_nothing() -> None:
    """Whoever sends it is told."""
    run = started()

    for values in ({"nope": 1}, {"n": "text"}, {"n": 1, "m": "text"}):
        with pytest.raises(BadUpdate):
            run.updates(values)

    assert (run.state, run.pending) == (Case(), [])


def test_a_node_that_overwrites_an_update_runs_again_on_it() -> None:
    """Same key, the present state, once; nobody fails for what somebody outside did."""
    run = started()
    key = run.open_at("a").key
    run.updates({"n": 100})

    decision = run.returns("a", {"n": 1})

    assert decision.records == [Rebased(1)]
    assert (run.running, run.open_at("a").base["n"], run.open_at("a").key) == (["a"], 100, key)
    run.returns("a", {"n": 101})
    assert (run.state.n, run.frontier) == (101, ["b"])


def test_a_node_that_writes_something_else_is_left_alone() -> None:
    """What it had not seen does not matter."""
    run = started()
    run.updates({"n": 100})

    run.returns("a", {"m": 1, "total": 1})

    assert (run.state.n, run.state.m, run.frontier) == (100, 1, ["b"])


def test_rebasing_comes_to_an_end() -> None:
    """It counts for the limit of activations."""
    run = Driver(graph_of("a", "", max_activations=3), Case())
    for _ in range(4):
        if run.run.ended:
            break
        run.updates({"n": 100})
        run.returns("a", {"n": 1})

    assert run.run.status == "failed"


def test_a_node_that_waits_sees_an_update_at_once() -> None:
    """It begins again anyway, when it is answered."""
    run = Driver(graph_of(interrupt_before="b"), Case())
    run.returns("a")

    run.updates({"n": 7})
    run.answers()

    assert run.open_at("b").base["n"] == 7


def test_items_of_an_open_map_stay_what_they_are() -> None:
    """Neither the field that they came from nor where their results go makes the map begin again."""
    graph = Graph("g", Case)
    graph.map(item, over="items", into="done")
    run = Driver(graph, Case(items=[1, 2]))
    run.returns("item[0]", 10)

    run.updates({"items": [9, 9, 9], "done": [5]})
    run.returns("item[1]", 20)

    assert (run.run.status, run.state.done) == ("finished", [10, 20])
    assert not any(isinstance(record, Rebased) for record in run.history)


# -- as a node -----------------------------------------------------------------------------


def test_an_update_as_a_node_opens_what_comes_after_it() -> None:
    """In place of its open activation, whose key its successors come from."""
    run = started()
    run.pauses()
    key = run.open_at("a").key

    run.updates({"n": 5}, "a")

    assert (run.frontier, run.state.n) == (["b"], 5)
    run.pauses(on=False)
    other = started()
    other.returns("a", {"n": 5})
    assert run.open_at("b").key == other.open_at("b").key != key


def test_an_update_as_a_node_asks_its_branches() -> None:
    """They see the update."""
    graph = graph_of("abc", "")
    graph.branch(lambda state: "b" if state.n else "c", after="a", to=("b", "c"))
    run = Driver(graph, Case())
    run.pauses()

    run.updates({"n": 5}, "a")

    assert run.frontier == ["b"]


def test_a_branch_that_raises_refuses_the_update() -> None:
    """Nothing has changed."""
    graph = graph_of("ab", "")
    graph.branch(lambda state: 1 / state.n, after="a", to=("b",))
    run = Driver(graph, Case())
    run.pauses()

    with pytest.raises(ZeroDivisionError):
        run.updates({"m": 5}, "a")

    assert (run.frontier, run.state.m, run.pending) == (["a"], 0, [])


def test_an_update_as_a_join_withdraws_what_waits_there() -> None:
    """As if it had finished with what had come by then."""
    run = started("abcd", "a>b a>c b+c>d")
    run.returns("a")
    run.returns("b")
    run.pauses()

    run.updates({}, "d")

    assert run.run.root.waiting == {}
    run.pauses(on=False)


def test_an_update_as_a_leg_fills_a_join() -> None:
    """Its token goes where that of the node would have gone."""
    run = started("abcd", "a>b a>c b+c>d")
    run.returns("a")
    run.returns("b")
    run.pauses()

    run.updates({"n": 1}, "c")

    assert run.frontier == ["d"]


def test_nobody_can_say_where_a_run_is_that_goes_on() -> None:
    """So it must be paused, or wait."""
    run = started()

    with pytest.raises(NotPaused):
        run.updates({}, "a")


@pytest.mark.parametrize("node", ["nope", "sub/a", "a@ffff", "", "/", "a/b"])
def test_an_unknown_node_is_told_so(node: str) -> None:
    """With what there is."""
    run = started()
    run.pauses()

    with pytest.raises(NoSuchTarget):
        run.updates({}, node)


def test_of_several_activations_one_must_be_meant() -> None:
    """By the beginning of its key."""
    graph = graph_of("ab", "a>b")
    graph.node(node, name="x", entry=False, goto=("b",))
    graph.edge("a", "x")
    run = Driver(graph, Case())
    run.returns("a")
    run.returns("x", Goto("b"))
    assert run.frontier == ["b", "b"]
    run.pauses()
    first, second = run.run.open.values()

    with pytest.raises(AmbiguousTarget):
        run.updates({}, "b")
    run.updates({}, f"b@{second.key.hex()[:12]}")

    assert list(run.run.open) == [first.id]


def test_a_node_inside_is_meant_by_its_path() -> None:
    """Its scope gets the update, which is handed up with the rest."""
    inside = Graph("inside", Case)
    inside.node(node, name="x")
    graph = Graph("g", Case)
    graph.subgraph(inside, name="sub", entry=True)
    run = Driver(graph, Case())
    run.pauses()

    run.updates({"n": 5, "log": ["told"]}, "sub/x")

    assert (run.run.status, run.state.n, run.state.log) == ("finished", 5, ["told"])


# -- input -----------------------------------------------------------------------------------


def waiting() -> Driver:
    """A run whose second node is open."""
    run = started("ab", "a>b")
    run.returns("a", {"log": ["a"]})
    return run


def test_input_is_in_the_way_of_what_goes_on() -> None:
    """Unless one says what is to become of that."""
    run = waiting()

    with pytest.raises(InputPending):
        run.gets({"n": 1})

    assert (run.state.n, run.frontier) == (0, ["b"])


def test_queued_input_is_taken_when_nothing_goes_on() -> None:
    """Oldest first, each merged when its turn comes; what waits survives a crash."""
    run = waiting()
    run.gets({"log": ["one"], "n": 1}, "queue")
    run.gets({"log": ["two"], "n": 2}, "queue")
    assert run.state.n == 0

    run.recover()
    run.returns("b")
    assert (run.frontier, run.state.n) == (["a"], 1)
    first = run.open_at("a").key
    run.returns("a")
    run.returns("b")

    assert (run.frontier, run.state.n, run.state.log) == (["a"], 2, ["a", "one", "two"])
    assert run.open_at("a").key != first
    run.returns("a")
    run.returns("b")
    assert run.run.status == "finished"


def test_input_that_does_not_fit_is_not_queued() -> None:
    """Whoever gives it is told at once."""
    run = waiting()

    with pytest.raises(BadUpdate):
        run.gets({"n": "text"}, "queue")

    assert run.run.queue == []


def test_queued_input_that_does_not_fit_any_more_fails_the_run() -> None:
    """By its turn the state is another one. It is not lost: it waits until it fits, or until newer code takes it."""
    run = waiting()
    run.gets({"high": 5}, "queue")

    run.returns("b", {"high": 9})

    assert isinstance(run.cause, ReducerError)
    assert (run.run.status, len(run.run.queue)) == ("failed", 1)
    run.reopen()
    assert run.run.status == "failed"


def test_input_may_discard_what_goes_on() -> None:
    """Waiting tokens and scopes too."""
    inside = Graph("inside", Case)
    inside.node(node, name="x")
    graph = Graph("g", Case)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="b", after="a")
    graph.subgraph(inside, name="sub", after="a")
    graph.node(node, name="j", after=("b", "sub"))
    run = Driver(graph, Case())
    run.returns("a")
    run.returns("b")

    run.gets({"n": 5}, "discard")

    assert (run.frontier, run.state.n, run.run.root.waiting, list(run.run.scopes)) == (["a"], 5, {}, [""])


# -- pause -------------------------------------------------------------------------------------


def test_nothing_begins_in_a_paused_run() -> None:
    """What ran may finish; what comes after it waits, through a crash, too."""
    run = started()
    run.pauses()

    decision = run.returns("a")
    assert (decision.commands, run.frontier, run.running, run.run.standing) == ([], ["b"], [], "paused")
    run.recover()
    assert run.running == []
    run.pauses(on=False)

    assert run.running == ["b"]


def test_pausing_twice_is_pausing_once() -> None:
    """And so is going on."""
    run = started()
    run.pauses()

    assert run.pauses().records == []
    run.pauses(on=False)
    assert run.pauses(on=False).records == []


def test_items_of_a_paused_run_wait() -> None:
    """The next one is open, and does not begin."""
    graph = Graph("g", Case)
    graph.map(item, over="items", into="done", limit=1)
    run = Driver(graph, Case(items=[1, 2]))
    run.pauses()

    run.returns("item[0]", 10)

    assert run.running == []
    run.pauses(on=False)
    assert run.running == ["item[1]"]
