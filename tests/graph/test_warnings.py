"""Warnings: joins that can starve, and legs whose tokens run side by side. What is warned of can really happen."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING, Any

from hypothesis import assume, event, given, settings
from hypothesis import strategies as st

from actorflow.graph.graph import Graph
from actorflow.graph.routing import END, End
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.graph.plan import Plan


class Empty(State):
    """A state without fields."""


def warnings(graph: Graph[Any]) -> list[str]:
    """What is doubtful about a graph that can run."""
    findings = graph.check()
    assert all(finding.level == "warning" for finding in findings), findings
    return [finding.problem for finding in findings]


def add(graph: Graph[Empty], name: str, **options: Any) -> None:
    """A node that does nothing."""
    graph.node(lambda state: None, name=name, **options)


def diamond() -> Graph[Empty]:
    """A fork into left and right, joined again."""
    graph = Graph("g", Empty)
    add(graph, "fork")
    add(graph, "left", after="fork")
    add(graph, "right", after="fork")
    add(graph, "join", after=("left", "right"))
    return graph


def test_a_diamond_is_no_cause_to_warn() -> None:
    """Both legs always come."""
    assert warnings(diamond()) == []


def test_a_loop_around_a_join_is_no_cause_to_warn() -> None:
    """Each round brings one token to each leg, in order."""
    graph = diamond()
    add(graph, "again", after="join")
    graph.node(lambda state: None, name="start", goto=())
    graph.edge("start", "fork")
    graph.branch(lambda state: "fork", after="again", to=("fork", END))

    assert warnings(graph) == []


def test_a_branch_in_front_of_both_legs_is_no_cause_to_warn() -> None:
    """It leads to the whole diamond, or around it."""
    graph = Graph("g", Empty)
    add(graph, "choose")
    add(graph, "skip")
    add(graph, "fork")
    graph.branch(lambda state: "fork", after="choose", to=("fork", "skip"))
    add(graph, "left", after="fork")
    add(graph, "right", after="fork")
    add(graph, "join", after=("left", "right"))

    assert warnings(graph) == []


def test_a_branch_between_the_legs_is_warned_of() -> None:
    """Only one of them comes."""
    graph = Graph("g", Empty)
    add(graph, "choose")
    add(graph, "left")
    add(graph, "right")
    graph.branch(lambda state: "left", after="choose", to=("left", "right"))
    add(graph, "join", after=("left", "right"))

    found = warnings(graph)

    assert len(found) == 2
    assert "join 'join' waits for 'left', which what 'choose' decides can leave out" in found[0]


def test_a_branch_that_may_end_one_leg_is_warned_of() -> None:
    """END in the middle of a leg takes its token."""
    graph = Graph("g", Empty)
    add(graph, "fork")
    add(graph, "left", after="fork")
    add(graph, "check", after="fork")
    add(graph, "right")
    graph.branch(lambda state: END, after="check", to=("right", END))
    add(graph, "join", after=("left", "right"))

    assert len(warnings(graph)) == 1
    assert "waits for 'right'" in warnings(graph)[0]


def test_a_leg_that_may_go_elsewhere_is_warned_of() -> None:
    """A returned Goto replaces the leg."""
    graph = diamond()
    add(graph, "risky", after="fork", goto="join_failed")
    add(graph, "join_failed")
    add(graph, "second", after=("risky", "join"))

    assert len(warnings(graph)) == 1
    assert "waits for 'risky', which its own Goto can leave out" in warnings(graph)[0]


def test_a_loop_back_to_the_decision_is_no_cause_to_warn() -> None:
    """A leg that is left out for a round comes later."""
    graph = Graph("g", Empty)
    add(graph, "fork")
    add(graph, "left", after="fork")
    add(graph, "try", after="fork")
    add(graph, "mend")
    add(graph, "right")
    graph.branch(lambda state: "right", after="try", to=("right", "mend"))
    graph.edge("mend", "try")
    add(graph, "join", after=("left", "right"))

    assert warnings(graph) == []


def test_ways_that_meet_without_a_join_in_front_of_a_leg_are_warned_of() -> None:
    """The node where they meet runs twice side by side, so its tokens have no order."""
    graph = Graph("g", Empty)
    add(graph, "fork")
    add(graph, "left", after="fork")
    add(graph, "right", after="fork")
    add(graph, "other", after="fork")
    add(graph, "meet", after="left")
    graph.edge("right", "meet")
    add(graph, "join", after=("meet", "other"))

    found = warnings(graph)

    assert len(found) == 1
    assert "leg from 'meet', which can run several times side by side" in found[0]


def test_a_loop_that_leaves_out_the_join_is_warned_of() -> None:
    """A second round starts while the first still waits in the join, and neither comes after the other."""
    graph = Graph("g", Empty)
    add(graph, "round", entry=True)
    add(graph, "slow", after="round")
    add(graph, "other", after="round")
    add(graph, "decide", after="round")
    graph.branch(lambda state: END, after="decide", to=("round", END))
    add(graph, "join", after=("slow", "other"))

    assert [warning.split("'")[3] for warning in warnings(graph)] == ["slow", "other"]


# -- against the token game --------------------------------------------------------------


Marking = tuple[tuple[tuple[str, int], ...], tuple[tuple[tuple[str, str], int], ...]]
LARGEST = 3  # tokens in one place: the game of a graph with loops has no end
MOST = 1_500  # markings


def markings(plan: Plan) -> Iterator[tuple[Counter[str], Counter[tuple[str, str]]]]:
    """All (open activations, waiting tokens) that the graph can come to, whatever is decided and in whatever order."""
    todo = [_after(plan, Counter(), Counter(), plan.entries, None)]
    seen: set[Marking] = set()
    while todo and len(seen) < MOST:
        active, waiting = todo.pop()
        key = (tuple(sorted((+active).items())), tuple(sorted((+waiting).items())))
        if key in seen or max([*active.values(), *waiting.values()], default=0) > LARGEST:
            continue
        seen.add(key)
        yield active, waiting
        for node in +active:
            todo += [_after(plan, active, waiting, targets, node, own=own) for own, targets in _decisions(plan, node)]


def _decisions(plan: Plan, node: str) -> Iterator[tuple[bool, tuple[str | End, ...]]]:
    yield from ((False, (target,)) for target in plan.nodes[node].goto)
    edges = plan.edges.get(node, ())
    for chosen in product(*(branch.targets for branch in plan.branches.get(node, ()))):
        yield True, (*edges, *chosen)


def _after(
    plan: Plan,
    active: Counter[str],
    waiting: Counter[tuple[str, str]],
    targets: tuple[str | End, ...],
    finished: str | None,
    *,
    own: bool = False,
) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    active, waiting = active.copy(), waiting.copy()
    active.update(target for target in targets if isinstance(target, str))
    if finished is not None:
        active[finished] -= 1
        waiting.update((target, finished) for target in (plan.legs.get(finished, ()) if own else ()))
    for target, inlets in plan.joins.items():
        for inlet in inlets:
            if all(waiting[target, leg] for leg in inlet):
                waiting.subtract((target, leg) for leg in inlet)
                active[target] += 1
    return active, waiting


def left_out(plan: Plan, active: Counter[str], waiting: Counter[tuple[str, str]], target: str, leg: str) -> bool:
    """The join holds a token of another leg, and nothing that is open can lead to this one any more."""
    inlet = next(inlet for inlet in plan.joins[target] if leg in inlet)
    if waiting[target, leg] or not any(waiting[target, other] for other in inlet):
        return False
    ahead, todo = set[str | End](), list[str | End](+active)
    while todo:
        name = todo.pop()
        if isinstance(name, str) and name not in ahead:
            ahead.add(name)
            todo += plan.successors(name)
    return leg not in ahead


@st.composite
def graphs(draw: Callable[..., Any]) -> Graph[Empty]:
    """Graphs of a few nodes with forks, joins, branches, gotos and loops."""
    graph = Graph("g", Empty)
    names = [f"n{index}" for index in range(draw(st.integers(4, 7)))]
    gotos: dict[str, list[Any]] = {name: [] for name in names}
    chosen: dict[str, list[Any]] = {name: [] for name in names}
    after: dict[str, Any] = {names[0]: None}
    for index, name in enumerate(names[1:], 1):
        way = draw(st.sampled_from(["edge", "edge", "join", "join", "branch", "goto"]))
        if way == "join" and index > 1:
            after[name] = tuple(draw(st.lists(st.sampled_from(names[:index]), min_size=2, max_size=3, unique=True)))
            continue
        source = draw(st.sampled_from(names[:index]))
        after[name] = source if way == "edge" else None
        if way != "edge":
            (chosen if way == "branch" else gotos)[source].append(name)
    for name in names:
        if chosen[name] and draw(st.booleans()):
            chosen[name].append(
                draw(
                    st.sampled_from(
                        [END, *(n for n in names if not isinstance(after[n], tuple) and n not in chosen[name])]
                    )
                )
            )
        add(graph, name, after=after[name], goto=tuple(gotos[name]), entry=name == names[0])
        if chosen[name]:
            graph.branch(lambda state: END, after=name, to=tuple(chosen[name]))
    extra = draw(st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), max_size=2, unique=True))
    for source, target in extra:
        graph.edge(source, target)
    return graph


@settings(max_examples=150)
@given(graph=graphs())
def test_whatever_is_warned_of_can_happen(graph: Graph[Empty]) -> None:
    """There is a play in which a leg is left out for good while another waits, or its node runs twice side by side."""
    findings = graph.check()
    assume(all(finding.level == "warning" for finding in findings))
    plays = list(markings(graph.plan))
    assume(len(plays) < MOST)
    assume({name for active, _ in plays for name in +active} == {*graph.plan.nodes})  # no join that never opens
    event(f"{min(len(findings), 3)} warnings")

    legs = [(finding.problem.split("'")[1:4:2], "JoinStarved" in finding.problem) for finding in findings]
    if starving := [leg for leg, starves in legs if starves]:  # the others may follow from one
        assert any(left_out(graph.plan, *play, *leg) for leg in starving for play in plays), graph.draw("text")
    else:
        assert all(any(active[leg] > 1 for active, _ in plays) for (_, leg), _ in legs), graph.draw("text")
