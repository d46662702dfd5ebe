"""Parting: what a run that is deleted leaves to others, before nothing is left of it.

Word of its end to those who watch it and to those whose messages it did not
come to, the end of its children, and what it had sent and others may not have.
All of it goes as files into their inboxes, between the claim that says that
the run is deleted and the tombstone: a deleter that dies in between leaves a
run whose deletion the next one begins again, under the same numbers.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.engine.fold import fold
from actorflow.engine.mail import Parcel
from actorflow.engine.posting import farewell
from actorflow.engine.records import ENDED
from actorflow.errors import IdempotencyConflict
from actorflow.runtime import clock
from actorflow.runtime.letters import posted
from actorflow.store.deletion import DELETED

if TYPE_CHECKING:
    from actorflow.engine.run import RunState
    from actorflow.store.store import Store

_ANSWERS = ("reply", "down")
"""What a run that is over may still want, if it goes on some day."""


def take_leave(store: Store, run: RunState) -> None:
    """Put what an unfinished run owes to others into their inboxes. Blocks; the run is spent.

    Args:
        store: where they all are.
        run: as the claim that says that it is deleted has it.
    """
    now = clock.now()
    for record in farewell(run, now=now):
        run = fold(run, record)
    for parcel in run.mail.outbox:
        if _is_wanted(store, run, parcel):
            sent = parcel if parcel.kind != "spawn" else Parcel(parcel.target, parcel.number, "reply")  # it is there
            with suppress(IdempotencyConflict):  # something else was kept under this number, say that it bounced
                store.inbox.send(posted(run, sent, now=now))


def _is_wanted(store: Store, run: RunState, parcel: Parcel) -> bool:
    """Whether somebody may still come to it."""
    if parcel.target == run.run_id:
        return False
    tip = store.log(parcel.target).tip()
    if tip is None or tip.header.status == DELETED:
        return False
    return tip.header.status not in ENDED or parcel.kind in _ANSWERS
