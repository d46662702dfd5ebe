"""Scopes: an activation that runs a graph enters a scope of its own, and leaves it with what that has made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import msgspec

from actorflow.engine.decision import depth_of
from actorflow.engine.fans import checked_result, finish_item
from actorflow.engine.flow import Outcome, deliver, may_go_to
from actorflow.engine.inputs import checked_input
from actorflow.engine.keys import key_of
from actorflow.engine.merge import typed
from actorflow.engine.operations import thaw
from actorflow.engine.records import Entered, Formed, Open, Queued
from actorflow.engine.run import ROOT, Form
from actorflow.engine.updates import keep, restore
from actorflow.errors import BadUpdate, TooDeep
from actorflow.graph.fan import WHOLE
from actorflow.graph.inner import MAX_DEPTH
from actorflow.graph.state import State

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.operations import Values
    from actorflow.engine.run import Activation
    from actorflow.graph.inner import Inner
    from actorflow.graph.routing import End
    from actorflow.graph.schema import Schema


def enter(decision: Decision, place: Place) -> None:
    """Begin the scope of an activation, or let it wait until the kept one that it needs is free.

    Raises:
        Whatever ``enter=`` raises; BadUpdate, TooDeep: nothing has begun.
    """
    inner, activation, run = _inner(place), place.activation, decision.run
    if depth_of(run, activation.scope) + 1 > MAX_DEPTH:
        raise TooDeep(place.node.name, MAX_DEPTH)
    path = _path(decision, place, kept=inner.kept)
    before = run.scopes.get(path)
    if before is not None and (before.owner is not None or _next(decision, place) not in (None, activation)):
        if not activation.queued:
            decision.note(Queued(activation.id))
        return
    plan = inner.plan
    values = _entering(place, inner, None if before is None else before.values)
    form = _form(decision, plan.schema)
    opens = tuple(Open(node, key_of(activation.key, b"entry", node.encode())) for node in plan.entries)
    decision.note(Entered(activation.id, path, form, values, opens, tuple(sorted(inner.handed)), kept=inner.kept))


def _inner(place: Place) -> Inner:
    assert place.node.inner is not None, "only a node that is a graph has a scope"
    return place.node.inner


def _path(decision: Decision, place: Place, *, kept: bool) -> str:
    """How the scope is called: as the nodes around it, with the index of an item. Two of one name are told apart."""
    activation = place.activation
    own = activation.node if activation.index is None else f"{activation.node}[{activation.index}]"
    path = own if activation.scope == ROOT else f"{activation.scope}/{own}"
    return path if kept or path not in decision.run.scopes else f"{path}#{activation.id}"


def _form(decision: Decision, schema: Schema) -> str:
    return say_form(decision, Form(schema.name, schema.version, schema.table))


def say_form(decision: Decision, form: Form) -> str:
    """Say what a schema is, once a run, and how the run refers to it: the files say only that of the root."""
    key = decision.run.form_key(form)
    if key not in decision.run.forms:
        decision.note(Formed(key, form.version, form.fields, "" if key == form.name else form.name))
    return key


def _entering(place: Place, inner: Inner, before: Values | None) -> Values:
    """The values that the scope begins with: what goes in, over what was kept, over the defaults."""
    schema, activation = inner.plan.schema, place.activation
    if activation.fan is not None:
        return _entering_item(place, inner)
    outer = typed(place.schema, activation.base)
    given = inner.enter(outer) if callable(inner.enter) else _renamed(inner.enter, outer)
    if isinstance(given, State) or before is None:
        return _checked(place, schema, given)
    kept = {name: schema.fields[name].load(thaw(value)) for name, value in before.items() if name in schema.fields}
    return _checked(place, schema, {**kept, **_fields(place, given)})


def _entering_item(place: Place, inner: Inner) -> Values:
    schema = inner.plan.schema
    item = item_of(place)
    if place.node.fan is None or inner.enter == {WHOLE: WHOLE}:
        return _checked(place, schema, item)
    if callable(inner.enter):
        return _checked(place, schema, inner.enter(item, typed(place.schema, place.activation.base)))
    (name,) = inner.enter
    return _checked(place, schema, {name: item})


def item_of(place: Place) -> Any:
    """The item of an activation, or the input that was sent to it, typed and its own."""
    activation, node = place.activation, place.node
    assert activation.fan is not None
    assert activation.index is not None
    owner, fan = place.owner_fan
    plain = fan.item(activation.index, owner.base)
    wanted = node.takes
    if node.inner is not None:
        schema = node.inner.plan.schema
        whole = node.fan is None or node.inner.enter == {WHOLE: WHOLE}
        wanted = schema.state_type if whole else Any
        if node.fan is not None and not callable(node.inner.enter) and not whole:
            wanted = schema.fields[next(iter(node.inner.enter))].type
    codecs = place.schema.codecs
    try:
        return codecs.decode(codecs.encode(plain), Any if wanted is None else wanted)
    except Exception as error:
        raise BadUpdate(node.name, f"item {activation.index} is not what it takes: {error}") from error


def _renamed(names: Mapping[str, str], state: State) -> dict[str, Any]:
    return {into: getattr(state, from_) for into, from_ in names.items()}


def _fields(place: Place, given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise BadUpdate(place.node.name, f"enter= gave {type(given).__name__}; give the inner State or its fields")
    return cast("Mapping[str, Any]", given)


def _checked(place: Place, schema: Schema, given: Any) -> Values:
    try:
        state = given if isinstance(given, State) else schema.state_type(**_fields(place, given))
    except TypeError as error:
        raise BadUpdate(place.node.name, f"enter= does not make a {schema.state_type.__name__}: {error}") from error
    return checked_input(schema, state, node=place.node.name)


def leave(decision: Decision, path: str, goto: tuple[str | End, ...] | None = None) -> None:
    """Finish the owner of a scope with what the scope has made.

    Raises:
        Whatever ``leave=`` raises; BadUpdate, ReducerError, UndeclaredTarget: the scope is as it was.
    """
    run = decision.run
    scope = run.scopes[path]
    assert scope.owner is not None
    owner = decision.place(run.open[scope.owner])
    inner = _inner(owner)
    schema = inner.plan.schema
    if owner.is_item and owner.node.fan is not None:
        finish_item(decision, owner, _result(owner, inner, scope.values))
    else:
        updates = _updates(owner, inner, schema, scope)
        if owner.is_item:
            kept = [one for update in updates for one in keep(owner.schema, update)]
            finish_item(decision, owner, [msgspec.to_builtins(one) for one in kept])
        else:
            targets = None if goto is None else owner.plan.route(owner.node.name, goto, may_go_to(owner.node))
            deliver(decision, owner, Outcome(None, targets), updates=updates)
    if scope.kept and not decision.run.ended:
        waiting = _next(decision, owner)
        if waiting is not None:
            decision.begin.append(waiting.id)


def _next(decision: Decision, place: Place) -> Activation | None:
    """Who is to enter a kept scope next: the one that waits for it longest."""
    here = place.activation.scope, place.node.name, place.activation.index
    waiting = (one for one in decision.run.open.values() if one.queued)
    return next((one for one in waiting if (one.scope, one.node, one.index) == here), None)


def _updates(owner: Place, inner: Inner, schema: Schema, scope: Any) -> list[Mapping[str, Any]]:
    """What is handed up: of each field only what was written inside, and reduced fields update by update."""
    if callable(inner.leave):
        made = inner.leave(typed(schema, scope.values))
        if made is None:
            return []
        if not isinstance(made, Mapping):
            raise BadUpdate(owner.node.name, f"leave= gave {type(made).__name__}; give an update, a dict")
        return [made]
    whole: dict[str, Any] = {}
    parts: list[Mapping[str, Any]] = []
    for outside, inside in inner.leave.items():
        if inside in scope.handed:
            parts += [{outside: restore(one)} for one in scope.handed[inside]]
        elif inside in scope.written:
            whole[outside] = schema.fields[inside].load(thaw(scope.values[inside]))
    return [whole, *parts] if whole else parts


def _result(owner: Place, inner: Inner, values: Values) -> Any:
    """The result of an item: its last state, a field of it, several, or what a function makes of it."""
    schema = inner.plan.schema
    if callable(inner.leave):
        return checked_result(owner, inner.leave(typed(schema, values)))
    if inner.leave == {WHOLE: WHOLE}:
        return {name: thaw(value) for name, value in values.items()}
    parts = {into: thaw(values[name]) for into, name in inner.leave.items()}
    return parts.get(WHOLE, parts)
