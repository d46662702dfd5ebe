"""WorkLog: an append-only list of the work that was really done, beside the store and unknown to it.

The store says what *counts*; this says what *happened*, also in a process that
was killed before it could commit. The difference is the work that was redone.
Worker processes write it, so its place is handed to them in their environment.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

PLACE = "ACTORFLOW_DEMO_WORKLOG"
"""The environment variable that says where the log is; without it nothing is noted."""


def note(path: str, *, seconds: float) -> None:
    """This file was parsed, whether that is committed or not, and it took so long."""
    if (log := os.environ.get(PLACE)) is not None:
        os.write(_opened(log), f"{seconds:.6f} {path.encode('unicode_escape').decode()}\n".encode())


@cache
def _opened(log: str) -> int:
    """``O_APPEND``, one write a line, no buffer: a kill loses none of them, and no process another's."""
    return os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


class WorkLogReader:
    """Follows a work log as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self.lines = 0
        self.files: set[bytes] = set()
        self.seconds = 0.0

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
            for line in whole.splitlines():
                seconds, _, name = line.partition(b" ")
                self.lines += 1
                self.seconds += float(seconds)
                self.files.add(name)
        return len(self.files)
