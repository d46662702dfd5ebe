"""Fresh: the modules of one folder, imported anew from their sources; the ones of before stay unless that succeeds.

Only the modules of the folder are replaced. What other modules hold of the
ones of before (functions that were registered, classes that were subclassed)
stays as it is, and so do objects that were made of them.
"""

from __future__ import annotations

import importlib
import linecache
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import ModuleType

_INSTALLED = frozenset({"site-packages", "dist-packages"})


def folder_of(place: str) -> Path:
    """The folder whose modules change together: of a file its own, of a package itself, else that of the module."""
    if place.endswith(".py") or "/" in place:
        return Path(place).resolve().parent
    module = sys.modules[place.partition(".")[0]]
    return _folders(module)[0]


@contextmanager
def replacing(folder: Path) -> Generator[None]:
    """Inside, modules of this folder are imported as if for the first time. Left by an exception, it never happened."""
    before = _taken_out(folder)
    importlib.invalidate_caches()
    linecache.checkcache()
    try:
        yield
    except BaseException:
        _taken_out(folder)
        sys.modules.update(before)
        raise


@contextmanager
def from_sources() -> Generator[None]:
    """Inside, no bytecode of before is taken for the source: it can't tell two edits within a second apart."""
    prefix, writes = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = os.devnull, True  # below which nothing can be
    try:
        yield
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = prefix, writes


def _taken_out(folder: Path) -> dict[str, ModuleType]:
    """The modules of the folder, which are imported no more."""
    names = [name for name, module in list(sys.modules.items()) if _is_of(name, module, folder)]
    return {name: sys.modules.pop(name) for name in names}


def _is_of(name: str, module: ModuleType, folder: Path) -> bool:
    if name == "__main__" or name.partition(".")[0] == "actorflow":
        return False
    return any(
        place.is_relative_to(folder) and _INSTALLED.isdisjoint(place.relative_to(folder).parts)
        for place in _folders(module)
    )


def _folders(module: ModuleType) -> list[Path]:
    """Where a module lies: the folder of its file; of a package, its own."""
    paths = [path for path in getattr(module, "__path__", ()) if isinstance(path, str)]
    file = getattr(module, "__file__", None)
    return [Path(path).resolve() for path in paths] or ([Path(file).resolve().parent] if file else [])
