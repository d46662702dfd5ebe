"""Golden states: one of each released version, kept beside the tests, which every later version must still read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec
from msgspec import Struct, msgpack

from actorflow.engine.operations import thaw
from actorflow.engine.run import Form
from actorflow.graph.graph import Graph
from actorflow.graph.schema import ENCODE_ERRORS, schema_of
from actorflow.graph.state import State, Version
from actorflow.runtime.conversion import Conversion

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator

    from actorflow.graph.migrate import Migration
    from actorflow.graph.schema import Schema

SUFFIX = ".golden"

_MAGIC = "actorflow golden state, format 1"


class _Golden(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is in a file: the state as a checkpoint has it, and in which schema that is."""

    magic: str
    name: str
    version: Version
    fields: tuple[tuple[str, str, bool], ...]
    values: dict[str, Any]


_decode = msgpack.Decoder(_Golden).decode


def save_golden(
    state: State, folder: str | os.PathLike[str], *, label: str = "", graph: Graph[Any] | None = None
) -> Path:
    """Keep a state as this version of the code would store it, for `assert_migrates` of all later versions.

    Do this once for each version that goes out, with a state that has something in each
    field, and commit the file. Such a file is never changed: the same state
    again is fine, another one takes another label.

    Args:
        state: a typical one, or a strange one; a `Message` is one, too.
        folder: where golden states are.
        label: tells several of one version apart.
        graph: whose `Codec` objects encode it, if it takes any.

    Returns:
        The file, ``Name-version.golden`` or ``Name-version-label.golden``.

    Raises:
        ValueError: the State has no version, or the state can't be encoded.
        FileExistsError: there is another state of this version and label.
    """
    schema = graph.schema if graph is not None and isinstance(state, graph.schema.state_type) else _schema(type(state))
    if schema.version is None:
        raise ValueError(f"{schema.name!r} has no version, so that it can't be migrated; declare State(..., version=)")
    try:
        values = schema.dump(state)
    except ENCODE_ERRORS as error:
        raise ValueError(f"this {schema.name} can't be encoded: {error}") from error
    data = msgpack.encode(_Golden(_MAGIC, schema.name, schema.version, schema.table, values), order="deterministic")
    parts = (schema.name, str(schema.version), *([label] if label else []))
    path = Path(folder) / ("-".join(quote(part, safe=" ") for part in parts) + SUFFIX)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        if path.read_bytes() != data:
            raise FileExistsError(
                f"{path} holds another state, or other fields, of version {schema.version!r}. A state that was "
                "released never changes: give this one label=, or give the State a new version"
            ) from None
    return path


def assert_migrates(
    what: type[State] | Graph[Any],
    folder: str | os.PathLike[str],
    *,
    migrations: Iterable[Migration] = (),
    time_limit: float = 60.0,
) -> None:
    """Every golden state in a folder becomes a state of this version of the code, as a saved run's would.

    A file ``X.json`` beside ``X.golden`` says what must come of it: the fields that it names,
    as JSON has them, must have these values. States of other schemas may be in the folder, too.

    Args:
        what: a State, or a graph, which has migrations and codecs of its own.
        folder: where `save_golden` put them.
        migrations: in addition to those of the State or the graph.
        time_limit: seconds for one state.

    Raises:
        AssertionError: with each file that does not migrate and the reason, or that there is none of this version.

    Example:
        >>> import tempfile
        >>> from actorflow import State, migrate
        >>> from actorflow.testing import assert_migrates, save_golden
        >>> class Mission(State, version=1):
        ...     goal: str
        >>> folder = tempfile.mkdtemp()
        >>> save_golden(Mission(goal="Moon"), folder).name
        'Mission-1.golden'
        >>> @migrate(from_=1, to=2)
        ... def rename(old: dict) -> dict:
        ...     return {"destination": old["goal"]}
        >>> class Mission(State, version=2, migrations=[rename]):
        ...     destination: str
        >>> save_golden(Mission(destination="Mars"), folder).name
        'Mission-2.golden'
        >>> assert_migrates(Mission, folder)
    """
    schema = what.schema if isinstance(what, Graph) else _schema(what)
    edges = (*(what.migrations if isinstance(what, Graph) else ()), *migrations)
    if schema.version is None:
        raise ValueError(f"{schema.name!r} has no version, so that it can't be migrated; declare State(..., version=)")
    problems: list[str] = []
    versions: set[Version] = set()
    others: set[str] = set()
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        try:
            golden = _read(path)
            if golden.name != schema.name:
                others.add(golden.name)
                continue
            versions.add(golden.version)
            state = _migrated(schema, golden, edges, time_limit=time_limit)
            problems += (f"{path.name}: {problem}" for problem in _differences(schema, state, path))
        except Exception as error:  # noqa: BLE001 - a rule of the State's own may raise anything
            problems.append(f"{path.name}: {error}")
    if schema.version not in versions:
        problems.append(_missing(schema, Path(folder), versions, others))
    if problems:
        lines = "".join(f"\n  - {problem}" for problem in problems)
        raise AssertionError(
            f"golden states of {schema.name!r} in {Path(folder)}, at version {schema.version!r}:{lines}"
        )


def _schema(state_type: type[State]) -> Schema:
    schema = schema_of(state_type)
    if schema.problems:
        raise ValueError(f"{schema.name!r} needs a graph, for its codecs, or can't be a State: {schema.problems[0]}")
    return schema


def _read(path: Path) -> _Golden:
    try:
        golden = _decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise ValueError(f"it is no golden state, or damaged ({error}); take it from the version control") from error
    if golden.magic != _MAGIC:
        raise ValueError(f"it is {golden.magic!r}, which this version of actorflow does not read")
    return golden


def _migrated(schema: Schema, golden: _Golden, edges: Iterable[Migration], *, time_limit: float) -> State:
    """As a run is read that another version of the code has saved."""
    form = Form(golden.name, golden.version, golden.fields)
    values = Conversion(schema, form, edges, time_limit=time_limit).values(golden.values)
    return schema.load({name: thaw(value) for name, value in values.items()})


def _differences(schema: Schema, state: State, path: Path) -> Iterator[str]:
    """What is not as the file beside it says."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return
    try:
        expected = msgspec.json.decode(beside.read_bytes(), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ValueError(f"{beside.name} must be a JSON object, the fields that must come out: {error}") from error
    for name, value in expected.items():
        if (field := schema.fields.get(name)) is None:
            yield f"{beside.name} expects a field {name!r}, which {schema.name!r} has not"
            continue
        try:
            wanted = schema.codecs.convert(value, field.type)
        except msgspec.ValidationError as error:
            yield f"{beside.name}, field {name!r}: {error}"
            continue
        got = getattr(state, name)
        if got != wanted and schema.codecs.steady(got) != schema.codecs.steady(wanted):  # a NaN is not even itself
            yield f"field {name!r} is {got!r}, and {beside.name} expects {wanted!r}"


def _missing(schema: Schema, folder: Path, versions: Iterable[Version], others: Iterable[str]) -> str:
    known = ", ".join(sorted(map(repr, versions)))
    text = f"there is none of version {schema.version!r}, which is the present one"
    if known:
        text += f" (there are of {known})"
    elif names := ", ".join(sorted(map(repr, others))):
        text += f'; there are of {names}: was it renamed? then say State(..., name="...")'
    return f'{text}; make one and commit it: save_golden({schema.state_type.__name__}(...), "{folder}")'
