"""Graphs inside: what goes in, what is handed up, and what happens to everything inside when that is left or fails."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest

from actorflow.engine.records import Entered, Formed
from actorflow.errors import BadUpdate, ConcurrentWrite, JoinStarved, TooDeep, UndeclaredTarget
from actorflow.graph.fan import ItemError
from actorflow.graph.graph import Graph
from actorflow.graph.reducers import Overwrite, extend
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, Goto, Send
from actorflow.graph.state import State, Update
from tests.engine.driver import Driver


class Outer(State):
    """The state around."""

    n: int = 0
    m: int = 0
    items: list[int] = []
    results: list[int] = []
    errors: list[ItemError] = []
    log: Annotated[list[str], extend] = []
    total: Annotated[int, operator.add] = 0


class Inner(State):
    """The state inside; `own` is nowhere outside."""

    n: int = 0
    own: int = 0
    count: Annotated[int, operator.add] = 0
    log: Annotated[list[str], extend] = []
    total: Annotated[int, operator.add] = 0


def node(state: Any) -> None:
    """Never called: decide() is told what it returned."""


def inner(nodes: str = "xy", edges: str = "x>y", **options: Any) -> Graph[Inner]:
    """A graph inside, of nodes named by letters; the first starts."""
    graph = Graph("inner", Inner, **options)
    for name in nodes:
        graph.node(node, name=name, entry=name == nodes[0])
    for edge in edges.split():
        sources, target = edge.split(">")
        graph.edge(sources.split("+"), target)
    return graph


def around(inside: Graph[Any], state: Outer | None = None, **options: Any) -> Driver:
    """A run of ``first``, then the graph inside as ``sub``, then ``after``; ``mend`` is only gone to."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True, goto=("sub", "mend"))
    graph.subgraph(inside, name="sub", after="first", **options)
    graph.node(node, name="after", after="sub")
    graph.node(node, name="mend")
    run = Driver(graph, state or Outer())
    run.returns("first")
    return run


# -- in and out -----------------------------------------------------------------------


def test_fields_of_the_same_name_go_in_and_come_out() -> None:
    """And nothing else does."""
    run = around(inner(), Outer(n=5, log=["before"]))
    assert run.open_at("sub/x").base == {"n": 5, "own": 0, "count": 0, "log": ["before"], "total": 0}

    run.returns("sub/x", {"n": 6, "own": 1, "log": ["x"]})
    run.returns("sub/y")

    assert (run.frontier, run.state.n, run.state.log) == (["after"], 6, ["before", "x"])
    assert "sub" not in run.run.scopes


def test_only_what_was_written_inside_is_handed_up() -> None:
    """A value that only went in does not come out over what somebody else wrote meanwhile."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True)
    graph.subgraph(inner("x", ""), name="sub", after="first")
    graph.node(node, name="beside", after="first")
    run = Driver(graph, Outer(n=5))
    run.returns("first")

    run.returns("beside", {"n": 9, "m": 9})
    run.returns("sub/x", {"own": 1, "total": 2})

    assert (run.run.status, run.state.n, run.state.total) == ("finished", 9, 2)


def test_updates_of_a_reduced_field_are_handed_up_in_order() -> None:
    """One by one, beside what others add outside: no value of the whole field goes up."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True)
    graph.subgraph(inner("xyz", "x>y y>z"), name="sub", after="first")
    graph.node(node, name="beside", after="first")
    run = Driver(graph, Outer(log=["0"], total=100))
    run.returns("first")

    run.returns("sub/x", {"log": ["x"], "total": 1})
    run.returns("beside", {"log": ["beside"], "total": 10})
    run.returns("sub/y", {"log": ["y"], "total": 2})
    assert run.scope("sub").values["total"] == 103
    run.returns("sub/z")

    assert (run.state.log, run.state.total) == (["0", "beside", "x", "y"], 113)


def test_an_overwrite_is_handed_up_as_one() -> None:
    """It conflicts outside like any plain write."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True)
    graph.subgraph(inner("x", ""), name="sub", after="first")
    graph.node(node, name="beside", after="first")
    run = Driver(graph, Outer())
    run.returns("first")
    run.returns("beside", {"log": Overwrite(["theirs"])})

    run.returns("sub/x", {"log": Overwrite(["ours"])})

    assert isinstance(run.cause, ConcurrentWrite)


def test_what_is_unseen_inside_is_nobody_elses() -> None:
    """Two graphs inside write a field of one name, each its own; outside they conflict, once it is handed up."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True)
    graph.subgraph(inner(), name="left", after="first")
    graph.subgraph(inner(), name="right", after="first", leave={"m": "n"})
    run = Driver(graph, Outer())
    run.returns("first")

    run.returns("left/x", {"n": 1})
    run.returns("right/x", {"n": 2})
    run.returns("left/y", {"n": 3})
    run.returns("right/y", {"n": 4})

    assert (run.run.status, run.state.n, run.state.m) == ("finished", 3, 4)


def test_two_that_hand_up_one_plain_field_conflict() -> None:
    """As two nodes would."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True)
    for name in ("left", "right"):
        graph.subgraph(inner("x", ""), name=name, after="first")
    run = Driver(graph, Outer())
    run.returns("first")
    run.returns("left/x", {"n": 1})

    run.returns("right/x", {"n": 2})

    assert isinstance(run.cause, ConcurrentWrite)
    assert run.run.failed_in == "right"


def test_names_may_be_mapped() -> None:
    """``enter`` is {inner: outer}, ``leave`` is {outer: inner}."""
    run = around(inner("x", ""), Outer(n=5, m=7), enter={"own": "m"}, leave={"n": "own"})
    assert (run.open_at("sub/x").base["own"], run.open_at("sub/x").base["n"]) == (7, 0)

    run.returns("sub/x", {"own": 8})

    assert (run.state.n, run.state.m) == (8, 7)


def test_nothing_goes_in_or_comes_out_if_that_is_said() -> None:
    """An empty list is no default."""
    run = around(inner("x", ""), Outer(n=5), enter=[], leave=[])
    assert run.open_at("sub/x").base["n"] == 0

    run.returns("sub/x", {"n": 6, "total": 1})

    assert (run.frontier, run.state.n, run.state.total) == (["after"], 5, 0)


def test_functions_may_say_what_goes_in_and_out() -> None:
    """``enter`` gives a state or its fields, ``leave`` an update."""
    run = around(
        inner("x", ""),
        Outer(n=5),
        enter=lambda state: Inner(own=state.n),
        leave=lambda state: {"total": state.own * 10},
    )

    run.returns("sub/x", {"own": 6})

    assert (run.state.n, run.state.total) == (5, 60)


@pytest.mark.parametrize("enter", [lambda state: 5, lambda state: {"nope": 1}, lambda state: {"n": "text"}])
def test_what_is_no_inner_state_is_refused(enter: Any) -> None:
    """Nothing has begun."""
    run = around(inner(), enter=enter)

    assert isinstance(run.cause, BadUpdate)
    assert (run.run.failed_in, list(run.run.scopes)) == ("sub", [""])


def test_what_is_handed_up_must_fit() -> None:
    """The scope is as it was, and a resume leaves it again."""
    run = around(inner("x", ""), leave=lambda state: {"n": "text" if state.own else 5})
    run.returns("sub/x", {"own": 1})
    assert (run.run.status, run.run.failed_in) == ("failed", "sub")

    mended = Graph("outer", Outer)
    mended.node(node, name="first", entry=True, goto=("sub", "mend"))
    mended.subgraph(inner("x", ""), name="sub", after="first", leave=lambda state: {"n": 6})
    mended.node(node, name="after", after="sub")
    mended.node(node, name="mend")
    run.reopen(graph=mended)

    assert (run.frontier, run.state.n) == (["after"], 6)


# -- inside ---------------------------------------------------------------------------


def test_a_scope_is_recovered_where_it_was() -> None:
    """An open item of work inside goes on there, not at the entry of its graph."""
    run = around(inner())
    run.returns("sub/x", {"own": 1})
    key = run.open_at("sub/y").key

    run.recover()

    assert (run.running, run.open_at("sub/y").key) == (["sub/y"], key)
    assert sum(isinstance(record, Entered) for record in run.history) == 1


def test_three_levels() -> None:
    """Each has a scope inside the one around it, and hands up to that."""
    middle = Graph("middle", Inner)
    middle.subgraph(inner("x", ""), name="low", entry=True)
    run = around(middle)
    assert run.running == ["sub/low/x"]

    run.returns("sub/low/x", {"n": 3, "log": ["low"]})

    assert (run.frontier, run.state.n, run.state.log) == (["after"], 3, ["low"])


def test_a_graph_may_contain_itself_to_some_depth() -> None:
    """A recursion that does not end is told so."""
    endless = Graph("endless", Inner)
    endless.subgraph(endless, name="again", entry=True)

    run = around(endless)

    assert isinstance(run.cause, TooDeep)


def test_two_visits_at_once_have_scopes_of_their_own() -> None:
    """Under names that differ."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True, goto=("left", "right"))
    for name in ("left", "right"):
        graph.node(node, name=name)
        graph.edge(name, "sub")
    graph.subgraph(inner("x", ""), name="sub")
    run = Driver(graph, Outer())
    run.returns("first", Goto("left", "right"))
    run.returns("left")
    run.returns("right")

    first, second = (path for path in run.run.scopes if path)
    assert run.open_at(f"{first}/x").key != run.open_at(f"{second}/x").key

    run.returns(f"{second}/x", {"total": 1})
    run.returns(f"{first}/x", {"total": 2})
    assert (run.run.status, run.state.total) == ("finished", 3)


def test_the_schema_inside_is_said_once() -> None:
    """Before the first scope of it; each round of a loop enters anew."""
    run = around(inner("x", ""))
    run.returns("sub/x")
    run.returns("after")

    assert [record.schema for record in run.history if isinstance(record, Formed)] == ["Inner"]


def test_each_visit_begins_with_a_new_state() -> None:
    """Unless it is kept: what an earlier visit wrote inside is gone."""
    graph = Graph("outer", Outer)
    graph.subgraph(inner("x", ""), name="sub", entry=True)
    graph.edge("sub", "sub")
    run = Driver(graph, Outer())
    key = run.open_at("sub/x").key

    run.returns("sub/x", {"own": 7, "n": 1})

    again = run.open_at("sub/x")
    assert (again.base["own"], again.base["n"]) == (0, 1)
    assert again.key != key


# -- kept -----------------------------------------------------------------------------


def looping(inside: Graph[Any], **options: Any) -> Driver:
    """A run that enters the graph inside whenever ``first`` goes there."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True, goto=("sub", "mend"))
    graph.subgraph(inside, name="sub", lifetime="run", **options)
    graph.edge("sub", "first")
    graph.node(node, name="mend")
    return Driver(graph, Outer())


def test_a_kept_state_is_there_on_the_next_visit() -> None:
    """What goes in goes over it; what is handed up is what this visit wrote."""
    run = looping(inner("x", ""))
    run.returns("first", Goto("sub", update={"n": 1}))
    run.returns("sub/x", {"own": 7, "log": ["one"]})

    run.returns("first", Goto("sub", update={"n": 2}))

    base = run.open_at("sub/x").base
    assert (base["n"], base["own"]) == (2, 7)
    run.returns("sub/x", {"log": ["two"]})
    assert (run.state.log, run.state.n) == (["one", "two"], 2)


def test_who_comes_second_waits_until_it_is_free() -> None:
    """In the order in which they came; also through a crash."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True, goto=("a", "b", "c"))
    for name in "abc":
        graph.node(node, name=name)
        graph.edge(name, "sub")
    graph.subgraph(inner("x", ""), name="sub", lifetime="run", enter={}, leave=["log"])
    run = Driver(graph, Outer())
    run.returns("first", Goto("a", "b", "c"))
    for name in "bca":
        run.returns(name)
    owners = [one.key for one in run.run.open.values() if one.node == "sub"]
    seen = []

    for _ in range(3):
        assert run.running == ["sub/x"]
        run.recover()
        owner = run.scope("sub").owner
        assert owner is not None
        seen.append(run.run.open[owner].key)
        run.returns("sub/x", {"log": ["visit"], "total": 1})

    assert seen == owners
    assert (run.run.status, run.state.log, run.scope("sub").values["total"]) == ("finished", ["visit"] * 3, 3)


def test_a_visit_that_did_not_finish_leaves_nothing() -> None:
    """It is handled, and what it had written by then is not in the state that the next visit finds."""

    def mend(state: Outer, error: Exception) -> Update:
        raise AssertionError

    run = looping(inner(), on_error=mend)
    run.returns("first", Goto("sub"))
    run.returns("sub/x", {"own": 1, "total": 5})

    run.raises("sub/y", ValueError("no"))
    run.returns("sub")
    run.returns("first", Goto("sub"))

    assert (run.open_at("sub/x").base["own"], run.open_at("sub/x").base["total"]) == (0, 0)


def test_a_visit_that_is_done_again_counts_once() -> None:
    """Somebody wrote what it was about to hand up, so that it is put back on the present state."""
    run = looping(inner())
    run.returns("first", Goto("sub"))
    run.returns("sub/x", {"n": 1, "count": 1, "total": 5})
    run.updates({"n": 100})

    run.returns("sub/y")
    assert (run.running, run.open_at("sub/x").base["count"], run.open_at("sub/x").base["n"]) == (["sub/x"], 0, 100)
    run.returns("sub/x", {"n": 2, "count": 1, "total": 5})
    run.returns("sub/y")

    assert (run.state.total, run.state.n, run.scope("sub").values["count"]) == (5, 2, 1)


# -- leaving to the graph around -----------------------------------------------------------


def test_a_goto_to_the_graph_around_ends_the_scope() -> None:
    """What else goes on inside is cancelled, what was written is handed up, and the owner goes there."""
    run = around(inner("xyz", "x>y x>z"), goto=("mend", "first"))
    run.returns("sub/x", {"log": ["x"]})

    run.returns("sub/y", Goto("mend", parent=True, update={"log": ["y"]}))

    assert (run.frontier, list(run.run.scopes), run.state.log) == (["mend"], [""], ["x", "y"])


def test_it_passes_by_the_branches_inside() -> None:
    """A Goto replaces them, wherever it leads."""
    inside = inner("xy", "")
    inside.branch(lambda state: "y", after="x", to=("y",))
    run = around(inside, goto="mend")

    run.returns("sub/x", Goto("mend", parent=True))

    assert run.frontier == ["mend"]


def test_a_target_around_must_be_declared() -> None:
    """By the subgraph's ``goto=``; nothing was merged."""
    run = around(inner(), goto="mend")

    run.returns("sub/x", Goto("after", parent=True, update={"own": 1}))

    assert isinstance(run.cause, UndeclaredTarget)
    assert (run.scope("sub").values["own"], run.open_at("sub/x").merged) == (0, False)


def test_the_end_around_need_not_be_declared() -> None:
    """As little as for a Goto that stays inside: it ends the owner's token, and what was written is handed up."""
    run = around(inner())

    run.returns("sub/x", Goto(END, parent=True, update={"n": 3}))

    assert (run.run.status, run.frontier, run.state.n) == ("finished", [], 3)


def test_there_is_nothing_around_the_outermost_graph() -> None:
    """A mistake of the node's, not of the engine's."""
    run = around(inner())
    run.returns("sub/x")
    run.returns("sub/y")

    run.returns("after", Goto("mend", parent=True))

    assert isinstance(run.cause, BadUpdate)
    assert run.run.failed_in == "after"


def test_an_item_can_not_leave_to_the_graph_around() -> None:
    """Where the others go on, there is nowhere to go."""
    graph = Graph("outer", Outer)
    graph.map(inner("x", ""), over="items", into="results", enter="n", leave="own", name="each", entry=True)
    run = Driver(graph, Outer(items=[1, 2]))

    run.returns("each[0]/x", Goto("each", parent=True, update={"own": 5}))

    assert isinstance(run.cause, BadUpdate)
    assert run.scope("each[0]").values["own"] == 0


def test_where_it_leads_is_remembered_while_the_owner_can_not_finish() -> None:
    """The run fails because what is handed up does not fit; resumed, it still leaves to the graph around."""
    run = around(inner("xy", "x>y"), goto="mend", leave=lambda state: {"n": "text" if state.own else 1})
    run.returns("sub/x", Goto("mend", parent=True, update={"own": 1}))
    assert (run.run.status, run.run.failed_in) == ("failed", "sub")

    mended = Graph("outer", Outer)
    mended.node(node, name="first", entry=True, goto=("sub", "mend"))
    mended.subgraph(inner("xy", "x>y"), name="sub", after="first", goto="mend", leave=lambda state: {"n": 2})
    mended.node(node, name="after", after="sub")
    mended.node(node, name="mend")
    run.reopen(graph=mended)

    assert (run.frontier, run.state.n) == (["mend"], 2)


# -- failing --------------------------------------------------------------------------------


def test_what_fails_inside_stays_open_there() -> None:
    """Resumed, it goes on inside."""
    run = around(inner())
    run.returns("sub/x")

    run.raises("sub/y")
    run.gives_up()
    assert run.run.failed_in == "y"
    run.reopen()

    assert run.running == ["sub/y"]


def test_a_handler_around_drops_what_is_inside() -> None:
    """Its completion counts as the owner's, edges included; it knows which node failed."""

    def mend(state: Outer, error: Exception) -> Update:
        raise AssertionError

    run = around(inner("xyz", "x>y x>z"), on_error=mend)
    run.returns("sub/x", {"total": 5})

    run.raises("sub/y", ValueError("no"))

    owner = run.open_at("sub")
    assert (run.running, owner.handling, owner.failed, list(run.run.scopes)) == (["sub"], True, "y", [""])
    run.returns("sub", {"n": -1})
    assert (run.frontier, run.state.n, run.state.total) == (["after"], -1, 0)


def test_a_handler_that_is_a_node_goes_on_in_place_of_what_comes_after() -> None:
    """Opened in the graph around."""
    run = around(inner(), on_error="mend")

    run.raises("sub/x", ValueError("no"))

    assert (run.frontier, run.open_at("mend").failed, list(run.run.scopes)) == (["mend"], "x", [""])


def test_a_handler_is_for_what_it_catches() -> None:
    """Something else crashes the run as if it were not there."""
    run = around(inner(), on_error="mend", catch=KeyError)

    run.raises("sub/x", ValueError("no"))

    assert run.crashed is not None


def test_a_conflict_inside_is_never_handled() -> None:
    """Which of the two failed is timing."""
    run = around(inner("xyz", "x>y x>z"), on_error="mend")
    run.returns("sub/x")
    run.returns("sub/y", {"own": 1})

    run.returns("sub/z", {"own": 2})

    assert isinstance(run.cause, ConcurrentWrite)


def test_a_join_that_starves_inside_fails_the_owner() -> None:
    """Whose handler may take over."""
    inside = Graph("inner", Inner)
    inside.node(node, name="x", entry=True, goto=("y", "z"))
    inside.node(node, name="y")
    inside.node(node, name="z")
    inside.node(node, name="j", after=("y", "z"))
    alone, handled = around(inside), around(inside, on_error="mend")
    for run in (alone, handled):
        run.returns("sub/x", Goto("y"))
        run.returns("sub/y")

    assert (type(alone.cause), alone.run.failed_in) == (JoinStarved, "sub")
    assert handled.frontier == ["mend"]


# -- items that are graphs ---------------------------------------------------------------------


def each(**options: Any) -> Driver:
    """A run of a map over a graph of two nodes."""
    graph = Graph("outer", Outer)
    settings = {"over": "items", "into": "results", "enter": "n", "leave": "own", **options}
    graph.map(inner(), name="each", entry=True, **settings)
    graph.node(node, name="after", after="each")
    return Driver(graph, Outer(items=[10, 20, 30]))


def test_each_item_has_a_scope() -> None:
    """With the item in it, and its result out of it; results in the order of the items."""
    run = each(limit=2)
    assert run.running == ["each[0]/x", "each[1]/x"]
    assert run.open_at("each[1]/x").base["n"] == 20

    run.returns("each[1]/x")
    run.returns("each[1]/y", {"own": 2})
    assert run.running == ["each[0]/x", "each[2]/x"]
    for index in (2, 0):
        run.returns(f"each[{index}]/x")
        run.returns(f"each[{index}]/y", {"own": index})

    assert (run.state.results, run.frontier, list(run.run.scopes)) == ([0, 2, 2], ["after"], [""])


def test_an_open_item_goes_on_inside() -> None:
    """Not at the entry of its graph."""
    run = each()
    run.returns("each[1]/x")

    run.recover()

    assert run.running == ["each[0]/x", "each[2]/x", "each[1]/y"]


def test_a_retry_restarts_a_whole_item() -> None:
    """What it had done is dropped; another item does not notice."""
    run = each(retry=Retry(attempts=2, backoff=5.0, jitter=False))
    run.returns("each[1]/x", {"own": 1})
    run.raises("each[1]/y", ValueError("no"))
    assert run.running == ["each[0]/x", "each[2]/x"]

    run.recover()
    run.waits("each[1]")

    assert run.running == ["each[0]/x", "each[2]/x", "each[1]/x"]
    assert run.open_at("each[1]/x").base["own"] == 0


def test_an_item_that_used_up_its_attempts_fails_the_run() -> None:
    """Without restarts by the supervisor: it had its own."""
    run = each(retry=Retry(attempts=2, backoff=5.0, jitter=False))
    run.raises("each[1]/x", ValueError("no"))
    run.waits("each[1]")

    run.raises("each[1]/x", ValueError("no"))

    assert (run.run.status, run.crashed) == ("failed", None)


def test_a_failure_inside_an_item_is_collected() -> None:
    """With its scope, whatever else was open in it."""
    run = each(on_error="collect", errors=None, into="results", leave="own", over="items")
    run.returns("each[0]/x")
    run.returns("each[0]/y", {"own": 5})
    run.returns("each[2]/x")
    run.returns("each[2]/y", {"own": 7})

    run.raises("each[1]/x", ValueError("no"))

    assert isinstance(run.cause, BadUpdate), "an error is no int, and no field for errors is named"
    assert [path for path in run.run.scopes if path] == []


def test_the_error_of_an_item_stands_beside_the_results_of_the_others() -> None:
    """Also of one that is a graph; it ends the item, wherever the process dies after it."""
    run = each(on_error="collect", errors="errors")
    run.returns("each[1]/x")
    run.raises("each[1]/y", ValueError("no"))

    run.recover()
    assert run.running == ["each[0]/x", "each[2]/x"]
    for index in (2, 0):
        run.returns(f"each[{index}]/x")
        run.returns(f"each[{index}]/y", {"own": index})

    assert (run.state.results, run.frontier) == ([0, 2], ["after"])
    assert run.state.errors == [ItemError(1, 20, "ValueError", "no")]


def test_what_is_sent_to_a_graph_is_its_state() -> None:
    """And what it hands up is merged in the order in which it was sent."""
    graph = Graph("outer", Outer)
    graph.node(node, name="first", entry=True, send="sub")
    graph.subgraph(inner("x", ""), name="sub")
    run = Driver(graph, Outer())
    run.returns("first", [Send("sub", Inner(own=1)), Send("sub", Inner(own=2, log=["old"]))])
    assert [run.open_at(f"sub[{index}]/x").base["own"] for index in (0, 1)] == [1, 2]

    run.returns("sub[1]/x", {"log": ["b"]})
    run.returns("sub[0]/x", {"log": ["a"]})

    assert (run.run.status, run.state.log) == ("finished", ["a", "b"])


def test_nested_fan_outs() -> None:
    """A map in the graph of each item: everything once, everything in its order."""
    inside = Graph("inner", Inner)
    inside.map(_twice, over=lambda state: [state.n, state.n + 1], into="log", name="low", entry=True)
    graph = Graph("outer", Outer)
    graph.map(inside, over="items", into="results", enter="n", leave=lambda state: len(state.log), name="each")
    run = Driver(graph, Outer(items=[10, 20]))
    assert run.running == ["each[0]/low[0]", "each[0]/low[1]", "each[1]/low[0]", "each[1]/low[1]"]

    run.returns("each[1]/low[1]", "d")
    run.recover()
    for where in ("each[0]/low[1]", "each[1]/low[0]"):
        run.returns(where, "x")
    assert run.state.results == []
    run.returns("each[0]/low[0]", "a")

    assert (run.run.status, run.state.results) == ("finished", [2, 2])


def _twice(item: int) -> str:
    raise AssertionError
