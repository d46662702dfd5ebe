"""Deletion: what a deleted run leaves behind, and clearing away the rest.

A run is deleted by two commits of a claimer, under the next opening: a claim
that says so, from which on nobody runs it, and the tombstone, a release with a
snapshot in which nothing is left but what a later life must go on from. Then
whatever lies below the tombstone is cleared away, the active marker last: as
long as it is there, somebody will finish what a dead deleter began.

Clearing may be done by anybody, several times, and by somebody who stalls for
as long as he likes: he deletes exact keys, and only such as were there before
he saw that the tombstone was still the newest commit. So nothing of the id's
next life is among them. Blobs are deleted by epoch, and numbers below the
tombstone's, which that life never has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from actorflow.store.crashpoints import reached
from actorflow.store.keys import (
    ENDED,
    active_key,
    dead_prefix,
    encode_id,
    inbox_key,
    parse_ended,
    parse_letter,
)
from actorflow.store.lanes import passed

if TYPE_CHECKING:
    from actorflow.store.frames import Header
    from actorflow.store.store import Store

DELETED: Final = "deleted"
"""The status of a run that was deleted, and of the claim before its tombstone."""


def is_tombstone(header: Header) -> bool:
    """Whether the deletion took place; what is below may still have to be cleared away."""
    return header.status == DELETED and header.kind == "release"


def clear_away(store: Store, run_id: str) -> bool:
    """Delete what lies below a run's tombstone. Idempotent, and safe at any moment, whoever else does it.

    Returns:
        Whether the tombstone still was the newest commit; otherwise nothing was done.
    """
    log, encoded = store.log(run_id), encode_id(run_id)
    letters = store.inbox.letters(run_id)
    dead = [
        key
        for key in store.backend.list(dead_prefix(encoded))
        if (letter := parse_letter(key)) is not None and letter.run == encoded
    ]
    summaries = [key for key in store.backend.list(ENDED) if parse_ended(key) == encoded]
    tip = log.tip()  # only now: what was listed before it belongs to the life that it ended
    if tip is None or not is_tombstone(tip.header):
        return False
    reached("delete.before_clearing")
    # What stands beyond the marks in its lane came later, and is the next life's, which would wait for it for ever.
    gone = [*passed(tip.header.marks, letters), *(letter for letter in letters if letter.from_caller)]
    store.backend.delete([*map(inbox_key, gone), *dead, *summaries])
    reached("delete.after_letters")
    store.blobs(run_id).sweep((), epoch=tip.header.epoch)
    reached("delete.after_blobs")
    log.let_go(tip.header.seq)
    reached("delete.after_log")
    last = tip.header.opening  # its marker goes last
    openings = [*(number for number in store.markers.openings(run_id) if number < last), last]
    store.backend.delete([active_key(encoded, number) for number in openings])
    reached("delete.after_markers")
    return True
