"""Parting: what a run that is deleted leaves to others, before nothing is left of it.

Word of its end to those who watch it and to those whose messages it did not
come to, also where they lie in its inbox, since the next life of its id begins
behind them; the end of its children, and what it had sent and others may not
have.
All of it goes as files into their inboxes, between the claim that says that
the run is deleted and the tombstone: a deleter that dies in between leaves a
run whose deletion the next one begins again, under the same numbers. Only the
beginning of a child is nothing that a file could stand for: it needs the
child's graph, so that a run which owes one is not deleted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.engine.fold import fold
from actorflow.engine.mail import Parcel
from actorflow.engine.posting import farewell
from actorflow.engine.records import ENDED
from actorflow.errors import ChildNotBegun, CorruptMessage, IdempotencyConflict
from actorflow.runtime import clock
from actorflow.runtime.letters import answer_to_unread, posted
from actorflow.store.backend import Missing
from actorflow.store.deletion import DELETED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.run import RunState
    from actorflow.store.keys import Letter
    from actorflow.store.store import Store

_LASTING = ("message", "reply", "down")
"""What a run that is over still gets: a message is a dead letter there, and it may go on and want an answer."""


def check_begun(store: Store, run: RunState) -> None:
    """Refuse to delete a run before others whose beginning only it knows of. Blocks.

    One that is to be cancelled at once need not begin for that.

    Raises:
        ChildNotBegun: naming them, and their graphs.
    """
    cancelled = {parcel.target for parcel in run.mail.outbox if parcel.kind == "cancel"}
    if run.status not in ENDED:
        cancelled |= {target for target, child in run.mail.children.items() if child.on_close == "cancel"}
    owed = {
        parcel.target: parcel.graph or ""
        for parcel in run.mail.outbox
        if parcel.kind == "spawn" and parcel.target not in cancelled and store.log(parcel.target).tip() is None
    }
    if owed:
        raise ChildNotBegun(run.run_id, owed)


def take_leave(store: Store, run: RunState, unread: Iterable[Letter] = ()) -> None:
    """Put what a run still owes to others into their inboxes. Blocks; the run is spent.

    Args:
        store: where they all are.
        run: as the claim that says that it is deleted has it.
        unread: what lies in its inbox, and is passed. What is said to that comes last, and in the order of each
            lane: more may be there when the deletion is begun again, and what was said first keeps its number.
    """
    now = clock.now()
    for record in farewell(run, now=now):
        run = fold(run, record)
    for letter in sorted(unread):
        with suppress(Missing, CorruptMessage):
            if (answer := answer_to_unread(run, store.inbox.read(letter))) is not None:
                run = fold(run, answer)
    for parcel in run.mail.outbox:
        if (status := _status_of(store, run, parcel.target)) is not None:
            wanted = parcel.kind in _LASTING or (status not in ENDED and parcel.kind != "spawn")
            # what is not is filled all the same: who goes on some day finds no gap before an answer
            sent = parcel if wanted else Parcel(parcel.target, parcel.number, "reply")
            with suppress(IdempotencyConflict):  # something else was kept under this number, say that it bounced
                store.inbox.send(posted(run, sent, now=now))


def _status_of(store: Store, run: RunState, target: str) -> str | None:
    """The status of another run that is there, and may come to what it is sent."""
    tip = None if target == run.run_id else store.log(target).tip()
    return None if tip is None or tip.header.status == DELETED else tip.header.status
