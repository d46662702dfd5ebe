"""Merging: every reducer, every way to write a field, and everything that must not get in."""

from __future__ import annotations

import datetime as dt
import enum
import operator
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest

from actorflow.engine.merge import difference, merge, plain_writes, typed
from actorflow.engine.operations import Extended, Operation, apply, thaw
from actorflow.errors import BadUpdate, ReducerError
from actorflow.graph.codec import NO_CODECS
from actorflow.graph.reducers import Overwrite, Remove, append, bounded, dedupe, extend, merge_by
from actorflow.graph.reducers import merge as merging
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping


class Item(msgspec.Struct):
    """A nested value."""

    id: str
    n: int = 0


class Mood(enum.Enum):
    """A nested value that is encoded as another."""

    GOOD = "good"


def longest(old: str, update: str) -> str:
    """A reducer of the user's own."""
    return max(old, update, key=len)


def count_words(old: int, update: str) -> int:
    """A reducer whose update has another type than its field."""
    return old + len(update.split())


def untyped(old: Any, update: Any) -> Any:
    """A reducer that is not checked."""
    return update


def breaks(old: int, update: int) -> int:
    """A reducer that raises."""
    raise ZeroDivisionError


def lies(old: int, update: int) -> int:
    """A reducer that returns the wrong type."""
    return "no number"  # type: ignore[return-value]


class Everything(State):
    """A field of each kind."""

    plain: int = 0
    text: str = ""
    data: bytes = b""
    real: float = 0.0
    maybe: int | None = None
    mood: Mood = Mood.GOOD
    when: dt.date = dt.date(2000, 1, 1)
    item: Item = msgspec.field(default_factory=lambda: Item(""))
    anything: Any = None
    tags: set[str] = set()
    pair: tuple[int, str] = (0, "")
    log: Annotated[list[str], extend] = []
    one_by_one: Annotated[list[int], append] = []
    facts: Annotated[dict[str, int], merging] = {}
    grid: Annotated[dict[tuple[int, int], str], merging] = {}
    last: Annotated[list[int], bounded(3)] = []
    unique: Annotated[list[str], dedupe()] = []
    unique_items: Annotated[list[Item], dedupe(key="id")] = []
    by_length: Annotated[list[str], dedupe(key=len)] = []
    items: Annotated[list[Item], merge_by("id")] = []
    high: Annotated[int, max] = 0
    low: Annotated[int, min] = 0
    total: Annotated[int, operator.add] = 0
    flags: Annotated[set[str], operator.or_] = set()
    longest: Annotated[str, longest] = ""
    words: Annotated[int, count_words] = 0
    untyped: Annotated[int, untyped] = 0
    breaks: Annotated[int, breaks] = 0
    lies: Annotated[int, lies] = 0


SCHEMA = schema_of(Everything)
FRESH = SCHEMA.dump(Everything())


def after(update: Mapping[str, Any], **before: Any) -> Any:
    """The State after one update of a State with these fields."""
    values = {**FRESH, **SCHEMA.dump(Everything(**before))}
    return typed(SCHEMA, apply(merge(SCHEMA, values, update, node="n"), values))


def operations(update: Mapping[str, Any], **before: Any) -> list[Operation]:
    """What an update comes to."""
    return merge(SCHEMA, {**FRESH, **SCHEMA.dump(Everything(**before))}, update, node="n")


A1, A2, B1 = Item("a", 1), Item("a", 2), Item("b", 1)


@pytest.mark.parametrize(
    ("field", "before", "update", "expected"),
    [
        ("plain", 1, 2, 2),
        ("mood", Mood.GOOD, Mood.GOOD, Mood.GOOD),
        ("when", dt.date(2000, 1, 1), dt.date(2020, 2, 3), dt.date(2020, 2, 3)),
        ("item", Item(""), A1, A1),
        ("item", Item(""), {"id": "a", "n": 1}, A1),
        ("real", 0.0, 1, 1.0),
        ("pair", (0, ""), (1, "x"), (1, "x")),
        ("anything", None, (1, 2), [1, 2]),
        ("tags", set(), {"x"}, {"x"}),
        ("log", ["a"], ["b", "c"], ["a", "b", "c"]),
        ("log", ["a"], [], ["a"]),
        ("log", ["a"], ("b",), ["a", "b"]),
        ("log", ["a"], Overwrite(["z"]), ["z"]),
        ("one_by_one", [1], 2, [1, 2]),
        ("facts", {"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ("facts", {"a": 1}, {}, {"a": 1}),
        ("facts", {"a": 1, "b": 2}, Remove("a", "z"), {"b": 2}),
        ("grid", {(0, 0): "x"}, {(0, 1): "y"}, {(0, 0): "x", (0, 1): "y"}),
        ("grid", {(0, 0): "x", (0, 1): "y"}, Remove((0, 1)), {(0, 0): "x"}),
        ("last", [1, 2], [3], [1, 2, 3]),
        ("last", [1, 2], [3, 4], [2, 3, 4]),
        ("last", [1], [2, 3, 4, 5], [3, 4, 5]),
        ("last", [1, 2, 3, 4], [], [1, 2, 3, 4]),
        ("unique", ["a"], ["a", "b", "b"], ["a", "b"]),
        ("unique_items", [A1], [A2, B1], [A1, B1]),
        ("by_length", ["a"], ["b", "cc", "dd"], ["a", "cc"]),
        ("items", [A1, B1], [A2], [A2, B1]),
        ("items", [A1], [B1], [A1, B1]),
        ("items", [], [A1, A2], [A2]),
        ("items", [A1, B1], Remove("a"), [B1]),
        ("items", [A1, A2, B1], [Item("a", 9)], [A1, Item("a", 9), B1]),
        ("items", [A1, A2, B1], Remove("a"), [B1]),
        ("items", [A1, B1], [Remove("a"), A2], [B1, A2]),
        ("items", [B1], [A1, Remove("a")], [B1]),
        ("items", [B1], [A1, Remove("b"), B1], [A1, B1]),
        ("high", 3, 2, 3),
        ("low", 3, 2, 2),
        ("total", 3, 2, 5),
        ("flags", {"a"}, {"b"}, {"a", "b"}),
        ("longest", "aa", "b", "aa"),
        ("words", 1, "two words", 3),
        ("untyped", 1, 2, 2),
    ],
)
def test_a_reducer_merges_its_update(field: str, before: Any, update: Any, expected: Any) -> None:
    """What the next node sees is what the reducer's documentation says."""
    assert getattr(after({field: update}, **{field: before}), field) == expected


@pytest.mark.parametrize("field", ["log", "facts", "last", "unique", "items"])
def test_an_empty_update_is_no_operation(field: str) -> None:
    """Nothing is recorded for a reducer that is handed nothing."""
    assert operations({field: {} if field == "facts" else []}) == []


def test_what_a_list_gains_is_all_that_is_recorded() -> None:
    """A commit costs what it changes, not what is there."""
    assert operations({"log": ["new"]}, log=["old"] * 1000) == [Extended("log", ["new"])]


def test_a_merge_of_two_keys_in_a_row_is_one_growth() -> None:
    """New elements of merge_by go to the end together."""
    assert operations({"items": [A1, B1]}) == [Extended("items", [NO_CODECS.plain(A1), NO_CODECS.plain(B1)])]


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"nope": 1}, "no field 'nope'"),
        ({7: 1}, "no field 7"),
        ({"plain": "x"}, "Expected `int`, got `str`"),
        ({"plain": None}, "Expected `int`, got `None`"),
        ({"data": "aGk="}, "Expected `bytes`, got `str`"),
        ({"text": b"x"}, "Expected `str`, got `bytes`"),
        ({"text": "\ud800"}, "surrogates"),
        ({"anything": ["\udfff"]}, "surrogates"),
        ({"plain": 2**70}, "ints"),
        ({"anything": -(2**70)}, "ints"),
        ({"anything": object()}, "object"),
        ({"anything": {"f": open}}, "unsupported"),
        ({"item": {"n": 1}}, "id"),
        ({"log": "word"}, "Expected `array`, got `str`"),
        ({"log": [1]}, "Expected `str`, got `int`"),
        ({"log": Overwrite(None)}, "Expected `array`, got `None`"),
        ({"log": Remove("a")}, "Remove"),
        ({"items": "word"}, "Expected `array`, got `str`"),
        ({"items": 5}, "Expected `array`, got `int`"),
        ({"facts": {"a": "x"}}, "Expected `int`, got `str`"),
        ({"facts": Remove(["unhashable"])}, "unhashable"),
        ({"one_by_one": [1]}, "Expected `int`, got `array`"),
        ({"words": 3}, "Expected `str`, got `int`"),
        ({"flags": ["a", 1]}, "Expected `str`, got `int`"),
    ],
)
def test_a_bad_update_is_refused(update: Mapping[Any, Any], message: str) -> None:
    """The error names node and field, and says what was expected."""
    with pytest.raises(BadUpdate) as caught:
        operations(update)

    assert message in str(caught.value)
    assert caught.value.node == "n"
    assert caught.value.field in (None, *update)


def cycle() -> list[Any]:
    """A list that holds itself."""
    inside: list[Any] = []
    inside.append(inside)
    return inside


def nested(levels: int) -> Any:
    """A list in a list in a list."""
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_a_cycle_is_refused() -> None:
    """What has no end can't be written down."""
    with pytest.raises(BadUpdate, match="recursion"):
        operations({"anything": cycle()})


def test_what_is_nested_too_deep_is_refused() -> None:
    """A depth that could be written here but not read from a deeper stack would lose the run."""
    assert after({"anything": nested(100)}).anything == nested(100)

    with pytest.raises(BadUpdate, match="levels"):
        operations({"anything": nested(101)})


def test_one_bad_field_merges_nothing() -> None:
    """All or nothing: the good field before the bad one is not merged either."""
    values = dict(FRESH)

    with pytest.raises(BadUpdate):
        merge(SCHEMA, values, {"plain": 5, "log": ["x"], "nope": 1}, node="n")

    assert values == FRESH


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"breaks": 1}, "reducer of field 'breaks' raised ZeroDivisionError"),
        ({"lies": 1}, "reducer of field 'lies' returned str"),
    ],
)
def test_a_reducer_that_fails_is_named(update: Mapping[str, Any], message: str) -> None:
    """The user finds their own function by node and field."""
    with pytest.raises(ReducerError, match=message) as caught:
        operations(update)

    assert (caught.value.node, caught.value.field) == ("n", update.popitem()[0] if isinstance(update, dict) else None)


class Pairs(State):
    """Elements whose keys are lists."""

    spans: Annotated[list[dict[str, list[int]]], merge_by("span")] = []


def test_keys_may_be_lists() -> None:
    """What can't be hashed is compared by its bytes, also in a Remove."""
    schema = schema_of(Pairs)
    values = schema.dump(Pairs(spans=[{"span": [1, 2]}, {"span": [3, 4]}]))

    merged = apply(merge(schema, values, {"spans": [{"span": [1, 2], "n": [0]}, Remove([3, 4])]}, node="n"), values)

    assert merged["spans"] == [{"span": [1, 2], "n": [0]}]


class Keyless(State):
    """A field whose key is not there."""

    items: Annotated[list[dict[str, int]], merge_by("id")] = []
    pairs: Annotated[list[int], dedupe(key=lambda n: 1 // n)] = []


@pytest.mark.parametrize("update", [{"items": [{"other": 1}]}, {"pairs": [0]}])
def test_an_element_without_key_is_a_reducer_error(update: Mapping[str, Any]) -> None:
    """Nothing is merged by a key that can't be found."""
    schema = schema_of(Keyless)

    with pytest.raises(ReducerError, match="could not find the key"):
        merge(schema, schema.dump(Keyless()), update, node="n")


class Picky(msgspec.Struct):
    """A nested value that refuses in its own words."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 0:
            raise RuntimeError("negative")


class Strict(State):
    """A State with a rule over several fields."""

    low: int = 0
    high: int = 9
    picky: Picky = msgspec.field(default_factory=lambda: Picky(0))

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")


@pytest.mark.parametrize("update", [{"picky": {"n": -1}}, {"low": 10}])
def test_a_rule_of_the_users_types_is_kept_at_the_merge(update: Mapping[str, Any]) -> None:
    """What a __post_init__ refuses fails the node that wrote it, not the node that reads it next."""
    schema = schema_of(Strict)

    with pytest.raises(BadUpdate, match=r"negative|low is above high"):
        merge(schema, schema.dump(Strict()), update, node="n")


def test_what_is_merged_is_what_a_reader_would_see() -> None:
    """A tuple under Any is a list in the live state already, so that a recovered one is equal."""
    given: dict[str, Any] = {"anything": ({"k": (1, 2)}, A1)}

    merged = apply(operations(given), FRESH)["anything"]

    assert merged == [{"k": [1, 2]}, {"id": "a", "n": 1}]
    assert merged == NO_CODECS.plain(merged)


def test_the_callers_objects_are_not_kept() -> None:
    """A node that goes on changing what it returned changes nothing."""
    mine = ["a"]
    values = apply(operations({"log": mine, "anything": mine}), FRESH)

    mine.append("b")

    assert (thaw(values["log"]), values["anything"]) == (["a"], ["a"])


def test_only_plain_writes_can_conflict() -> None:
    """A field without reducer and an Overwrite count; whatever a reducer does, does not."""
    made = operations({"plain": 1, "facts": Overwrite({}), "log": ["x"], "total": 1, "items": [A1], "last": [1] * 9})

    assert plain_writes(made) == {"plain", "facts"}


def test_a_whole_state_means_the_fields_that_differ() -> None:
    """What a node did not touch is no write, and what it added to a list is an addition."""
    base = {**FRESH, **SCHEMA.dump(Everything(log=["a"], total=1))}
    seen = typed(SCHEMA, base)

    update = difference(SCHEMA, base, msgspec.structs.replace(seen, log=["a", "b"], plain=3, total=5))

    assert update == {"log": ["b"], "plain": 3, "total": Overwrite(5)}


def test_a_node_gets_a_copy_of_its_own() -> None:
    """Whatever a node does to its state is seen by nobody."""
    values = apply(operations({"log": ["a"], "facts": {"k": 1}, "items": [A1], "anything": [[1]]}), FRESH)

    state = typed(SCHEMA, values)
    state.log.append("b")
    state.facts["l"] = 2
    state.items[0].n = 99
    state.anything[0].append(2)

    again = typed(SCHEMA, values)
    assert (again.log, again.facts, again.items, again.anything) == (["a"], {"k": 1}, [A1], [[1]])
