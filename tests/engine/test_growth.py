"""Growth: a run goes on under a graph that has more than the one it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from actorflow.engine.events import Start
from actorflow.engine.records import Ended, Offered
from actorflow.engine.tokens import growth
from actorflow.errors import ConcurrentWrite, JoinStarved, TooManyActivations, UnknownNode
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Goto
from actorflow.graph.state import State
from tests.engine.driver import Driver

if TYPE_CHECKING:
    from collections.abc import Callable


class Tally(State):
    """The state of these graphs."""

    n: int = 0
    m: int = 0


def node(state: Tally) -> None:
    """Never called: decide() is told what it returned."""


def graph_of(nodes: str, edges: str = "") -> Graph[Tally]:
    """A graph of nodes named by letters; edges such as ``"a>b b+c>d"``."""
    graph = Graph("g", Tally)
    for name in nodes:
        graph.node(node, name=name, entry=name == nodes[0])
    for edge in edges.split():
        sources, target = edge.split(">")
        graph.edge(sources.split("+"), target)
    return graph


def finished(graph: Graph[Tally], nodes: str, **updates: Any) -> Driver:
    """A run whose nodes returned in this order."""
    run = Driver(graph, Tally())
    for name in nodes:
        run.returns(name, updates.get(name))
    return run


FORK = graph_of("abc", "a>b a>c")


def test_a_leaf_goes_on_along_its_new_edge() -> None:
    """The parked token is offered when the new topology is first claimed; what is done stays done."""
    run = finished(graph_of("ab", "a>b"), "ab", a={"n": 1})
    grown = graph_of("abc", "a>b b>c")

    decision = run.reopen(graph=grown)

    assert isinstance(decision.records[0], Offered)
    assert (run.frontier, run.open_at("c").base["n"]) == (["c"], 1)
    run.returns("c", {"n": 2})
    assert (run.run.status, run.state.n) == ("finished", 2)


def test_growth_is_offered_once() -> None:
    """A second claim under the same graph runs nothing again."""
    run = finished(graph_of("ab", "a>b"), "ab")
    grown = graph_of("abc", "a>b b>c")
    run.reopen(graph=grown)
    run.returns("c")

    decision = run.reopen(graph=grown)

    assert decision.records == [Ended("finished")]


def test_growth_can_be_foretold() -> None:
    """What `check --against` lists is what would run."""
    run = finished(FORK, "abc")
    grown = graph_of("abcde", "a>b a>c b>d c>e")

    assert growth(grown.plan, run.run) == ("d", "e")
    assert growth(FORK.plan, run.run) == ()


def test_a_graph_may_grow_twice() -> None:
    """The same leaf is offered what is new, never what it was offered before."""
    run = finished(graph_of("ab", "a>b"), "ab")
    run.reopen(graph=graph_of("abc", "a>b b>c"))
    first = run.open_at("c").key
    run.returns("c")

    run.reopen(graph=graph_of("abcd", "a>b b>c b>d"))

    assert run.frontier == ["d"]
    assert run.open_at("d").key != first


def test_a_graph_may_shrink_and_grow_again() -> None:
    """An edge that came, went and came again was offered already."""
    run = finished(graph_of("ab", "a>b"), "ab")
    grown = graph_of("abc", "a>b b>c")
    run.reopen(graph=grown)
    run.returns("c")
    run.reopen(graph=graph_of("ab", "a>b"))

    run.reopen(graph=grown)

    assert (run.run.status, run.frontier) == ("finished", [])


def test_a_grown_join_takes_the_tokens_of_both_leaves() -> None:
    """It opens once, and has seen what both of them wrote."""
    run = finished(FORK, "abc", b={"n": 1}, c={"m": 1})

    run.reopen(graph=graph_of("abcd", "a>b a>c b+c>d"))

    assert run.frontier == ["d"]
    run.returns("d", {"n": 2, "m": 2})
    assert (run.run.status, run.state) == ("finished", Tally(n=2, m=2))


def test_a_grown_join_without_all_its_legs_stays_closed() -> None:
    """Its one parked leg stays parked; the run is no failure."""
    graph = graph_of("ab", "a>b")
    run = finished(graph, "ab")
    grown = Graph("g", Tally)
    grown.node(node, name="a", entry=True)
    grown.node(node, name="b", after="a")
    grown.node(node, name="x", goto="y")
    grown.edge("a", "x")
    grown.node(node, name="y")
    grown.node(node, name="d", after=("b", "y"))

    run.reopen(graph=grown)

    assert (run.run.status, run.frontier) == ("finished", [])


def test_a_join_that_grew_while_one_leg_was_running_takes_the_parked_one() -> None:
    """The process died between two leaves, and the new code joins them: nothing starves."""
    run = finished(FORK, "ab", b={"n": 1})
    grown = graph_of("abcd", "a>b a>c b+c>d")
    run.recover(graph=grown)
    assert run.frontier == ["c"]

    run.returns("c", {"m": 1})

    assert run.frontier == ["d"]
    run.returns("d", {"n": 2, "m": 2})
    assert (run.run.status, run.state) == ("finished", Tally(n=2, m=2))
    assert run.reopen(graph=grown).records == [Ended("finished")]


def test_a_parked_leg_serves_one_round() -> None:
    """In a loop, the second round of the join needs a second token."""
    run = finished(graph_of("abc", "a>b a>c c>c"), "ab")
    run.recover(graph=graph_of("abcd", "a>b a>c b+c>d c>c"))
    run.returns("c")
    assert sorted(run.frontier) == ["c", "d"]

    run.returns("c")

    assert sorted(run.frontier) == ["c", "d"]
    assert [*run.run.root.waiting["d"]] == ["c"]


def test_a_token_that_waits_joins_one_that_is_parked() -> None:
    """A leg that waited at a starved join, and a leaf that became its other leg."""
    starving = Graph("g", Tally)
    starving.node(node, name="a", goto=("b", "c", "x"))
    for name in "bcx":
        starving.node(node, name=name)
    starving.node(node, name="d", after=("b", "x"))
    run = Driver(starving, Tally())
    run.returns("a", Goto("b", "c"))
    run.returns("c")
    run.returns("b")
    assert isinstance(run.cause, JoinStarved)
    mended = Graph("g", Tally)
    mended.node(node, name="a", goto=("b", "c"))
    for name in "bc":
        mended.node(node, name=name)
    mended.node(node, name="d", after=("b", "c"))

    run.reopen(graph=mended)

    assert run.frontier == ["d"]
    assert run.run.root.waiting == {}


def starving() -> Driver:
    """A run that failed: ``d`` joins ``b`` and ``x``, and ``x`` was left out."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", goto=("b", "x"))
    for name in "bx":
        graph.node(node, name=name)
    graph.node(node, name="d", after=("b", "x"))
    run = Driver(graph, Tally())
    run.returns("a", Goto("b"))
    run.returns("b")
    assert isinstance(run.cause, JoinStarved)
    return run


def test_a_token_that_waits_goes_on_where_its_join_became_a_plain_edge() -> None:
    """It is opened, not forgotten: a silent end would lose the node."""
    run = starving()

    run.reopen(graph=graph_of("abd", "a>b b>d"))

    assert run.frontier == ["d"]
    assert run.run.root.waiting == {}


def test_a_token_whose_edge_is_gone_is_no_silent_end() -> None:
    """The code leads it nowhere: the run fails again and says so."""
    run = starving()

    run.reopen(graph=graph_of("abd", "a>b a>d"))

    assert isinstance(run.cause, JoinStarved)
    assert "'d'" in str(run.cause)


def grown_branch(answer: Callable[[Tally], Any]) -> Graph[Tally]:
    """Leaf b has grown a branch to c or d."""
    graph = graph_of("abcd", "a>b")
    graph.branch(answer, after="b", to=("c", "d"))
    return graph


def test_a_grown_branch_is_asked_about_the_state_as_it_is() -> None:
    """And asked once: its answer is in the record."""
    asked: list[int] = []

    def answer(state: Tally) -> str:
        asked.append(state.n)
        return "d"

    run = finished(graph_of("ab", "a>b"), "ab", b={"n": 3})
    run.reopen(graph=grown_branch(answer))
    assert (asked, run.frontier) == ([3], ["d"])
    run.returns("d")

    run.reopen(graph=grown_branch(answer))

    assert (asked, run.run.status) == ([3], "finished")


def test_a_grown_branch_that_raises_fails_the_run_and_is_asked_again() -> None:
    """Nothing of the offer is recorded before it is whole."""
    well: list[bool] = []

    def answer(state: Tally) -> str:
        if not well:
            raise RuntimeError("unwell")
        return "c"

    run = finished(graph_of("ab", "a>b"), "ab")
    decision = run.reopen(graph=grown_branch(answer))
    assert (run.run.status, decision.commands) == ("failed", [])
    well.append(True)

    run.reopen(graph=grown_branch(answer))

    assert run.frontier == ["c"]


def test_a_branch_that_ends_the_token_is_not_asked_again() -> None:
    """END opens nothing, and is an answer all the same."""
    graph = Graph("g", Tally)
    graph.node(node, name="a", entry=True)
    graph.node(node, name="b")
    asked: list[int] = []

    @graph.branch(after="a", to=("b",))
    def answer(state: Tally) -> list[Literal["b"]]:
        asked.append(state.n)
        return []

    run = finished(graph_of("a"), "a")
    run.reopen(graph=graph)
    run.reopen(graph=graph)

    assert asked == [0]


def test_what_a_leaf_had_not_seen_its_successor_has_not() -> None:
    """The parked token keeps its place in causal order: no lost update through the back door."""
    run = finished(FORK, "abc", c={"n": 1})

    run.reopen(graph=graph_of("abcx", "a>b a>c b>x"))
    run.returns("x", {"n": 2})

    assert isinstance(run.cause, ConcurrentWrite)


def test_only_the_last_token_of_a_leaf_is_parked() -> None:
    """A loop body that is a leaf does not pile up tokens."""
    run = finished(graph_of("ab", "a>b a>a"), "abab")
    assert len(run.run.root.parked) == 1

    run.recover(graph=graph_of("abc", "a>b a>a b>c"))

    assert sorted(run.frontier) == ["a", "c"]


@pytest.mark.parametrize("nodes", ["a", "b"])
def test_an_open_activation_of_an_unknown_node_is_refused(nodes: str) -> None:
    """Never a silent end."""
    run = finished(FORK, "a")

    with pytest.raises(UnknownNode):
        run.recover(graph=graph_of(nodes))


def test_a_sweep_starts_both_what_was_open_and_what_grew() -> None:
    """Oldest first."""
    run = finished(FORK, "ab")

    decision = run.recover(graph=graph_of("abcx", "a>b a>c b>x"))

    assert run.frontier == ["c", "x"]
    assert decision.commands == [Start(one.id) for one in run.run.open.values()]


def test_a_join_that_needs_fewer_legs_opens_with_those_that_wait() -> None:
    """The mend of a starved join may be to wait for less; every round that is complete opens."""
    wide, narrow = Graph("g", Tally), Graph("g", Tally)
    for graph, legs in ((wide, ("b", "c", "x")), (narrow, ("b", "c"))):
        graph.node(node, name="a", entry=True, goto=("a", "b", "c", "x"))
        for name in "bcx":
            graph.node(node, name=name)
        graph.node(node, name="d", after=legs)
    run = Driver(wide, Tally())
    run.returns("a", Goto("a", "b", "c"))
    run.returns("a", Goto("b", "c"))
    for name in "bcbc":
        run.returns(name)
    assert isinstance(run.cause, JoinStarved)

    run.reopen(graph=narrow)

    assert run.frontier == ["d", "d"]
    assert run.run.root.waiting == {}
    assert len({activation.key for activation in run.run.open.values()}) == 2


def test_a_join_that_is_gone_while_a_token_waits_there_is_refused() -> None:
    """The token would be lost in silence."""
    run = finished(graph_of("abcd", "a>b a>c b+c>d"), "ab")

    with pytest.raises(UnknownNode) as caught:
        run.recover(graph=FORK)

    assert caught.value.node == "d"


def test_growth_counts_for_the_limit() -> None:
    """A run that is over the limit of the graph that takes it up fails at once, and keeps what grew."""
    run = finished(FORK, "ab")
    grown = Graph("g", Tally, max_activations=3)
    for name in "abcx":
        grown.node(node, name=name, entry=name == "a")
    for source, target in ("ab", "ac", "bx"):
        grown.edge(source, target)

    decision = run.recover(graph=grown)

    assert isinstance(run.cause, TooManyActivations)
    assert (run.run.status, run.frontier, decision.commands) == ("failed", ["c", "x"], [])
