"""Plan: what a returned target means, and what the digest of a topology covers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import UndeclaredTarget
from actorflow.graph.graph import Graph
from actorflow.graph.routing import END
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable


class Empty(State):
    """A state without fields."""


class Full(State, version=3):
    """Another state."""

    n: int = 0


def a(state: State) -> None:
    """A node."""


def b(state: State) -> None:
    """Another."""


def routed() -> Graph[Empty]:
    """A graph that routes from ``a``; the function ``b`` is two of its nodes."""
    graph = Graph("g", Empty)
    graph.node(a, entry=True, goto=("a", "b1", END))
    graph.node(b, name="b1")
    graph.node(b, name="b2", after="b1")
    return graph


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        ("a", ("a",)),
        (a, ("a",)),
        (END, (END,)),
        (b, ("b1",)),  # of the two nodes only this one is a target here
        (["b1", a], ("b1", "a")),
        (("a", "a", a), ("a",)),
        ([], ()),
    ],
)
def test_an_answer_is_resolved_to_declared_names(answer: Any, names: tuple[Any, ...]) -> None:
    """One or several, by name or function, each once and in order."""
    plan = routed().plan

    assert plan.route("a", answer, plan.nodes["a"].goto) == names


@pytest.mark.parametrize("answer", ["b2", "nowhere", None, 3, print, ["a", "b2"], {"a"}])
def test_an_answer_that_was_not_declared_is_refused(answer: Any) -> None:
    """Also if the node exists: a picture of the graph shows every way."""
    plan = routed().plan

    with pytest.raises(UndeclaredTarget, match=r"'a' routes to .*\(declared: END, a, b1\)"):
        plan.route("a", answer, plan.nodes["a"].goto)


def test_a_function_that_is_two_of_the_targets_is_refused() -> None:
    """Only their names tell them apart."""
    plan = routed().plan

    with pytest.raises(UndeclaredTarget, match="'b'"):
        plan.route("a", b, ("b1", "b2"))


def test_successors_are_named_once_whatever_leads_there() -> None:
    """Edges, legs, branches and gotos."""
    graph = Graph("g", Empty)
    graph.node(a, goto=("b", END))
    graph.node(b)
    graph.node(a, name="other", after="a")
    graph.node(a, name="join", after=("a", "other"))
    graph.branch(lambda state: END, after="a", to=("other", END))

    assert graph.plan.successors("a") == ("other", "join", END, "b")
    assert graph.plan.successors("b") == ()


# -- the digest --------------------------------------------------------------------------


def topology(state_type: type[State] = Empty, fn: Callable[[State], None] = a, **options: Any) -> Graph[Any]:
    """A graph with an edge, a join, a branch and a goto."""
    graph = Graph(options.pop("name", "g"), state_type)
    nodes = [
        ("start", None, ()),
        ("left", "start", ()),
        ("right", "start", "extra"),
        ("join", ("left", "right"), ()),
        ("extra", None, ()),
    ]
    for name, after, goto in reversed(nodes) if options.pop("turned", False) else nodes:
        graph.node(fn, name=options.get(name, name), after=after, goto=goto)
    graph.branch(lambda state: END, after="join", to=options.get("to", ("extra", END)))
    for source, target in options.get("edges", ()):
        graph.edge(source, target)
    return graph


def test_the_digest_is_sixteen_bytes_that_never_change() -> None:
    """It is in every file's header: a golden value keeps old files readable without a second look."""
    assert topology().plan.digest.hex() == "6e51e9d940940eab60c679ff521a61f3"


def test_the_digest_covers_neither_code_nor_state_nor_order_nor_the_graphs_name() -> None:
    """A bug fixed in a node is no new topology."""
    same = topology().plan.digest

    assert topology(fn=b).plan.digest == same
    assert topology(Full).plan.digest == same
    assert topology(name="other").plan.digest == same
    assert topology(turned=True).plan.digest == same
    assert topology(to=(END, "extra")).plan.digest == same


def test_the_digest_covers_every_node_edge_leg_target_and_goto() -> None:
    """Each change is another topology."""
    base = topology()
    named, edged, looped = topology(), topology(edges=[("extra", END)]), topology(edges=[("join", "join")])
    named.node(a, name="more", after="extra")
    ended = topology(to=END)
    legged, parted = topology(), topology()
    legged.node(a, name="other", after=("left", "extra"))
    parted.node(a, name="other", after="left")
    parted.edge("extra", "other")
    moved = Graph("g", Empty)
    moved.node(a, goto="b")
    moved.node(b)
    edge_instead = Graph("g", Empty)
    edge_instead.node(a)
    edge_instead.node(b, after=a)
    branch_instead = Graph("g", Empty)
    branch_instead.node(a)
    branch_instead.node(b)
    branch_instead.branch(lambda state: "b", after=a, to="b")
    all_of_them = [base, named, edged, looped, ended, legged, parted, moved, edge_instead, branch_instead]

    digests = [graph.plan.digest for graph in all_of_them]

    assert len({*digests}) == len(all_of_them)
