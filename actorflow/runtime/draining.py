"""Draining: how a process comes to an end with the runs that live in it: left normally, or asked to end by a signal."""

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


async def finish(lives: Lives, *, park: bool) -> None:
    """Wait until all are over: those that are awaited by themselves, the others (or all) by being parked."""
    lives.leaving = True
    lives.dispatcher.hurry()
    for life in lives.present():
        life.actor.nudge()
    while True:
        unfinished = [life for life in lives.present() if not life.done.is_set()]
        for life in unfinished:
            if park or not life.awaited:
                life.park()
        if unfinished:
            await unfinished[0].done.wait()
        elif not park and lives.dispatcher:  # which may begin others
            await lives.dispatcher.drained()
        else:
            break
    await lives.hooks.drained()


def drain(lives: Lives, error: SystemExit) -> None:
    """Begin nothing, let all finish what runs just now, and then end everything; leaving raises this."""

    async def end() -> None:
        await finish(lives, park=True)
        lives.leave()

    lives.draining = lives.leaving = True
    lives.interrupt = lives.interrupt or error
    for life in lives.present():  # now, and not when another task comes to it
        life.park()
    lives.in_background(end)


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
        drain(lives, SystemExit(128 + first))
        _logger.warning("%s: runs finish what runs just now, and are let go of; a second one cancels it", first.name)
        await anext(received)
        lives.leave()
