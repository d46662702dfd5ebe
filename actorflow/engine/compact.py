"""Compact: what only waits gives its empty containers back, and has them again before it goes on.

A run that only waits is mostly such: it has about twenty, of 64 bytes each,
and there may be thousands of such runs in a process. Meanwhile it may be
looked at; whoever tried to change it would be told by an exception.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import fields

from actorflow.engine.mail import Mail
from actorflow.engine.run import RunState, Scope

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from msgspec import Struct

_NO_DICT: Final[Any] = MappingProxyType[Any, Any]({})
_NO_LIST: Final[Any] = ()


def _containers(struct: type[Struct]) -> tuple[str, ...]:
    """The fields that begin as an empty dict or list."""
    factories = ((field.name, field.default_factory) for field in fields(struct))
    return tuple(name for name, factory in factories if callable(factory) and factory() in ({}, []))


_CONTAINERS: Final = {struct: _containers(struct) for struct in (RunState, Mail, Scope)}


def compact(run: RunState) -> None:
    """Let nothing stand for what is empty in a run that nobody changes for a while."""
    for part in _parts(run):
        give_back(part, _CONTAINERS[type(part)])


def expand(run: RunState) -> None:
    """Make a run that is compact one that may be changed."""
    for part in _parts(run):
        take_back(part, _CONTAINERS[type(part)])


def give_back(holder: object, names: Iterable[str]) -> None:
    """Of these dicts and lists, let nothing stand for those that are empty."""
    for name in names:
        value = getattr(holder, name)
        if not value and value is not _NO_DICT and value is not _NO_LIST:
            setattr(holder, name, _NO_DICT if isinstance(value, dict) else _NO_LIST)


def take_back(holder: object, names: Iterable[str]) -> None:
    """Have new ones for those that were given back."""
    for name in names:
        value = getattr(holder, name)
        if value is _NO_DICT:
            setattr(holder, name, {})
        elif value is _NO_LIST:
            setattr(holder, name, [])


def _parts(run: RunState) -> Iterator[RunState | Mail | Scope]:
    yield run
    yield run.mail
    yield from run.scopes.values()
