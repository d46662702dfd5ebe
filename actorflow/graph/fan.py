"""Fan: what `Graph.map` says about its items: where they come from, how many at once, where their results go."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

from msgspec import Struct

from actorflow.errors import BadUpdate
from actorflow.graph.signature import UNKNOWN, is_async, is_generator

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from actorflow.graph.declaration import DeclaredFan
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State

WHOLE = ""
"""Stands for the whole result of an item, where a part of it might be named."""


AT_ONCE = 100
"""How many items are open at a time, unless somebody says otherwise."""


class ItemError(Struct, frozen=True):
    """An item that failed, as ``errors=`` (or, without it, its place in ``into``) has it."""

    index: int
    item: Any
    type: str
    message: str


class Fan(Struct, frozen=True, kw_only=True):
    """The items of a map. Those of a `Send` come with the activation, and their results are updates."""

    over: str | int | Callable[[Any], Any]
    into: Mapping[str, str]  # field of the state: part of an item's result, or WHOLE
    limit: int | Callable[[Any], int]
    on_error: Literal["fail", "collect"]
    on_empty: Literal["skip", "fail"]
    errors: str | None

    def items(self, state: State, *, node: str) -> Sequence[Any]:
        """The items, where a function or a count says them.

        Raises:
            BadUpdate: the function returned no list.
        """
        found: Any = self.over(state) if callable(self.over) else self.over
        if type(found) is int:
            return range(found)
        if isinstance(found, bool | str | bytes | Mapping) or not hasattr(found, "__iter__"):
            raise BadUpdate(
                node, f"over= gave {type(cast('object', found)).__name__}; items are a list, or their number"
            )
        items: list[Any] = list(found)
        return items

    def at_once(self, state: State, *, node: str) -> int:
        """How many items may be open at a time.

        Raises:
            BadUpdate: the function returned no such number.
        """
        limit = self.limit(state) if callable(self.limit) else self.limit
        if type(limit) is not int or limit < 1:
            raise BadUpdate(node, f"limit= gave {limit!r}; give a number of at least 1")
        return limit


def fan_of(declared: DeclaredFan) -> Fan:
    """A declared fan, as the engine runs it. Only what `problems_of_fan` finds nothing wrong with can be run."""
    into: Any = declared.into
    return Fan(
        over=declared.over,
        into={} if into is None else {into: WHOLE} if isinstance(into, str) else into,
        limit=declared.limit,
        on_error=cast("Any", declared.on_error),
        on_empty=cast("Any", declared.on_empty),
        errors=declared.errors,
    )


def problems_of_fan(declared: DeclaredFan, schema: Schema) -> Iterator[str]:
    """Why a map over this state can't be declared so."""
    yield from _problems_of_items(declared, schema)
    yield from _problems_of_results(declared, schema)
    for what, given, known in (
        ("on_error", declared.on_error, ("fail", "collect")),
        ("on_empty", declared.on_empty, ("skip", "fail")),
    ):
        if given not in known:
            yield f"{what}={given!r}: give {' or '.join(map(repr, known))}"


def _problems_of_items(declared: DeclaredFan, schema: Schema) -> Iterator[str]:
    over, limit, fields = declared.over, declared.limit, schema.fields
    if isinstance(over, str):
        if over not in fields:
            yield f"over={over!r}: {schema.state_type.__name__} has no such field"
        elif _listed(fields[over].type) is None:
            yield f"over={over!r}: it is {fields[over].type_text}, not a list; give a function of the state"
    elif callable(over):
        if is_async(over) or is_generator(over):
            yield "over= must be a plain sync function of the state; do what it awaits in a node before it"
    elif type(over) is not int or over < 0:
        yield f"over={over!r}: give a field, a function of the state, or a number of items"
    if not callable(limit) and (type(limit) is not int or limit < 1):
        yield f"limit={limit!r}: give a number of at least 1, or a function of the state"


def _problems_of_results(declared: DeclaredFan, schema: Schema) -> Iterator[str]:
    into, errors = fan_of(declared).into, declared.errors
    for name in (*into, *(() if errors is None else (errors,))):
        if name not in schema.fields:
            yield f"into or errors={name!r}: {schema.state_type.__name__} has no such field"
    if errors is not None and errors in into:
        yield f"errors={errors!r}: the results go there, too; give the errors a field of their own"
    if errors is not None and declared.on_error != "collect":
        yield 'errors= is for on_error="collect"'


def item_type(declared: DeclaredFan, schema: Schema, annotated: Any) -> Any:
    """What an item is: as its function's parameter says, else as the field that it comes from."""
    if annotated is not Any:
        return annotated
    over = declared.over
    found = _listed(schema.fields[over].type) if isinstance(over, str) and over in schema.fields else None
    return Any if found is None else found


def _listed(annotation: Any) -> Any:
    """The type of a list's elements; None if it is no list."""
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    origin = typing.get_origin(annotation) or annotation
    if origin in (list, set, frozenset):
        return next(iter(typing.get_args(annotation)), Any)
    if origin is tuple:
        kinds = typing.get_args(annotation)
        return kinds[0] if len(kinds) == 2 and kinds[1] is Ellipsis else Any
    return Any if annotation in (Any, UNKNOWN) else None
