"""Superiors: the supervisors that are entered in a process, and whose child each life is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.run import RunState
    from actorflow.engine.supervision import Under
    from actorflow.runtime.life import Life
    from actorflow.runtime.supervisor import Supervisor

_logger = logging.getLogger("actorflow.supervisor")


class Superiors:
    """Supervisors by their paths. One for each runtime."""

    def __init__(self) -> None:
        self._entered: dict[str, Supervisor] = {}

    def __contains__(self, path: object) -> bool:
        """Whether a supervisor of this path is entered."""
        return path in self._entered

    def get(self, path: str) -> Supervisor | None:
        """The supervisor of a path, if it is entered."""
        return self._entered.get(path)

    def enter(self, supervisor: Supervisor, lives: Iterable[Life]) -> None:
        """Make a supervisor known: lives that are its children, by their files, join it."""
        self._entered[supervisor.path] = supervisor
        for life in lives:
            if life.supervisor is None and life.actor.run.supervisor == supervisor.path:
                life.supervisor = supervisor
                supervisor.admit(life, life.actor.run.restart)

    def leave(self, path: str) -> None:
        """Nobody joins it any more."""
        self._entered.pop(path, None)

    def admit(self, life: Life, run: RunState) -> None:
        """A life began: it joins its supervisor, or is the root's."""
        if life.supervisor is not None:
            life.supervisor.admit(life, run.restart)
        elif run.supervisor:
            _logger.warning(
                "run %r was under supervisor %r, which is not entered in this process: the root takes it",
                run.run_id,
                run.supervisor,
            )

    def move(self, life: Life, under: Under) -> None:
        """Put a life under another supervisor; its next claim says so."""
        if life.supervisor is not None:
            life.supervisor.dismiss(life)
        life.supervisor, life.under = self.get(under.path), under
        if life.supervisor is not None:
            life.supervisor.admit(life, under.restart)
