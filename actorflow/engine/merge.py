"""Merging: what a node returned, checked against the schema, as operations on its scope's values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.operations import Dropped, Extended, Merged, Operation, Put, Reduced, Spliced, Values, thaw
from actorflow.errors import BadUpdate, ReducerError
from actorflow.graph.reducers import (
    Append,
    Bounded,
    Dedupe,
    Extend,
    Merge,
    MergeBy,
    Overwrite,
    Remove,
    key_of,
)
from actorflow.graph.schema import ENCODE_ERRORS, to_plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actorflow.graph.schema import Field, Schema
    from actorflow.graph.state import State


def typed(schema: Schema, values: Values) -> State:
    """The values as a State of the caller's own: nothing the caller does to it is seen by anybody else."""
    fields = schema.fields
    return schema.state_type(
        **{name: fields[name].load(thaw(value)) for name, value in values.items() if name in fields}
    )


def merge(schema: Schema, values: Values, update: Mapping[str, Any], *, node: str) -> list[Operation]:
    """The operations that bring ``update`` into ``values``. All or nothing: an error merges none of it.

    Raises:
        BadUpdate: an unknown field, a wrong type, or something that can't be encoded.
        ReducerError: a reducer raised, or its result does not fit its field.
    """
    operations: list[Operation] = []
    for name, value in update.items():
        field = schema.fields.get(name)
        if field is None:
            known = ", ".join(schema.fields)
            raise BadUpdate(node, f"{schema.state_type.__name__} has no field {name!r} (its fields: {known})")
        try:
            operations += _merge_field(field, thaw(values.get(name)), value, node=node)
        except ENCODE_ERRORS as error:
            raise BadUpdate(node, f"{error} (the field is {field.type_text})", field=name) from error
    return operations


def difference(schema: Schema, base: Values, state: State) -> dict[str, Any]:
    """The update that a node meant by returning a whole State: the fields that differ from its base."""
    before = typed(schema, base)
    update: dict[str, Any] = {}
    for name, field in schema.fields.items():
        old, new = getattr(before, name), getattr(state, name)
        if old == new:
            continue
        if isinstance(field.reducer, Extend) and new[: len(old)] == old:
            update[name] = new[len(old) :]
        else:
            update[name] = new if field.reducer is None else Overwrite(new)
    return update


def _merge_field(field: Field, old: Any, value: Any, *, node: str) -> list[Operation]:
    name = field.name
    if isinstance(value, Overwrite):
        return [Put(name, field.check(value.value))]
    match field.reducer:
        case None:
            return [Put(name, field.check(value))]
        case Extend():
            items = field.check_update(value)
            return [Extended(name, items)] if items else []
        case Append():
            return [Extended(name, [field.check_update(value)])]
        case Merge():
            if isinstance(value, Remove):
                return [Dropped(name, to_plain(list(value.keys)))]
            items = field.check_update(value)
            return [Merged(name, items)] if items else []
        case Bounded(limit):
            return _bounded(name, old, field.check_update(value), limit)
        case Dedupe(key):
            return _dedupe(field, old, field.check_update(value), key, node=node)
        case MergeBy(key):
            return _merge_by(field, old, value, key, node=node)
        case function:
            return _custom(field, old, value, function, node=node)


def _bounded(name: str, old: list[Any], items: list[Any], limit: int) -> list[Operation]:
    if not items:
        return []
    if len(items) >= limit:
        return [Reduced(name, items[-limit:])]
    surplus = len(old) + len(items) - limit
    grow = Extended(name, items)
    return [grow] if surplus <= 0 else [grow, Spliced(name, 0, surplus, [])]


def _dedupe(field: Field, old: list[Any], items: list[Any], key: Any, *, node: str) -> list[Operation]:
    seen = set(_keys(field, old, key, node=node))
    fresh: list[Any] = []
    for item, its_key in zip(items, _keys(field, items, key, node=node), strict=True):
        if its_key not in seen:
            seen.add(its_key)
            fresh.append(item)
    return [Extended(field.name, fresh)] if fresh else []


def _merge_by(field: Field, old: list[Any], value: Any, key: Any, *, node: str) -> list[Operation]:
    parts = [value] if isinstance(value, Remove) else value
    removed = [k for part in parts if isinstance(part, Remove) for k in part.keys]
    items = field.check_update([part for part in parts if not isinstance(part, Remove)])
    where = {its_key: index for index, its_key in enumerate(_keys(field, old, key, node=node))}
    operations: list[Operation] = []
    fresh: dict[Any, Any] = {}
    for item, its_key in zip(items, _keys(field, items, key, node=node), strict=True):
        if its_key in where:
            operations.append(Spliced(field.name, where[its_key], where[its_key] + 1, [item]))
        else:
            fresh[its_key] = item
    if fresh:
        operations.append(Extended(field.name, list(fresh.values())))
    for its_key in map(_hashable, removed):
        if its_key in where:
            index = where.pop(its_key)
            operations.append(Spliced(field.name, index, index + 1, []))
            where = {other: at - (at > index) for other, at in where.items()}
    return operations


def _keys(field: Field, elements: list[Any], key: Any, *, node: str) -> list[Any]:
    """The keys of plain elements. A key function sees typed elements, a field name needs only the plain ones."""
    try:
        if callable(key):
            return [_hashable(key(element)) for element in msgspec.convert(to_plain(elements), field.type)]
        return [_hashable(key_of(key, element)) for element in elements]
    except Exception as error:
        raise ReducerError(node, field.name, f"could not find the key of an element: {error!r}") from error


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return msgspec.msgpack.encode(key)
    return key


def _custom(field: Field, old: Any, value: Any, function: Any, *, node: str) -> list[Operation]:
    update = field.check_update(value)
    if field.update_type is not None:
        update = msgspec.convert(update, field.update_type)
    before = field.load(old)
    try:
        result = function(before, update)
    except Exception as error:
        raise ReducerError(node, field.name, f"raised {error!r}") from error
    try:
        return [Reduced(field.name, field.check(result))]
    except ENCODE_ERRORS as error:
        raise ReducerError(node, field.name, f"returned {type(result).__name__}: {error}") from error


def plain_writes(operations: Iterable[Operation]) -> frozenset[str]:
    """The fields that the operations overwrite without a reducer: those that can conflict."""
    return frozenset(operation.field for operation in operations if type(operation) is Put)
