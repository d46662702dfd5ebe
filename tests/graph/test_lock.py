"""A schema lock notices, before a deploy, what would keep saved runs from going on."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import defstruct

from actorflow import Graph, Migration, SchemaLock, State, migrate
from actorflow.errors import SchemaDrift


class First(State, version=1, name="Trip"):
    """As it was deployed first."""

    to: str
    stops: int = 0


def graph_of(state_type: type[State], *migrations: Migration) -> Graph[Any]:
    """A graph over that State."""
    graph = Graph("trip", state_type, migrations=migrations)
    graph.node(lambda state: None, name="go")
    return graph


OldLeg = defstruct("Leg", [("to", str)])
NewLeg = defstruct("Leg", [("to", str), ("by", str)])
LOCK = SchemaLock().add(graph_of(First))


@migrate(from_=1, to=2)
def rename(old: dict[str, Any]) -> dict[str, Any]:
    """The way from the first version."""
    return {"where": old["to"]}


def test_what_is_locked_has_no_problems_and_comes_back_from_its_bytes() -> None:
    """The file is the lock."""
    assert LOCK.problems(graph_of(First)) == ()
    assert SchemaLock.parse(LOCK.dump()) == LOCK


def test_a_changed_field_without_a_new_version_is_a_problem() -> None:
    """It is named, and locking it again is refused unless nothing was saved yet."""

    class Changed(State, version=1, name="Trip"):
        to: int
        stops: int = 0

    [problem] = LOCK.problems(graph_of(Changed))

    assert "'to' was str, is int" in problem
    with pytest.raises(SchemaDrift, match="'to' was str"):
        LOCK.add(graph_of(Changed))
    assert LOCK.add(graph_of(Changed), replace=True).problems(graph_of(Changed)) == ()


def test_a_field_with_a_default_makes_the_lock_stale_and_is_taken_in() -> None:
    """Saved runs just load, but the next change must be measured against this one."""

    class Wider(State, version=1, name="Trip"):
        to: str
        stops: int = 0
        note: str = ""

    [problem] = LOCK.problems(graph_of(Wider))

    assert "lock it again" in problem
    assert LOCK.add(graph_of(Wider)).problems(graph_of(Wider)) == ()


def test_a_new_version_needs_a_chain_from_every_locked_one() -> None:
    """Also from versions that only very old runs are in."""

    class Second(State, version=2, name="Trip"):
        where: str

    class Third(State, version=3, name="Trip"):
        place: str

    @migrate(from_=2, to=3)
    def again(old: dict[str, Any]) -> dict[str, Any]:
        return {"place": old["where"]}

    both = LOCK.add(graph_of(Second, rename))

    assert both.problems(graph_of(Second, rename)) == ()
    assert ["version 3 is not locked yet" in one for one in both.problems(graph_of(Third, rename, again))] == [True]
    whole = both.add(graph_of(Third, rename, again))
    assert whole.problems(graph_of(Third, rename, again)) == ()
    [problem] = whole.problems(graph_of(Third, again))
    assert "leads from version 1 to 3" in problem


def test_a_type_inside_a_field_is_covered_too() -> None:
    """The field table names types only; the fingerprint knows what is in them."""

    class Before(State, version=1, name="Trip"):
        legs: list[OldLeg] = []

    class After(State, version=1, name="Trip"):
        legs: list[NewLeg] = []

    lock = SchemaLock().add(graph_of(Before))

    [problem] = lock.problems(graph_of(After))

    assert "a type inside one of them changed" in problem


def test_words_and_defaults_change_nothing() -> None:
    """A docstring, or another default, is no other schema; a field may be called like a keyword."""

    class Before(State, version=1, name="Trip"):
        title: str = "a"

    class After(State, version=1, name="Trip"):
        """Now with a docstring."""

        title: str = "b"

    class Other(State, version=1, name="Trip"):
        title: int = 1

    lock = SchemaLock().add(graph_of(Before))

    assert lock.problems(graph_of(After)) == ()
    assert lock.problems(graph_of(Other)) != ()


def test_a_state_without_version_can_be_locked_but_never_leaves_it() -> None:
    """Nothing migrates from or to a State without version."""

    class Bare(State, name="Trip"):
        to: str

    lock = SchemaLock().add(graph_of(Bare))

    assert lock.problems(graph_of(Bare)) == ()
    assert any("version 1 in the code and None in the lock" in one for one in lock.problems(graph_of(First)))


@pytest.mark.parametrize("data", [b"", b"{", b'{"format": 2}', b'{"schemas": 1}', b'{"other": 1}'])
def test_what_is_no_lock_is_refused(data: bytes) -> None:
    """Damaged, or of a later format."""
    with pytest.raises(ValueError, match="schema lock"):
        SchemaLock.parse(data)
