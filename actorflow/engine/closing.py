"""Closing: an activation ends, and whatever it owns ends with it. A part of `fold`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.forgetting import forget_children_of
from actorflow.engine.run import Scope

if TYPE_CHECKING:
    from actorflow.engine.run import Activation, RunState


def close(run: RunState, activation: Activation, *, done: bool = False) -> None:
    """An activation ends, and what it owns with it."""
    drop_owned(run, activation, done=done)
    del run.open[activation.id]
    if run.mail.over:
        forget_children_of(run.mail, activation.id)
    if run.turn == activation.id:
        run.turn = None
    run.scopes[activation.scope].live -= 1


def drop_owned(run: RunState, activation: Activation, *, done: bool = False) -> None:
    """What an activation owned ends with it: its scope and its fan-out, and whatever is in those.

    Of a kept scope the values stay: as they are if this visit is ``done``, else as they were before it.
    """
    activation.queued = False
    if run.fans and run.fans.pop(activation.id, None) is not None:
        for item in [one for one in run.open.values() if one.fan == activation.id]:
            close(run, item)
    if (path := activation.inner) is not None:
        activation.inner = None
        for one in list(run.open_in(path)):
            if one.fan is None:  # an item goes with the owner of its fan-out
                close(run, one)
        scope = run.scopes.pop(path)
        values = scope.values if done else scope.before
        if scope.kept and values is not None:
            run.scopes[path] = Scope(path=path, values=values, schema=scope.schema, kept=True)
