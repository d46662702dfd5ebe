"""Importable: where a function or class stands, as another process finds it again by importing.

A worker process is a fresh interpreter. Nothing but values is sent to it, so
what it is to run must have an import path, which is checked when the graph is.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from actorflow.graph.signature import identity

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


_REMEDY = "a worker process imports it, so move it to the top level of a module"


class Importable(Struct, frozen=True, array_like=True):
    """An import path: a module and a dotted name in it. ``inside`` counts the decorators around what is meant."""

    module: str
    name: str
    inside: int = 0

    def load(self) -> Any:
        """What stands there. Raises what importing the module raises, or AttributeError."""
        found: Any = import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        for _ in range(self.inside):
            found = found.__wrapped__
        return found


class NotImportable(Exception):
    """There is no import path that leads to it; says why and what to do."""


def locate(thing: Callable[..., Any]) -> Importable:
    """The import path of a function or class.

    Raises:
        NotImportable: it has none.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        raise NotImportable(f"{thing!r} is no plain function: give a def at the top level of a module")
    if "<lambda>" in name:
        raise NotImportable("it is a lambda: give a def at the top level of a module")
    if "<locals>" in name:
        raise NotImportable(f"{name} is defined inside a function: {_REMEDY}")
    if module == "__main__":
        raise NotImportable(f"{name} stands in the script that is run (__main__): {_REMEDY} of its own")
    loaded = sys.modules.get(module)
    if loaded is None or getattr(loaded, "__spec__", None) is None:
        raise NotImportable(f"{name} stands in {module}, which can't be imported: {_REMEDY}")
    inside = _depth(loaded, name, thing)
    if inside is None:
        raise NotImportable(f"{module}.{name} is something else by now, or not there: give it that name again")
    return Importable(module, name, inside)


def _depth(module: ModuleType, name: str, thing: Callable[..., Any]) -> int | None:
    """How many decorators, made with functools.wraps, are around ``thing`` where the name leads."""
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    for depth, layer in enumerate(_layers(found)):
        if identity(layer) == identity(thing):
            return depth
    return None


def _layers(found: Any) -> Iterator[Any]:
    for _ in range(100):  # wrappers could wrap each other in a circle
        yield found
        found = getattr(found, "__wrapped__", None)
        if found is None:
            return
