"""The house has four rooms, data flows one way, and `import actorflow` is light."""

from __future__ import annotations

import subprocess
import sys
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


def test_import_actorflow_is_light() -> None:
    """A fresh interpreter that imports actorflow loads no event loop, file system, terminal or extra."""
    code = "import sys; before = set(sys.modules); import actorflow; print(*sorted(set(sys.modules) - before))"

    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.partition(".")[0] for name in child.stdout.split()}
    assert "actorflow" in loaded
    assert loaded.isdisjoint(NEEDED_LATER), sorted(loaded.intersection(NEEDED_LATER))


def test_all_is_sorted_and_complete() -> None:
    """``__all__`` lists every public name of the package once, in order, and nothing else."""
    submodules = {path.stem for path in PACKAGE.iterdir()}
    public = (
        {name for name in dir(actorflow) if not name.startswith("_")} - submodules - {"annotations", "TYPE_CHECKING"}
    )

    assert list(actorflow.__all__) == sorted(set(actorflow.__all__), key=_order)
    assert public | {name for name in actorflow.__all__ if name in submodules} == set(actorflow.__all__) - {
        "__version__"
    }


def _order(name: str) -> tuple[bool, bool, str]:
    """Constants, classes, functions: as ruff and isort have it."""
    return not name.isupper(), not name[0].isupper(), name
