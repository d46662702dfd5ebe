"""Adoption: whether this code can run a saved run, and the run as this code understands it.

Reading only: a run that can't be adopted is left exactly as it is (guarantee 9).
What changed by adoption becomes durable with the next commit that has content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.moving import move
from actorflow.engine.operations import thaw
from actorflow.engine.run import ROOT, Form
from actorflow.engine.tokens import check_nodes
from actorflow.errors import WrongGraph
from actorflow.graph.fan import WHOLE
from actorflow.runtime.conversion import Conversion, form_of
from actorflow.runtime.forwarding import convert_mail, forms_of_mail

if TYPE_CHECKING:
    from actorflow.engine.operations import Values
    from actorflow.engine.run import RunState, Scope
    from actorflow.graph.graph import Graph
    from actorflow.graph.state import State
    from actorflow.store.frames import FilePart

WRITER = "actorflow/0.1"
CODEC = 1  # msgpack


def file_part(graph: Graph[Any], *, run_id: str, life: int, store: bytes) -> FilePart:
    """What files say of runs of this graph under this code."""
    from actorflow.store.frames import FilePart

    schema = graph.schema
    return FilePart(
        run_id=run_id,
        life=life,
        store=store,
        graph=graph.name,
        topology=graph.plan.digest,
        schema=schema.name,
        version=schema.version,
        fields=schema.table,
        codec=CODEC,
        writer=WRITER,
    )


def current_part(graph: Graph[Any], saved: FilePart) -> FilePart:
    """The file part for commits from now on: the saved one, unless this code changed what it says."""
    ours = file_part(graph, run_id=saved.run_id, life=saved.life, store=saved.store)
    return saved if msgspec.structs.replace(ours, writer=saved.writer) == saved else ours


def adopt(graph: Graph[Any], run: RunState, saved: FilePart, *, time_limit: float | None) -> RunState:
    """The run under this code: migrated in all its scopes, with its nodes moved. The run passed in is spent.

    Args:
        graph: what the code declares.
        run: as it was read.
        saved: the file part of the newest frame.
        time_limit: seconds that the migration of one state may take; None: see `Conversion`.

    Raises:
        WrongGraph, UnknownNode, MigrationError: this code can't run it.
    """
    if saved.graph != graph.name:
        raise WrongGraph(saved.run_id, saved.graph, graph.name)
    graphs = move(graph, run)
    for owner in run.fans:
        if (around := graphs.get(run.open[owner].scope)) is not None:
            _convert_items(run, owner, around, time_limit=time_limit)
    for path, its in graphs.items():
        _convert(run, run.scopes[path], its, saved, time_limit=time_limit)
    convert_mail(run, graph, time_limit=time_limit)
    if run.renewed:  # forms that nothing is in any more
        used = {scope.schema for scope in run.scopes.values()} | forms_of_mail(run)
        run.forms = {key: form for key, form in run.forms.items() if key in used}
    check_nodes(graph.plan, run)
    return run


def check_form(graph: Graph[Any], saved: FilePart) -> None:
    """Refuse a run whose state can't be brought to what this code has, whatever is in it.

    Raises:
        MigrationError: there is no way from the saved version to the code's.
    """
    form = _form(saved)
    if saved.graph == graph.name and form != form_of(graph.schema):
        Conversion(graph.schema, form, graph.migrations, time_limit=0.0)


def _convert(run: RunState, scope: Scope, graph: Graph[Any], saved: FilePart, *, time_limit: float | None) -> None:
    schema = graph.schema
    form, ours = _form(saved) if scope.path == ROOT else run.forms[scope.schema], form_of(schema)
    if form == ours:
        return
    conversion = Conversion(schema, form, graph.migrations, time_limit=time_limit)
    values = scope.values
    conversion.scope(run, scope)
    run.renewed = True
    if scope.path == ROOT:
        run.queue = [(tuple(conversion.updates(kept, values)), by) for kept, by in run.queue]
    else:
        scope.schema = run.form_key(ours)
        run.forms[scope.schema] = ours


def _convert_items(run: RunState, owner: int, around: Graph[Any], *, time_limit: float | None) -> None:
    """Items that are states of a graph inside, and stand for themselves, are in the form of the scopes of that one."""
    fan, activation = run.fans[owner], run.open[owner]
    node = around.plan.nodes.get(activation.node)
    whole = node is not None and node.inner is not None and (node.fan is None or node.inner.enter == {WHOLE: WHOLE})
    if fan.items is None or node is None or node.inner is None or not whole:
        return
    inside = node.inner.graph
    ours = form_of(inside.schema)
    saved = {form.name: form for form in run.forms.values()}.get(ours.name, ours)
    if saved == ours:
        return
    conversion = Conversion(inside.schema, saved, inside.migrations, time_limit=time_limit)
    sent = fan.items is activation.sent
    fan.items = [conversion.values(item) for item in fan.items]
    if sent:
        activation.sent = fan.items
    run.renewed = True


def _form(saved: FilePart) -> Form:
    return Form(saved.schema, saved.version, saved.fields)


def read_state(graph: Graph[Any], values: Values, saved: FilePart, *, time_limit: float) -> State:
    """Saved values as this code's State.

    Raises:
        MigrationError: they can't be brought to the code's version.
    """
    conversion = Conversion(graph.schema, _form(saved), graph.migrations, time_limit=time_limit)
    return graph.schema.load({name: thaw(value) for name, value in conversion.values(values).items()})
