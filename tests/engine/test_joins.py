"""Joins: which tokens open them, which are too late, and when nobody can come any more."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest

from actorflow.engine.records import Opened
from actorflow.errors import ConcurrentWrite, JoinStarved
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Goto
from actorflow.graph.state import State
from tests.engine.driver import Driver


class Tally(State):
    """The state of these graphs."""

    n: int = 0
    total: Annotated[int, operator.add] = 0


def node(state: Tally) -> None:
    """Never called: decide() is told what it returned."""


def graph_of(legs: str = "bcd", **options: Any) -> Graph[Tally]:
    """A node ``a`` that goes where it is told, legs, and a join ``j`` of them."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True, goto=("a", *legs))
    for name in legs:
        graph.node(node, name=name)
    graph.node(node, name="j", after=tuple(legs), **options)
    return graph


def joined(legs: str = "bcd", **options: Any) -> Driver:
    """A run in which every leg of the join is open."""
    run = Driver(graph_of(legs, **options), Tally())
    run.returns("a", Goto(*legs))
    return run


# -- any, and the first so many -----------------------------------------------------------


@pytest.mark.parametrize(("join", "opens"), [("any", 1), (1, 1), (2, 2), (3, 3), ("all", 3), (7, 3)])
def test_a_join_opens_with_as_many_legs_as_it_says(join: Any, opens: int) -> None:
    """Never before, and with them at once."""
    run = joined(join=join)

    for number, name in enumerate("dbc", 1):
        run.returns(name)
        assert ("j" in run.frontier) == (number >= opens), name


@pytest.mark.parametrize("join", ["any", 2])
def test_a_late_leg_opens_nothing(join: Any) -> None:
    """It belongs to a round that has been opened; it is taken in, and starves nobody."""
    run = joined(join=join)

    for name in "cbd":
        run.returns(name)
    run.returns("j")

    assert (run.run.status, run.run.root.waiting) == ("finished", {})
    assert sum(opened.node == "j" for record in run.history for opened in getattr(record, "opens", ())) == 1


def test_a_late_leg_is_late_after_a_crash_too() -> None:
    """How many are still to come is part of the run."""
    run = joined(join="any")
    run.returns("c")

    run.recover()
    run.returns("b")
    run.recover()
    run.returns("d")

    assert run.frontier == ["j"]


def test_rounds_are_counted_by_leg() -> None:
    """A leg that comes twice before another comes once opens two rounds, and the other is late twice."""
    run = Driver(graph_of("bc", join="any"), Tally())
    run.returns("a", Goto("a", "b", "c"))
    run.returns("a", Goto("b", "c"))

    run.returns("b")
    run.returns("b")
    assert sorted(run.frontier) == ["c", "c", "j", "j"]
    run.returns("c")
    run.returns("c")

    assert run.frontier == ["j", "j"]
    assert len({one.key for one in run.run.open.values()}) == 2


def test_the_leg_that_was_late_opens_the_next_round() -> None:
    """Once it has made good for the round that it missed."""
    run = Driver(graph_of("bc", join="any"), Tally())
    run.returns("a", Goto("a", "b", "c"))
    run.returns("b")
    run.returns("c")
    run.returns("a", Goto("c"))

    run.returns("c")

    assert run.frontier == ["j", "j"]


def test_each_round_of_a_loop_is_opened_by_its_first_legs() -> None:
    """One that a round was opened without comes in the next one, and is not counted there."""
    graph = graph_of(join=2)
    graph.edge("j", "a")
    run = Driver(graph, Tally())
    run.returns("a", Goto("b", "c", "d"))
    for name in "bcj":
        run.returns(name)
    run.returns("a", Goto("b", "c", "d"))
    assert run.frontier == ["d", "b", "c", "d"]

    for name in "ddb":
        assert "j" not in run.frontier
        run.returns(name)

    assert run.frontier == ["c", "j"]
    for name in "cj":
        run.returns(name)
    assert (run.frontier, run.run.root.waiting) == (["a"], {})


def test_one_who_did_not_wait_has_not_seen() -> None:
    """What a leg writes that came late conflicts with what the join writes."""
    run = joined("bc", join="any")
    run.returns("b")
    run.returns("c", {"n": 1})

    run.returns("j", {"n": 2})

    assert isinstance(run.cause, ConcurrentWrite)


def test_one_that_can_not_fill_its_round_starves() -> None:
    """The error names the legs that did not come."""
    run = Driver(graph_of(join=2), Tally())
    run.returns("a", Goto("c"))

    run.returns("c")

    assert isinstance(run.cause, JoinStarved)
    assert (run.run.status, run.cause.waiting) == ("failed", {"j": ("b", "d")})


def test_fewer_legs_in_new_code_take_what_waits_as_one_round() -> None:
    """Three tokens waited for a fourth; the first one opens a round, the others belong to it."""
    run = Driver(graph_of("bcde"), Tally())
    run.returns("a", Goto("b", "c", "d"))
    for name in "bcd":
        run.returns(name)
    assert isinstance(run.cause, JoinStarved)

    run.reopen(graph=graph_of("bcde", join="any"))

    assert (run.frontier, run.run.root.waiting) == (["j"], {})
    assert run.run.root.late == {"j": {"e": 1}}


def test_an_inner_join_that_needs_fewer_legs_opens_too() -> None:
    """New code mends a join inside a graph inside: nothing is parked there, but what waits goes on."""

    def outer(legs: tuple[str, ...]) -> Graph[Tally]:
        inside = Graph("inside", Tally)
        inside.node(node, name="a", entry=True, goto=("b", "c", "d"))
        for name in "bcd":
            inside.node(node, name=name)
        inside.node(node, name="j", after=legs)
        graph = Graph("g", Tally)
        graph.subgraph(inside, name="sub", entry=True)
        return graph

    run = Driver(outer(("b", "c", "d")), Tally())
    run.returns("sub/a", Goto("b", "c"))
    run.returns("sub/b")
    run.returns("sub/c")
    assert isinstance(run.cause, JoinStarved)

    run.reopen(graph=outer(("b", "c")))

    assert run.running == ["sub/j"]


# -- deferred ----------------------------------------------------------------------------


def test_a_deferred_node_has_its_turn_when_nothing_else_goes_on() -> None:
    """With all tokens that came until then."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="last", after="a", defer=True)
    for name in "bc":
        graph.node(node, name=name, after="a")
        graph.edge(name, "last")
    run = Driver(graph, Tally())
    run.returns("a")
    run.returns("b")
    assert run.frontier == ["c"]

    decision = run.returns("c")

    assert (run.frontier, run.run.root.waiting) == (["last"], {})
    assert [type(record) for record in decision.records][-1] is Opened


def test_a_deferred_join_takes_whoever_came() -> None:
    """A leg that was left out by a branch starves nobody."""
    run = Driver(graph_of(defer=True), Tally())
    run.returns("a", Goto("b", "c"))

    run.returns("b")
    run.returns("c")

    assert run.frontier == ["j"]


def test_deferred_nodes_have_turns_again_and_again() -> None:
    """One that leads to work opens another turn when that is done."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="last", after="a", defer=True, goto=("a", "b"))
    graph.node(node, name="b")
    run = Driver(graph, Tally())
    run.returns("a")
    first = run.open_at("last").key

    run.returns("last", Goto("a", "b"))
    run.returns("a")
    assert run.frontier == ["b"]
    run.returns("b")

    assert run.frontier == ["last"]
    assert run.open_at("last").key != first


def test_a_deferred_node_inside_waits_for_its_own_scope_only() -> None:
    """What goes on around it is somebody else's."""
    inside = Graph("inside", Tally)
    inside.node(node, name="x", entry=True)
    inside.node(node, name="last", after="x", defer=True)
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="b", after="a")
    graph.subgraph(inside, name="sub", after="a")
    run = Driver(graph, Tally())
    run.returns("a")

    run.returns("sub/x")

    assert run.running == ["b", "sub/last"]


def test_a_deferred_node_that_grew_waits_for_its_turn() -> None:
    """The leaf that leads there now is done; something else is not."""
    old, new = Graph("g", Tally), Graph("g", Tally)
    for graph in (old, new):
        graph.node(node, name="a", entry=True)
        for name in "bc":
            graph.node(node, name=name, after="a")
    new.node(node, name="last", after="b", defer=True)
    run = Driver(old, Tally())
    run.returns("a")
    run.returns("b")

    run.recover(graph=new)
    assert run.frontier == ["c"]
    run.recover(graph=new)
    run.returns("c")

    assert run.frontier == ["last"]
    run.returns("last")
    run.reopen(graph=new)
    assert run.run.status == "finished"


def test_a_deferred_join_is_not_opened_by_growth() -> None:
    """All its legs wait already, something else goes on, and the graph has another node."""
    old, new = Graph("g", Tally), Graph("g", Tally)
    for graph in (old, new):
        graph.node(node, name="a", entry=True)
        for name in "bcd":
            graph.node(node, name=name, after="a")
        graph.node(node, name="j", after=("b", "c"), defer=True)
    new.node(node, name="more", after="d")
    run = Driver(old, Tally())
    for name in "abc":
        run.returns(name)

    run.recover(graph=new)

    assert run.frontier == ["d"]
