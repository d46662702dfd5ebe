"""Statistics: what goes on in this process, per run and per supervisor. Nothing is read from the store for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.runtime import clock
from actorflow.runtime.life import Activity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.runtime.life import Life


class RunStats(Struct, frozen=True, kw_only=True):
    """What goes on in a run that lives in this process."""

    run_id: str
    activity: Activity  # "live", "restarting", "stalled" (the store does not answer), or "over"
    restarts: int  # of this life: after crashes, with siblings, after outages
    mailbox: int  # messages that wait to be handled
    oldest: float | None  # seconds that the first of them has waited
    seq: int  # of the newest commit
    committed: float  # when that was, in seconds since 1970


class SupervisorStats(Struct, frozen=True, kw_only=True):
    """What goes on in the runs of a supervisor, and of those in it, that live in this process."""

    path: str  # empty: the root, and with it everything
    runs: int
    restarting: int
    stalled: int
    restarts: int  # that it has done, ever; of the root: all there were in this process
    mailbox: int  # messages that wait to be handled, of all of them
    oldest: float | None  # seconds that the first of these has waited
    committed: float | None  # when one of them committed last, in seconds since 1970


def run_stats(life: Life) -> RunStats:
    """What goes on in a life."""
    header, waiting = life.actor.header, life.actor.run.mail.queue
    oldest = next(iter(waiting.values()), None)
    return RunStats(
        run_id=life.run_id,
        activity=life.activity,
        restarts=life.restarted,
        mailbox=len(waiting),
        oldest=None if oldest is None else max(0.0, clock.now() - oldest.at),
        seq=header.seq,
        committed=header.time,
    )


def supervisor_stats(path: str, lives: Iterable[Life], *, restarts: int) -> SupervisorStats:
    """What goes on in lives that have a supervisor, this one, in common."""
    each = [run_stats(life) for life in lives]
    return SupervisorStats(
        path=path,
        runs=len(each),
        restarting=sum(one.activity == "restarting" for one in each),
        stalled=sum(one.activity == "stalled" for one in each),
        restarts=restarts,
        mailbox=sum(one.mailbox for one in each),
        oldest=max((one.oldest for one in each if one.oldest is not None), default=None),
        committed=max((one.committed for one in each), default=None),
    )
