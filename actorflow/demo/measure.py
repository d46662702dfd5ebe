"""Measure: what one Python source file holds. Reads the file and never runs it."""

from __future__ import annotations

import ast
import os
import warnings
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_SURVEYED = frozenset({"__pycache__", "dist-packages", "node_modules", "site-packages", "test", "tests"})
"""Folders that hold somebody else's code, or none that the folder's own packages import."""

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Function(Struct, frozen=True):
    """A function and its length in lines."""

    name: str
    lines: int


class FileFacts(Struct, frozen=True):
    """What a file holds; ``problem`` says why nothing more is known."""

    path: str
    lines: int = 0
    functions: int = 0
    classes: int = 0
    documented: int = 0  # functions and classes with a docstring
    longest: Function | None = None
    imports: tuple[str, ...] = ()  # top-level packages, each once
    problem: str | None = None

    @property
    def package(self) -> str:
        """The top-level package or module that the file belongs to."""
        return PurePosixPath(self.path).parts[0].removesuffix(".py")


def python_files(root: str) -> Iterator[str]:
    """The paths of a folder's Python files relative to it, in a fixed order; links to folders are not followed."""
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if name not in NOT_SURVEYED and not name.startswith("."))
        for name in sorted(names):
            path = Path(folder, name).relative_to(root).as_posix()
            if name.endswith(".py") and _is_text(path):
                yield path


def measure_file(root: str, path: str) -> FileFacts:
    """The facts of one file. A file that can't be read or parsed is a fact as well, never an error."""
    try:
        source = Path(root, path).read_bytes()
    except OSError as error:
        return FileFacts(path, problem=f"not readable: {error.strerror}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the surveyed code, such as invalid escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return FileFacts(path, lines=source.count(b"\n"), problem=type(error).__name__)
    nodes = list(ast.walk(tree))
    definitions = [node for node in nodes if isinstance(node, Definition)]
    functions = [node for node in definitions if not isinstance(node, ast.ClassDef)]
    longest = max(functions, key=_length, default=None)
    return FileFacts(
        path,
        lines=source.count(b"\n"),
        functions=len(functions),
        classes=len(definitions) - len(functions),
        documented=sum(ast.get_docstring(node, clean=False) is not None for node in definitions),
        longest=None if longest is None else Function(longest.name, _length(longest)),
        imports=tuple(sorted(set(_imported(nodes)))),
    )


def _length(node: Definition) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _imported(nodes: list[ast.AST]) -> Iterator[str]:
    """Top-level names; a relative import stays inside its package and says nothing about others."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _is_text(path: str) -> bool:
    """Whether a path can be kept as text: file systems also hold names that are no Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
