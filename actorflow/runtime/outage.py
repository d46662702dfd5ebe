"""Outage: the store does not answer, and the runs of this process wait until it does. One asks for all of them."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import anyio
from anyio import Event

from actorflow.engine.policy import backoff
from actorflow.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from actorflow.engine.policy import RestartPolicy

_logger = logging.getLogger("actorflow.supervisor")


class Outage:
    """Asks a store that failed whether it is back: at once, and then again and again, with backoff."""

    def __init__(self, tasks: TaskGroup, probe: Callable[[], Awaitable[object]], *, policy: RestartPolicy) -> None:
        """Begin with a store that answers.

        Args:
            tasks: of the runtime; whoever asks runs in it.
            probe: asks the store something small; raises StoreError if it does not answer.
            policy: how long to wait between two questions.
        """
        self._tasks = tasks
        self._probe = probe
        self._policy = policy
        self._answered: Event | None = None  # while it is asked

    async def over(self) -> None:
        """Wait until the store has answered."""
        if self._answered is None:
            self._answered = Event()
            self._tasks.start_soon(self._ask, self._answered)
        await self._answered.wait()

    async def _ask(self, answered: Event) -> None:
        failures = 0
        while True:
            try:
                await self._probe()
            except StoreError as error:
                await anyio.sleep(backoff(self._policy, failures, chance=random.random()))
                failures += 1
                _logger.warning("the store does not answer: %s", error)
            else:
                break
        self._answered = None
        answered.set()
