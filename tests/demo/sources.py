"""Sources: folders for the demo to survey, and gates in them that no process gets past before they are opened."""

from __future__ import annotations

import os
import shutil
import sysconfig
from pathlib import Path

STDLIB = Path(sysconfig.get_path("stdlib"))


def folder_of(tmp_path: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    folder = tmp_path / "source"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    folder.mkdir(exist_ok=True)
    return folder


def copied(tmp_path: Path, *packages: str) -> Path:
    """A part of the standard library."""
    for package in packages:
        shutil.copytree(STDLIB / package, tmp_path / "source" / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "source"


def shut(source: Path, name: str) -> Path:
    """A file that comes after all others, and can't be read before it is opened: whoever tries waits."""
    gate = source / "zz" / name
    gate.parent.mkdir(exist_ok=True)
    os.mkfifo(gate)
    return gate


def opened(gate: Path) -> None:
    """From now on it is an empty file; who waits for it finds it empty, too."""
    held = os.open(gate, os.O_RDWR)
    empty = gate.with_suffix(".opened")
    empty.touch()
    empty.replace(gate)
    os.close(held)
