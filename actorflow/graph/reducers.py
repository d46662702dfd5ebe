"""Reducers: how an update merges into a field, said beside its type as ``Annotated[T, reducer]``.

Any pure function ``(old, update) -> new`` is a reducer. Those defined here are
known to the engine, which commits only what they add instead of the whole
field. ``max``, ``min``, ``operator.add`` and ``operator.or_`` work as they are.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, cast

from msgspec import Struct

Function = Callable[[Any, Any], Any]

# typeshed leaves operator.or_ without types
SAME_TYPE: frozenset[Any] = frozenset((max, min, operator.add, operator.or_))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
"""Plain functions whose update has the type of the field."""


class Extend(Struct, frozen=True):
    """list + list: the update is a list, added at the end."""


class Append(Struct, frozen=True):
    """list + element: the update is one element, added at the end."""


class Merge(Struct, frozen=True):
    """dict | dict: the update's keys win; ``Remove(key, ...)`` takes keys away."""


class Bounded(Struct, frozen=True):
    """list + list, of which the last ``limit`` elements stay."""

    limit: int


class Dedupe(Struct, frozen=True):
    """list + list; of elements with the same key only the first stays, also within one update."""

    key: str | Callable[[Any], Any] | None


class MergeBy(Struct, frozen=True):
    """list + list; an element replaces the last one with its key in place, new ones go to the end."""

    key: str | Callable[[Any], Any]


DECLARED = (Extend, Append, Merge, Bounded, Dedupe, MergeBy)
Reducer = Extend | Append | Merge | Bounded | Dedupe | MergeBy | Function

extend = Extend()
append = Append()
merge = Merge()


def bounded(limit: int) -> Bounded:
    """Keep the last ``limit`` elements of a list. A limit below 1 is a `GraphError` of the graph."""
    return Bounded(limit)


def dedupe(*, key: str | Callable[[Any], Any] | None = None) -> Dedupe:
    """Keep the first element for each key (a field name, a function, or the element itself)."""
    return Dedupe(key)


def merge_by(key: str | Callable[[Any], Any]) -> MergeBy:
    """Replace the element with the same key (a field name or a function), else add at the end."""
    return MergeBy(key)


class Overwrite(Struct, frozen=True):
    """Goes past the reducer of a field: its value takes the field's place.

    Example:
        >>> from actorflow import Overwrite
        >>> Overwrite([]).value
        []
    """

    value: Any


class Remove:
    """Takes elements (`merge_by`) or keys (`merge`) away, by key; a missing key is no error.

    Example:
        >>> from actorflow import Remove
        >>> Remove("a", "b").keys
        ('a', 'b')
    """

    __slots__ = ("keys",)

    def __init__(self, *keys: Any) -> None:
        self.keys = keys

    def __repr__(self) -> str:
        return f"Remove({', '.join(map(repr, self.keys))})"


def key_of(key: str | Callable[[Any], Any] | None, element: Any) -> Any:
    """The key of an element: itself, a field or dict entry of it, or what a function makes of it."""
    if key is None:
        return element
    if not isinstance(key, str):
        return key(element)
    return cast("dict[str, Any]", element)[key] if isinstance(element, dict) else getattr(element, key)
