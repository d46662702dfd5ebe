"""A folder of a user's own, with a graph in it, and the command line called from there."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import watchfiles  # noqa: F401 - first imported while sys.modules is a copy, it would not find what C code imports
from click.testing import CliRunner, Result

from actorflow.cli.app import app
from tests.servers.fixtures import moto  # noqa: F401 - pytest finds it here

APP = """
from pathlib import Path
from typing import Annotated

import anyio

from actorflow import Graph, State, Update, extend

HERE = Path(__file__).parent


class Trail(State, version=1):
    n: int = 0
    text: str = ""
    trace: Annotated[list[str], extend] = []


def note(node):
    with (HERE / "ran.log").open("a") as log:
        log.write(node + "\\n")


trail = Graph("trail", Trail)


@trail.node
async def first(state: Trail) -> Update:
    note("first")
    return {"trace": ["first"]}


@trail.node(after=first)
async def second(state: Trail) -> Update:
    note("second")
    if (HERE / "broken").exists():
        raise TypeError("broken\\x1b[31m on purpose")
    while (HERE / "hang").exists():
        await anyio.sleep(0.01)
    return {"trace": ["second"], "n": state.n + 1}
"""


@dataclass
class Project:
    """The user's folder. ``call`` runs a command in this process, ``start`` in one of its own."""

    folder: Path

    @property
    def ran(self) -> list[str]:
        """The nodes that ran, in all processes."""
        log = self.folder / "ran.log"
        return log.read_text().split() if log.exists() else []

    def call(self, *arguments: str, **options: Any) -> Result:
        """The result of a command, with its exit status, and standard output and error apart."""
        return CliRunner().invoke(app, list(arguments), **options)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        """What a reading command says with --json."""
        result = self.call(*arguments, "--json")
        return [json.loads(line) for line in result.stdout.splitlines()]

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """A command in a process of its own."""
        command = [sys.executable, "-m", "actorflow.cli", *arguments]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=self.folder, text=True, **{**pipes, **options})

    def reach(self, node: str, process: subprocess.Popen[str]) -> None:
        """Look until that process runs this node, with rests, or it would lack the time that looking takes."""
        while node not in self.ran:
            assert process.poll() is None
            time.sleep(0.01)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A folder with app.py; it is the current one, and modules imported from it are forgotten afterwards."""
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    for name in ("STORE", "STORAGE_OPTIONS", "GRAPH", "KEYS", "SEALING", "REQUIRE"):
        monkeypatch.delenv(f"ACTORFLOW_{name}", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Project(Path.cwd())
