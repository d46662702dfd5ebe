"""Bugs to be planted in a process of a soak, by name: those of the kill loop, and one in what carries messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.runtime import claiming
from tests.kill import bugs

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.run import RunState


def _forgets_ids_at_takeover() -> None:
    """Who claims a run does not know the ids that its callers used."""
    fold = claiming.fold

    def forgetful(run: RunState, record: Any) -> RunState:
        run = fold(run, record)
        run.mail.seen.clear()
        return run

    claiming.fold = forgetful


BUGS: dict[str, Callable[[], None]] = {**bugs.BUGS, "forgets ids at takeover": _forgets_ids_at_takeover}
