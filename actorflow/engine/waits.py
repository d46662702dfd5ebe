"""Waits: an activation asks somebody outside, and goes on when it was answered or nobody did in time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from actorflow.engine.events import Expire
from actorflow.engine.flow import AFTER, route_merged
from actorflow.engine.posting import hand_out
from actorflow.engine.records import Answered, Ask, Asked, Woken
from actorflow.engine.schemas import mismatch
from actorflow.engine.turns import name_of_wait
from actorflow.errors import AmbiguousTarget, BadAnswer, NotWaiting
from actorflow.graph.schema import ENCODE_ERRORS, kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.events import Answering, Suspended
    from actorflow.engine.run import Activation, RunState

BEFORE = "(before)"
"""The key of the question that `interrupt_before` asks."""

SLEEP = "(sleep)"
"""How the keys of sleeps begin."""

RECEIVE, REPLY, CHILD = "(receive)", "(reply)", "(end)"
"""How those of waits for messages, replies and the ends of runs begin."""

NO_QUESTIONS = (SLEEP, RECEIVE, REPLY, CHILD)
"""How no key of a user's question begins."""

OUTSIDE = frozenset({"ask", "before", "after"})
"""The kinds of waits that somebody outside ends, by an answer."""


def hold(decision: Decision, place: Place) -> bool:
    """Ask before an activation begins, if its graph wants that; whether it waits."""
    activation = place.activation
    if activation.node not in place.plan.interrupt_before or BEFORE in activation.answers or activation.fan is not None:
        return False
    question = f"before {activation.node}"
    decision.note(Asked(activation.id, (Ask(BEFORE, "before", question, asked=decision.now),)))
    return True


def suspend(decision: Decision, event: Suspended) -> None:
    """An attempt stopped at waits. What it waited for before, and still does, is not asked for again.

    What is sent to be replied to goes out with the wait that it is for, so that
    it is sent once however often the node runs; so do the children that it has
    begun, each of which is begun once by its id.
    """
    activation = decision.run.open[event.id]
    fresh = tuple(ask for ask in event.asks if ask.key not in activation.asks and ask.key not in activation.answers)
    if fresh:
        decision.note(Asked(event.id, fresh, event.attempt - 1))  # waiting is no attempt that failed
    named = {name_of_wait(activation, ask.key) for ask in fresh}
    hand_out(decision, (one for one in event.outgoing if one.kind == "spawn" or one.ask in named), by=event.id)
    if any(ask.kind == "receive" and _has_news(decision.run, ask) for ask in fresh):
        decision.note(Woken(event.id))
        decision.begin.append(event.id)
    await_expiry(decision, activation)


def _has_news(run: RunState, ask: Ask) -> bool:
    """Whether a message came between the moment when the node looked for one and now."""
    newest = None
    for letter in run.mail.queue.values():
        if run.forms[letter.form].name == ask.question:
            newest = letter.id
    return newest is not None and newest != ask.payload


def await_expiry(decision: Decision, activation: Activation) -> None:
    """Be told when a question of this activation expires."""
    dues = [ask.due for ask in activation.asks.values() if ask.due is not None]
    if dues:
        decision.commands.append(Expire(activation.id, min(dues)))


def expire(decision: Decision, activation: Activation) -> None:
    """Take the default for an answer, where the time is over."""
    over = [ask for ask in activation.asks.values() if ask.due is not None and ask.due <= decision.now]
    for ask in over:
        decision.note(Answered(activation.id, ask.key, ask.default, expired=True))
    if over:
        _go_on(decision, activation)
    else:
        await_expiry(decision, activation)


def answer(decision: Decision, event: Answering) -> None:
    """Take an answer.

    Raises:
        NotWaiting: nobody asks, or not that.
        AmbiguousTarget: several questions could be meant.
        BadAnswer: it is not what was asked for.
    """
    activation, ask = _asked(decision.run, event.to)
    try:
        value = kept(event.value, decision.place(activation).schema.codecs)
    except ENCODE_ERRORS as error:
        raise BadAnswer(decision.run.run_id, ask.question, f"it can't be encoded: {error}") from error
    if ask.schema is not None and (problem := mismatch(value, ask.schema)) is not None:
        raise BadAnswer(decision.run.run_id, ask.question, problem)
    decision.note(Answered(activation.id, ask.key, value, event.by))
    _go_on(decision, activation)


def _go_on(decision: Decision, activation: Activation) -> None:
    """An activation goes on once all of its questions are answered: `begin` leaves one alone that still asks."""
    if AFTER in activation.answers and activation.merged:
        route_merged(decision, decision.place(activation))
    else:
        decision.begin.append(activation.id)


def questions(run: RunState) -> Iterator[tuple[Activation, Ask]]:
    """Every open question to somebody outside, oldest activation first."""
    for activation in run.open.values():
        for ask in activation.asks.values():
            if ask.kind in OUTSIDE:
                yield activation, ask


def waited_for(run: RunState) -> list[str]:
    """What a run waits for, but answers: times, messages, replies and the ends of other runs, as people read it."""
    found: list[str] = []
    for activation in run.open.values():
        for ask in activation.asks.values():
            match ask.kind:
                case "sleep" if ask.due is not None:
                    found.append(f"the time {datetime.fromtimestamp(ask.due, UTC):%Y-%m-%d %H:%M:%S} UTC")
                case "receive":
                    found.append(f"a message {ask.question}")
                case "reply" | "child":
                    found.append(ask.question)
                case _:
                    pass
    return found


def name_of(activation: Activation, ask: Ask) -> str:
    """How a question is referred to from outside: the same after every restart."""
    return f"{activation.key.hex()[:16]}.{ask.key}"


def _asked(run: RunState, to: str | None) -> tuple[Activation, Ask]:
    """The question that is meant: by its name, by where it stands, by its text, or because it is the only one."""
    found = list(questions(run))
    if to is not None:
        found = [(its, ask) for its, ask in found if to in _names(its, ask)]
    if not found:
        raise NotWaiting(run.run_id, run.standing, to)
    if len(found) > 1:
        raise AmbiguousTarget(run.run_id, "question", [name_of(*one) for one in found])
    return found[0]


def _names(activation: Activation, ask: Ask) -> Any:
    where = f"{activation.scope}/{activation.node}" if activation.scope else activation.node
    item = f"{where}[{activation.index}]" if activation.index is not None else where
    return {name_of(activation, ask), ask.question, ask.key, item}
