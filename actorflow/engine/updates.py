"""Updates kept for later: what an item or an inner node returned, so that it can be merged again, elsewhere.

An operation is the effect of an update on one state; this is the update itself,
as plain values that can be committed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from actorflow.engine.records import Handed
from actorflow.graph.reducers import MergeBy, Overwrite, Remove

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actorflow.graph.schema import Field, Schema

_OVERWRITE, _REMOVE, _PARTS = "=", "-", "~"
AS_OPERATION = "^"
"""The update is what the record's operation adds to the field, and is not said twice."""


def keep(schema: Schema, update: Mapping[str, Any], only: Iterable[str] | None = None) -> tuple[Handed, ...]:
    """An update that was merged without an error, or those of its fields that are named in ``only``."""
    names = update if only is None else [name for name in update if name in only]
    return tuple(_keep_field(schema.fields[name], update[name]) for name in names)


def restore(kept: Handed) -> Any:
    """The value for its field, as a node would have returned it."""
    match kept.mark:
        case "=":
            return Overwrite(kept.value)
        case "-":
            return Remove(*kept.value)
        case "~":
            return [Remove(*value) if mark == _REMOVE else value for mark, value in kept.value]
        case _:
            return kept.value


def _keep_field(field: Field, value: Any) -> Handed:
    if isinstance(value, Overwrite):
        return Handed(field.name, _OVERWRITE, field.check(value.value))
    if isinstance(value, Remove):
        return Handed(field.name, _REMOVE, field.plain(list(value.keys)))
    if isinstance(field.reducer, MergeBy) and isinstance(value, list | tuple):
        parts = [
            (_REMOVE, field.plain(list(part.keys))) if isinstance(part, Remove) else ("", field.plain(part))
            for part in cast("Sequence[Any]", value)
        ]
        return Handed(field.name, _PARTS, parts)
    return Handed(field.name, "", field.plain(value))
