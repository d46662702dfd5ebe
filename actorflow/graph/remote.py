"""Remote: a node that runs in worker processes: how they find its function, the type it takes, and the codecs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from actorflow.graph.importable import Importable, NotImportable, locate

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.graph.declaration import DeclaredFan
    from actorflow.graph.schema import Schema


class Takes(Struct, frozen=True, array_like=True):
    """The type of what a function takes: a class, the elements of a State's field, or what its annotation says."""

    kind: Importable | None
    field: str | None = None


class Remote(Struct, frozen=True, array_like=True):
    """All that a worker process needs to know of a node: it is the same for every call."""

    fn: Importable
    takes: Takes
    codecs: Importable | None  # a graph that has them; None: there are none
    is_item: bool  # of a map: what the function returns is a result, whatever it is
    message: Importable | None = None  # of a handler: the type of its messages


def remote(
    fn: Callable[..., Any], schema: Schema, *, takes: Any, fan: DeclaredFan | None, message: type[Any] | None = None
) -> Remote:
    """A node that runs in worker processes, as they find it.

    Args:
        fn: its function.
        schema: of its graph.
        takes: as declared: None, or the type of what is sent to it.
        fan: of a map.
        message: of a handler: the type of its messages.

    Raises:
        NotImportable: they would not find it.
    """
    path = locate(fn)
    source = _takes(fn, schema, takes=takes, fan=fan)
    modules = (path.module, schema.state_type.__module__)
    try:
        letters = None if message is None else locate(message)
    except NotImportable as error:
        raise NotImportable(f"its messages: {error}") from error
    return Remote(path, source, _codecs(schema, modules), is_item=fan is not None, message=letters)


def _takes(fn: Callable[..., Any], schema: Schema, *, takes: Any, fan: DeclaredFan | None) -> Takes:
    from actorflow.graph.node import input_type  # a Node has a Remote

    annotated = input_type(fn)
    try:
        if fan is None and takes is None:
            return Takes(locate(schema.state_type))
        if annotated is not Any and (fan is not None or takes == annotated):
            return Takes(None)
        if fan is None:
            return Takes(locate(takes))
        return Takes(locate(schema.state_type), fan.over) if isinstance(fan.over, str) else Takes(None)
    except NotImportable as error:
        what = "its state" if takes is None else "takes= (which may also be its parameter's annotation)"
        raise NotImportable(f"{what}: {error}") from error


def _codecs(schema: Schema, modules: tuple[str, ...]) -> Importable | None:
    if not schema.codecs.by_type:
        return None
    for module in dict.fromkeys(modules):
        for name, value in vars(sys.modules[module]).items():
            if _is_graph_of(value, schema):
                return Importable(module, name)
    raise NotImportable(
        "its graph has types=, which a worker process finds by importing the graph: "
        f"keep it at the top level of {' or '.join(dict.fromkeys(modules))}"
    )


def _is_graph_of(value: object, schema: Schema) -> bool:
    from actorflow.graph.graph import Graph  # it declares nodes, which are checked here

    return isinstance(value, Graph) and value.schema is schema
