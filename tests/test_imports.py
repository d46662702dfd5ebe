"""The house has four rooms, data flows one way, and `import actorflow` is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import actorflow
from tests.imports import violations

PACKAGE = Path(actorflow.__file__).parent

NEEDED_LATER = (
    *("trio", "fsspec", "watchfiles", "asyncio"),
    *("click", "rich", "starlette", "uvicorn", "jinja2", "cronsim", "opentelemetry", "langgraph", "ray"),
    *("s3fs", "gcsfs", "adlfs", "cryptography", "backports"),
)


def test_imports_point_one_way() -> None:
    """No module imports from a room above or beside its own, not even for types."""
    found = violations(PACKAGE)

    assert found == [], "\n".join(f"{v.module}:{v.line} imports {v.imported}: {v.rule}" for v in found)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("errors.py", "from actorflow.graph import State"),
        ("graph/node.py", "from actorflow.engine.fold import fold"),
        ("graph/node.py", "import anyio"),
        ("graph/deep/er.py", "from ...runtime import actor"),
        ("graph/__init__.py", "from ..runtime import actor"),
        ("engine/fold.py", "def later():\n    import fsspec.core"),
        ("engine/fold.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import actorflow.store.frames"),
        ("engine/fold.py", "from actorflow import Runtime"),
        ("store/log.py", "from actorflow.engine.records import Record"),
        ("store/log.py", "from ..graph import State"),
        ("runtime/actor.py", "from actorflow import cli"),
        ("runtime/actor.py", "import actorflow"),
        ("cli/main.py", "from actorflow.runtime.actor import Actor"),
        ("demo.py", "from actorflow import store"),
        ("demo/drive.py", "from actorflow.cli.output import say"),
        ("helpers.py", "import actorflow.errors"),
    ],
)
def test_an_import_that_points_the_wrong_way_is_found(tmp_path: Path, file: str, source: str) -> None:
    """The check can fail: each planted import is named with its line."""
    planted = tmp_path / "actorflow" / file
    planted.parent.mkdir(parents=True)
    planted.write_text(source, "utf-8")

    found = violations(tmp_path / "actorflow")

    assert [violation.line for violation in found] == [source.count("\n") + 1]


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("graph/node.py", "import json\nfrom . import state\nfrom actorflow.errors import GraphError"),
        ("runtime/actor.py", "import anyio\nfrom actorflow.store.log import RunLog\nfrom ..engine import fold"),
        ("cli/main.py", "from actorflow import Runtime, errors\nfrom . import show"),
        ("cli/demo.py", "from actorflow.demo.drive import Demo"),
    ],
)
def test_an_import_that_points_down_is_fine(tmp_path: Path, file: str, source: str) -> None:
    """The check does not forbid what the house is built on."""
    written = tmp_path / "actorflow" / file
    written.parent.mkdir(parents=True)
    written.write_text(source, "utf-8")

    assert violations(tmp_path / "actorflow") == []


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after this code and had not before."""
    shown = f"import sys; before = set(sys.modules)\n{code}\nprint(*sorted(set(sys.modules) - before))"
    child = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    return set(child.stdout.split())


@pytest.mark.parametrize("code", ["import actorflow", "from actorflow import *"])
def test_import_actorflow_is_light(code: str) -> None:
    """No event loop, file system, terminal or extra is loaded, not even by everything there is to import."""
    loaded = {name.partition(".")[0] for name in loaded_by(code)}

    assert "actorflow" in loaded
    assert loaded.isdisjoint(NEEDED_LATER), sorted(loaded.intersection(NEEDED_LATER))


def test_a_graph_is_declared_without_what_runs_it() -> None:
    """A file that declares graphs loads the first room and nothing of the others."""
    loaded = loaded_by("from actorflow import Graph, State, extend")

    assert "actorflow.graph.graph" in loaded
    assert not {name for name in loaded if name.startswith(("actorflow.store", "actorflow.runtime", "anyio"))}


def test_names_are_what_type_checkers_take_them_for() -> None:
    """The imports that are there for types, and what is imported when a name is asked for, are the same."""
    tree = ast.parse((PACKAGE / "__init__.py").read_text("utf-8"))
    seen = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("actorflow.")
        for alias in node.names
    }

    assert set(seen) == set(actorflow.__all__)
    for name, module in seen.items():
        assert getattr(actorflow, name) is getattr(import_module(str(module)), name), name


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    """Asking for a wrong name says so, as for any module."""
    with pytest.raises(AttributeError, match="no attribute 'Grpah'"):
        actorflow.Grpah  # type: ignore[attr-defined]  # noqa: B018


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` lists every public name of the package once, in order, and nothing else."""
    submodules = {path.stem for path in PACKAGE.iterdir()}
    public = {name for name in dir(actorflow) if name[0].isalpha()} - submodules - {"annotations", "TYPE_CHECKING"}

    assert list(actorflow.__all__) == sorted(set(actorflow.__all__), key=_order)
    assert public | {name for name in actorflow.__all__ if name in submodules} == set(actorflow.__all__) - {
        "__version__"
    }


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, classes, functions: as ruff and isort have it."""
    return not name.isupper(), not name[0].isupper(), name
