"""Draining: a signal asks the process to end. Its runs finish what runs just now, and are let go of; then it ends."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterable
    from signal import Signals

    from anyio.abc import TaskStatus

    from actorflow.runtime.lives import Lives

_logger = logging.getLogger("actorflow.runtime")


async def drain_on(lives: Lives, signals: Iterable[Signals], *, task_status: TaskStatus[None]) -> None:
    """End with `SystemExit` when the first of these signals has come and all runs are let go of.

    From the first signal on nothing begins. At a second one nothing is waited
    for, either: activations are cancelled, unrecorded. A third one does what it
    does without us. The status is the one that a shell gives for the signal:
    143 for SIGTERM.

    Raises:
        RuntimeError: signals can't be received here.
    """
    with ExitStack() as stack:
        try:
            received = stack.enter_context(anyio.open_signal_receiver(*signals))
        except (NotImplementedError, RuntimeError, ValueError) as error:
            raise RuntimeError("drain_on=: only the main thread can receive signals, and not on Windows") from error
        task_status.started()
        first = await anext(received)
        lives.drain(SystemExit(128 + first))
        _logger.warning("%s: runs finish what runs just now, and are let go of; a second one cancels it", first.name)
        await anext(received)
        lives.leave()
