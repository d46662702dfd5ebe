"""Adoption: a run as newer code understands it, in every scope of it, or a typed reason why it can't be."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from actorflow.engine.events import Sweep
from actorflow.engine.records import Ask
from actorflow.engine.snapshot import dump, load
from actorflow.errors import MigrationFailed, NoMigration, SchemaDrift, UnknownNode
from actorflow.graph.graph import Graph
from actorflow.graph.migrate import migrate
from actorflow.graph.reducers import Overwrite, Remove, extend, merge_by
from actorflow.graph.routing import END, Goto, Send
from actorflow.graph.state import State
from actorflow.runtime.adopt import adopt, file_part
from tests.engine.driver import Driver, picture, replayed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.graph.routing import End


def node(state: Any) -> None:
    """Never called: decide() is told what it returned."""


def item(number: int) -> int:
    """Never called either."""
    raise AssertionError


def taker(number: int) -> None:
    """Nor is this."""


def adopted(run: Driver, graph: Graph[Any]) -> Driver:
    """The run after its process died and newer code took it up; through a snapshot, as its next commit has it."""
    saved = file_part(run.graph, run_id="run", life=1, store=b"s" * 16)
    taken = adopt(graph, replayed(run.history), saved, time_limit=5)
    run.run = load(dump(taken))
    assert picture(run.run) == {**picture(taken), "renewed": False}
    run.graph = graph
    run.pending, run.held, run.ready, run.expiring, run.crashed = [], [], {}, {}, None
    run.settle(Sweep())
    return run


# -- three levels of versions --------------------------------------------------------------


class Low1(State, version=1, name="Low"):
    """As it was."""

    n: int = 0
    seconds: int = 0
    log: Annotated[list[str], extend] = []


class Low2(State, version=2, name="Low"):
    """As it is: milliseconds, and n has another name."""

    number: int = 0
    milliseconds: int = 0
    log: Annotated[list[str], extend] = []


class Middle1(State, version="a", name="Middle"):
    """As it was."""

    n: int = 0
    log: Annotated[list[str], extend] = []


class Middle2(State, version="b", name="Middle"):
    """As it is."""

    number: int = 0
    log: Annotated[list[str], extend] = []


class Top(State, version=7):
    """As it was and is."""

    n: int = 0
    log: Annotated[list[str], extend] = []


@migrate(from_=1, to=2)
def low(old: dict[str, Any]) -> dict[str, Any]:
    """Of the lowest state; the log in capitals."""
    return {
        "number": old["n"],
        "milliseconds": old["seconds"] * 1000,
        "log": [line.upper() for line in old["log"]],
    }


@migrate(from_="a", to="b")
def middle(old: dict[str, Any]) -> dict[str, Any]:
    """Of the one in the middle."""
    return {"number": old["n"], "log": old["log"]}


def levels(*, new: bool, moves: Mapping[str, str | End] | None = None, migrations: Any = (low, middle)) -> Graph[Any]:
    """A graph in a graph in a graph, before and after."""
    number = "number" if new else "n"
    names = moves or {}

    def of(*mine: str) -> dict[str, str | End]:
        return {name: names[name] for name in mine if name in names}

    lowest: Graph[Any] = Graph(
        "lowest",
        Low2 if new else Low1,
        migrations=[one for one in migrations if one is low],
        moves=of("x", "y", "z", "join"),
    )
    named = {name: str(names.get(name, name)) for name in ("x", "y", "z", "join", "low", "mid")}
    lowest.node(node, name=named["x"], entry=True)
    for name in "yz":
        lowest.node(node, name=named[name], after=named["x"])
    lowest.node(node, name=named["join"], after=(named["y"], named["z"]))
    halfway: Graph[Any] = Graph(
        "halfway",
        Middle2 if new else Middle1,
        migrations=[one for one in migrations if one is middle],
        moves=of("low"),
    )
    halfway.subgraph(
        lowest,
        name=named["low"],
        entry=True,
        enter={number: number, "log": "log"},
        leave={number: number, "log": "log"},
    )
    graph: Graph[Any] = Graph("top", Top, moves=of("mid"))
    graph.subgraph(
        halfway, name=named["mid"], entry=True, enter={number: "n", "log": "log"}, leave={"n": number, "log": "log"}
    )
    return graph


def test_every_scope_is_migrated_by_its_own_graph() -> None:
    """Values, bases, updates to be handed up; and the run goes on."""
    run = Driver(levels(new=False), Top(n=3, log=["top"]))
    run.returns("mid/low/x", {"n": 4, "seconds": 5, "log": ["x"]})
    run.returns("mid/low/y", {"log": ["y"]})

    run = adopted(run, levels(new=True))

    assert run.scope("mid/low").values == {"number": 4, "milliseconds": 5000, "log": ["TOP", "X", "Y"]}
    assert run.open_at("mid/low/z").base == {"number": 4, "milliseconds": 5000, "log": ["TOP", "X"]}
    assert run.scope("mid").values == {"number": 3, "log": ["top"]}
    run.returns("mid/low/z", {"log": ["Z"], "milliseconds": 1})
    run.returns("mid/low/join")
    assert (run.run.status, run.state.n, run.state.log) == ("finished", 4, ["top", "X", "Y", "Z"])


def test_a_run_that_was_adopted_says_all_of_it_in_its_next_commit() -> None:
    """Also where the schema of the run itself, and its topology, are the same; and not if nothing changed."""
    run = Driver(levels(new=False), Top())
    saved = file_part(run.graph, run_id="run", life=1, store=b"s" * 16)
    same = adopt(levels(new=False), replayed(run.history), saved, time_limit=5)
    newer = adopt(levels(new=True), replayed(run.history), saved, time_limit=5)

    assert (same.renewed, newer.renewed) == (False, True)
    assert {(form.name, form.version) for form in newer.forms.values()} == {("Low", 2), ("Middle", "b")}
    again = adopt(levels(new=True), load(dump(newer)), saved, time_limit=5)
    assert not again.renewed


def test_no_way_for_a_scope_inside_is_told() -> None:
    """As for the run's own state: which schema, from where to where."""
    run = Driver(levels(new=False), Top())

    with pytest.raises(NoMigration) as caught:
        adopted(run, levels(new=True, migrations=(middle,)))

    assert (caught.value.schema, caught.value.found, caught.value.wanted) == ("Low", 1, 2)


def test_a_migration_that_fails_inside_is_told() -> None:
    """The cause is kept."""

    @migrate(from_="a", to="b")
    def broken(old: dict[str, Any]) -> dict[str, Any]:
        raise ValueError("no")

    graph = levels(new=True, migrations=(low,))
    halfway = graph.plan.nodes["mid"].inner
    assert halfway is not None
    halfway.graph.migrate(broken)
    run = Driver(levels(new=False), Top())

    with pytest.raises(MigrationFailed):
        adopted(run, graph)


def test_scopes_move_with_the_nodes_that_own_them() -> None:
    """And what waits in them, each by the moves of its own graph."""
    run = Driver(levels(new=False), Top())
    run.returns("mid/low/x", {"n": 4})
    run.returns("mid/low/y")

    run = adopted(run, levels(new=True, moves={"mid": "MID", "low": "LOW", "y": "Y", "join": "JOIN"}))

    assert list(run.run.scopes) == ["", "MID", "MID/LOW"]
    assert (run.running, run.frontier) == (["MID/LOW/z"], ["MID", "LOW", "z"])
    assert list(run.scope("MID/LOW").waiting) == ["JOIN"]
    run.returns("MID/LOW/z")
    assert run.running == ["MID/LOW/JOIN"]
    run.returns("MID/LOW/JOIN")
    assert (run.run.status, run.state.n) == ("finished", 4)


def test_an_open_node_inside_that_is_gone_is_refused() -> None:
    """Never a silent end."""
    run = Driver(levels(new=False), Top())
    run.returns("mid/low/x")
    flat: Graph[Any] = Graph("top", Top)
    flat.node(node, name="mid")
    lowest: Graph[Any] = Graph("lowest", Low1)
    lowest.node(node, name="x")
    halfway: Graph[Any] = Graph("halfway", Middle1)
    halfway.subgraph(lowest, name="low")
    less: Graph[Any] = Graph("top", Top)
    less.subgraph(halfway, name="mid")

    for graph in (flat, less):
        with pytest.raises(UnknownNode):
            adopted(run, graph)


# -- moves, in one graph ---------------------------------------------------------------------


class Plain(State, version=1):
    """A state of no interest."""

    n: int = 0
    items: list[int] = []
    done: list[int] = []


def forked(*names: str, moves: Mapping[str, str | End] | None = None) -> Graph[Plain]:
    """``a``, two legs, and their join; by these names."""
    a, b, c, j = names
    graph = Graph("g", Plain, moves=moves)
    graph.node(node, name=a, entry=True)
    graph.node(node, name=b, after=a)
    graph.node(node, name=c, after=a)
    graph.node(node, name=j, after=(b, c))
    return graph


def test_a_node_that_is_gone_ends_its_token() -> None:
    """The scope knows that it is one fewer, so that the run can end."""
    run = Driver(forked("a", "b", "c", "j"), Plain())
    run.returns("a")
    newer = Graph("g", Plain, moves={"b": END, "j": END})
    newer.node(node, name="a", entry=True)
    newer.node(node, name="c", after="a")

    run = adopted(run, newer)
    run.returns("c")

    assert run.run.status == "finished"


def test_a_leg_that_is_gone_takes_its_token_with_it() -> None:
    """The join does not wait for it any more, and no token of an unknown leg is left."""
    run = Driver(forked("a", "b", "c", "j"), Plain())
    run.returns("a")
    run.returns("b")
    newer = Graph("g", Plain, moves={"b": END})
    newer.node(node, name="a", entry=True)
    newer.node(node, name="c", after="a")
    newer.node(node, name="j", after="c")

    run = adopted(run, newer)
    assert run.run.root.waiting == {}
    run.returns("c")

    assert run.frontier == ["j"]


def test_a_map_that_is_gone_ends_with_its_items() -> None:
    """All of them."""
    old, new = Graph("g", Plain), Graph("g", Plain, moves={"each": END})
    old.map(item, over="items", into="done", name="each")
    for graph in (old, new):
        graph.node(node, name="first", entry=True)
    old.edge("first", "each")
    run = Driver(old, Plain(items=[1, 2]))
    run.returns("first")
    run.returns("each[0]", 1)

    run = adopted(run, new)

    assert (run.run.status, run.run.open, run.run.fans) == ("finished", {}, {})


def test_a_map_that_was_renamed_goes_on() -> None:
    """With its items."""
    old, new = Graph("g", Plain), Graph("g", Plain, moves={"each": "every"})
    old.map(item, over="items", into="done", name="each")
    new.map(item, over="items", into="done", name="every")
    run = Driver(old, Plain(items=[1, 2]))
    run.returns("each[0]", 1)

    run = adopted(run, new)
    run.returns("every[1]", 2)

    assert (run.run.status, run.state.done) == ("finished", [1, 2])


def test_a_target_that_was_offered_is_not_offered_again_under_its_new_name() -> None:
    """What is done stays done."""
    small, grown, renamed = Graph("g", Plain), Graph("g", Plain), Graph("g", Plain, moves={"b": "B"})
    for graph in (small, grown, renamed):
        graph.node(node, name="a", entry=True)
    grown.node(node, name="b", after="a")
    renamed.node(node, name="B", after="a")
    run = Driver(small, Plain())
    run.returns("a")
    run.reopen(graph=grown)
    run.returns("b")

    run = adopted(run, renamed)

    assert run.frontier == []


def test_where_a_merged_node_leads_moves_too() -> None:
    """It waits after its update was merged, and what it had returned names a node."""
    old = Graph("g", Plain, interrupt_after="a")
    old.node(node, name="a", entry=True, goto=("b", "c"))
    for name in "bc":
        old.node(node, name=name)
    new = Graph("g", Plain, interrupt_after="a", moves={"b": "B", "c": END})
    new.node(node, name="a", entry=True, goto="B")
    new.node(node, name="B")
    run = Driver(old, Plain())
    run.returns("a", Goto("b", "c"))

    run = adopted(run, new)
    run.answers()

    assert run.frontier == ["B"]


def test_where_a_merged_node_leads_must_be_known() -> None:
    """As if it were open there."""
    old, new = (Graph("g", Plain, interrupt_after="a") for _ in range(2))
    for graph, targets in ((old, "bc"), (new, "b")):
        graph.node(node, name="a", entry=True, goto=tuple(targets))
        for name in targets:
            graph.node(node, name=name)
    run = Driver(old, Plain())
    run.returns("a", Goto("c"))

    with pytest.raises(UnknownNode):
        adopted(run, new)


# -- kept scopes, fan-outs, queues -------------------------------------------------------------


class Kept1(State, version=1, name="Kept"):
    """As it was."""

    n: int = 0


class Kept2(State, version=2, name="Kept"):
    """As it is."""

    number: int = 0


@migrate(from_=1, to=2)
def kept(old: dict[str, Any]) -> dict[str, Any]:
    """The name of a field."""
    return {"number": old["n"] * 10}


def keeping(state: type[State], name: str = "sub", **options: Any) -> Graph[Plain]:
    """A graph that enters one whose state is kept."""
    inside: Graph[Any] = Graph("inside", state, migrations=[kept] if state is Kept2 else [])
    inside.node(node, name="x")
    graph = Graph("g", Plain, **options)
    graph.node(node, name="a", entry=True, goto=(name, "b"))
    graph.node(node, name="b")
    graph.subgraph(inside, name=name, lifetime="run", enter={}, leave={})
    graph.edge(name, "a")
    return graph


def test_a_kept_state_is_migrated_between_visits() -> None:
    """Nobody is in it; the next visit finds it as the code has it."""
    run = Driver(keeping(Kept1), Plain())
    run.returns("a", Goto("sub"))
    run.returns("sub/x", {"n": 5})

    run = adopted(run, keeping(Kept2, name="SUB", moves={"sub": "SUB"}))
    run.returns("a", Goto("SUB"))

    assert run.open_at("SUB/x").base == {"number": 50}


def test_what_a_kept_state_was_before_a_visit_is_migrated() -> None:
    """It may have to stay so."""
    run = Driver(keeping(Kept1), Plain())
    run.returns("a", Goto("sub"))
    run.returns("sub/x", {"n": 5})
    run.returns("a", Goto("sub"))

    run = adopted(run, keeping(Kept2))

    assert run.scope("sub").before == {"number": 50}


def test_a_kept_state_whose_node_is_gone_is_left_as_it_was() -> None:
    """Should the node come back."""
    run = Driver(keeping(Kept1), Plain())
    run.returns("a", Goto("sub"))
    run.returns("sub/x", {"n": 5})
    without = Graph("g", Plain)
    without.node(node, name="a", entry=True)

    run = adopted(run, without)
    assert run.scope("sub").values == {"n": 5}
    saved = file_part(without, run_id="run", life=1, store=b"s" * 16)
    back = adopt(keeping(Kept2), run.run, saved, time_limit=5)

    assert back.scopes["sub"].values == {"number": 50}


class Docs1(State, version=1, name="Docs"):
    """As it was."""

    docs: list[int] = []
    done: list[int] = []
    total: Annotated[int, operator.add] = 0
    people: Annotated[list[dict[str, Any]], merge_by("id")] = []


class Docs2(State, version=2, name="Docs"):
    """As it is: another name, or another length."""

    papers: list[int] = []
    done: list[int] = []
    total: Annotated[int, operator.add] = 0
    people: Annotated[list[dict[str, Any]], merge_by("id")] = []


@migrate(from_=1, to=2)
def papers(old: dict[str, Any]) -> dict[str, Any]:
    """The name of the field that items come from."""
    return {**{name: value for name, value in old.items() if name != "docs"}, "papers": old["docs"]}


def test_items_of_an_open_map_are_fixed_whatever_becomes_of_their_field() -> None:
    """They were elements of a field that has another name now."""
    old, new = Graph("g", Docs1), Graph("g", Docs2, migrations=[papers])
    old.map(item, over="docs", into="done", name="each", limit=1)
    new.map(item, over="papers", into="done", name="each", limit=1)
    run = Driver(old, Docs1(docs=[10, 20]))

    run = adopted(run, new)
    fan = next(iter(run.run.fans.values()))
    assert fan.items == [10, 20]
    run.returns("each[0]", 1)
    run.returns("each[1]", 2)

    assert (run.run.status, run.state.done, run.state.papers) == ("finished", [1, 2], [10, 20])


def test_states_that_were_sent_are_migrated() -> None:
    """Those whose scope has not begun yet, too: they wait for their turn, or are tried again."""

    def graph_of(state: type[State], *migrations: Any) -> Graph[Any]:
        inside: Graph[Any] = Graph("inside", state, migrations=migrations)
        inside.node(node, name="x")
        graph = Graph("g", Plain)
        graph.map(
            inside,
            over=lambda plain: [Kept1(n=1), Kept1(n=2)],
            into="done",
            leave=lambda state: 1,
            limit=1,
            name="each",
        )
        return graph

    run = Driver(graph_of(Kept1), Plain())
    assert run.running == ["each[0]/x"]

    run = adopted(run, graph_of(Kept2, kept))
    assert run.open_at("each[0]/x").base == {"number": 10}
    run.returns("each[0]/x")

    assert run.open_at("each[1]/x").base == {"number": 20}


def queueing(state: type[State], *migrations: Any) -> Graph[Any]:
    """A graph of one node."""
    graph: Graph[Any] = Graph("g", state, migrations=migrations)
    graph.node(node, name="a")
    return graph


def test_input_that_waits_is_migrated() -> None:
    """Where it stands for its whole field."""

    @migrate(from_=1, to=2)
    def doubled(old: dict[str, Any]) -> dict[str, Any]:
        return {**papers(old), "total": old["total"] * 2}

    run = Driver(queueing(Docs1), Docs1())
    run.gets({"total": 5, "done": Overwrite([1])}, "queue")

    run = adopted(run, queueing(Docs2, doubled))
    run.returns("a")

    assert (run.frontier, run.state.total, run.state.done) == (["a"], 10, [1])


def test_input_that_waits_for_a_field_that_is_gone_is_refused() -> None:
    """A migration of the state does not say what becomes of it. Nothing is lost."""
    run = Driver(queueing(Docs1), Docs1())
    run.gets({"docs": [5]}, "queue")

    with pytest.raises(SchemaDrift, match="'docs' has updates that are still to be merged"):
        adopted(run, queueing(Docs2, papers))


def test_keys_to_be_taken_away_are_left_as_they_are() -> None:
    """They are no value of the field."""
    run = Driver(queueing(Docs1), Docs1(people=[{"id": 1}, {"id": 2}]))
    run.gets({"people": [Remove(1), {"id": 3}]}, "queue")

    run = adopted(run, queueing(Docs2, papers))
    run.returns("a")

    assert run.state.people == [{"id": 2}, {"id": 3}]


def test_open_questions_are_there_under_newer_code() -> None:
    """An answer reaches the node by its new name."""
    new = Graph("g", Docs2, migrations=[papers], moves={"a": "A"})
    new.node(node, name="A")
    run = Driver(queueing(Docs1), Docs1())
    run.suspends("a", Ask("go", "ask", "Go?"))

    run = adopted(run, new)
    run.answers(True, to="A")

    assert run.running == ["A"]


def test_what_was_sent_goes_on_under_newer_code() -> None:
    """Its inputs are as they were sent."""

    def graph_of(state: type[State], *migrations: Any) -> Graph[Any]:
        graph: Graph[Any] = Graph("g", state, migrations=migrations)
        graph.node(node, name="a", entry=True, send="b")
        graph.node(taker, name="b", takes=int)
        return graph

    run = Driver(graph_of(Docs1), Docs1())
    run.returns("a", [Send("b", 1), Send("b", 2)])
    run.returns("b[0]", {"total": 1})

    run = adopted(run, graph_of(Docs2, papers))
    run.returns("b[1]", {"total": 2})

    assert (run.run.status, run.state.total) == ("finished", 3)
