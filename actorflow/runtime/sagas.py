"""Sagas: what the steps of a run did is undone, the latest first, each once it is recorded that it was."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from actorflow.engine.events import Undoing
from actorflow.engine.keys import key_of
from actorflow.engine.merge import typed
from actorflow.errors import UnknownUndo
from actorflow.graph.retry import first_applying
from actorflow.runtime import clock
from actorflow.runtime.calling import invoke
from actorflow.runtime.mended import mended

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.memos import Undoable
    from actorflow.graph.undo import Undo
    from actorflow.runtime.means import Means


def undo_key(step: bytes) -> bytes:
    """By what the undoing of a step is known outside: its idempotency key."""
    return key_of(step, b"undo")


async def roll_back(means: Means, context: Callable[[bytes], Any]) -> list[str]:
    """Undo what is to be undone in the run; the names of the steps that this activation has undone, latest first.

    A crash in the middle repeats at most the one that was being undone.

    Args:
        means: of the attempt.
        context: makes what an undo function gets as its second parameter, given its key.

    Raises:
        UnknownUndo: the code no longer declares one of the functions; what comes before it was undone.
        What a function raises, after its retries: its step, and those before, are still to be undone.
    """
    place = means.place
    means.check("a rollback")
    async with means.undoing:  # else two nodes at once would undo the same
        saga = place.run.saga
        while saga:
            latest = saga[-1]
            undo = place.root.all_undos.get(latest.undo)
            if undo is None:
                raise UnknownUndo(place.node.name, latest.name, latest.undo, place.root.all_undos)
            await _undo(means, undo, latest, context)
            await means.commit(Undoing(place.activation.id, latest.step))
    return list(place.activation.undone)


async def _undo(means: Means, undo: Undo, done: Undoable, context: Callable[[bytes], Any]) -> None:
    place, attempt, began = means.place, 0, clock.now()
    while True:
        attempt += 1
        value = await mended(done.value, done.shape, undo.takes, place)  # its own each time
        arguments = (value, context(undo_key(done.step))) if undo.takes_context else (value,)
        try:
            await invoke(undo.fn, arguments, means.threads)
        except Exception as error:
            state = typed(place.schema, place.activation.base)
            policy = first_applying(undo.retry, error, state)
            due = clock.now() + (0.0 if policy is None else policy.delay(attempt, random.random()))
            late = policy is not None and policy.deadline is not None and due > began + policy.deadline
            if policy is None or attempt >= policy.attempts or late:
                error.add_note(f"while step {done.name!r} was being undone by {undo.name!r}; it is still to be undone")
                raise
            await clock.sleep_until(due)
        else:
            return
