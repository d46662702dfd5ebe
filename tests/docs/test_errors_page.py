"""The tree of errors, in the docstring and on the page, is the tree of the classes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from actorflow import errors
from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

ENTRY = re.compile(r"^ {4}(?P<indent>[│├└─ ]*)(?P<name>\w+)(?: \((?P<builtin>\w+)\))? *(?P<what>.*)$", re.MULTILINE)


def tree(class_: type[Exception], parents: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Each class of the module below this one, as the path that leads to it."""
    path = (*parents, class_.__name__)
    yield path
    for below in (below for below in class_.__subclasses__() if below.__module__ == errors.__name__):
        yield from tree(below, path)


def drawn() -> Iterator[tuple[tuple[str, ...], str | None, str]]:
    """Each line of the drawing: the path, the builtin in parentheses, what it says."""
    path: list[str] = []
    for entry in ENTRY.finditer(errors.__doc__ or ""):
        path[len(entry["indent"]) // 4 :] = [entry["name"]]
        yield tuple(path), entry["builtin"], entry["what"]


def test_the_drawn_tree_is_the_tree_of_the_classes() -> None:
    """No class is missing, none is in the wrong place, and each line but the root's says what it is about."""
    assert {path for path, _, _ in drawn()} == set(tree(errors.ActorflowError))
    assert [path for path, _, what in drawn() if not what] == [("ActorflowError",)]


def test_the_drawn_builtins_are_the_ones_that_except_clauses_may_rely_on() -> None:
    """What stands in parentheses is a base of the class, and no other builtin base is kept quiet."""
    for path, builtin, _ in drawn():
        bases = [base.__name__ for base in getattr(errors, path[-1]).__bases__ if base.__module__ == "builtins"]
        assert [name for name in bases if name != "Exception"] == ([builtin] if builtin else []), path[-1]


def test_every_error_is_on_the_page() -> None:
    """The page describes each class once, RemoteError included."""
    page = (ROOT / "docs/errors.md").read_text("utf-8")

    described = re.findall(r"^\.\. autoexception:: (\w+)$", page, re.MULTILINE)

    assert sorted(described) == sorted(
        name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)
    )
