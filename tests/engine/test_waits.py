"""Questions: who asks, who waits for the answer, and what an answer may be."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow.engine.records import Answered, Ask, Asked
from actorflow.errors import AmbiguousTarget, BadAnswer, NotWaiting
from actorflow.graph.graph import Graph
from actorflow.graph.routing import Goto, Send
from tests.engine.driver import Driver
from tests.engine.small import Case, linear, mapped, node


def forked() -> Driver:
    """A run in which ``b`` and ``c`` are open."""
    graph = Graph("g", Case)
    graph.node(node, name="a", entry=True)
    for name in "bc":
        graph.node(node, name=name, after="a")
    run = Driver(graph, Case())
    run.returns("a")
    return run


YES = Ask("go", "ask", "Go?", {"why": "because"}, {"type": "boolean"})
LIMITED = Ask("go", "ask", "Go?", due=100.0, default="no")


def test_a_node_that_asks_runs_again_when_it_was_answered() -> None:
    """With the answer, under the same key; the run waited meanwhile."""
    run = linear()
    key = run.open_at("a").key

    run.suspends("a", YES)
    assert (run.run.standing, run.running) == ("waiting", [])
    run.answers(True)

    assert (run.run.standing, run.running) == ("running", ["a"])
    assert (run.open_at("a").key, run.open_at("a").answers["go"].value) == (key, True)
    assert run.open_at("a").answers["go"].by == "a test"


def test_a_question_never_stops_others() -> None:
    """The run waits when nothing else goes on."""
    run = forked()

    run.suspends("b", YES)
    assert (run.run.standing, run.running) == ("running", ["c"])
    run.returns("c")

    assert run.run.standing == "waiting"


def test_a_question_is_there_after_a_crash() -> None:
    """And is not asked again, nor is its node run."""
    run = linear()
    run.suspends("a", YES)

    run.recover()

    assert (run.run.standing, run.running, run.open_at("a").asks) == ("waiting", [], {"go": YES})
    run.answers(False)
    run.recover()
    assert (run.running, run.open_at("a").answers["go"].value) == (["a"], False)


def test_a_question_that_is_known_is_not_recorded_again() -> None:
    """A node that was answered once asks for the next one only."""
    run = linear()
    run.suspends("a", YES)
    run.answers(True)

    decision = run.suspends("a", YES, Ask("more", "ask", "More?"))

    assert decision.records == [Asked(1, (Ask("more", "ask", "More?"),))]


def test_a_node_with_two_questions_waits_for_both_answers() -> None:
    """Each may be given for itself."""
    run = linear()
    run.suspends("a", YES, Ask("more", "ask", "More?"))

    run.answers(5, to="More?")
    assert run.running == []
    run.answers(True, to="go")

    assert run.running == ["a"]
    assert {name: answer.value for name, answer in run.open_at("a").answers.items()} == {"go": True, "more": 5}


@pytest.mark.parametrize("value", ["yes", 1, None, [True]])
def test_an_answer_of_another_type_changes_nothing(value: Any) -> None:
    """Whoever answers may do it again."""
    run = linear()
    run.suspends("a", YES)

    with pytest.raises(BadAnswer):
        run.answers(value)

    assert (run.run.standing, run.open_at("a").asks) == ("waiting", {"go": YES})


def test_one_who_does_not_wait_can_not_be_answered() -> None:
    """Neither a run that asks nothing, nor for a question that is not open, nor twice."""
    run = linear()
    with pytest.raises(NotWaiting):
        run.answers(True)
    run.suspends("a", YES)
    with pytest.raises(NotWaiting):
        run.answers(True, to="nope")
    run.answers(True)
    with pytest.raises(NotWaiting):
        run.answers(True)


def test_of_several_questions_one_must_be_meant() -> None:
    """By its name, its text, or where it stands; what is said must fit only one."""
    run = forked()
    run.suspends("b", YES)
    run.suspends("c", YES)

    with pytest.raises(AmbiguousTarget) as caught:
        run.answers(True)
    with pytest.raises(AmbiguousTarget):
        run.answers(True, to="Go?")
    run.answers(True, to="c")

    assert run.running == ["c"]
    assert str(run.open_at("b").key.hex()[:16]) in str(caught.value)


def test_an_item_asks_for_itself() -> None:
    """By its index; the others go on."""
    run = mapped()
    run.suspends("item[1]", YES)
    run.returns("item[0]", 10)
    assert run.run.standing == "waiting"

    run.answers(True, to="item[1]")
    run.returns("item[1]", 20)

    assert (run.run.status, run.state.done) == ("finished", [10, 20])


def test_a_node_inside_asks_from_there() -> None:
    """By the path of its scope; its owner waits with it."""
    inside = Graph("inside", Case)
    inside.node(node, name="x")
    graph = Graph("g", Case)
    graph.subgraph(inside, name="sub", entry=True)
    run = Driver(graph, Case())
    run.suspends("sub/x", YES)
    assert run.run.standing == "waiting"

    run.answers(True, to="sub/x")

    assert run.running == ["sub/x"]


# -- in time ---------------------------------------------------------------------------


def test_a_question_with_an_end_is_answered_by_its_default() -> None:
    """When the time is over; the record says so."""
    run = linear()
    run.suspends("a", LIMITED)
    assert run.expiring == {1: 100.0}

    decision = run.waits("a")

    assert decision.records == [Answered(1, "go", "no", expired=True)]
    assert run.running == ["a"]


def test_an_end_is_known_after_a_crash() -> None:
    """Late is at once, and once."""
    run = linear()
    run.suspends("a", LIMITED)

    run.recover()

    assert run.expiring == {1: 100.0}


def test_an_answer_before_the_end_is_the_answer() -> None:
    """The time that comes later changes nothing."""
    run = linear()
    run.suspends("a", LIMITED)
    run.answers("yes")

    decision = run.waits("a")

    assert decision.records == []
    assert run.open_at("a").answers["go"].value == "yes"


# -- before and after ---------------------------------------------------------------------


def test_a_graph_may_ask_before_a_node() -> None:
    """The node has not begun; what is answered does not matter."""
    run = linear(interrupt_before="b")
    run.returns("a")
    assert (run.run.standing, run.running) == ("waiting", [])

    run.recover()
    run.answers()

    assert run.running == ["b"]
    run.recover()
    assert run.running == ["b"]


def test_before_each_node_is_one_step_at_a_time() -> None:
    """A run that is released node by node."""
    run = linear("abc", interrupt_before="*")
    for name in "abc":
        assert (run.run.standing, run.frontier) == ("waiting", [name])
        run.answers()
        run.returns(name)

    assert run.run.status == "finished"


def test_after_a_node_its_update_is_seen_and_can_be_edited() -> None:
    """Where the run goes is asked at the release, of the state as it is then."""
    graph = Graph("g", Case, interrupt_after="a")
    graph.node(node, name="a", entry=True)
    for name in "bc":
        graph.node(node, name=name)
    graph.branch(lambda state: "b" if state.ok else "c", after="a", to=("b", "c"))
    run = Driver(graph, Case())
    run.returns("a", {"n": 5})
    assert (run.state.n, run.run.standing, run.running) == (5, "waiting", [])

    run.recover()
    run.updates({"ok": True})
    run.answers()

    assert run.frontier == ["b"]
    assert not any(isinstance(record, Asked) for record in run.history[-2:])


def test_a_goto_is_remembered_while_the_graph_asks() -> None:
    """So are sends: what the node has returned is not lost."""
    graph = Graph("g", Case, interrupt_after="a")
    graph.node(node, name="a", entry=True, goto=("b", "c"))
    for name in "bc":
        graph.node(node, name=name)
    graph.edge("a", "b")
    run = Driver(graph, Case())
    run.returns("a", Goto("c"))

    run.recover()
    run.answers()

    assert run.frontier == ["c"]


def test_sends_are_remembered_while_the_graph_asks() -> None:
    """With their inputs."""
    graph = Graph("g", Case, interrupt_after="a")
    graph.node(node, name="a", entry=True, send="b")
    graph.node(lambda number: None, name="b", takes=int)
    run = Driver(graph, Case())
    run.returns("a", [Send("b", 1), Send("b", 2)])

    run.recover()
    run.answers()

    assert run.running == ["b[0]", "b[1]"]
    assert [fan.items for fan in run.run.fans.values()] == [[1, 2]]
