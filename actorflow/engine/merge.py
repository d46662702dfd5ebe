"""Merging: what a node returned, checked against the schema, as operations on its scope's values."""

from __future__ import annotations

from inspect import isawaitable
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.operations import (
    Dropped,
    Extended,
    Merged,
    Operation,
    Put,
    Reduced,
    Spliced,
    Values,
    apply,
    thaw,
    tried,
)
from actorflow.errors import BadUpdate, NodeError, ReducerError
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
from actorflow.graph.schema import ENCODE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from actorflow.graph.schema import Field, Schema
    from actorflow.graph.state import State


def typed(schema: Schema, values: Values) -> State:
    """The values as a State of the caller's own: nothing the caller does to it is seen by anybody else."""
    known = schema.fields
    given = values if values.keys() <= known.keys() else {name: values[name] for name in values if name in known}
    if schema.copied:
        own = {field.name: field.load(thaw(given[field.name])) for field in schema.copied if field.name in given}
        given = {**given, **own}
    return schema.state_type(**given)


def merge(schema: Schema, values: Values, update: Mapping[str, Any], *, node: str | None) -> list[Operation]:
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
            operations += _merge_field(field, values.get(name), value, node=node)
        except NodeError:
            raise
        except Exception as error:  # the value's own types may raise anything
            hint = "; is an await missing?" if isawaitable(value) else ""
            raise BadUpdate(node, f"{error} (the field is {field.type_text}){hint}", field=name) from error
    if operations and schema.is_ruled:
        _check_whole(schema, operations, values, node=node)
    return operations


def merge_all(
    schema: Schema, values: Values, updates: Sequence[Mapping[str, Any]], *, node: str | None
) -> list[Operation]:
    """The operations that bring several updates into ``values``, one after the other, all or nothing; see `merge`."""
    if len(updates) == 1:
        return merge(schema, values, updates[0], node=node)
    operations: list[Operation] = []
    now = {name: thaw(value) for name, value in values.items()}  # what is only tried must not grow a shared list
    for update in updates:
        more = merge(schema, now, update, node=node)
        now = apply(more, now)
        operations += more
    return operations


def _check_whole(schema: Schema, operations: list[Operation], values: Values, *, node: str | None) -> None:
    """A rule over several fields is kept here, by the node that writes, not by those that read."""
    try:
        typed(schema, tried(operations, values))
    except Exception as error:
        raise BadUpdate(node, f"{schema.state_type.__name__} refuses it: {error}") from error


def difference(schema: Schema, base: Values, state: State) -> dict[str, Any]:
    """The update that a node meant by returning a whole State: the fields that differ from its base."""
    before = typed(schema, base)
    update: dict[str, Any] = {}
    for name, field in schema.fields.items():
        old, new = getattr(before, name), getattr(state, name)
        if _is_same(field, old, new):
            continue
        if isinstance(field.reducer, Extend) and isinstance(new, list) and new[: len(old)] == old:
            update[name] = new[len(old) :]
        else:
            update[name] = new if field.reducer is None else Overwrite(new)
    return update


def _is_same(field: Field, old: Any, new: Any) -> bool:
    """Equal, or encoded alike: a NaN is not equal to itself."""
    if old == new:
        return True
    try:
        return field.codecs.encode(old) == field.codecs.encode(new)
    except ENCODE_ERRORS:
        return False


def _merge_field(field: Field, now: Any, value: Any, *, node: str | None) -> list[Operation]:
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
                return [Dropped(name, field.plain(dict.fromkeys(value.keys)))]
            items = field.check_update(value)
            return [Merged(name, items)] if items else []
        case Bounded(limit):
            return _bounded(name, thaw(now), field.check_update(value), limit)
        case Dedupe(key):
            return _dedupe(field, thaw(now), field.check_update(value), key, node=node)
        case MergeBy(key):
            return _merge_by(field, thaw(now), value, key, node=node)
        case function:
            return _custom(field, thaw(now), value, function, node=node)


def _bounded(name: str, old: list[Any], items: list[Any], limit: int) -> list[Operation]:
    if not items:
        return []
    if len(items) >= limit:
        return [Reduced(name, items[-limit:])]
    surplus = len(old) + len(items) - limit
    grow = Extended(name, items)
    return [grow] if surplus <= 0 else [grow, Spliced(name, 0, surplus, [])]


def _dedupe(field: Field, old: list[Any], items: list[Any], key: Any, *, node: str | None) -> list[Operation]:
    seen = set(_keys(field, old, key, node=node))
    fresh: list[Any] = []
    for item, its_key in zip(items, _keys(field, items, key, node=node), strict=True):
        if its_key not in seen:
            seen.add(its_key)
            fresh.append(item)
    return [Extended(field.name, fresh)] if fresh else []


def _merge_by(field: Field, old: list[Any], value: Any, key: Any, *, node: str | None) -> list[Operation]:
    """The operations of one part after the other, each on what those before it made."""
    if isinstance(value, Remove):
        parts: Any = [value]
    else:
        parts = value if value.__class__ in {list, tuple} else field.check_update(value)
    items = field.check_update([part for part in parts if not isinstance(part, Remove)])
    added = iter(list(zip(items, _keys(field, items, key, node=node), strict=True)))
    keys = _keys(field, old, key, node=node)
    where = {its_key: index for index, its_key in enumerate(keys)}  # the last element with each key
    operations: list[Operation] = []
    for part in parts:
        if isinstance(part, Remove):
            gone = {_hashable(one if callable(key) else field.plain(one)) for one in part.keys}
            for index in reversed([index for index, its_key in enumerate(keys) if its_key in gone]):
                operations.append(Spliced(field.name, index, index + 1, []))
                del keys[index]
            where = {its_key: index for index, its_key in enumerate(keys)}
            continue
        item, its_key = next(added)
        if its_key in where:
            operations.append(Spliced(field.name, where[its_key], where[its_key] + 1, [item]))
            continue
        where[its_key] = len(keys)
        keys.append(its_key)
        if operations and isinstance(last := operations[-1], Extended):
            last.items.append(item)
        else:
            operations.append(Extended(field.name, [item]))
    return operations


def _keys(field: Field, elements: list[Any], key: Any, *, node: str | None) -> list[Any]:
    """The keys of plain elements. A key function sees typed elements, a field name needs only the plain ones."""
    try:
        if callable(key):
            return [_hashable(key(element)) for element in field.codecs.typed(elements, field.type)]
        return [_hashable(key_of(key, element)) for element in elements]
    except Exception as error:
        raise ReducerError(node, field.name, f"could not find the key of an element: {error!r}") from error


def _hashable(key: Any) -> Any:
    try:
        hash(key)
    except TypeError:
        return msgspec.msgpack.encode(key)
    return key


def _custom(field: Field, old: Any, value: Any, function: Any, *, node: str | None) -> list[Operation]:
    update = field.load_update(value)
    before = field.load(old)
    try:
        result = function(before, update)
    except Exception as error:
        raise ReducerError(node, field.name, f"raised {error!r}") from error
    try:
        return [Reduced(field.name, field.check(result))]
    except Exception as error:
        raise ReducerError(node, field.name, f"returned {type(result).__name__}: {error}") from error


def plain_writes(operations: Iterable[Operation]) -> frozenset[str]:
    """The fields that the operations overwrite without a reducer: those that can conflict."""
    return frozenset([operation.field for operation in operations if type(operation) is Put])
