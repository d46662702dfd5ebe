"""mypy and pyright, both strict, accept what is right and refuse what is wrong, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
FILES = sorted(file for file in HERE.glob("*.py") if not file.name.startswith("test_"))


def marked(file: Path) -> set[int]:
    """The lines that are wrong on purpose."""
    return {number for number, line in enumerate(file.read_text("utf-8").splitlines(), 1) if "# E: " in line}


def reported_by_mypy(file: Path) -> dict[int, str]:
    """Line and message of each error."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-absolute-path", str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    found = re.findall(rf"^{re.escape(str(file))}:(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == (1 if found else 0), done.stdout + done.stderr
    return {int(line): message for line, message in found}


def reported_by_pyright(file: Path) -> dict[int, str]:
    """Line and message of each error."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, str(file)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {found["range"]["start"]["line"] + 1: found["message"] for found in diagnostics if found["severity"] == "error"}


def test_there_are_files_with_mistakes() -> None:
    """Without any, the tests below would prove nothing."""
    assert [file.name for file in FILES] == ["actors.py", "effects.py", "graphs.py"]
    assert all(len(marked(file)) > 10 for file in FILES)


@pytest.mark.skipif(find_spec("mypy") is None, reason="mypy is not installed")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_mypy_refuses_what_is_marked_and_nothing_else(file: Path) -> None:
    """As a user's project with strict settings."""
    found = reported_by_mypy(file)

    assert found.keys() == marked(file), found


@pytest.mark.skipif(find_spec("pyright") is None, reason="pyright is not installed")
@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_pyright_refuses_what_is_marked_and_nothing_else(file: Path) -> None:
    """As a user's project with strict settings."""
    found = reported_by_pyright(file)

    assert found.keys() == marked(file), found
