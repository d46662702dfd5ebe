"""Memos: what a run remembers of the steps of its nodes, and what it would have to undo. A part of `fold`.

A step is known by a hash of the activation it belongs to, its name and its
key, never by its place among others: so it does not matter in which order
steps that run side by side come to their end. What is remembered of it goes
with the activation; what is to be undone stays with the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from actorflow.engine.keys import key_of
from actorflow.engine.records import ErrorInfo, Intended, Shape, Stepped, StepRecord, Tried, Undone

if TYPE_CHECKING:
    from actorflow.engine.run import RunState


class Memo(Struct, frozen=True, array_like=True):
    """What is known of a step: that it was to begin, how often it failed, or (``over``) what came of it."""

    name: str
    key: str | None = None
    over: bool = False
    value: Any = None
    error: ErrorInfo | None = None  # it ended with this, and is not tried again
    shape: Shape | None = None  # of a value that is a State
    once: bool = False  # it must not run twice
    intended: float | None = None  # it was to begin, seconds since the epoch, and must not run twice
    attempt: int = 0  # recorded attempts that failed
    due: float | None = None  # not before this time, seconds since the epoch
    began: float | None = None  # its first attempt, as far as that was recorded


class Undoable(Struct, frozen=True, array_like=True):
    """An effect that was done, and by which function of the graph it is undone."""

    undo: str
    step: bytes
    name: str
    value: Any = None
    shape: Shape | None = None


def step_key(activation: bytes, kind: bytes, name: str, key: str | int) -> bytes:
    """By what a step is known: also outside, as its idempotency key.

    Args:
        activation: the key of that.
        kind: who does it, in an activation: its node, what is around it, or what handles its failure.
        name: of the step.
        key: what its caller says, or which of that name it is.
    """
    which = (b"key", key.encode()) if isinstance(key, str) else (b"nth", key.to_bytes(8, "big"))
    return key_of(activation, b"step", kind, name.encode(), *which)


def fold_step(run: RunState, record: StepRecord) -> None:
    """The run after the record, in place."""
    activation = run.open[record.id]
    match record:
        case Intended(step=step, name=name, key=key, at=at):
            memo = activation.memos.get(step, Memo(name, key))
            activation.memos[step] = replace(memo, once=True, intended=at, due=None)
        case Tried(step=step, name=name, key=key):
            memo = activation.memos.get(step, Memo(name, key))
            activation.memos[step] = replace(
                memo, intended=None, attempt=record.attempt, due=record.due, began=record.began
            )
        case Stepped(step=step, name=name, key=key, value=value, shape=shape):
            once = step in activation.memos and activation.memos[step].once
            activation.memos[step] = Memo(name, key, over=True, value=value, error=record.error, shape=shape, once=once)
            if record.undo is not None:
                run.saga.append(Undoable(record.undo, step, name, value, shape))
        case Undone(step=step):
            at = next(index for index, one in enumerate(run.saga) if one.step == step)
            activation.undone.append(run.saga.pop(at).name)


def reopened(memos: dict[bytes, Memo]) -> dict[bytes, Memo]:
    """What an activation of a run that is reopened still knows: what failed is tried again, unless it may not be."""
    return {step: memo for step, memo in memos.items() if memo.once or (memo.over and memo.error is None)}
