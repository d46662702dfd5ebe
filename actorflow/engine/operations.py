"""Operations: the effect of a merge on a scope's values, small enough to commit instead of the state.

Values are plain (what msgpack decodes to) and never change in place: applying
an operation makes a new dict that shares what did not change. A list that only
grows shares its elements with its older lengths (`Grown`), so that the base of
an activation costs nothing to keep.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Sequence

Values = dict[str, Any]


class Grown:
    """The first ``length`` elements of a list that others, longer ones, may share."""

    __slots__ = ("items", "length")

    def __init__(self, items: list[Any], length: int) -> None:
        self.items = items
        self.length = length

    def extended(self, more: list[Any]) -> Grown:
        """A longer one. Shares the elements, unless another has grown past this length already."""
        items = self.items if len(self.items) == self.length else self.items[: self.length]
        items.extend(more)
        return Grown(items, len(items))

    def to_list(self) -> list[Any]:
        """The elements, in a list of the caller's own."""
        return self.items[: self.length]


class Put(Struct, frozen=True, array_like=True, tag="="):
    """A plain write: the field without reducer, or an `Overwrite`. The only operation that can conflict."""

    field: str
    value: Any


class Reduced(Struct, frozen=True, array_like=True, tag="r"):
    """The whole result of a reducer."""

    field: str
    value: Any


class Extended(Struct, frozen=True, array_like=True, tag="+"):
    """Elements added at the end of a list."""

    field: str
    items: list[Any]


class Spliced(Struct, frozen=True, array_like=True, tag="~"):
    """Elements ``start`` to ``stop`` of a list replaced."""

    field: str
    start: int
    stop: int
    items: list[Any]


class Merged(Struct, frozen=True, array_like=True, tag="|"):
    """Keys put into a dict."""

    field: str
    items: dict[Any, Any]


class Dropped(Struct, frozen=True, array_like=True, tag="-"):
    """Keys taken out of a dict; those that are not there are passed over."""

    field: str
    keys: dict[Any, None]  # as keys, since a tuple that is read back elsewhere is a list


Operation = Put | Reduced | Extended | Spliced | Merged | Dropped


def thaw(value: Any) -> Any:
    """A value as it is encoded: a `Grown` list as a list."""
    return value.to_list() if type(value) is Grown else value


def tried(operations: Sequence[Operation], values: Values) -> Values:
    """`apply` to see what would come of it: no shared list grows, so that who really applies them need copy none."""
    return apply(operations, {name: thaw(value) for name, value in values.items()})


def apply(operations: Sequence[Operation], values: Values) -> Values:
    """The values after the operations; the dict passed in stays as it is."""
    if not operations:
        return values
    after = values.copy()
    for operation in operations:
        name = operation.field
        match operation:
            case Put(value=value) | Reduced(value=value):
                after[name] = value
            case Extended(items=items):
                old = after.get(name, [])
                grown = old if type(old) is Grown else Grown(list(old), len(old))
                after[name] = grown.extended(items)
            case Spliced(start=start, stop=stop, items=items):
                changed = thaw(after.get(name, []))[:]
                changed[start:stop] = items
                after[name] = changed
            case Merged(items=items):
                after[name] = {**after.get(name, {}), **items}
            case Dropped(keys=keys):
                after[name] = {key: value for key, value in after.get(name, {}).items() if key not in keys}
    return after
