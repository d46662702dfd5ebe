"""Posting: what a run sends out with its commits, and what it tells others when it ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.engine.events import Receiving
from actorflow.engine.keys import key_of
from actorflow.engine.mail import is_wait, question_of, questions_of
from actorflow.engine.operations import thaw
from actorflow.engine.records import (
    Buried,
    Delivered,
    ErrorInfo,
    Posted,
    Record,
    TimerCancelled,
    TimerSet,
    Undelivered,
    Watched,
)
from actorflow.engine.run import Form
from actorflow.engine.scopes import say_form
from actorflow.engine.turns import answer_wait, await_timers, hear_of_end

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Bounced, Dispatched, Outgoing
    from actorflow.engine.mail import Parcel
    from actorflow.engine.run import RunState
    from actorflow.graph.schema import Schema


def hand_out(decision: Decision, outgoing: Iterable[Outgoing], *, by: int) -> None:
    """What an attempt sends and sets goes out with the commit that holds its result.

    Args:
        decision: to be noted in.
        outgoing: in the order in which it was sent.
        by: the activation.
    """
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
            case "spawn" if one.target in decision.run.mail.children:
                pass  # it was begun before
            case "spawn" as kind:
                decision.note(Posted(one.target, kind, form, one.values, graph=one.graph, on_close=one.on_close, by=by))
            case kind:
                ask = one.ask
                if kind == "monitor" and ask is None and (child := decision.run.mail.children.get(one.target)):
                    ask = question_of(child)
                decision.note(Posted(one.target, kind, form, one.values, ask))
                if kind == "monitor" and one.values:  # a link is both ways
                    decision.note(Watched(one.target, linked=True))
    if timers:
        await_timers(decision)


def without_begun(run: RunState, outgoing: Iterable[Outgoing]) -> tuple[Outgoing, ...]:
    """What an attempt sends, but for the children that were begun when its node first waited."""
    return tuple(one for one in outgoing if one.kind != "spawn" or one.target not in run.mail.children)


def dispatched(decision: Decision, event: Dispatched) -> None:
    """Other runs have what was sent to them."""
    first = {parcel.target: parcel.number for parcel in reversed(decision.run.mail.outbox)}
    upto = {target: number for target, number in event.upto.items() if number >= first.get(target, number + 1)}
    if upto:
        decision.note(Delivered(upto))


def bounced(decision: Decision, event: Bounced) -> None:
    """Something can't be delivered, ever: a message is a dead letter here, and whoever waits for an answer is told."""
    run = decision.run
    for parcel in run.mail.outbox:
        if (parcel.target, parcel.number) == (event.target, event.number):
            decision.note(Undelivered(event.target, event.number, event.error, decision.now))
            if parcel.kind == "monitor":
                values = event.down or down_values(event.target, "noproc", event.error)
                error = None if values["status"] == "finished" else event.error
                hear_of_end(decision, _word(run, parcel, {**values, "linked": bool(parcel.values)}, error))
            elif parcel.ask is not None:
                answer_wait(decision, parcel.ask, None, event.error)
            return


def _word(run: RunState, parcel: Parcel, values: dict[str, Any], error: ErrorInfo | None) -> Receiving:
    """Word of the end of a run that was to be monitored, and is no more, or never was."""
    id_ = key_of(b"bounced", run.run_id.encode(), parcel.target.encode(), parcel.number.to_bytes(8, "big"))
    return Receiving(
        id_, "down", values=values, error=error, sender=parcel.target, ask=parcel.ask, bounded=False, kept=True
    )


def farewell(run: RunState, schema: Schema | None = None, *, now: float) -> list[Record]:
    """What a run that has ended leaves behind it: word to those who watch it, and to those whose messages it leaves.

    A run that failed keeps its messages: `resume` goes on with them.

    Args:
        run: as it ended.
        schema: of its state; None: it did not finish, so that nobody needs its result.
        now: seconds since the epoch.
    """
    records: list[Record] = []
    if run.status in ("finished", "cancelled", "deleted"):
        error = ErrorInfo("RunEnded", f"run {run.run_id!r} is {run.status}, and did not come to this message")
        turn = None if run.turn is None else run.open[run.turn].letter
        records += [] if turn is None else [Buried(run.turn, turn.id, "ended", error, now)]
        records += [Buried(None, letter.id, "ended", error, now) for letter in run.mail.queue.values()]
    for target, child in run.mail.children.items():
        if child.on_close == "cancel":
            records.append(Posted(target, "cancel"))
    for target, watch in run.mail.watchers.items():
        for ask, linked in questions_of(watch).items():
            values = {**down_values(run.run_id, run.status, run.error), "linked": linked}
            if is_wait(ask) and run.status == "finished" and schema is not None:
                form = Form(schema.name, schema.version, schema.table)
                values["result"] = result_values(run, form)
            records.append(Posted(target, "down", values=values, ask=ask, error=run.error))
    return records


def down_values(run_id: str, status: str, error: ErrorInfo | None) -> dict[str, Any]:
    """What a `Down` says."""
    return {"run_id": run_id, "status": status, "error": "" if error is None else f"{error.type}: {error.message}"}


def result_values(run: RunState, form: Form) -> dict[str, Any]:
    """The state that a run finished with, as whoever waited for it gets it: the graph and the schema it is of."""
    values = {name: thaw(value) for name, value in run.root.values.items()}
    return {"graph": run.graph, "form": (form.name, form.version, form.fields), "values": values}
