"""Steps: what an attempt records while it goes on. What came of a step is decided by who recorded it first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.events import Intending, Stepping, Trying, Undoing
from actorflow.engine.records import Intended, Stepped, Tried, Undone, describe
from actorflow.errors import AttemptOver

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Effect


def record_step(decision: Decision, event: Effect) -> None:
    """Record what an attempt says of a step of its node; nothing, if that step is over already.

    Raises:
        AttemptOver: its activation is not open any more.
    """
    run = decision.run
    activation = run.open.get(event.id)
    if activation is None:
        raise AttemptOver(None, "what came of a step" if isinstance(event, Stepping) else "a step")
    if isinstance(event, Undoing):
        if any(one.step == event.step for one in run.saga):
            decision.note(Undone(event.id, event.step))
        return
    memo = activation.memos.get(event.step)
    if memo is not None and memo.over:
        return  # by an attempt before, which was left while this was being committed
    match event:
        case Intending(id=id_, step=step, name=name, key=key, now=now):
            decision.note(Intended(id_, step, name, key, now))
        case Trying(id=id_, step=step, name=name, key=key):
            error = describe(event.error)
            decision.note(Tried(id_, step, name, key, event.attempt, event.due, event.began, error))
        case Stepping(id=id_, step=step, name=name, key=key):
            failed = None if event.error is None else describe(event.error)
            undo = event.undo if failed is None else None
            decision.note(Stepped(id_, step, name, key, event.value, failed, event.shape, undo))
