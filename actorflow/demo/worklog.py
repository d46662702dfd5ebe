"""WorkLog: an append-only list of the work that was really done, beside the store and unknown to it.

The store says what *counts*; this says what *happened*, also in a process that
was killed before it could commit. The difference is the work that was redone.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class WorkLog:
    """Appends one line for each file. ``O_APPEND``, one write a line, no buffer: a kill loses none of them."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def done(self, path: str) -> None:
        """This file was parsed."""
        os.write(self._descriptor, path.encode("unicode_escape") + b"\n")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class WorkLogReader:
    """Follows a work log as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.lines = 0
        self.files: set[bytes] = set()

    @property
    def redone(self) -> int:
        """How many files were parsed more than once, counted as often."""
        return self.lines - len(self.files)

    def look(self) -> int:
        """Read what is new; how many different files were parsed."""
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                new = file.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            names = whole.splitlines()
            self.lines += len(names)
            self.files.update(names)
        return len(self.files)
