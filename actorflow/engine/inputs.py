"""Inputs: what a run, or a graph inside one, begins with."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from msgspec import msgpack

from actorflow.engine.merge import typed
from actorflow.errors import BadUpdate

if TYPE_CHECKING:
    from actorflow.engine.operations import Values
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State


def default_input(schema: Schema) -> State:
    """The input of a run that is given none.

    Raises:
        BadUpdate: a field has no default.
    """
    if missing := [repr(name) for name, its in schema.fields.items() if its.required]:
        raise BadUpdate(None, f"none was given, and {schema.state_type.__name__} needs {', '.join(missing)}")
    return schema.state_type()


def checked_input(schema: Schema, state: State, *, node: str | None = None) -> Values:
    """The plain values of an input: of a run, or of the ``node`` that is a graph.

    Raises:
        BadUpdate: it is no State of this graph, or a field does not fit.
    """
    if type(state) is not schema.state_type:
        raise BadUpdate(node, f"it is of type {type(state).__name__}, not {schema.state_type.__name__}")
    values: Values = {}
    for name, its in schema.fields.items():
        try:
            values[name] = its.check(getattr(state, name))
        except Exception as error:
            raise BadUpdate(node, f"{error} (the field is {its.type_text})", field=name) from error
    return values


def input_digest(schema: Schema, values: Values) -> bytes:
    """What `run` compares, so that an id is not taken for a run of another input.

    The order of a dict does not count, nor that of a set, which is another in each process.
    """
    state: Any = typed(schema, values)
    try:
        state = schema.codecs.ordered(state)
    except TypeError:  # keys or elements that can't be compared with each other stay as they are
        state = values
    return hashlib.blake2b(msgpack.encode(state), digest_size=16).digest()
