"""Crash points: named places where a test can kill the process, and nothing otherwise.

``ACTORFLOW_CRASH=append.after_write:3`` makes the process SIGKILL itself when
it passes that place for the third time. Within `listening` each place that is
passed is told, to be counted, or to end whoever passes it by an exception.
Without either, `reached` is two comparisons.
"""

from __future__ import annotations

import itertools
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

VARIABLE = "ACTORFLOW_CRASH"


def _armed() -> tuple[str, int] | None:
    name, _, nth = os.environ.get(VARIABLE, "").partition(":")
    return (name, int(nth or 1)) if name else None


_ARMED = _armed()
_PASSES = itertools.count(1)
_LISTENERS: list[Callable[[str], None]] = []


def reached(name: str) -> None:
    """The process is at this place. Killed here if the environment says so."""
    if _LISTENERS:
        for listener in _LISTENERS:
            listener(name)
    if _ARMED is not None and _ARMED[0] == name and next(_PASSES) == _ARMED[1]:
        import signal  # for the few that are killed

        os.kill(os.getpid(), signal.SIGKILL)


@contextmanager
def listening(listener: Callable[[str], None]) -> Generator[None]:
    """Within this block the listener is told of each place, by whichever thread passes it."""
    _LISTENERS.append(listener)
    try:
        yield
    finally:
        _LISTENERS.remove(listener)
