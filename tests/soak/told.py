"""What was told: the side log of a soak, one line for each thing that a process tried, did or met.

Each line is one append, kept by the kernel when its process is killed, so that
no promise is forgotten with the process that made it.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

What = Literal[
    "tried",  # a commit or claim is about to be written
    "acknowledged",  # it came to its end in the store: from here on the runtime builds on it
    "started",  # a node
    "seen",  # the newest commit, by the oracle
    "sent",  # a message is about to be sent to the run
    "kept",  # it is durable: its sender was told so, or what was replied
    "result",  # a run's, by who had begun it
    "blocked",  # this code can't run it
    "fenced",  # another owner has the run
    "corrupt",  # a file of the run is damaged
    "outage",  # the store could not be reached, or not be asked
    "trespass",  # a claim by a code that can't run the run
    "error",  # anything that should not happen
]


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that one process told."""

    what: What
    who: int  # which process, in the order in which they were started
    at: float  # seconds, on the monotonic clock that all processes share
    run: str
    key: str = ""  # of an activation
    seq: int = -1  # of a commit; of a message, what was replied to it
    nonce: str = ""  # of a commit
    epoch: int = 0
    kind: str = ""  # of a commit
    status: str = ""  # of the run, as of a commit
    version: int = 0  # of the schema that a commit is written in
    text: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class SideLog:
    """Appends lines with one write each, so that no lock is needed and none is left behind."""

    def __init__(self, path: Path, *, who: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._who = who

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def tell(self, what: What, run: str, **more: Any) -> None:
        """Append a line. It begins with a newline of its own: one that a kill cuts in two spoils no other."""
        os.write(self._fd, b"\n" + _encode(Line(what=what, who=self._who, at=time.monotonic(), run=run, **more)))


class Reader:
    """Reads on where it stopped. Whoever asks sees to it that nobody is in the middle of a line."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def news(self) -> list[Line]:
        """The lines that were told since the last time, in their order."""
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        told: list[Line] = []
        for raw in data.split(b"\n"):
            try:
                told.append(_decode(raw))
            except msgspec.MsgspecError:  # cut in two by a kill, or empty
                continue
        return told
