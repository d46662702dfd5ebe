"""Checks: every mistake in a graph is told, once, with what it is about and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest

from actorflow.errors import GraphError
from actorflow.graph.check import Finding
from actorflow.graph.graph import Graph
from actorflow.graph.migrate import migrate
from actorflow.graph.routing import END, End
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable


class Empty(State):
    """A state without fields."""


def graph_of(*names: str, **options: Any) -> Graph[Empty]:
    """A graph of nodes that do nothing, each after the one before."""
    graph = Graph("g", Empty, **options)
    for before, name in zip([None, *names], names, strict=False):
        graph.node(lambda state: None, name=name, after=before)
    return graph


def errors(graph: Graph[Any]) -> list[str]:
    """The problems that keep a graph from running."""
    findings = graph.check()
    assert all(finding.level == "error" for finding in findings)
    return [finding.problem for finding in findings]


def only_error(graph: Graph[Any]) -> str:
    """The one problem of a graph."""
    found = errors(graph)
    assert len(found) == 1, found
    return found[0]


def test_a_sound_graph_has_no_findings() -> None:
    """A chain is sound."""
    assert graph_of("a", "b", "c").check() == []


def test_a_finding_shows_its_level() -> None:
    """A finding printed is a line that can be read."""
    assert str(Finding("warning", "odd")) == "warning: odd"


def test_all_problems_are_raised_at_once() -> None:
    """The plan of a graph with three mistakes is one error that names all three."""
    graph = graph_of("a", "b", max_activations=0)
    graph.edge("a", "nowhere")
    graph.node(lambda state: None, name="lost", after="lost")

    with pytest.raises(GraphError) as caught:
        _ = graph.plan

    assert caught.value.graph == "g"
    assert len(caught.value.problems) == 3
    for part in ("max_activations=0", "no node 'nowhere'", "node 'lost'"):
        assert part in str(caught.value)


def test_a_graph_without_nodes_can_not_run() -> None:
    """There is nothing to start."""
    assert only_error(Graph("g", Empty)) == "the graph has no nodes"


@pytest.mark.parametrize("state_type", [dict, int, "Mission", Empty()])
def test_a_state_must_be_a_state_class(state_type: Any) -> None:
    """Neither another class nor an instance will do."""
    graph: Graph[Any] = Graph("g", state_type)
    graph.node(lambda state: None, name="a")

    assert "subclass of State" in only_error(graph)


def test_fields_that_can_not_be_encoded_are_named() -> None:
    """What the schema finds is reported with the rest."""

    class Holds(State):
        thing: object
        call: complex

    graph = Graph("g", Holds)
    graph.node(lambda state: None, name="a")

    assert any("Holds.call" in problem for problem in errors(graph))


def test_two_migrations_between_the_same_versions_are_one_problem() -> None:
    """Also if one is the State's and one the graph's."""
    first = migrate(from_=1, to=2)(lambda old: old)
    second = migrate(from_=1, to=2)(lambda old: old)

    class Versioned(State, version=2, migrations=[first]):
        pass

    graph = Graph("g", Versioned, migrations=[second])
    graph.node(lambda state: None, name="a")

    assert "two migrations" in only_error(graph)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"max_activations": 0}, "max_activations"),
        ({"max_activations": 1.5}, "max_activations"),
        ({"retry": 3}, "Retry"),
        ({"timeout": 0}, "timeout"),
        ({"moves": {"old": "nowhere"}}, "nowhere"),
    ],
)
def test_options_of_the_graph_are_checked(options: dict[str, Any], part: str) -> None:
    """Limits and policies make sense, and moves lead to nodes that are there."""
    assert part in only_error(graph_of("a", **options))


def test_moves_may_lead_to_a_node_or_to_the_end() -> None:
    """A node that is gone was renamed, or ends its token."""
    graph = graph_of("a", moves={"old": "a", "gone": END})

    assert graph.check() == []
    assert graph.moves == {"old": "a", "gone": END}


# -- names and references -----------------------------------------------------------


def test_a_name_declared_twice_is_one_problem_with_both_places() -> None:
    """The reader finds both."""
    graph = graph_of("a")

    def a(state: Empty) -> None: ...

    graph.node(a)

    problem = only_error(graph)
    assert "declared twice" in problem
    assert problem.count("test_check.py:") == 2


def test_a_function_without_a_name_needs_one() -> None:
    """A lambda has to be called something."""
    graph = graph_of("a")
    graph.node(lambda state: None, after="a")

    assert "say name=" in only_error(graph)


def test_a_misspelt_name_is_one_problem_with_a_suggestion() -> None:
    """One typo does not make three nodes unreachable as well."""
    graph = graph_of("plan", "search")
    graph.node(lambda state: None, name="merge", after="serach")
    graph.node(lambda state: None, name="report", after="merge")

    assert "there is no node 'serach'; did you mean 'search'?" in only_error(graph)


def test_a_misspelt_target_does_not_make_the_node_that_was_meant_unreachable() -> None:
    """The same for branches."""
    graph = graph_of("review")
    graph.node(lambda state: None, name="publish", entry=False)
    graph.branch(lambda state: "publish", after="review", to="publsh")

    assert "did you mean 'publish'?" in only_error(graph)


def test_what_follows_an_unknown_node_is_not_called_unreachable() -> None:
    """Nothing near was meant, and still it is one problem."""
    graph = graph_of("a")
    graph.node(lambda state: None, name="b", after="zzzz")
    graph.node(lambda state: None, name="c", after="b")

    assert "there is no node 'zzzz'" in only_error(graph)


def test_an_end_that_was_named_as_a_node_is_told() -> None:
    """END is no string, so a string that says it is the likely mistake."""
    graph = graph_of("a")
    graph.edge("a", "END")

    assert "the end is actorflow.END" in only_error(graph)


def test_a_function_that_is_no_node_here_is_named() -> None:
    """A function of another graph, most likely."""

    def elsewhere(state: Empty) -> None: ...

    graph = graph_of("a")
    graph.node(lambda state: None, name="b", after=elsewhere)

    assert "elsewhere is no node of this graph" in only_error(graph)


def test_a_function_declared_as_two_nodes_is_ambiguous_as_a_reference() -> None:
    """Its names still tell the nodes apart."""

    def twice(state: Empty) -> None: ...

    graph = Graph("g", Empty)
    graph.node(twice, name="first")
    graph.node(twice, name="second", after="first")
    assert graph.check() == []

    graph.node(lambda state: None, name="third", after=twice)

    assert "'first', 'second'; refer to one by its name" in only_error(graph)


@pytest.mark.parametrize("reference", [7, {"a"}, b"a"])
def test_something_else_is_no_reference(reference: Any) -> None:
    """Only functions and names refer to nodes."""
    graph = graph_of("a")
    graph.node(lambda state: None, name="b", after=reference)

    assert "is no node" in only_error(graph)


# -- edges and joins ------------------------------------------------------------------


def test_edges_that_make_no_sense_are_named() -> None:
    """From END, from nothing, from several to END."""
    cases: list[tuple[Any, Any, str]] = [
        (END, "b", "nothing comes after END"),
        ((), "b", "names no node"),
        (("a", "b"), END, "END joins nothing"),
    ]
    for source, target, part in cases:
        graph = graph_of("a", "b")
        graph.edge(source, target)

        assert part in only_error(graph)
        assert "test_check.py:" in only_error(graph)


@pytest.mark.parametrize(
    "again",
    ["a", ("a", "b"), ["b", "a"]],
)
def test_a_leg_belongs_to_one_join_or_edge_of_a_node(again: Any) -> None:
    """A second way from the same node could not be told from the first."""
    graph = graph_of("a", "b", "c")
    graph.node(lambda state: None, name="t", after=("a", "c"))
    graph.edge(again, "t")

    assert "'a' leads there already: edge a, c -> t" in only_error(graph)


def test_only_a_node_that_is_gone_is_moved() -> None:
    """A chain of moves would take what is open one node further at each restart, past nodes that never ran."""
    graph = graph_of("b", "c", moves={"a": "b", "b": "c"})

    assert "moves={'b': 'c'}: 'b' is still a node here" in only_error(graph)


def test_an_edge_declared_twice_is_one_problem() -> None:
    """By after= and by edge(), say."""
    graph = graph_of("a", "b")
    graph.edge("a", "b")

    assert "'a' leads there already" in only_error(graph)


def test_a_join_of_a_node_with_itself_is_a_problem() -> None:
    """It would wait for ever."""
    graph = graph_of("a")
    graph.node(lambda state: None, name="t", after=("a", "t"))

    assert "can't wait for itself" in only_error(graph)


def test_an_edge_to_end_and_a_loop_on_itself_are_sound() -> None:
    """A loop is an edge like any other."""
    graph = graph_of("a", "b")
    graph.edge("a", "a")
    graph.edge("b", END)

    assert graph.check() == []
    assert graph.plan.entries == ("a",)


# -- branches ---------------------------------------------------------------------------


async def _awaits(state: Empty) -> Literal["b"]:
    return "b"


def _two(state: Empty, ctx: object) -> Literal["b"]:
    return "b"


def _vague(state: Empty) -> str:
    return "b"


def _maybe(state: Empty) -> Literal["b"] | None:
    return None


@pytest.mark.parametrize(
    ("fn", "options", "part"),
    [
        (_awaits, {}, "plain sync function"),
        (_two, {}, "'ctx'; it is called as (state)"),
        (_vague, {}, "targets are not known"),
        (_maybe, {}, "targets are not known"),
        (_vague, {"to": ()}, "targets are not known"),
        (_vague, {"to": ("b", "b")}, "'b' is named twice"),
        (_vague, {"to": ("b", 3)}, "3 is no node"),
        (_vague, {"to": "b", "after": ("a", "b")}, "after= must be one node"),
        (_vague, {"to": "b", "after": END}, "after= must be one node"),
    ],
)
def test_a_branch_that_can_not_be_asked_is_one_problem(
    fn: Callable[..., Any], options: dict[str, Any], part: str
) -> None:
    """A branch is a plain function of the state, after one node, with its targets declared."""
    graph = graph_of("a", "b")
    graph.branch(fn, **{"after": "a", **options})

    problem = only_error(graph)
    assert part in problem
    assert f"branch {fn.__name__!r} (test_check.py:" in problem


def test_targets_may_be_named_by_an_alias_inside_a_function() -> None:
    """What the branch closes over is found, and what is assigned later is not waited for."""
    Verdict = Literal["b"]  # noqa: N806 - a type

    def by_alias(state: Empty) -> Verdict:
        return later if state is Verdict else "b"

    graph = graph_of("a")
    graph.node(lambda state: None, name="b")
    graph.branch(by_alias, after="a")

    assert graph.check() == []
    assert graph.plan.branches["a"][0].targets == ("b",)
    later: Verdict = "b"


def test_a_branch_declared_twice_is_a_problem() -> None:
    """It would open everything twice."""
    graph = graph_of("a", "b")
    graph.branch(_vague, after="a", to=END)
    graph.branch(_vague, after="a", to="b")

    assert "declared twice after 'a'" in only_error(graph)


def test_a_branch_after_a_node_that_is_not_there_is_one_problem() -> None:
    """Its targets are not called unreachable as well."""
    graph = graph_of("a")
    graph.node(lambda state: None, name="b")
    graph.branch(_vague, after="zzzz", to="b")

    assert "there is no node 'zzzz'" in only_error(graph)


@pytest.mark.parametrize("how", ["branch", "goto"])
def test_a_route_into_a_join_is_a_problem(how: str) -> None:
    """A routed token brings none of the legs that the join waits for."""
    graph = graph_of("a", "b")
    graph.node(lambda state: None, name="t", after=("a", "b"))
    graph.node(lambda state: None, name="judge", after="t", goto="t" if how == "goto" else ())
    if how == "branch":
        graph.branch(_vague, after="judge", to=("t", END))

    assert "node 'judge' routes to 't', which is a join" in only_error(graph)


# -- entries and reach ------------------------------------------------------------------


def test_the_entry_is_the_node_that_nothing_leads_to() -> None:
    """No mark is needed where the edges say it."""
    graph = Graph("g", Empty)
    graph.node(lambda state: None, name="last", after="first")
    graph.node(lambda state: None, name="first")

    assert graph.plan.entries == ("first",)


def test_several_nodes_that_nothing_leads_to_are_a_problem() -> None:
    """A forgotten after= is told from a second start; and a Goto whose targets were not declared is thought of."""
    graph = graph_of("a", "b")
    graph.node(lambda state: None, name="c")

    assert "nothing leads to 'a', 'c'" in (problem := only_error(graph))
    assert "goto=" in problem


def test_marked_entries_start_together() -> None:
    """Said explicitly, several entries are sound."""
    graph = Graph("g", Empty)
    graph.node(lambda state: None, name="a", entry=True)
    graph.node(lambda state: None, name="b", entry=True)
    graph.node(lambda state: None, name="t", after=("a", "b"))

    assert graph.check() == []
    assert graph.plan.entries == ("a", "b")


def test_a_branch_that_is_no_function_can_be_asked_by_its_targets() -> None:
    """A callable that tells nothing of itself is no node and no branch, and says so once."""
    graph = graph_of("a")
    graph.branch(max, after="a", to=END)

    assert "its parameters can't be read" in only_error(graph)


def test_a_circle_needs_a_marked_entry() -> None:
    """A first node that is also the target of a loop can't be told by its edges."""
    graph = Graph("g", Empty)
    graph.node(lambda state: None, name="draft", after="review")
    graph.node(lambda state: None, name="review", after="draft")
    assert "mark the first one with entry=True" in only_error(graph)

    marked = Graph("g", Empty)
    marked.node(lambda state: None, name="draft", after="review", entry=True)
    marked.node(lambda state: None, name="review", after="draft")

    assert marked.check() == []


def test_a_node_that_only_leads_to_itself_is_the_entry() -> None:
    """Polling by Goto or by an edge to itself needs no mark."""
    graph = Graph("g", Empty)
    graph.node(lambda state: None, name="poll", goto="poll")

    assert graph.plan.entries == ("poll",)


def test_nodes_out_of_reach_are_each_named_with_their_place() -> None:
    """An island of two is two problems."""
    graph = graph_of("a")
    graph.node(lambda state: None, name="x", after="y")
    graph.node(lambda state: None, name="y", after="x")

    found = errors(graph)

    assert len(found) == 2
    assert all("can't be reached from 'a'" in problem and "(test_check.py:" in problem for problem in found)


def test_branches_gotos_and_joins_make_their_targets_reachable() -> None:
    """All that may lead to a node counts."""
    graph = graph_of("a", "b")
    graph.node(lambda state: None, name="by_goto")
    graph.node(lambda state: None, name="by_branch")
    graph.node(lambda state: None, name="by_join", after=("a", "b"))
    graph.node(lambda state: None, name="router", after="by_join", goto="by_goto")

    @graph.branch(after="b")
    def choose(state: Empty) -> Literal["by_branch"] | End:
        return END

    assert graph.check() == []


def test_a_large_graph_is_checked_without_recursion() -> None:
    """Ten thousand nodes in a row, and a picture of them."""
    graph = graph_of(*(f"n{index}" for index in range(10_000)))

    assert graph.check() == []
    assert graph.draw("text").endswith("  n9999\n")


def test_a_fan_out_takes_no_goto() -> None:
    """What is mapped returns results, so nothing would ever go there; whoever meant an edge is told so."""
    graph = graph_of("a")
    options: dict[str, Any] = {"goto": END}

    graph.map(lambda item: item, name="each", after="a", over=3, **options)

    assert "goto= is for what may return a Goto, and items return results" in only_error(graph)


def test_what_is_sent_goes_to_who_takes_it() -> None:
    """Not to a node of the state, nor to a map, which has items of its own; a graph inside takes its state."""
    for options, part in (
        ({}, "it sends to 't', which takes the state; give that one takes="),
        ({"over": 3}, "it sends to 't', a map, whose items are what over= says"),
    ):
        graph = Graph("g", Empty)
        graph.node(lambda state: None, name="a", send="t")
        declare = graph.map if options else graph.node
        declare(lambda one: None, name="t", **options)

        assert part in only_error(graph)

    graph = Graph("g", Empty)
    graph.node(lambda state: None, name="a", send="t")
    graph.subgraph(graph_of("x"), name="t")

    assert graph.check() == []


@pytest.mark.parametrize("how", ["edge", "branch", "goto", "error", "entry"])
def test_only_what_is_sent_leads_to_who_takes_it(how: str) -> None:
    """A token brings nothing that it could take: the function would be given the state."""
    graph = Graph("g", Empty)
    graph.node(
        lambda state: None,
        name="a",
        entry=True,
        send="t",
        goto="t" if how == "goto" else (),
        on_error="t" if how == "error" else None,
    )
    graph.node(lambda text: None, name="t", takes=str, entry=how == "entry", after="a" if how == "edge" else None)
    if how == "branch":
        graph.branch(_vague, after="a", to=("t", END))

    assert "it takes what is sent to it, so no edge, branch, Goto, error or entry" in only_error(graph)


@pytest.mark.parametrize("name", ["a/b", "review@night"])
def test_a_name_that_reads_like_a_way_through_graphs_inside_is_refused(name: str) -> None:
    """``scope/node`` and ``node@key`` are how steering finds an activation."""
    assert any("stands for a way through graphs inside" in error for error in errors(graph_of(name)))
