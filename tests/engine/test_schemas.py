"""JSON schemas as msgspec writes them: what fits a type fits its schema, and what does not, does not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta, Struct

from actorflow.engine.schemas import mismatch


class Leaf(Struct, tag=True):
    """One end of a tree."""

    value: int


class Branch(Struct, tag=True):
    """Which may hold others, of either kind."""

    left: Leaf | Branch
    right: Leaf | Branch | None = None


class Row(Struct, array_like=True):
    """Written as an array."""

    name: str
    count: int = 0


TREE = {
    "type": "Branch",
    "left": {"type": "Leaf", "value": 1},
    "right": {"type": "Branch", "left": {"type": "Leaf", "value": 2}},
}

CASES: list[tuple[Any, Any]] = [
    (Leaf | Branch, TREE),
    (Leaf | Branch, {**TREE, "right": {"type": "Branch", "left": {"type": "Twig", "value": 2}}}),
    (Leaf | Branch, {**TREE, "right": {"type": "Branch", "left": {"type": "Leaf", "value": "x"}}}),
    (Row, ["a", 1]),
    (Row, ["a"]),
    (Row, []),
    (Row, ["a", "b"]),
    (tuple[int, ...], [1, 2, "x"]),
    (tuple[int, str], [1]),
    (tuple[int, str], [1, "a", 2]),
    (Literal[1, "1"] | None, 1),
    (Literal[1, "1"] | None, True),
    (Literal[1, "1"] | None, None),
    (Annotated[float, Meta(gt=0, lt=1)], 0.5),
    (Annotated[float, Meta(gt=0, lt=1)], 1),
    (Annotated[list[int], Meta(max_length=2)], [1, 2, 3]),
    (Annotated[dict[str, int], Meta(min_length=1)], {}),
    (Annotated[dict[str, int], Meta(max_length=1)], {"a": 1, "b": 2}),
    (Annotated[str, Meta(pattern="b+")], "abc"),
    (Annotated[str, Meta(pattern="^b+$")], "abc"),
    (Annotated[int, Meta(multiple_of=5)], 15),
    (Annotated[int, Meta(multiple_of=5)], 16),
    (dict[str, list[int | None]], {"a": [1, None]}),
    (dict[str, list[int | None]], {"a": [1, "x"]}),
    (bool | None, None),
    (bool | None, 0),
    (None, None),
    (None, False),
]


@pytest.mark.parametrize(("type_", "value"), CASES)
def test_a_value_fits_the_schema_of_a_type_as_it_fits_the_type(type_: Any, value: Any) -> None:
    """The oracle is msgspec: it converts, or it does not."""
    try:
        msgspec.convert(value, type_)
        fits = True
    except msgspec.ValidationError:
        fits = False

    problem = mismatch(value, msgspec.json.schema(type_))

    assert (problem is None) == fits, problem


def test_the_cases_are_of_both_kinds() -> None:
    """Planted: a check that finds nothing wrong, or everything, does not pass."""
    fits = [mismatch(value, msgspec.json.schema(type_)) is None for type_, value in CASES]

    assert 10 < sum(fits) < len(fits) - 10
