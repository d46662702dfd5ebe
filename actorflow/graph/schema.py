"""Schema: what the engine knows of a State class: its fields, how they merge, how they are copied.

A run's values are kept *plain* (what msgpack decodes to without types), so that
history can be folded without the user's classes. A schema turns plain values
into typed ones and back, and says for each field how a node gets its own copy:
immutable values are shared, lists and dicts of such are copied shallowly, and
everything else goes through msgspec.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from functools import lru_cache
from types import FunctionType, GenericAlias, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, cast

import msgspec
from msgspec import Struct
from msgspec import inspect as types
from msgspec.msgpack import Ext

from actorflow.graph.codec import NO_CODECS, Codec, Codecs
from actorflow.graph.reducers import DECLARED, SAME_TYPE, Append, Bounded, Dedupe, Extend, Merge, MergeBy, Reducer
from actorflow.graph.state import State, Version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


Copying = Literal["share", "list", "dict", "convert"]

_SHARED = (types.IntType, types.StrType, types.BoolType, types.NoneType, types.BytesType)
MAX_DEPTH = 100
"""Levels of lists and dicts inside each other that a field may hold."""

MAX_VALUE = 64 * 1024 * 1024 - 64 * 1024
"""Bytes that one value may take encoded. From 256 KiB on it is kept beside the commit, in a file of its own."""

_AT_A_GLANCE = 64 * 1024

VALUE, PIECE = 1, 2
"""The msgpack extensions that stand for a large value that is kept elsewhere, and for a piece of a list or dict."""

ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What msgspec raises for what it can't encode: unknown types, surrogates, huge ints, cycles."""


class Field(Struct, frozen=True):
    """One field of a State: its type, reducer and default, and how a node gets its own copy."""

    name: str
    type: Any
    type_text: str
    update_type: Any  # of an update that goes through the reducer; None: not checked
    reducer: Reducer | None
    required: bool
    copying: Copying
    codecs: Codecs = NO_CODECS

    def load(self, plain: Any) -> Any:
        """The typed value, the caller's own. Raises msgspec.ValidationError if it does not fit."""
        match self.copying:
            case "share":
                return plain
            case "list" if plain.__class__ is list:
                return plain.copy()
            case "dict" if plain.__class__ is dict:
                return plain.copy()
            case _:
                return self._as_type(plain, self.type)

    def load_update(self, value: Any) -> Any:
        """What a user hands to a reducer, typed as its function takes it, and nobody else's."""
        return self.plain(value) if self.update_type is None else self._as_type(value, self.update_type)

    def check(self, value: Any) -> Any:
        """A user's value as a plain one, checked against the field's type."""
        if value.__class__ is self.type and _is_plain(value):
            return value
        return self._checked(self._as_type(value, self.type))

    def check_update(self, value: Any) -> Any:
        """What a user hands to a reducer that is known here, as a plain value."""
        return self._checked(self.load_update(value))

    def plain(self, value: Any) -> Any:
        """The decoded copy of the encoded value: what a reader of the file would see."""
        return self.codecs.plain(value)

    def _checked(self, typed: Any) -> Any:
        if self.copying != "convert":
            return typed  # immutable values, and lists and dicts of such, are plain as they are
        plain = self.plain(typed)
        _refuse_unreadable(plain)
        return plain

    def _as_type(self, value: Any, type_: Any) -> Any:
        """The value as it comes back from a file when this type is read there."""
        if value.__class__ is type_ and _is_plain(value):
            return value
        data = self.codecs.encode(value)
        if len(data) > MAX_VALUE:
            raise ValueError(
                f"it takes {len(data):,} bytes, and a value may take 64 MiB; keep larger data in files of your own"
            )
        return self.codecs.decode(data, type_)


def _is_plain(value: Any) -> bool:
    """Whether it is seen at a glance that a value comes back from a file as it is: one of the commonest types does.

    Not one of a subclass: an enum or a codec may make something else of it.
    """
    if type(value) is int:
        return -(1 << 63) <= value < 1 << 63
    if type(value) is str:
        return len(value) <= _AT_A_GLANCE and value.isascii()
    return type(value) is bool or type(value) is float or (type(value) is bytes and len(value) <= _AT_A_GLANCE)


def kept(value: Any, codecs: Codecs) -> Any:
    """A value that is for no field as a plain one, which comes back as it is. Raises one of `ENCODE_ERRORS`."""
    if _is_plain(value):
        return value
    plain = codecs.plain(value)
    _refuse_unreadable(plain)
    return plain


def _refuse_unreadable(plain: Any) -> None:
    """Refuse what might not come back as it is.

    Python's stack bounds how deep msgspec reads, so what was written here
    might not be read from a deeper call. And an extension of ours would be
    taken for a reference.
    """
    level: list[Any] = [plain]
    for _ in range(MAX_DEPTH + 1):
        if any(type(value) is Ext and value.code in {VALUE, PIECE} for value in level):
            raise ValueError(f"the msgpack extensions {VALUE} and {PIECE} are actorflow's own; use another code")
        level = [child for value in level for child in _inside(value)]
        if not level:
            return
    raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")


def _inside(plain: Any) -> Iterable[Any]:
    if _is_dict(plain):
        return (*plain, *plain.values())
    return cast("Iterable[Any]", plain) if isinstance(plain, list | tuple) else ()


def _is_dict(plain: object) -> TypeGuard[dict[Any, Any]]:
    return isinstance(plain, dict)


class Schema(Struct, frozen=True):
    """A State class as the engine sees it. ``problems`` lists what makes it unusable in a graph."""

    state_type: type[State]
    name: str
    version: Version | None
    fields: Mapping[str, Field]
    table: tuple[tuple[str, str, bool], ...]  # name, type and whether there is a default, of each field: for the files
    problems: tuple[str, ...]
    codecs: Codecs
    copied: tuple[Field, ...]  # those of whose values each reader gets his own
    is_ruled: bool  # a whole State may be refused whose fields fit

    def load(self, plain: Mapping[str, Any]) -> State:
        """A typed State of the caller's own; fields that are not there take their default."""
        fields = self.fields
        return self.state_type(**{name: fields[name].load(value) for name, value in plain.items() if name in fields})

    def dump(self, state: State) -> dict[str, Any]:
        """The plain values of a whole State, checked. Raises what `Field.check` raises."""
        return {name: field.check(getattr(state, name)) for name, field in self.fields.items()}


def schema_of(state_type: type[State], codecs: tuple[Codec[Any], ...] = ()) -> Schema:
    """The schema of a State class; computed once. Never raises for a bad class: see ``problems``."""
    return _schema_of(state_type, codecs)


@lru_cache(maxsize=1024)
def _schema_of(state_type: Any, registered: tuple[Codec[Any], ...]) -> Schema:
    codecs = Codecs(registered) if registered else NO_CODECS
    fields: dict[str, Field] = {}
    problems: list[str] = []
    try:
        infos = msgspec.structs.fields(state_type)
    except Exception as error:  # noqa: BLE001 - whatever resolving the user's annotations raised is the problem
        problems.append(f"the annotations of {state_type.__name__} can't be resolved: {error}")
        infos = ()
    for info in infos:
        try:
            fields[info.name] = _field(info, codecs)
        except _Problem as problem:
            problems.append(f"{state_type.__name__}.{info.name}: {problem}")
    return Schema(
        state_type=state_type,
        name=state_type.schema_name,
        version=state_type.schema_version,
        fields=fields,
        table=tuple((field.name, field.type_text, not field.required) for field in fields.values()),
        problems=tuple(problems),
        codecs=codecs,
        copied=tuple(field for field in fields.values() if field.copying != "share"),
        is_ruled=hasattr(state_type, "__post_init__"),
    )


class _Problem(Exception):
    """Something about one field that makes its State unusable."""


def _field(info: msgspec.structs.FieldInfo, codecs: Codecs) -> Field:
    reducer, bare = _reducer(info.type)
    try:
        described = types.type_info(bare)
    except Exception as error:
        raise _Problem(f"msgspec does not know how to encode {_text(bare)}: {error}") from error
    if (foreign := _unencodable(described, codecs)) is not None:
        raise _Problem(
            f"{_text(foreign)} can't be encoded; use msgspec Structs, dataclasses or builtin types, or give the "
            "graph a Codec for it (clients and the like are passed as run(..., context=))"
        )
    return Field(
        name=info.name,
        type=bare,
        type_text=_text(bare),
        update_type=_update_type(reducer, bare),
        reducer=reducer,
        required=info.required,
        copying=_copying(described),
        codecs=codecs,
    )


def _reducer(annotation: Any) -> tuple[Reducer | None, Any]:
    """Parts ``Annotated[T, reducer]`` into the reducer and T with what msgspec wants to know of it."""
    if typing.get_origin(annotation) is not typing.Annotated:
        return None, annotation
    bare, *metadata = typing.get_args(annotation)
    reducers: list[Reducer] = [extra for extra in metadata if isinstance(extra, DECLARED) or inspect.isroutine(extra)]
    if len(reducers) > 1:
        raise _Problem("has two reducers; a field takes one")
    for extra in metadata:
        if isinstance(extra, msgspec.Meta):
            bare = typing.Annotated[bare, extra]
    return (reducers[0] if reducers else None), bare


def _update_type(reducer: Reducer | None, bare: Any) -> Any:
    match reducer:
        case None:
            return bare
        case Extend() | Bounded() | Dedupe() | MergeBy() | Append():
            element = _element(bare)
            if isinstance(reducer, Bounded) and reducer.limit < 1:
                raise _Problem(f"bounded({reducer.limit}) would keep nothing; the limit is at least 1")
            return element if isinstance(reducer, Append) else GenericAlias(list, (element,))
        case Merge():
            if _origin(bare) is not dict:
                raise _Problem(f"merge needs a dict, not {_text(bare)}")
            return bare
        case _ if reducer in SAME_TYPE:
            return bare
        case _:
            return _second_parameter(reducer)


def _second_parameter(function: Any) -> Any:
    """The annotation of a custom reducer's update, or None: then it is not checked."""
    try:
        hints = typing.get_type_hints(function) if isinstance(function, FunctionType) else {}
        parameters = list(inspect.signature(function).parameters.values())
    except (NameError, TypeError, ValueError):
        return None
    if len(parameters) < 2:
        raise _Problem("a reducer takes two arguments, (old, update)")
    annotation = hints.get(parameters[1].name)
    return None if annotation in (Any, None) else annotation


def _origin(annotation: Any) -> Any:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    return typing.get_origin(annotation) or annotation


def _element(annotation: Any) -> Any:
    while typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    if _origin(annotation) is not list:
        raise _Problem(f"this reducer needs a list, not {_text(annotation)}")
    return next(iter(typing.get_args(annotation)), Any)


def _children(described: types.Type) -> Iterator[types.Type]:
    for name in described.__struct_fields__:
        value = getattr(described, name)
        for child in value if value.__class__ is tuple else (value,):
            if isinstance(child, types.Type):
                yield child
            elif isinstance(child, types.Field):
                yield child.type


def _unencodable(described: types.Type, codecs: Codecs) -> Any:
    """The first type inside that neither msgspec nor a codec can encode, or None."""
    todo, seen = [described], set[int]()
    while todo:
        current = todo.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        if isinstance(current, types.CustomType) and current.cls in codecs.by_type:
            continue
        if isinstance(current, types.CustomType | types.RawType | types.ExtType):
            return getattr(current, "cls", current)
        todo.extend(_children(current))
    return None


def _copying(described: types.Type) -> Copying:
    if _is_shared(described):
        return "share"
    if isinstance(described, types.ListType) and _is_shared(described.item_type):
        return "list"
    if isinstance(described, types.DictType) and _is_shared(described.key_type) and _is_shared(described.value_type):
        return "dict"
    return "convert"


def _is_shared(described: types.Type) -> bool:
    if isinstance(described, types.Metadata):
        return _is_shared(described.type)
    if isinstance(described, types.UnionType):
        return all(isinstance(member, _SHARED) for member in described.types)
    return isinstance(described, _SHARED)


def _text(annotation: Any) -> str:
    """A type as text for the field table: names without modules, so that moving a class changes nothing."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _text(args[0])
    if origin in (typing.Union, UnionType):
        return " | ".join(_text(arg) for arg in args)
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin is not None:
        return f"{getattr(origin, '__name__', str(origin))}[{', '.join(_text(arg) for arg in args)}]"
    if annotation in (None, type(None)):
        return "None"
    if annotation is Ellipsis:
        return "..."
    return getattr(annotation, "__name__", None) or str(annotation)
