"""Posting: what a run sends out with its commits, and what it tells others when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.records import Buried, Delivered, ErrorInfo, Posted, Record, TimerCancelled, TimerSet, Undelivered
from actorflow.engine.scopes import say_form
from actorflow.engine.turns import answer_wait, await_timers

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Bounced, Dispatched, Outgoing
    from actorflow.engine.run import RunState


def hand_out(decision: Decision, outgoing: Iterable[Outgoing]) -> None:
    """What an attempt sends and sets goes out with the commit that holds its result."""
    timers = False
    for one in outgoing:
        form = "" if one.form is None else say_form(decision, one.form)
        match one.kind:
            case "timer":
                timers = True
                decision.note(TimerSet(one.target, one.due, form, one.values))
            case "untimer":
                if one.target in decision.run.mail.timers:
                    decision.note(TimerCancelled(one.target))
            case kind:
                posted = Posted(one.target, kind, form, one.values, one.ask, one.graph, on_close=one.on_close)
                decision.note(posted)
    if timers:
        await_timers(decision)


def dispatched(decision: Decision, event: Dispatched) -> None:
    """Other runs have what was sent to them."""
    first = {parcel.target: parcel.number for parcel in reversed(decision.run.mail.outbox)}
    upto = {target: number for target, number in event.upto.items() if number >= first.get(target, number + 1)}
    if upto:
        decision.note(Delivered(upto))


def bounced(decision: Decision, event: Bounced) -> None:
    """Something can't be delivered, ever: it is a dead letter here, and whoever waits for a reply is told."""
    for parcel in decision.run.mail.outbox:
        if (parcel.target, parcel.number) == (event.target, event.number):
            decision.note(Undelivered(event.target, event.number, event.error, decision.now))
            if parcel.ask is not None:
                answer_wait(decision, parcel.ask, None, event.error)
            return


def farewell(run: RunState, *, now: float) -> list[Record]:
    """What a run that has ended leaves behind it: word to those who watch it, and to those whose messages it leaves.

    A run that failed keeps its messages: `resume` goes on with them.
    """
    records: list[Record] = []
    if run.status in ("finished", "cancelled"):
        error = ErrorInfo("RunEnded", f"run {run.run_id!r} is {run.status}, and did not come to this message")
        records += [Buried(None, letter.id, "ended", error, now) for letter in run.mail.queue.values()]
    for target, child in run.mail.children.items():
        if child.on_close == "cancel":
            records.append(Posted(target, "cancel"))
    for target, watch in run.mail.watchers.items():
        error_text = "" if run.error is None else f"{run.error.type}: {run.error.message}"
        values = {"run_id": run.run_id, "status": run.status, "error": error_text, "linked": watch.linked}
        if watch.ask is not None and run.status == "finished":
            values["result"] = dict(run.root.values)
        records.append(Posted(target, "down", values=values, ask=watch.ask, error=run.error))
    return records
