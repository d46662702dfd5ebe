"""JSON schemas as msgspec writes them: whether a plain value fits one. No more of the standard than that is read.

The type of an answer is known to the code that asks. Whoever answers may be
another process, long after; the schema travels with the question.
"""

from __future__ import annotations

import datetime as dt
import decimal
import re
import uuid
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_Schema = dict[str, Any]

_TYPES: dict[str, tuple[type, ...]] = {
    "null": (type(None),),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "string": (str, dt.datetime),  # whose schema says no more than that it is written as text
    "array": (list, tuple),
    "object": (dict,),
}

_FORMATS: dict[str, type] = {
    "date-time": dt.datetime,
    "date": dt.date,
    "time": dt.time,
    "duration": dt.timedelta,
    "uuid": uuid.UUID,
    "decimal": decimal.Decimal,
}
"""Texts that stand for something else. What msgpack has a type for may also come as that."""


def mismatch(value: Any, schema: _Schema) -> str | None:
    """Why the value does not fit the schema; None if it does."""
    return _mismatch(value, schema, schema.get("$defs", {}), "")


def _mismatch(value: Any, schema: _Schema, defs: _Schema, at: str) -> str | None:
    where = f" at {at}" if at else ""
    if "$ref" in schema:
        return _mismatch(value, defs[schema["$ref"].rpartition("/")[2]], defs, at)
    if "anyOf" in schema:
        problems = [_mismatch(value, one, defs, at) for one in schema["anyOf"]]
        return None if None in problems else f"{problems[0]}, nor any other of {len(problems)} kinds"
    if "enum" in schema and not any(type(one) is type(value) and one == value for one in schema["enum"]):
        return f"expected one of {', '.join(map(repr, schema['enum']))}{where}, got {value!r}"
    if "const" in schema and schema["const"] != value:
        return f"expected {schema['const']!r}{where}, got {value!r}"
    for one in schema.get("allOf", ()):
        if (problem := _mismatch(value, one, defs, at)) is not None:
            return problem
    if (format_ := schema.get("format")) in _FORMATS:
        return _malformed(value, format_, where)
    if "contentEncoding" in schema:
        return None if isinstance(value, bytes) else f"expected bytes{where}, got {type(value).__name__}"
    wanted = schema.get("type")
    if wanted is not None:
        kinds = [wanted] if isinstance(wanted, str) else wanted
        if not any(_is(value, kind) for kind in kinds):
            return f"expected {' or '.join(kinds)}{where}, got {type(value).__name__}"
    return _bounds(value, schema, where) or _inside(value, schema, defs, at)


def _is(value: Any, kind: str) -> bool:
    return isinstance(value, _TYPES[kind]) and not (isinstance(value, bool) and kind in ("integer", "number"))


def _malformed(value: Any, format_: str, where: str) -> str | None:
    try:
        msgspec.convert(value, _FORMATS[format_])
    except msgspec.ValidationError:
        return f"expected a {format_}{where}, got {value!r}"
    return None


_BOUNDS: tuple[tuple[str, Callable[[Any, Any], bool], str], ...] = (
    ("minimum", lambda value, bound: value >= bound, "at least"),
    ("maximum", lambda value, bound: value <= bound, "at most"),
    ("exclusiveMinimum", lambda value, bound: value > bound, "more than"),
    ("exclusiveMaximum", lambda value, bound: value < bound, "less than"),
    ("minLength", lambda value, bound: len(value) >= bound, "a length of at least"),
    ("maxLength", lambda value, bound: len(value) <= bound, "a length of at most"),
    ("minItems", lambda value, bound: len(value) >= bound, "a length of at least"),
    ("maxItems", lambda value, bound: len(value) <= bound, "a length of at most"),
    ("minProperties", lambda value, bound: len(value) >= bound, "a length of at least"),
    ("maxProperties", lambda value, bound: len(value) <= bound, "a length of at most"),
    ("multipleOf", lambda value, bound: value % bound == 0, "a multiple of"),
    ("pattern", lambda value, bound: re.search(bound, value) is not None, "a match of"),
)


def _bounds(value: Any, schema: _Schema, where: str) -> str | None:
    for name, holds, says in _BOUNDS:
        if name in schema and not holds(value, schema[name]):
            return f"expected {says} {schema[name]!r}{where}, got {value!r}"
    return None


def _inside(value: Any, schema: _Schema, defs: _Schema, at: str) -> str | None:
    if _is_object(value):
        given = value
        known = schema.get("properties", {})
        if missing := [name for name in schema.get("required", ()) if name not in given]:
            return f"lacks {', '.join(map(repr, missing))}{f' at {at}' if at else ''}"
        others = schema.get("additionalProperties")
        for name, one in given.items():
            wanted = known.get(name, others if isinstance(others, dict) else None)
            if wanted is None and others is False:
                return f"has {name!r}, which is not asked for"
            if wanted is not None and (problem := _mismatch(one, wanted, defs, f"{at}.{name}")) is not None:
                return problem
    elif isinstance(value, list | tuple):
        prefix = schema.get("prefixItems", ())
        for index, one in enumerate(cast("list[Any]", value)):
            wanted = prefix[index] if index < len(prefix) else schema.get("items")
            if isinstance(wanted, dict) and (
                problem := _mismatch(one, cast("_Schema", wanted), defs, f"{at}[{index}]")
            ):
                return problem
    return None


def _is_object(value: Any) -> TypeGuard[dict[Any, Any]]:
    return isinstance(value, dict)
