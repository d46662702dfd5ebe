"""Graph: declaring hands everything back as it was, and the plan is what was declared."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest

from actorflow.errors import DuplicateMigration, GraphError
from actorflow.graph.graph import Graph
from actorflow.graph.migrate import migrate
from actorflow.graph.reducers import extend
from actorflow.graph.routing import END, End
from actorflow.graph.state import State, Update


class Draft(State, version=2):
    """The state of these graphs."""

    text: str = ""
    trace: Annotated[list[str], extend] = []


async def write(state: Draft) -> Update:
    """A node of several graphs."""
    return {"text": "once upon a time"}


def publish(state: Draft) -> None:
    """Another."""


def test_node_hands_the_function_back_with_and_without_parentheses_and_as_a_call() -> None:
    """A declared function can be called, tested and declared again."""
    graph = Graph("g", Draft)

    assert graph.node(write) is write
    assert graph.node(after=write)(publish) is publish
    assert [*graph.plan.nodes] == ["write", "publish"]
    assert graph.plan.nodes["write"].fn is write


def test_branch_hands_the_function_back() -> None:
    """As a decorator and as a call."""
    graph = Graph("g", Draft)
    graph.node(write)

    def verdict(state: Draft) -> Literal["publish"] | End:
        return END

    assert graph.branch(after=write)(verdict) is verdict
    graph.node(publish)
    graph.node(lambda state: None, name="archive", after=publish)
    assert graph.branch(verdict, after="archive", to=(write, END)) is verdict
    graph.node(lambda state: None, name="start", after=None)
    graph.edge("start", write)

    assert graph.plan.branches["write"][0].targets == ("publish", END)
    assert graph.plan.branches["archive"][0].targets == ("write", END)
    assert graph.plan.branches["archive"][0].source == "archive"


def test_one_function_serves_several_graphs() -> None:
    """Nothing is kept on the function."""
    first, second = Graph("first", Draft), Graph("second", Draft)
    first.node(write)
    second.node(write, name="rewrite")

    assert [*first.plan.nodes, *second.plan.nodes] == ["write", "rewrite"]


def test_references_may_be_functions_or_names_declared_later() -> None:
    """The order of declaration is the reader's, not the graph's."""
    graph = Graph("g", Draft)
    graph.node(publish, after="write")
    graph.node(write)

    assert graph.plan.edges == {"write": ("publish",)}


def test_a_method_is_a_reference_to_itself() -> None:
    """Each access makes another object, and all of them are the same node."""

    class Desk:
        def edit(self, state: Draft) -> None: ...
        def send(self, state: Draft) -> None: ...

    desk, graph = Desk(), Graph("g", Draft)
    graph.node(desk.edit)
    graph.node(desk.send, after=desk.edit)

    assert graph.plan.edges == {"edit": ("send",)}


def test_a_tuple_or_list_of_references_is_a_join_and_one_alone_an_edge() -> None:
    """after= and edge() read alike."""
    graph = Graph("g", Draft)
    for name in ("a", "b", "c"):
        graph.node(publish, name=name, after=["a"] if name != "a" else None)
    graph.node(write, after=("b", "c"))
    graph.node(publish, name="last")
    graph.edge(["b", "write"], "last")

    plan = graph.plan
    assert plan.edges == {"a": ("b", "c")}
    assert plan.legs == {"b": ("write", "last"), "c": ("write",), "write": ("last",)}
    assert plan.joins == {"write": (("b", "c"),), "last": (("b", "write"),)}


def test_a_node_may_have_several_joins_and_edges_into_it() -> None:
    """Each after= tuple and each plain edge is an inlet of its own."""
    graph = Graph("g", Draft)
    for name in ("a", "b", "c", "d", "e"):
        graph.node(publish, name=name, entry=True)
    graph.node(write, after=("a", "b"))
    graph.edge(("c", "d"), write)
    graph.edge("e", write)

    assert graph.plan.joins == {"write": (("a", "b"), ("c", "d"))}
    assert graph.plan.edges == {"e": ("write",)}


def test_a_leaf_is_what_nothing_leaves() -> None:
    """An edge to END leaves, so does a leg, a branch, a goto."""
    graph = Graph("g", Draft)
    for name in ("edge", "leg", "branch", "goto", "ends", "leaf"):
        graph.node(publish, name=name, entry=True, goto="leaf" if name == "goto" else ())
    graph.edge("edge", "leaf")
    graph.edge("ends", END)
    graph.branch(lambda state: END, after="branch", to=END)
    graph.node(write, after=("leg", "edge"))

    assert [name for name in graph.plan.nodes if graph.plan.is_leaf(name)] == ["leaf", "write"]


def test_the_plan_is_compiled_once_and_again_after_a_change() -> None:
    """Whoever holds a plan holds what was declared when it was made."""
    graph = Graph("g", Draft)
    graph.node(write)
    before = graph.plan
    assert graph.plan is before

    graph.node(publish, after=write)

    assert [*before.nodes] == ["write"]
    assert [*graph.plan.nodes] == ["write", "publish"]


@pytest.mark.parametrize("change", ["node", "edge", "branch", "migrate"])
def test_every_change_is_checked_again(change: str) -> None:
    """A graph that was sound is not taken for sound for ever."""
    graph = Graph("g", Draft)
    graph.node(write)
    before = graph.plan

    match change:
        case "node":
            graph.node(publish, after="nowhere")
        case "edge":
            graph.edge("write", "nowhere")
        case "branch":
            graph.branch(lambda state: END, after="nowhere", to=END)
        case _:
            graph.migrate(from_=1, to=2)(lambda old: old)
            assert graph.plan is not before
            return

    with pytest.raises(GraphError, match="nowhere"):
        _ = graph.plan


def test_a_plan_can_not_be_changed() -> None:
    """The engine relies on it."""
    graph = Graph("g", Draft)
    graph.node(write)
    nodes: Any = graph.plan.nodes

    with pytest.raises(TypeError):
        nodes["other"] = nodes["write"]


def test_options_are_kept_as_given() -> None:
    """What the runtime reads of a graph."""
    graph = Graph("g", Draft, context=dict, max_activations=7, moves={"old": END})
    graph.node(write)

    assert graph.name == "g"
    assert graph.state_type is Draft
    assert graph.context_type is dict
    assert graph.plan.graph == "g"
    assert graph.plan.max_activations == 7
    assert graph.moves == {"old": END}
    assert repr(graph) == "<Graph 'g' over Draft: 1 node>"


def test_migrations_are_registered_by_decorator_and_by_argument() -> None:
    """Both kinds of function, in the order in which they were registered."""

    class Draft1(State, version=1):
        text: str = ""

    given = migrate(from_=0, to=1)(lambda old: old)
    graph = Graph("g", Draft, migrations=[given])

    @graph.migrate(from_="a", to="b")
    def letters(old: dict[str, Any]) -> dict[str, Any]:
        return old

    def typed(old: Draft1) -> Draft:
        return Draft(text=old.text)

    typed.__annotations__ = {"old": Draft1, "return": Draft}
    migration = graph.migrate(typed)

    assert graph.migrations == (given, letters, migration)
    assert (migration.from_, migration.to) == (1, 2)


def test_a_second_migration_between_two_versions_is_refused_where_it_is_registered() -> None:
    """And not registered."""
    graph = Graph("g", Draft)
    first = graph.migrate(from_=1, to=2)(lambda old: old)

    with pytest.raises(DuplicateMigration):
        graph.migrate(from_=1, to=2)(lambda old: {})

    assert graph.migrations == (first,)


def test_a_migration_without_versions_is_refused() -> None:
    """A dict does not say which version it is."""
    graph: Any = Graph("g", Draft)

    with pytest.raises(TypeError, match="from_="):
        graph.migrate(from_=1)
