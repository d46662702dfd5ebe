"""Blocked: the runs that this process leaves alone although nobody else has them, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from actorflow.errors import CommitRefused, CommitTooLarge, RunDeleted, RunOwned, StoreError
from actorflow.runtime.claiming import EndedMeanwhile


class BlockedRuns(Mapping[str, str]):
    """By run id the reason why no scan takes it up. Somebody who resumes it may.

    Either the code of this process can't run it, or it was a child of a
    supervisor that was left, and waits for one of that name.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._aside: dict[str, str] = {}  # those that wait for a supervisor to be entered again, and its path

    def __getitem__(self, run_id: str) -> str:
        return self._reasons[run_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._reasons)

    def __len__(self) -> int:
        return len(self._reasons)

    def block(self, run_id: str, reason: str) -> None:
        """This process can't run it."""
        self._reasons[run_id] = reason

    def stopped(self, run_id: str, error: Exception) -> None:
        """This process had to let go of it, because of this. It may be one that passes."""
        if not _may_pass(error):
            self._reasons[run_id] = str(error)  # not taken up again by itself; resume() lifts it

    def set_aside(self, run_id: str, path: str) -> None:
        """Leave it alone until somebody resumes it, or enters this supervisor again."""
        self._aside[run_id] = path
        self._reasons[run_id] = f"supervisor {path!r} was left; resume the run, or enter a supervisor of that name"

    def lift(self, run_id: str) -> None:
        """It lives here, or is no more."""
        self._reasons.pop(run_id, None)
        self._aside.pop(run_id, None)

    def entered(self, path: str) -> None:
        """A supervisor was: what was set aside for it may be taken up."""
        for run_id in [run_id for run_id, waits_for in self._aside.items() if waits_for == path]:
            self.lift(run_id)

    def look_again(self) -> None:
        """The code of this process is another one now, and may run what it could not before."""
        self._reasons = {run_id: reason for run_id, reason in self._reasons.items() if run_id in self._aside}


def _may_pass(error: Exception) -> bool:
    """Whether it is the store's trouble, or somebody else's doing, and not that this process can't run the run."""
    if isinstance(error, RunOwned | RunDeleted | EndedMeanwhile):
        return True
    return isinstance(error, StoreError) and not isinstance(error, CommitTooLarge | CommitRefused)
