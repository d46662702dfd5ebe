"""Inner: the graph that a node runs in a scope of its own, and what goes in and out of that."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from actorflow.graph.fan import WHOLE
from actorflow.graph.signature import is_async, is_generator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.declaration import DeclaredFan, DeclaredInner
    from actorflow.graph.graph import Graph  # noqa: TC004 - only named there; at run time it imports this module
    from actorflow.graph.plan import Plan
    from actorflow.graph.schema import Schema

MAX_DEPTH = 50
"""How many scopes may lie inside each other: a graph that contains itself comes to an end there."""


class Inner(Struct, frozen=True, kw_only=True, eq=False):
    """A graph inside another. Its plan is asked for when it is needed, so that a graph may contain itself."""

    graph: Graph[Any]
    enter: Mapping[str, str] | Callable[..., Any]  # {inner: outer}, or what makes the inner State
    leave: Mapping[str, str] | Callable[..., Any]  # {outer: inner}, or what makes the outer update
    kept: bool  # its state stays for the next visit of the run
    handed: frozenset[str]  # inner fields whose updates are handed up one by one: the same reducer outside

    @property
    def plan(self) -> Plan:
        """The inner graph, compiled."""
        return self.graph.plan


def inner_of(declared: DeclaredInner, outer: Schema, *, fan: DeclaredFan | None) -> Inner:
    """A declared subgraph, as the engine runs it; that of a map takes an item and gives its result."""
    schema: Schema = declared.graph.schema
    if fan is not None:
        enter, leave = _of_item(declared, fan)
        return Inner(graph=declared.graph, enter=enter, leave=leave, kept=False, handed=frozenset())
    both = [name for name in schema.fields if name in outer.fields]
    enter = _mapped(declared.enter, both)
    leave = _mapped(declared.leave, both)
    handed: set[str] = set()
    if not callable(leave):
        for name, inside in leave.items():
            if (field := outer.fields.get(name)) is not None and (own := schema.fields.get(inside)) is not None:
                handed |= {inside} if field.reducer is not None and field.reducer == own.reducer else set()
    return Inner(
        graph=declared.graph, enter=enter, leave=leave, kept=declared.lifetime == "run", handed=frozenset(handed)
    )


Mapped = Mapping[str, str] | Callable[..., Any]


def _of_item(declared: DeclaredInner, fan: DeclaredFan) -> tuple[Mapped, Mapped]:
    """How an item goes in, and its result comes out."""
    enter: Any = declared.enter
    leave: Any = declared.leave
    if isinstance(enter, str):
        enter = {enter: WHOLE}
    if isinstance(leave, str):
        leave = {WHOLE: leave}
    elif leave is None and fan.into is not None and not isinstance(fan.into, str):
        leave = {part: part for part in fan.into.values()}
    return enter or {WHOLE: WHOLE}, leave or {WHOLE: WHOLE}


def _mapped(given: Any, both: list[str]) -> Mapped:
    if given is None:
        return {name: name for name in both}
    if callable(given) or isinstance(given, Mapping):
        return cast("Mapped", given)
    return {name: name for name in given}


def problems_of_inner(declared: DeclaredInner, outer: Schema, *, fan: DeclaredFan | None) -> Iterator[str]:
    """Why this graph can't be a node of a graph over the ``outer`` state."""
    from actorflow.graph.graph import Graph

    if not isinstance(cast("object", declared.graph), Graph):
        yield f"{declared.graph!r} is no Graph"
        return
    graph: Graph[Any] = declared.graph
    schema = graph.schema
    if declared.lifetime not in ("visit", "run"):
        yield f"lifetime={declared.lifetime!r}: give 'visit' (a new state each time) or 'run' (kept between visits)"
    for what, given in (("enter", declared.enter), ("leave", declared.leave)):
        if callable(given) and (is_async(given) or is_generator(given)):
            yield f"{what}= must be a plain sync function, pure and quick"
    if fan is not None:
        yield from _problems_of_item(declared, schema)
        if isinstance(fan.into, Mapping):
            yield from _problems_of_parts(declared, schema, fan.into)
        return
    yield from _problems_of_mappings(declared, outer, schema)


def _problems_of_mappings(declared: DeclaredInner, outer: Schema, schema: Schema) -> Iterator[str]:
    for what, given in (("enter", declared.enter), ("leave", declared.leave)):
        if given is None or callable(given):
            continue
        if isinstance(given, str) or not isinstance(given, Mapping | Sequence):
            yield f"{what}={given!r}: give a dict, a list of names, or a function"
            return
    inner = inner_of(declared, outer, fan=None)
    if not callable(inner.enter):
        yield from _unknown("enter", inner.enter, schema, outer)
        missing = [name for name, field in schema.fields.items() if field.required and name not in inner.enter]
        if missing:
            yield f"enter= leaves out {', '.join(map(repr, missing))}, which {schema.state_type.__name__} needs"
    if not callable(inner.leave):
        yield from _unknown("leave", inner.leave, outer, schema)


def _unknown(what: str, names: Mapping[str, str], into: Schema, from_: Schema) -> Iterator[str]:
    for target, source in names.items():
        if target not in into.fields:
            yield f"{what}=: {into.state_type.__name__} has no field {target!r}"
        if source not in from_.fields:
            yield f"{what}=: {from_.state_type.__name__} has no field {source!r}"


def _problems_of_parts(declared: DeclaredInner, schema: Schema, into: Mapping[str, str]) -> Iterator[str]:
    if declared.leave is not None:
        yield "into= names the fields of the inner state already, so leave= has nothing to say"
    for part in into.values():
        if part not in schema.fields:
            yield f"into=: {schema.state_type.__name__} has no field {part!r}"


def _problems_of_item(declared: DeclaredInner, schema: Schema) -> Iterator[str]:
    inner = schema.state_type.__name__
    enter, leave = declared.enter, declared.leave
    if isinstance(enter, str):
        if enter not in schema.fields:
            yield f"enter={enter!r}: {inner} has no such field"
        missing = [name for name, field in schema.fields.items() if field.required and name != enter]
        if missing:
            yield f"enter={enter!r} leaves out {', '.join(map(repr, missing))}, which {inner} needs"
    elif enter is not None and not callable(enter):
        yield f"enter={enter!r}: give the field that takes the item, or (item, state) -> {inner}"
    if isinstance(leave, str):
        if leave not in schema.fields:
            yield f"leave={leave!r}: {inner} has no such field"
    elif leave is not None and not callable(leave):
        yield f"leave={leave!r}: give the field that is the item's result, or a function of the last state"
    if declared.lifetime == "run":
        yield "a mapped subgraph has a state for each item; lifetime='run' is for subgraph()"


def warnings_of_inner(name: str, inner: Inner, outer: Schema) -> Iterator[str]:
    """Fields that go in and come out through different reducers: what went in may come out twice."""
    if callable(inner.enter) or callable(inner.leave):
        return
    fields: Schema = inner.graph.schema
    for outside, inside in inner.leave.items():
        if inside in inner.handed or inner.enter.get(inside) != outside:
            continue
        reducer = outer.fields[outside].reducer if outside in outer.fields else None
        own = fields.fields[inside].reducer if inside in fields.fields else None
        if reducer is not None or own is not None:
            yield (
                f"subgraph {name!r}: {outside!r} goes in and comes out through different reducers, "
                "so that what went in may be merged again; give both fields the same one"
            )
