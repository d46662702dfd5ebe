"""Migrations: edges between two versions of a schema, and the chain that leads from one to another."""

from __future__ import annotations

import inspect
import typing
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, TypeGuard, cast, overload

from msgspec import Struct

from actorflow.errors import (
    AmbiguousMigration,
    BadMigration,
    DuplicateMigration,
    MigrationFailed,
    NoMigration,
    SchemaDrift,
    SchemaTooNew,
)
from actorflow.graph.message import Message
from actorflow.graph.schema import ENCODE_ERRORS, Schema, schema_of
from actorflow.graph.state import State, Version

Plain = dict[str, Any]


class Migration(Struct, frozen=True):
    """One edge between two schema versions. ``takes`` and ``gives`` are None for a function from dict to dict."""

    from_: Version
    to: Version
    function: Callable[[Any], Any]
    takes: type[State] | None = None
    gives: type[State] | None = None

    def __call__(self, old: Any) -> Any:
        """The function itself, so that a migration can be tested by calling it."""
        return self.function(old)

    def __repr__(self) -> str:
        return f"{self.from_!r} -> {self.to!r} ({getattr(self.function, '__name__', self.function)})"


@overload
def migrate(function: Callable[[Any], Any], /) -> Migration: ...
@overload
def migrate(*, from_: Version, to: Version) -> Callable[[Callable[[Plain], Plain]], Migration]: ...
def migrate(
    function: Callable[[Any], Any] | None = None, /, *, from_: Version | None = None, to: Version | None = None
) -> Any:
    """Declare a migration; register it on a State (``migrations=[...]``) or a graph (`Graph.migrate`).

    Either a function from dict to dict with the versions said, or a function
    typed from one versioned `State` to another, which says them itself. It is
    pure: it gets its own copy, and what it returns must decode as the State.

    Example:
        >>> from actorflow import State, migrate
        >>> @migrate(from_=1, to=2)
        ... def add_risk(old: dict) -> dict:
        ...     return {**old, "risk": "unknown"}
        >>> class Mission(State, version=2, migrations=[add_risk]):
        ...     risk: str
        >>> add_risk({})
        {'risk': 'unknown'}

    Raises:
        TypeError: the function is bare but not typed from one versioned State to another.
    """
    if isinstance(function, Migration):
        return function
    if function is not None:
        return _typed(function)
    if from_ is None or to is None:
        msg = "say @migrate(from_=1, to=2), or type the function from one versioned State to another"
        raise TypeError(msg)
    return partial(_untyped, from_, to)


def _untyped(from_: Version, to: Version, function: Callable[[Plain], Plain]) -> Migration:
    return Migration(from_, to, function)


def _typed(function: Callable[[Any], Any]) -> Migration:
    hints = typing.get_type_hints(function)
    parameters = list(inspect.signature(function).parameters)
    takes = hints.get(parameters[0]) if parameters else None
    gives = hints.get("return")
    if takes is None or not (_is_versioned(takes) and _is_versioned(gives)):
        msg = (
            f"{getattr(function, '__name__', function)} must be typed from one versioned State to another, "
            "or declared with @migrate(from_=, to=)"
        )
        raise TypeError(msg)
    return Migration(_version(takes), _version(gives), function, takes, gives)


def _version(state_type: type[State]) -> Version:
    if state_type.schema_version is None:
        raise TypeError(f"{state_type.__name__} has no version")
    return state_type.schema_version


def _is_versioned(annotation: Any) -> TypeGuard[type[State]]:
    return isinstance(annotation, type) and issubclass(annotation, State) and annotation.schema_version is not None


def migrations_of(schema: Schema, registered: Iterable[Migration]) -> tuple[Migration, ...]:
    """All that are for this schema: its class's own, and those among what is registered on a graph.

    What is registered on a graph is for its State. For a type of messages is
    what is typed as giving one, of whatever version.
    """
    its = schema.state_type
    name = schema.name if issubclass(its, Message) else None
    return (*its.migrations, *(migration for migration in registered if _messages_of(migration) == name))


def _messages_of(migration: Migration) -> str | None:
    """The type of messages that it is for, by its schema's name."""
    gives = migration.gives
    return gives.schema_name if gives is not None and issubclass(gives, Message) else None


def register(schema: Schema, migrations: Iterable[Migration]) -> dict[Version, dict[Version, Migration]]:
    """Migrations as edges by their versions.

    Raises:
        DuplicateMigration: two migrations for one pair of versions.
    """
    edges: dict[Version, dict[Version, Migration]] = {}
    for migration in migrations:
        known = edges.setdefault(migration.from_, {})
        if known.get(migration.to, migration) is not migration:
            raise DuplicateMigration(
                f"two migrations of {schema.name!r} lead {known[migration.to]!r} and {migration!r}",
                schema=schema.name,
                found=migration.from_,
                wanted=migration.to,
            )
        known[migration.to] = migration
    return edges


def chain(schema: Schema, found: Version | None, migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """The shortest chain from the version ``found`` to the schema's own; empty if they are equal.

    Raises:
        SchemaTooNew, NoMigration, AmbiguousMigration, DuplicateMigration
    """
    wanted = schema.version
    if found == wanted:
        return ()
    edges = register(schema, migrations)
    facts: dict[str, Any] = {"schema": schema.name, "found": found, "wanted": wanted}
    ways: dict[Version | None, tuple[int, int]] = {found: (0, 1)}  # version: (distance, number of shortest ways)
    before: dict[Version, Migration] = {}
    queue: deque[Version] = deque([] if found is None else [found])
    while queue:
        version = queue.popleft()
        distance, count = ways[version]
        for to, migration in edges.get(version, {}).items():
            if to not in ways:
                ways[to] = (distance + 1, count)
                before[to] = migration
                queue.append(to)
            elif ways[to][0] == distance + 1:
                ways[to] = (distance + 1, ways[to][1] + count)
    if wanted is None or wanted not in before:
        known = ", ".join(f"{m.from_!r} -> {m.to!r}" for by_to in edges.values() for m in by_to.values()) or "none"
        if isinstance(found, int) and isinstance(wanted, int) and found > wanted:
            raise SchemaTooNew(
                f"the checkpoint has version {found} of {schema.name!r}, this code only knows {wanted}; "
                "deploy the newer code here",
                **facts,
            )
        raise NoMigration(
            f"no migration of {schema.name!r} leads from version {found!r} to {wanted!r} (registered: {known}); "
            f"write one with @migrate(from_={found!r}, to={wanted!r}), and say State(..., migrations=[it])",
            **facts,
        )
    if ways[wanted][1] > 1:
        raise AmbiguousMigration(
            f"{ways[wanted][1]} equally short chains of {schema.name!r} lead from {found!r} to {wanted!r}; "
            "register a direct migration or take one edge away",
            **facts,
        )
    steps: list[Migration] = []
    version = wanted
    while version != found:
        steps.append(before[version])
        version = steps[-1].from_
    return tuple(reversed(steps))


def upgrade(schema: Schema, steps: Iterable[Migration], plain: Mapping[str, Any]) -> Plain:
    """Apply a chain to plain values; the values passed in are not touched.

    Raises:
        MigrationFailed: a migration raised; ``__cause__`` is its exception.
        BadMigration: what came out does not decode as the schema's State.
    """
    codecs = schema.codecs
    values: Any = codecs.plain(dict(plain))
    for step in steps:
        facts: dict[str, Any] = {"schema": schema.name, "found": step.from_, "wanted": step.to}
        try:
            given = values if step.takes is None else schema_of(step.takes, codecs.registered).load(values)
            result = step.function(given)
        except Exception as error:
            raise MigrationFailed(f"migration {step!r} of {schema.name!r} raised {error!r}", **facts) from error
        if isinstance(result, State):
            result = {name: getattr(result, name) for name in result.__struct_fields__}
        if not isinstance(result, Mapping):
            kind = type(result).__name__
            raise BadMigration(f"migration {step!r} of {schema.name!r} returned {kind}, not a dict", **facts)
        try:
            values = codecs.plain(dict(cast("Mapping[str, Any]", result)))
        except ENCODE_ERRORS as error:
            raise BadMigration(
                f"migration {step!r} of {schema.name!r} returned what can't be encoded: {error}", **facts
            ) from error
    facts = {"schema": schema.name, "found": None, "wanted": schema.version}
    if unknown := sorted(repr(name) for name in values if name not in schema.fields):
        names = ", ".join(unknown)
        raise BadMigration(f"the migrations of {schema.name!r} leave fields it does not have: {names}", **facts)
    try:
        return schema.dump(schema.load(values))
    except Exception as error:  # a rule of the State's own may raise anything
        raise BadMigration(
            f"the migrations of {schema.name!r} end in something that is no {schema.state_type.__name__}: {error}",
            **facts,
        ) from error


def check_table(
    schema: Schema, found: tuple[tuple[str, str, bool], ...], *, found_name: str, found_version: Version | None
) -> None:
    """Refuse a saved table of the same version with other fields; added fields with a default just load.

    Raises:
        SchemaDrift: naming the fields that differ.
    """
    if found_name != schema.name:
        raise SchemaDrift(
            f"the checkpoint holds a {found_name!r}, the code a {schema.name!r}; "
            f'say State(..., name="{found_name}") if it was only renamed',
            schema=schema.name,
            found=found_name,
            wanted=schema.name,
        )
    saved = {name: text for name, text, _ in found}
    ours = {field.name: field for field in schema.fields.values()}
    differing = [f"{name!r} was removed" for name in saved if name not in ours]
    differing += [
        f"{name!r} was {saved[name]}, is {ours[name].type_text}"
        for name in saved
        if name in ours and saved[name] != ours[name].type_text
    ]
    differing += [f"{name!r} was added without default" for name in ours if name not in saved and ours[name].required]
    if differing:
        raise SchemaDrift(
            f"{schema.name!r} version {found_version!r} in the checkpoint has other fields than in the code: "
            f"{'; '.join(differing)}; give the changed State a new version and a migration",
            schema=schema.name,
            found=found_version,
            wanted=schema.version,
        )


__all__ = ["Migration", "chain", "check_table", "migrate", "migrations_of", "register", "upgrade"]
