"""Migrations: the way from one version to another, and every way in which there is none."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from actorflow.errors import (
    AmbiguousMigration,
    BadMigration,
    DuplicateMigration,
    MigrationFailed,
    NoMigration,
    SchemaDrift,
    SchemaTooNew,
)
from actorflow.graph.graph import Graph
from actorflow.graph.migrate import Migration, chain, check_table, migrate, register, upgrade
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.graph.state import Version


class V1(State, version=1, name="Mission"):
    """What was saved."""

    destination: str
    crew: int = 0


class V2(State, version=2, name="Mission"):
    """A step between."""

    destination: str
    crew: list[str] = []


class V3(State, version=3, name="Mission"):
    """What the code has now."""

    destination: str
    crew: list[str] = []
    risk: str


SCHEMA = schema_of(V3)


def edge(from_: Version, to: Version) -> Migration:
    """A migration that changes nothing."""
    return migrate(from_=from_, to=to)(lambda old: old)


def step(function: Callable[[Any], Any], *, from_: Version = 2, to: Version = 3) -> Migration:
    """A migration that is this function."""
    return migrate(from_=from_, to=to)(function)


@migrate
def name_the_crew(old: V1) -> V2:
    """A typed migration, which says its versions itself."""
    return V2(destination=old.destination, crew=[f"member {number}" for number in range(old.crew)])


@migrate(from_=2, to=3)
def assess(old: dict[str, Any]) -> dict[str, Any]:
    """A migration of plain values."""
    return {**old, "risk": "low"}


# -- the way --------------------------------------------------------------------------


def test_a_typed_migration_says_its_versions() -> None:
    """And can be called like the function that it is."""
    assert (name_the_crew.from_, name_the_crew.to, name_the_crew.takes) == (1, 2, V1)
    assert name_the_crew(V1(destination="Moon", crew=1)).crew == ["member 0"]


def test_migrations_are_chained() -> None:
    """From 1 to 3 by way of 2, in this order, plain and typed ones together."""
    steps = chain(SCHEMA, 1, [assess, name_the_crew])

    assert steps == (name_the_crew, assess)
    assert upgrade(SCHEMA, steps, {"destination": "Moon", "crew": 2}) == {
        "destination": "Moon",
        "crew": ["member 0", "member 1"],
        "risk": "low",
    }


def test_equal_versions_ask_nobody() -> None:
    """Not even a registry that has two migrations for one edge."""
    assert chain(SCHEMA, 3, [edge(1, 2), edge(1, 2)]) == ()


def test_the_shortest_chain_is_taken() -> None:
    """A direct migration is preferred to the way over every version."""
    direct = edge(1, 3)

    assert chain(SCHEMA, 1, [edge(1, 2), edge(2, 3), direct]) == (direct,)


def test_loops_among_versions_do_no_harm() -> None:
    """A migration back is no way forward."""
    there, on = edge(1, 2), edge(2, 3)

    assert chain(SCHEMA, 1, [there, edge(2, 1), on, edge(3, 2)]) == (there, on)


def test_versions_may_be_text() -> None:
    """They are compared, never ordered."""

    class Named(State, version="2024-b"):
        pass

    way = (edge("2023", "2024-a"), edge("2024-a", "2024-b"))

    assert chain(schema_of(Named), "2023", way) == way


def test_a_long_chain_is_found() -> None:
    """Breadth first, so two hundred versions take no time."""

    class Late(State, version=200):
        pass

    edges = [edge(version, version + 1) for version in range(200)]

    assert chain(schema_of(Late), 0, reversed(edges)) == tuple(edges)


# -- no way ----------------------------------------------------------------------------


def test_two_migrations_for_one_edge_are_refused_at_registration() -> None:
    """Both are named; the same one twice is no second."""
    one, other = edge(1, 2), edge(1, 2)

    register(SCHEMA, [one, one])
    with pytest.raises(DuplicateMigration, match=r"1 -> 2"):
        register(SCHEMA, [one, other])


def test_a_graph_refuses_a_duplicate_when_it_is_declared() -> None:
    """At the line that declares it, not when a run is loaded years later."""
    graph = Graph("g", V3, migrations=[edge(1, 2)])

    with pytest.raises(DuplicateMigration):
        graph.migrate(from_=1, to=2)(lambda old: old)


def test_two_shortest_chains_are_ambiguous() -> None:
    """Which one is meant can't be guessed; a direct migration settles it."""
    edges = [edge(1, 2), edge(2, 3), edge(1, "b"), edge("b", 3)]

    with pytest.raises(AmbiguousMigration) as caught:
        chain(SCHEMA, 1, edges)

    assert (caught.value.schema, caught.value.found, caught.value.wanted) == ("Mission", 1, 3)
    assert len(chain(SCHEMA, 1, [*edges, edge(1, 3)])) == 1


def test_an_ambiguity_off_the_way_does_no_harm() -> None:
    """Two ways to a version that is not on the shortest chain."""
    edges = [edge(1, 2), edge(2, 3), edge(1, "x"), edge("x", "z"), edge(2, "z")]

    assert len(chain(SCHEMA, 1, edges)) == 2


def test_no_chain_lists_what_is_registered() -> None:
    """So that the missing edge is seen at once."""
    with pytest.raises(NoMigration, match=r"from version 1 to 3 \(registered: 2 -> 3\)"):
        chain(SCHEMA, 1, [edge(2, 3)])
    with pytest.raises(NoMigration, match="registered: none"):
        chain(SCHEMA, 1, [])


def test_a_later_version_says_so() -> None:
    """It is the code that is old, not the file that is wrong."""
    with pytest.raises(SchemaTooNew, match="version 9"):
        chain(SCHEMA, 9, [edge(1, 2), edge(2, 3)])


def test_a_way_back_may_be_registered() -> None:
    """Whoever rolls back on purpose can say how."""
    back = edge(9, 3)

    assert chain(SCHEMA, 9, [back]) == (back,)


# -- what a migration does wrong -----------------------------------------------------------


def test_a_migration_that_raises_keeps_its_cause() -> None:
    """The user's exception is the cause; the file is not touched."""
    saved = {"destination": "Moon", "crew": []}

    def broken(old: dict[str, Any]) -> dict[str, Any]:
        old["destination"] = "Mars"
        raise KeyError("nope")

    with pytest.raises(MigrationFailed, match="2 -> 3") as caught:
        upgrade(SCHEMA, [step(broken)], saved)

    assert isinstance(caught.value.__cause__, KeyError)
    assert saved == {"destination": "Moon", "crew": []}


def test_a_saved_state_that_is_no_old_state_fails_its_migration() -> None:
    """The typed migration never sees it."""
    with pytest.raises(MigrationFailed):
        upgrade(SCHEMA, [name_the_crew, assess], {"destination": 5, "crew": "many"})


GOOD = {"destination": "Moon", "crew": [], "risk": "low"}


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (None, "returned NoneType, not a dict"),
        (["a", "list"], "returned list, not a dict"),
        ({**GOOD, "crew": object()}, "can't be encoded"),
        ({**GOOD, "risk": "\ud800"}, "can't be encoded"),
        ({**GOOD, "risk": 5}, "no V3"),
        ({"destination": "Moon"}, "risk"),
        ({**GOOD, "nope": 1}, "'nope'"),
        ({**GOOD, 1: 1, "nope": 1}, "'nope'"),
    ],
)
def test_nonsense_is_refused(result: Any, message: str) -> None:
    """Never a wrong state: what comes out must decode as the code's State."""
    with pytest.raises(BadMigration, match=message):
        upgrade(SCHEMA, [step(lambda old: result)], {})


class Rule(State, version=2):
    """A State with a rule of its own."""

    n: int = 0

    def __post_init__(self) -> None:
        if self.n < 0:
            raise RuntimeError("negative")


def test_a_rule_of_the_state_holds_for_migrated_ones() -> None:
    """Whatever the rule raises, it is the migration's result that was refused."""
    with pytest.raises(BadMigration, match="negative"):
        upgrade(schema_of(Rule), [step(lambda old: {"n": -1}, from_=1, to=2)], {})


def test_a_migration_gets_its_own_copy() -> None:
    """Changing it in place changes nothing that was read."""
    saved = {"destination": "Moon", "crew": ["a"]}

    def in_place(old: dict[str, Any]) -> dict[str, Any]:
        old["crew"].append("b")
        old["risk"] = "low"
        return old

    migrated = upgrade(SCHEMA, [step(in_place)], saved)

    assert (saved["crew"], migrated["crew"]) == (["a"], ["a", "b"])


def test_defaults_fill_what_a_migration_leaves_out() -> None:
    """As when a State is made."""
    assert upgrade(SCHEMA, [step(lambda old: {"destination": "Moon", "risk": "low"})], {})["crew"] == []


def test_an_untyped_function_is_no_typed_migration() -> None:
    """The message says what to write instead."""
    with pytest.raises(TypeError, match="from_="):
        migrate(lambda old: old)


# -- drift -------------------------------------------------------------------------------


class Inner(msgspec.Struct):
    """A nested type."""

    n: int


class Fields(State, version=1):
    """Fields of several types."""

    n: int
    when: dt.date | None = None
    inner: list[Inner] = []
    added: str = "default"


TABLE = schema_of(Fields).table


def drift(*table: tuple[str, str, bool], name: str = "Fields") -> None:
    """Check a saved table against the code's."""
    check_table(schema_of(Fields), table, found_name=name, found_version=1)


def test_the_same_fields_are_no_drift() -> None:
    """In whatever order, and wherever their classes live."""
    drift(*TABLE)
    drift(*reversed(TABLE))

    assert TABLE[1:3] == (("when", "date | None", True), ("inner", "list[Inner]", True))


def test_an_added_field_with_default_just_loads() -> None:
    """It takes its default."""
    drift(*TABLE[:3])


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ((*TABLE, ("gone", "int", True)), "'gone' was removed"),
        ((("n", "str", False), *TABLE[1:]), "'n' was str, is int"),
        (TABLE[1:], "'n' was added without default"),
    ],
)
def test_other_fields_under_the_same_version_are_drift(table: Any, message: str) -> None:
    """The fields are named, and what to do about them."""
    with pytest.raises(SchemaDrift, match=message):
        drift(*table)


def test_another_schema_name_is_drift() -> None:
    """With the remedy for a class that was only renamed."""
    with pytest.raises(SchemaDrift, match='name="Other"'):
        drift(*TABLE, name="Other")


def test_a_migration_made_elsewhere_can_be_registered_on_a_graph() -> None:
    """`Graph.migrate` takes what `migrate` made."""

    class Plain(State, version=2):
        n: int = 0

    graph = Graph("register", Plain)
    made = migrate(from_=1, to=2)(lambda old: old)

    assert graph.migrate(made) is made
    assert graph.migrations == (made,)
