"""Operations: each changes what it names, nothing in place, and survives its own encoding."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from msgspec import msgpack

from actorflow.engine.operations import Dropped, Extended, Grown, Merged, Operation, Put, Reduced, Spliced, apply, thaw

CASES: list[tuple[Operation, dict[str, Any], Any]] = [
    (Put("f", 2), {"f": 1}, 2),
    (Put("f", 2), {}, 2),
    (Reduced("f", 3), {"f": 1}, 3),
    (Extended("f", [3]), {"f": [1, 2]}, [1, 2, 3]),
    (Spliced("f", 0, 2, []), {"f": [1, 2, 3]}, [3]),
    (Spliced("f", 1, 2, [9, 9]), {"f": [1, 2, 3]}, [1, 9, 9, 3]),
    (Merged("f", {"b": 3}), {"f": {"a": 1, "b": 2}}, {"a": 1, "b": 3}),
    (Dropped("f", {"a": None, "z": None}), {"f": {"a": 1, "b": 2}}, {"b": 2}),
    (Dropped("f", {(1, 2): None}), {"f": {(1, 2): 1, (3, 4): 2}}, {(3, 4): 2}),
]


@pytest.mark.parametrize(("operation", "before", "after"), CASES, ids=lambda case: type(case).__name__)
def test_an_operation_changes_its_field(operation: Operation, before: dict[str, Any], after: Any) -> None:
    """The field has its new value, and what was there before is untouched."""
    kept = copy.deepcopy(before)

    result = apply([operation], before)

    assert thaw(result["f"]) == after
    assert before == kept


@pytest.mark.parametrize(("operation", "before", "after"), CASES, ids=lambda case: type(case).__name__)
def test_an_operation_read_back_does_the_same(operation: Operation, before: dict[str, Any], after: Any) -> None:
    """What recovery applies is the decoded operation; tuple keys come back as they were."""
    again = msgpack.decode(msgpack.encode(operation), type=Operation)

    assert thaw(apply([again], before)["f"]) == after


def test_other_fields_are_shared() -> None:
    """Only what changed is new: a commit costs what it changes."""
    before = {"f": 1, "other": [1, 2, 3]}

    after = apply([Put("f", 2)], before)

    assert after["other"] is before["other"]


def test_no_operations_make_no_new_values() -> None:
    """A node that changes nothing leaves the very same values, so that bases stay shared."""
    before = {"f": 1}

    assert apply((), before) is before


def test_a_growing_list_shares_its_elements() -> None:
    """Each older length stays what it was, and no element is copied."""
    lengths = [apply([Extended("f", [0])], {"f": []})]
    for n in range(1, 5):
        lengths.append(apply([Extended("f", [n])], lengths[-1]))

    assert [thaw(values["f"]) for values in lengths] == [list(range(n + 1)) for n in range(5)]
    assert len({id(values["f"].items) for values in lengths}) == 1


def test_a_list_that_grows_twice_from_one_length_parts() -> None:
    """Two futures of one list, as in a copying fold, don't see each other."""
    start = Grown([1, 2], 2)

    one, two = start.extended([3]), start.extended([4])

    assert (one.to_list(), two.to_list(), start.to_list()) == ([1, 2, 3], [1, 2, 4], [1, 2])


def test_the_list_that_begins_to_grow_is_left_alone() -> None:
    """The list in a record is the caller's: growing copies it first."""
    given = [1]

    apply([Extended("f", [2])], {"f": given})

    assert given == [1]


def test_a_thawed_list_is_the_callers_own() -> None:
    """Changing what was thawed changes no history."""
    grown = Grown([1, 2, 3], 2)

    thaw(grown).append(9)

    assert grown.to_list() == [1, 2]
