"""spawn: an input makes the decision that begins a run."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Literal

from msgspec import msgpack

from actorflow.engine.decide import Decision
from actorflow.engine.events import Start
from actorflow.engine.fold import begin
from actorflow.engine.merge import typed
from actorflow.engine.records import Open, Spawned
from actorflow.engine.tokens import key_of
from actorflow.errors import BadUpdate

if TYPE_CHECKING:
    from actorflow.engine.operations import Values
    from actorflow.graph.plan import Plan
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State


def spawn(
    plan: Plan,
    schema: Schema,
    state: State,
    *,
    run_id: str,
    life: int = 1,
    durability: Literal["sync", "async", "exit"] = "sync",
) -> Decision:
    """The decision that begins a run.

    Raises:
        BadUpdate: the state can't be encoded, or has a value of the wrong type.
    """
    values = checked_input(schema, state)
    seed = key_of(b"run", run_id.encode(), life.to_bytes(8, "big"))
    record = Spawned(
        run_id=run_id,
        life=life,
        graph=plan.graph,
        topology=plan.digest,
        durability=durability,
        digest=input_digest(schema, values),
        values=values,
        opens=tuple(Open(node, key_of(seed, b"entry", node.encode())) for node in plan.entries),
    )
    run = begin(record)
    return Decision(run, [record], [Start(id_) for id_ in run.open])


def default_input(schema: Schema) -> State:
    """The input of a run that is given none.

    Raises:
        BadUpdate: a field has no default.
    """
    if missing := [repr(name) for name, its in schema.fields.items() if its.required]:
        raise BadUpdate(None, f"none was given, and {schema.state_type.__name__} needs {', '.join(missing)}")
    return schema.state_type()


def checked_input(schema: Schema, state: State) -> Values:
    """The plain values of an input.

    Raises:
        BadUpdate: it is no State of this graph, or a field does not fit.
    """
    if type(state) is not schema.state_type:
        raise BadUpdate(None, f"it is of type {type(state).__name__}, not {schema.state_type.__name__}")
    values: Values = {}
    for name, its in schema.fields.items():
        try:
            values[name] = its.check(getattr(state, name))
        except Exception as error:
            raise BadUpdate(None, f"{error} (the field is {its.type_text})", field=name) from error
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
