"""The side log: what the processes under fire saw and did, one line each, kept by the kernel when they die."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from pathlib import Path

What = Literal["started", "acknowledged", "seen", "owned", "result", "error"]


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that one process told."""

    what: What
    pid: int
    run: str
    key: str = ""  # of an activation
    seq: int = -1
    nonce: str = ""  # of a commit
    text: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class SideLog:
    """Appends lines with one write each, so that no lock is needed and none is left behind."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._fd)

    def tell(self, what: What, run: str, *, key: str = "", seq: int = -1, nonce: str = "", text: str = "") -> None:
        """Append a line. It begins with a newline of its own: one that a kill cuts in two spoils no other."""
        line = Line(what=what, pid=os.getpid(), run=run, key=key, seq=seq, nonce=nonce, text=text)
        os.write(self._fd, b"\n" + _encode(line))


def lines(path: Path) -> list[Line]:
    """All whole lines, in the order in which they were told."""
    told: list[Line] = []
    for raw in path.read_bytes().split(b"\n"):
        try:
            told.append(_decode(raw))
        except msgspec.MsgspecError:  # cut in two by a kill, or empty
            continue
    return told
