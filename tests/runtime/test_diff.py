"""Diff: what changed in the state between two points of one run, or of two."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Change, Graph, Overwrite, Runtime, State, diff, migrate
from actorflow.errors import NoSuchRun


class Loose(State):
    """A state that holds any data."""

    one: Any = None
    two: Any = None


def becoming(new: dict[str, Any]) -> Graph[Loose]:
    """A graph with a node that writes this."""
    graph = Graph("loose", Loose)

    @graph.node
    async def write(state: Loose) -> dict[str, Any]:
        return {name: Overwrite(value) for name, value in new.items()}

    return graph


async def changes(old: dict[str, Any], new: dict[str, Any]) -> tuple[Change, ...]:
    """What changed when a node wrote this over that."""
    async with Runtime("memory://") as rt:
        run = await rt.spawn(becoming(new), Loose(**old))
        await run.result()
        return diff(await run.at(0), await run.at())


@pytest.mark.parametrize(
    ("old", "new", "added"),
    [
        (1, 2, None),
        (1, True, None),
        (1, 1.0, None),
        (0.0, -0.0, None),
        (None, [], None),
        ([], None, None),
        ([1], [1, 2, 3], [2, 3]),
        ([], [[]], [[]]),
        ([1, 2], [1], None),
        ([1, 2], [1, True], None),
        ([1], [True, 2], None),
        ([{"a": 1}], [{"a": 1}, {}], [{}]),
        ({"a": [1]}, {"a": [2]}, None),
        ({"a": 1}, {"a": 1, "b": 2}, None),
        ("ab", "abc", None),
        (b"a", "a", None),
    ],
)
async def test_a_field_that_changed_is_told_with_what_it_was_and_is(old: Any, new: Any, added: Any) -> None:
    """And a list that only grew with what was added at its end."""
    assert [repr(one) for one in await changes({"one": old}, {"one": new})] == [repr(Change("one", old, new, added))]


@pytest.mark.parametrize("value", [None, float("nan"), [float("nan"), {"a": (1,)}], {"b": 1, "a": 2}, b"x", 2**63])
async def test_what_is_the_same_is_not_told(value: Any) -> None:
    """Also where `==` would say otherwise: NaN is NaN here."""
    assert await changes({"one": value, "two": 1}, {"one": value, "two": 1}) == ()


async def test_fields_are_told_in_the_order_of_the_newer_state() -> None:
    """Each once."""
    assert [one.field for one in await changes({}, {"two": 2, "one": 1})] == ["one", "two"]


async def test_a_field_that_came_or_went_with_a_schema_is_told_so(store_url: str) -> None:
    """It is not the same as one that is None."""

    class Page(State, version=1, name="Page"):
        kept: int = 1
        text: str | None = None

    class Later(State, version=2, name="Page"):
        kept: int = 1
        words: str | None = None

    @migrate(from_=1, to=2)
    def rename(page: dict[str, object]) -> dict[str, object]:
        return {"kept": page["kept"], "words": page["text"]}

    old, new = Graph("pages", Page), Graph("pages", Later, migrations=[rename])
    old.node(lambda state: None, name="a")
    new.node(lambda state: None, name="a")
    new.node(lambda state: {"kept": 2}, name="b", after="a")
    async with Runtime(store_url) as rt:
        await rt.run(old, Page(), id="r")
        run = await rt.resume(new, "r")
        await run.result()

        assert await run.diff(0) == (
            Change("kept", 1, 2),
            Change("words", None, None, was_there=False),
            Change("text", None, None, is_there=False),
        )


async def test_two_runs_are_compared_and_points_are_found_as_by_at() -> None:
    """A diff of a run with itself is nothing; one that is not there is named."""
    async with Runtime("memory://") as rt:
        for number in (1, 2):
            await rt.run(becoming({"two": number}), Loose(one=number), id=f"r{number}")
        one, two = await rt.get("r1").at(), await rt.get("r2").at()

        assert diff(one, two) == (Change("one", 1, 2), Change("two", 1, 2))
        assert diff(two, one) == (Change("one", 2, 1), Change("two", 2, 1))
        assert diff(one, one) == ()
        assert await rt.get("r1").diff("0.0", 1) == (Change("two", None, 1),)
        with pytest.raises(LookupError):
            await rt.get("r1").diff(0, 9)
        with pytest.raises(NoSuchRun):
            await rt.get("r3").diff(0)
