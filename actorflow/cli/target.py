"""Target: a graph as the command line names it, ``module:graph`` or ``path/to/file.py:graph``, and its import.

Only what the user typed is imported, never a name that was read from a store
(guarantee 12: no code from data).
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actorflow import Graph
from actorflow.cli.command import Refusal
from actorflow.cli.exits import Exit
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

F = TypeVar("F", bound="Callable[..., Any]")
T = TypeVar("T")


@dataclass(frozen=True)
class Target:
    """A graph and how it was named."""

    text: str
    graph: Graph[Any]

    @property
    def place(self) -> str:
        """The module or the file."""
        return _parted(self.text)[0]

    def __str__(self) -> str:
        return self.text


def to_target(ctx: click.Context, param: click.Parameter, value: str | None) -> Target | None:
    """The callback of an argument: imports the module and finds the graph; a usage error says what is wrong."""
    return None if value is None else imported(ctx, param, value, find_target)


def imported(ctx: click.Context, param: click.Parameter, value: str, find: Callable[[str], T]) -> T:
    """What a text names, by this, which imports; a usage error says what is wrong."""
    try:
        return find(value)
    except NotThere as problem:
        raise click.BadParameter(visible(str(problem)), ctx, param) from problem
    except KeyboardInterrupt:
        raise Refusal("interrupted", Exit.INTERRUPTED) from None
    except (Exception, SystemExit) as error:  # whatever the user's module raises
        if ctx.find_root().params.get("traceback"):
            traceback.print_exc()
        message = visible(f"importing {_parted(value)[0]!r} raised {type(error).__name__}: {error}")
        raise click.BadParameter(message, ctx, param) from error


def find_target(text: str) -> Target:
    """Import the module and find the graph.

    Raises:
        LookupError: there is no such module, file or graph; the message says what there is.
        What the module raises.
    """
    place, attribute = _parted(text)
    return Target(text, _graph_in(_import(place), place, attribute))


def find_object(text: str) -> object:
    """Import the module and find what has this name in it.

    Raises:
        LookupError: there is no such module, file or name.
        What the module raises.
    """
    place, attribute = _parted(text)
    module = _import(place)
    if not attribute:
        raise NotThere(f"say what in {place!r}, as in module:name")
    if attribute not in vars(module):
        raise NotThere(f"{attribute!r} is not there; {place!r} has none of that name")
    found: object = vars(module)[attribute]
    return found


def target_argument(*, required: bool = True, envvar: str | None = None) -> Callable[[F], F]:
    """The argument MODULE:GRAPH; the command gets a `Target`."""
    metavar = "MODULE:GRAPH" if required else "[MODULE:GRAPH]"
    return click.argument("target", callback=to_target, metavar=metavar, required=required, envvar=envvar)


class NotThere(LookupError):
    """There is no such module, file or graph."""


def _parted(text: str) -> tuple[str, str]:
    """The module or file that a text names, and the graph in it."""
    place, _, attribute = text.rpartition(":")
    return (text, "") if not place or attribute.endswith(".py") else (place, attribute)


def _graph_in(module: ModuleType, place: str, attribute: str) -> Graph[Any]:
    """The graph of this name; without a name, the only one there is."""
    graphs: dict[str, Graph[Any]] = {name: value for name, value in vars(module).items() if isinstance(value, Graph)}
    if attribute in graphs:
        return graphs[attribute]
    if not attribute and len(graphs) == 1:
        return next(iter(graphs.values()))
    known = ", ".join(f"{place}:{name}" for name in graphs) or "no graph"
    if not attribute:
        raise NotThere(f"say which graph, as in module:graph; {place!r} has {known}")
    what = (
        f"is no Graph but a {type(vars(module)[attribute]).__name__}" if attribute in vars(module) else "is not there"
    )
    raise NotThere(f"{attribute!r} {what}; {place!r} has {known}")


def _import(place: str) -> ModuleType:
    """Import a module as ``python`` would from the current folder, or a file by its path."""
    if place.endswith(".py") or "/" in place:
        return _import_file(Path(place))
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise  # the module is there; one that it imports is not
        raise NotThere(f"no module {place!r} here ({here}); a file is named by its path, as in app.py:graph") from error
    except (TypeError, ValueError) as error:
        if place.startswith(".") or not place:
            raise NotThere(f"{place!r} is no name of a module") from error
        raise


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise NotThere(f"there is no file {str(path)!r}")
    there = sys.modules.get(path.stem)
    if there is not None and Path(getattr(there, "__file__", None) or "").resolve() == path.resolve():
        return there  # named twice: its classes must not be there twice
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise NotThere(f"{str(path)!r} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module  # the types of its functions are looked up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module
