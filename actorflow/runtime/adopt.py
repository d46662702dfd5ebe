"""Adoption: whether this code can run a saved run, and the run as this code understands it.

Reading only: a run that can't be adopted is left exactly as it is (guarantee 9).
What changed by adoption becomes durable with the next commit that has content.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from actorflow.engine.operations import thaw
from actorflow.engine.tokens import check_nodes
from actorflow.errors import MigrationTimeout, SchemaDrift, WrongGraph
from actorflow.graph.migrate import chain, check_table, upgrade
from actorflow.graph.routing import End

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.operations import Values
    from actorflow.engine.run import Activation, RunState, Token
    from actorflow.graph.graph import Graph
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State
    from actorflow.store.frames import FilePart

T = TypeVar("T")

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


def adopt(graph: Graph[Any], run: RunState, saved: FilePart, *, time_limit: float) -> RunState:
    """The run under this code: migrated, with its nodes moved. The run passed in is spent.

    Args:
        graph: what the code declares.
        run: as it was read.
        saved: the file part of the newest frame.
        time_limit: seconds that the migrations may take.

    Raises:
        WrongGraph, UnknownNode, MigrationError: this code can't run it.
    """
    if saved.graph != graph.name:
        raise WrongGraph(saved.run_id, saved.graph, graph.name)
    schema = graph.schema
    convert = converter(schema, saved, graph.migrations, time_limit=time_limit)
    _convert_values(run, convert)
    _widen(run, added=set(schema.fields) - {name for name, _, _ in saved.fields}, known=set(schema.fields))
    _move(graph, run)
    check_nodes(graph.plan, run)
    return run


def converter(
    schema: Schema, saved: FilePart, migrations: Any, *, time_limit: float
) -> Callable[[Values], dict[str, Any]]:
    """A function from saved values to values of this schema.

    Raises:
        MigrationError: there is no way from the saved version to the code's.
    """
    if saved.schema != schema.name or saved.version == schema.version:
        check_table(schema, saved.fields, found_name=saved.schema, found_version=saved.version)
        defaults = {name: field for name, field in schema.fields.items() if not field.required}
        return lambda values: _with_defaults(schema, values, defaults)
    if saved.version is None or schema.version is None:
        raise SchemaDrift(
            f"{schema.name!r} has no version {'in the checkpoint' if saved.version is None else 'in the code'}, "
            "so it can't be migrated; declare State(..., version=)",
            schema=schema.name,
            found=saved.version,
            wanted=schema.version,
        )
    steps = chain(schema, saved.version, [*schema.state_type.migrations, *migrations])
    facts = {"schema": schema.name, "found": saved.version, "wanted": schema.version}

    def migrated(values: Values) -> dict[str, Any]:
        plain = {name: thaw(value) for name, value in values.items()}
        return _within(time_limit, lambda: upgrade(schema, steps, plain), facts)

    return migrated


def read_state(graph: Graph[Any], values: Values, saved: FilePart, *, time_limit: float) -> State:
    """Saved values as this code's State."""
    plain = converter(graph.schema, saved, graph.migrations, time_limit=time_limit)(values)
    return graph.schema.load({name: thaw(value) for name, value in plain.items()})


def _with_defaults(schema: Schema, values: Values, defaults: Any) -> dict[str, Any]:
    missing = [name for name in defaults if name not in values]
    if not missing:
        return values
    empty = {info.name: info for info in msgspec.structs.fields(schema.state_type)}
    added = {
        name: schema.fields[name].check(
            empty[name].default_factory() if empty[name].default is msgspec.NODEFAULT else empty[name].default
        )
        for name in missing
    }
    return {**values, **added}


def _convert_values(run: RunState, convert: Callable[[Values], Values]) -> None:
    """Converts every distinct dict of values once, so that what was shared stays shared."""
    done: dict[int, Values] = {}

    def once(values: Values) -> Values:
        if id(values) not in done:
            done[id(values)] = convert(values)
        return done[id(values)]

    before = [scope.values for scope in run.scopes.values()]  # keeps the ids apart while converting
    for scope in run.scopes.values():
        scope.values = once(scope.values)
    for activation in run.open.values():
        before.append(activation.base)
        activation.base = once(activation.base)


def _widen(run: RunState, *, added: set[str], known: set[str]) -> None:
    """An unseen write to a field that is gone may have gone into any of the new ones."""
    holders: list[Activation | Token] = [*run.open.values()]
    for path in run.scopes:
        holders += run.tokens_in(path)
    for holder in holders:
        if holder.unseen - known:
            holder.unseen = (holder.unseen & known) | added


def _move(graph: Graph[Any], run: RunState) -> None:
    """Renames nodes as the graph's ``moves`` say, in the frontier, at joins and among the parked tokens."""
    moves = graph.moves
    if not moves:
        return
    for activation in list(run.open.values()):
        target = moves.get(activation.node, activation.node)
        if isinstance(target, End):
            del run.open[activation.id]
            run.scopes[activation.scope].live -= 1
        else:
            activation.node = target
    for scope in run.scopes.values():
        scope.waiting = {
            str(moves.get(target, target)): {str(moves.get(leg, leg)): tokens for leg, tokens in legs.items()}
            for target, legs in scope.waiting.items()
            if not isinstance(moves.get(target), End)
        }
        scope.parked = {
            str(moves.get(leaf, leaf)): token
            for leaf, token in scope.parked.items()
            if not isinstance(moves.get(leaf), End)
        }


def _within(seconds: float, work: Callable[[], T], facts: dict[str, Any]) -> T:
    """The result of user code that may hang. Past its limit it is left behind in a daemon thread."""
    results: list[T] = []
    errors: list[BaseException] = []

    def body() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - re-raised in the caller's thread
            errors.append(error)

    thread = threading.Thread(target=body, name="actorflow-migration", daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise MigrationTimeout(
            f"the migration of {facts['schema']!r} from {facts['found']!r} to {facts['wanted']!r} "
            f"took longer than {seconds:g} s; it was left behind in a thread",
            **facts,
        )
    return results[0]
