"""Lock: the schemas that a graph's saved runs may be in, kept in a file beside the code, and checked before a deploy.

Without it nobody notices before the deploy that a field changed and the
version did not, or that a migration is missing that some old run needs. A lock
holds every version there ever was: for each the field table that goes into
files, and a fingerprint that also covers the types nested inside.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, cast

import msgspec
from msgspec import Struct

from actorflow.errors import MigrationError, SchemaDrift
from actorflow.graph.message import Down
from actorflow.graph.migrate import chain, check_table, migrations_of
from actorflow.graph.state import Version

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.graph import Graph
    from actorflow.graph.schema import Schema

_TELLS_NOTHING = frozenset({"title", "description", "default"})
"""Keywords of a JSON schema that change no type: what has a default is in the table."""


class Locked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a schema."""

    version: Version | None
    fields: tuple[tuple[str, str, bool], ...]  # name, type text, has a default
    fingerprint: str


class SchemaLock(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every version of every schema that was locked, by the schema's name.

    Example:
        >>> from actorflow import Graph, SchemaLock, State
        >>> class Mission(State, version=1):
        ...     crew: int = 0
        >>> mission = Graph("mission", Mission)
        >>> lock = SchemaLock().add(mission)
        >>> lock.problems(mission)
        ()
        >>> class Mission(State, version=1):
        ...     crew: str = ""
        >>> for problem in lock.problems(Graph("mission", Mission)):
        ...     print(problem)
        'Mission' version 1 in the lock has other fields than in the code: 'crew' was int, is str; ...
    """

    format: int = 1
    schemas: dict[str, tuple[Locked, ...]] = {}

    @classmethod
    def parse(cls, data: bytes) -> SchemaLock:
        """The lock in the bytes of a file.

        Raises:
            ValueError: it is none, or of a later format.
        """
        try:
            lock = _decode(data)
        except msgspec.MsgspecError as error:
            raise ValueError(f"this is no schema lock: {error}") from error
        if lock.format != 1:
            raise ValueError(f"this schema lock is of format {lock.format}, this version of actorflow knows 1")
        return lock

    def dump(self) -> bytes:
        """The bytes of the file, made to be read in a review."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=2) + b"\n"

    def add(self, graph: Graph[Any], *, replace: bool = False) -> SchemaLock:
        """The lock with the schemas of this graph in it, of its State and its messages, as they are now.

        Other versions stay.

        Args:
            graph: whose State and messages they are.
            replace: take the version as it is now, whatever was locked: nothing was saved under it yet.

        Raises:
            SchemaDrift: this version is locked with other fields. Fields that were added with a default are no others.
        """
        schemas = dict(self.schemas)
        for schema in _schemas(graph):
            locked = schemas.get(schema.name, ())
            others = tuple(one for one in locked if one.version != schema.version)
            for one in locked:
                if one.version == schema.version and not replace and (problem := _drift(schema, one)) is not None:
                    raise SchemaDrift(problem, schema=schema.name, found=one.version, wanted=schema.version)
            ours = Locked(version=schema.version, fields=schema.table, fingerprint=fingerprint(schema))
            schemas[schema.name] = (*others, ours)
        return SchemaLock(schemas=schemas)

    def problems(self, graph: Graph[Any]) -> tuple[str, ...]:
        """Why runs that were saved under what is locked could not go on with this graph, or why the lock is stale."""
        found: list[str] = []
        for schema in _schemas(graph):
            locked = self.schemas.get(schema.name, ())
            found += [problem for one in locked if (problem := _problem(graph, schema, one)) is not None]
            if not any(one.version == schema.version for one in locked):
                found.append(f"{schema.name!r} version {schema.version!r} is not locked yet")
        return tuple(found)


_decode = msgspec.json.Decoder(SchemaLock).decode


def _schemas(graph: Graph[Any]) -> Iterator[Schema]:
    """Of all that is kept of a run under a version of ours: its state, and the messages that wait."""
    yield graph.schema
    yield from (schema for schema in graph.compiled()[0].messages.values() if schema.state_type is not Down)


def _problem(graph: Graph[Any], schema: Schema, locked: Locked) -> str | None:
    """Why a run that was saved in a locked version could not go on, or why the entry is stale."""
    if locked.version == schema.version:
        stale = (
            f"{schema.name!r} version {schema.version!r} got fields with a default: such runs load, but lock it again"
        )
        return _drift(schema, locked) or (stale if locked.fields != schema.table else None)
    if locked.version is None or schema.version is None:
        return f"{schema.name!r} has version {schema.version!r} in the code and {locked.version!r} in the lock"
    try:
        chain(schema, locked.version, migrations_of(schema, graph.migrations))
    except MigrationError as error:
        return str(error)
    return None


def _drift(schema: Schema, locked: Locked) -> str | None:
    """How the fields of the same version differ, beyond what just loads."""
    try:
        check_table(schema, locked.fields, found_name=schema.name, found_version=locked.version)
    except SchemaDrift as error:
        return str(error).replace("in the checkpoint", "in the lock")
    if locked.fields == schema.table and locked.fingerprint != fingerprint(schema):
        return (
            f"{schema.name!r} version {schema.version!r} has the fields that are locked, but a type inside one of them "
            "changed; give the State a new version and a migration"
        )
    return None


def fingerprint(schema: Schema) -> str:
    """A digest of the field table and of every type inside the fields."""
    inside: Any = None
    try:
        whole = msgspec.json.schema(schema.state_type)
        named = whole.get("$defs", {})
        itself = named.pop(schema.state_type.__name__, None)  # what the class is called is no part of the schema
        inside = _essence({"properties": {"state": itself}, "$defs": named})
    except (TypeError, RecursionError):
        pass  # a type of the user's own, which JSON schemas can't tell
    text = msgspec.json.encode((schema.name, schema.version, schema.table, inside), order="sorted")
    return hashlib.blake2b(text, digest_size=16, person=b"actorflow schema").hexdigest()


def _essence(node: Any, *, names: bool = False) -> Any:
    """A JSON schema without what changes no type. ``names``: the keys are names of fields, and no keywords."""
    if isinstance(node, dict):
        items = cast("dict[str, object]", node).items()
        return {
            key: _essence(value, names=key in {"properties", "$defs"} and not names)
            for key, value in items
            if names or key not in _TELLS_NOTHING
        }
    if isinstance(node, list):
        return [_essence(value) for value in cast("list[object]", node)]
    return node
