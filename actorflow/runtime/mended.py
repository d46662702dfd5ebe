"""Mended: a value that a run kept beside its state, as newer code wants it. It is migrated when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeGuard

from anyio import to_thread

from actorflow.engine.operations import thaw
from actorflow.engine.run import Form
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from actorflow.runtime.conversion import Conversion, form_of

if TYPE_CHECKING:
    from actorflow.engine.decision import Place
    from actorflow.engine.records import Shape
    from actorflow.graph.codec import Codecs

MIGRATION_TIMEOUT = 60.0
"""Seconds that migrating one value may take."""


def shape_of(value: State, codecs: Codecs) -> Shape:
    """In which schema a value is kept."""
    schema = schema_of(type(value), codecs.registered)
    return schema.name, schema.version, schema.table


async def mended(value: Any, shape: Shape | None, wanted: Any, place: Place) -> Any:
    """A kept value as that type, the caller's own.

    Args:
        value: plain, as it was kept.
        shape: the schema that it was kept in, if it was a State.
        wanted: the type.
        place: the activation that asks.

    Raises:
        MigrationError: there is no way from that schema to the code's.
        msgspec.ValidationError: it is of another type.
    """
    codecs = place.schema.codecs
    if shape is not None and _is_state(wanted):
        schema, form = schema_of(wanted, codecs.registered), Form(*shape)
        if form != form_of(schema):
            conversion = Conversion(schema, form, (), time_limit=MIGRATION_TIMEOUT)
            values = await to_thread.run_sync(conversion.values, value)  # user code, which may take its time
            value = {name: thaw(field) for name, field in values.items()}
    return codecs.typed(thaw(value), wanted)


def _is_state(wanted: Any) -> TypeGuard[type[State]]:
    return isinstance(wanted, type) and issubclass(wanted, State)
