"""The examples in docstrings run, and print what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from typing import TYPE_CHECKING

import pytest

import actorflow

if TYPE_CHECKING:
    from types import ModuleType

MODULES = ["actorflow", *sorted(found.name for found in pkgutil.walk_packages(actorflow.__path__, "actorflow."))]
FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples(module: ModuleType) -> list[doctest.DocTest]:
    """The docstrings of a module that have examples, those of imported things left out."""
    return [found for found in FINDER.find(module) if found.examples]


@pytest.mark.parametrize("name", [name for name in MODULES if not name.endswith("__main__")])
def test_the_examples_of_a_module_run(name: str, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each docstring's example runs by itself, in an empty folder."""
    monkeypatch.chdir(str(tmp_path))
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)

    for found in examples(importlib.import_module(name)):
        runner.run(found, out=report.append)

    assert runner.failures == 0, "".join(report)


def test_what_users_start_with_has_an_example() -> None:
    """The public classes and functions that a newcomer meets first show how they are used."""
    first = ("State", "Graph", "Runtime", "Run", "run", "migrate", "Retry", "Goto", "Context")

    without = [name for name in first if ">>>" not in (getattr(actorflow, name).__doc__ or "")]

    assert without == []
