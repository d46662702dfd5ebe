"""The direction of imports, as a check of source text: faces, runtime, store and engine, graph, errors."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What stands in front of the house: each uses only what `actorflow` exports, and the errors.
FACES = frozenset({"cli", "demo", "web", "integrations"})

# What each room may import of actorflow beside itself: what lies below it.
MAY_IMPORT: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "graph": frozenset({"errors"}),
    "engine": frozenset({"graph", "errors"}),
    "store": frozenset({"errors"}),
    "runtime": frozenset({"engine", "store", "graph", "errors"}),
    "testing": frozenset({"runtime", "engine", "store", "graph", "errors"}),
}

# Rooms that decide but never act.
PURE = frozenset({"errors", "graph", "engine"})
ACTING = frozenset(
    {"anyio", "asyncio", "fsspec", "selectors", "socket", "subprocess", "tempfile", "threading", "trio", "watchfiles"}
)


@dataclass(frozen=True, order=True)
class Violation:
    """One import that points the wrong way."""

    module: str
    line: int
    imported: str
    rule: str


def violations(package: Path) -> list[Violation]:
    """All imports under ``package`` (the folder of actorflow) that break a rule."""
    found = []
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package).with_suffix("").parts
        module = ".".join((package.name, *(part for part in parts if part != "__init__")))
        if parts == ("__init__",):
            continue  # the public API gathers from every room
        for line, imported in _imports(ast.parse(file.read_text("utf-8")), module, is_package=parts[-1] == "__init__"):
            if rule := _broken(parts[0], imported, package.name):
                found.append(Violation(module, line, imported, rule))
    return sorted(found)


def _broken(room: str, imported: str, root: str) -> str | None:
    """The rule that an import in this room breaks, if any."""
    top, _, rest = imported.partition(".")
    if top != root:
        return f"{room} never acts" if room in PURE and top in ACTING else None
    target = rest.partition(".")[0]
    if room in FACES:
        # the command line opens the other faces; none of them knows another
        others = FACES - {room} if room != "cli" else frozenset[str]()
        inside = target in (MAY_IMPORT.keys() - {"errors"}) | others
        return "faces use the public API alone" if inside else None
    if room not in MAY_IMPORT:
        return f"{room} is no room: name it in tests/imports.py"
    if target == room or target in MAY_IMPORT[room]:
        return None
    return f"{room} may import {', '.join(sorted(MAY_IMPORT[room])) or 'nothing of ours'}"


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[tuple[int, str]]:
    """Every import in a module with its line, also inside functions, for types only, or relative."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = node.module or ""
            if node.level:
                above = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                source = ".".join([*above, source]).rstrip(".")
            if source == "actorflow":
                yield from ((node.lineno, f"actorflow.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, source
