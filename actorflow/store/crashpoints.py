"""Crash points: named places where a test can kill the process, and nothing otherwise.

``ACTORFLOW_CRASH=append.after_write:3`` makes the process SIGKILL itself when
it passes that place for the third time. Unset, `reached` is one comparison.
"""

from __future__ import annotations

import itertools
import os

VARIABLE = "ACTORFLOW_CRASH"


def _armed() -> tuple[str, int] | None:
    name, _, nth = os.environ.get(VARIABLE, "").partition(":")
    return (name, int(nth or 1)) if name else None


_ARMED = _armed()
_PASSES = itertools.count(1)


def reached(name: str) -> None:
    """The process is at this place. Killed here if the environment says so."""
    if _ARMED is not None and _ARMED[0] == name and next(_PASSES) == _ARMED[1]:
        import signal  # for the few that are killed

        os.kill(os.getpid(), signal.SIGKILL)
