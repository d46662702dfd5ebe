"""mypy and pyright, both strict, accept what is right and refuse what is wrong, line by line."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable

HERE = Path(__file__).parent
PROJECT = HERE.parent.parent
FILES = sorted(file for file in HERE.glob("*.py") if not file.name.startswith("test_"))


def marked(file: Path) -> set[int]:
    """The lines that are wrong on purpose."""
    return {number for number, line in enumerate(file.read_text("utf-8").splitlines(), 1) if "# E: " in line}


@pytest.fixture(scope="module")
def mypy() -> dict[Path, dict[int, str]]:
    """By file, line and message of each error. One run for all files: most of it goes into the library."""
    if find_spec("mypy") is None:
        pytest.skip("mypy is not installed")
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--show-absolute-path", *map(str, FILES)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    found = re.findall(r"^(.*?):(\d+): error: (.*)$", done.stdout, re.MULTILINE)
    assert done.returncode == (1 if found else 0), done.stdout + done.stderr
    return by_file((Path(file), int(line), message) for file, line, message in found)


@pytest.fixture(scope="module")
def pyright() -> dict[Path, dict[int, str]]:
    """As above."""
    if find_spec("pyright") is None:
        pytest.skip("pyright is not installed")
    command = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, FILES)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    return by_file(
        (Path(found["file"]), found["range"]["start"]["line"] + 1, found["message"])
        for found in json.loads(done.stdout)["generalDiagnostics"]
        if found["severity"] == "error"
    )


def by_file(errors: Iterable[tuple[Path, int, str]]) -> dict[Path, dict[int, str]]:
    """All files, also those in which no error was found; an error in another file is one too many."""
    found: dict[Path, dict[int, str]] = {file: {} for file in FILES}
    for file, line, message in errors:
        assert file in found, f"{file}:{line}: {message}"
        found[file][line] = message
    return found


def test_there_are_files_with_mistakes() -> None:
    """Without any, the tests below would prove nothing."""
    assert [file.name for file in FILES] == ["actors.py", "effects.py", "graphs.py"]
    assert all(len(marked(file)) > 10 for file in FILES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_mypy_refuses_what_is_marked_and_nothing_else(file: Path, mypy: dict[Path, dict[int, str]]) -> None:
    """As a user's project with strict settings."""
    assert mypy[file].keys() == marked(file), mypy[file]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_pyright_refuses_what_is_marked_and_nothing_else(file: Path, pyright: dict[Path, dict[int, str]]) -> None:
    """As a user's project with strict settings."""
    assert pyright[file].keys() == marked(file), pyright[file]
