"""Sleeping: how a run that only waits lies down in the store, and how whoever takes it up gets it up again.

A run sleeps if its newest commit is a release that says it waits or is paused.
The order of writes, so that whoever dies in between leaves a run that somebody
finds: release → asleep marker → the active marker goes. Getting up is one more
opening: active marker of the next opening → claim → the asleep marker goes.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from actorflow.errors import StoreError
from actorflow.store.crashpoints import reached
from actorflow.store.keys import Sleeper, encode_id

if TYPE_CHECKING:
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Header
    from actorflow.store.store import Store

_RESTING = frozenset({"waiting", "paused"})

_logger = logging.getLogger("actorflow.runtime")


def is_asleep(header: Header) -> bool:
    """Whether nobody looks after the run, as of this commit, because nothing in it goes on by itself just now."""
    return header.kind == "release" and header.status in _RESTING


def next_opening(header: Header) -> int:
    """The opening of whoever claims an unfinished run next: getting up is one more.

    The marker of the last one may have been deleted, and its deletion may arrive at any time.
    """
    return header.opening + is_asleep(header)


def sleeper_of(run_id: str, header: Header) -> Sleeper:
    """Who sleeps since this commit, and until when."""
    return Sleeper(encode_id(run_id), header.seq, header.due)


def lying_down(store: Store, run_id: str, header: Header) -> Steps[None]:
    """What follows the release of a run that only waits, in steps. Idempotent; anybody may finish it for the dead."""
    yield from store.markers.putting_asleep(sleeper_of(run_id, header))
    reached("asleep.before_active")
    store.markers.drop_active(run_id, header.opening)


def mark_getting_up(store: Store, run_id: str, header: Header) -> None:
    """What comes before a claim after this commit: if the run sleeps, the marker of the opening that wakes it."""
    if is_asleep(header):
        store.markers.put_active(run_id, next_opening(header))


def got_up(store: Store, run_id: str, header: Header) -> None:
    """What follows a claim after this commit: nothing needs to wake the run. A marker that stays costs a look."""
    if is_asleep(header):
        reached("asleep.before_drop")
        try:
            store.markers.drop_asleep([sleeper_of(run_id, header)])
        except StoreError as error:
            _logger.warning("the marker of run %r, which does not sleep any more, is left: %s", run_id, error)
