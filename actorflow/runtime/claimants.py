"""Claimants: the tasks of a process that want to claim a run. One at a time may: two would fence each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator


class Claimants:
    """The runs that a task is about to claim, or to work on while nobody else may. One for each runtime."""

    def __init__(self) -> None:
        self._over: dict[str, anyio.Event] = {}  # by run id; set when that task is done with it

    def __contains__(self, run_id: object) -> bool:
        """Whether a task is about to claim this run."""
        return run_id in self._over

    def __iter__(self) -> Iterator[str]:
        """The ids of the runs that are about to be claimed."""
        return iter(self._over)

    def one(self, run_id: str) -> _One:
        """For ``async with``: the only task for this run. The second waits for the first."""
        return _One(self._over, run_id)


class _One:
    __slots__ = ("_others", "_over", "_run_id")

    def __init__(self, others: dict[str, anyio.Event], run_id: str) -> None:
        self._others = others
        self._run_id = run_id
        self._over = anyio.Event()

    async def __aenter__(self) -> None:
        while (other := self._others.get(self._run_id)) is not None:
            await other.wait()
        self._others[self._run_id] = self._over

    async def __aexit__(self, *_: object) -> None:
        del self._others[self._run_id]
        self._over.set()
