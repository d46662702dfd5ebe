"""Turns: messages are accepted, handled one at a time, and answered.

A turn is an activation like any other, whose node is a handler and whose input
is the message. Each sees the state with all turns before it, also of those
that are not committed yet; nothing leaves the run before the commit that holds
it. What two write is settled in favour of both: a turn that overlooked a
node's write is handled again, and so is a node that overlooked a turn's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from actorflow.engine.events import Expire, Tell
from actorflow.engine.keys import key_of, run_key, turn_key
from actorflow.engine.mail import HANDLED_IN_CRASHES, HOUR, Letter, Said, follows, is_wait, question_of
from actorflow.engine.merge import typed
from actorflow.engine.records import (
    Answered,
    Buried,
    Ended,
    ErrorInfo,
    Forgotten,
    Received,
    Taken,
    TimerFired,
    TurnOpened,
    TurnRetaken,
    Undelivered,
    Watched,
    Woken,
    describe,
)
from actorflow.engine.run import Form
from actorflow.engine.scopes import say_form
from actorflow.errors import (
    AskFailed,
    BadMessage,
    IdempotencyConflict,
    LinkedExit,
    MailboxFull,
    MessageRejected,
    OutOfOrder,
    WindowFull,
)
from actorflow.graph.message import Down
from actorflow.graph.schema import schema_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Receiving, Taking
    from actorflow.engine.mail import Child
    from actorflow.engine.run import Activation, RunState

_DOWN = schema_of(Down)
DOWN: Final = Form(_DOWN.name, _DOWN.version, _DOWN.table)
"""The schema of the message that tells of a run's end."""


def receive(decision: Decision, event: Receiving) -> None:
    """Accept what was sent to the run, once.

    Raises:
        BadMessage: the run takes no messages of this type.
        MessageRejected: its handler does not want it.
        MailboxFull, WindowFull: there is no room now.
        IdempotencyConflict: the id was used before for another message.
        OutOfOrder: others of its lane come first.
    """
    if _came_before(decision, event):
        return
    match event.kind:
        case "message":
            _accept(decision, event)
        case "reply":
            _mark(decision, event)
            answer_wait(decision, event.ask, event.values, event.error)
        case "down":
            hear_of_end(decision, event)
        case "monitor":
            _mark(decision, event)
            watched = Watched(event.sender or "", event.ask, linked=bool(event.values))
            decision.note(watched)
        case "cancel":
            _mark(decision, event)
            decision.note(Ended("cancelled", by=f"run {event.sender}"))
        case _:
            _mark(decision, event)


def try_to_receive(decision: Decision, event: Receiving) -> None:
    """Raise what `receive` would raise. The run stays as it is."""
    if not _came_before(decision, event) and event.kind == "message":
        _admit(decision, event)


def _came_before(decision: Decision, event: Receiving) -> bool:
    """Whether it was accepted before; whoever asks again is told what was replied, now or when that is known."""
    run, mail = decision.run, decision.run.mail
    if event.lane is not None and not follows(mail, *event.lane):
        if event.lane[1:] <= mail.marks.get(event.lane[0], (1, 0)):
            return True
        raise OutOfOrder(run.run_id, *event.lane)
    if event.caller is not None and (seen := mail.seen.get(event.caller)) is not None:
        if seen.content != event.content:
            raise IdempotencyConflict(run.run_id, "this id")
        if seen.said is not None:
            decision.commands.append(Tell(0, event.id, seen.said))
        return True
    if event.again and not _is_here(run, event.id):
        raise AskFailed(run.run_id, "the reply was lost with the actor that gave it; ask with an id= to ask again")
    return event.again


def _is_here(run: RunState, message: bytes) -> bool:
    """Whether a message waits, or is being handled."""
    turn = None if run.turn is None else run.open[run.turn].letter
    return message in run.mail.queue or (turn is not None and turn.id == message)


def _mark(decision: Decision, event: Receiving) -> None:
    decision.note(Received(event.id, decision.now, sender=event.sender, lane=event.lane))


def _admit(decision: Decision, event: Receiving) -> tuple[Exception | None, tuple[str, ...]]:
    """Why a message that can't be refused won't be handled, and which ids are forgotten for its own."""
    plan, run, mail = decision.plan, decision.run, decision.run.mail
    assert event.form is not None, "a message has a type"
    known = event.form.name in plan.messages
    if not known and event.lane is None and not event.kept:
        raise BadMessage(run.run_id, event.form.name, sorted(plan.messages))
    refused = event.unfit or (_rejection(decision, event.form.name, event.values) if known else None)
    if refused is not None and event.lane is None and not event.kept:
        raise refused from refused.__cause__
    bounds = plan.mailbox
    if event.bounded and mail.queue and (len(mail.queue) >= bounds.messages or mail.size + event.size > bounds.bytes):
        raise MailboxFull(run.run_id, len(mail.queue), mail.size)
    if not known:
        refused = BadMessage(run.run_id, event.form.name, sorted(plan.messages))
    return refused, () if event.caller is None else _forgotten(decision, event.present)


def _accept(decision: Decision, event: Receiving) -> None:
    refused, forgets = _admit(decision, event)
    assert event.form is not None, "a message has a type"
    decision.note(
        Received(
            id=event.id,
            at=decision.now,
            form=say_form(decision, event.form),
            values=event.values,
            sender=event.sender,
            lane=event.lane,
            caller=event.caller,
            content=event.content,
            forgets=forgets,
            ask=event.ask,
            by=event.by,
            size=event.size,
        )
    )
    if refused is not None:
        known = event.form.name in decision.plan.messages
        bury(decision, None, event.id, "failed" if known else "unknown", refused)
    elif event.form.name not in decision.plan.handlers:
        wake_for(decision, event.form.name)


def _rejection(decision: Decision, type_name: str, values: Any) -> Exception | None:
    """Why its handler does not want a message, if it does not: what its ``validate=`` raised is the cause."""
    plan, run = decision.plan, decision.run
    node = plan.handlers.get(type_name)
    validate = None if node is None else plan.nodes[node].validate
    if validate is None:
        return None
    try:
        validate(typed(plan.schema, run.root.values), typed(plan.messages[type_name], values))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the reason
        rejected = MessageRejected(run.run_id, type_name, str(error) or type(error).__name__)
        rejected.__cause__ = error
        return rejected
    return None


def _forgotten(decision: Decision, present: Iterable[str]) -> tuple[str, ...]:
    """The ids of callers that make room for another one: the oldest, no more than must, and none that may come again.

    Raises:
        WindowFull: none may be forgotten yet.
    """
    seen, bounds = decision.run.mail.seen, decision.plan.mailbox
    if len(seen) < bounds.ids:
        return ()
    before, there = decision.now - bounds.hours * HOUR, frozenset(present)
    names: list[str] = []
    for name, one in seen.items():
        if len(seen) - len(names) < bounds.ids or one.time > before:
            break
        if name not in there and one.said is not None:
            names.append(name)
    if len(seen) - len(names) >= bounds.ids:
        oldest = next(iter(seen.values())).time
        wait = max(0.0, oldest + bounds.hours * HOUR - decision.now)
        raise WindowFull(decision.run.run_id, ids=len(seen), hours=bounds.hours, wait=wait)
    return tuple(names)


# -- one at a time ------------------------------------------------------------------


def next_letter(decision: Decision) -> Letter | None:
    """The oldest message that is to be handled now."""
    run = decision.run
    if run.turn is not None or not run.mail.queue or run.paused or run.closing:
        return None
    for letter in run.mail.queue.values():
        if run.forms[letter.form].name in decision.plan.handlers:
            return letter
    return None


def open_turn(decision: Decision, letter: Letter) -> None:
    """Begin to handle a message."""
    run = decision.run
    node = decision.plan.handlers[run.forms[letter.form].name]
    decision.note(TurnOpened(letter.id, node, turn_key(run.run_id, run.life, letter.id)))


def bury(decision: Decision, turn: Activation | None, message: bytes, reason: Any, error: BaseException) -> None:
    """Make a dead letter of a message: of that of a turn, which is over, or of one that waits."""
    said = describe(error)
    decision.note(Buried(None if turn is None else turn.id, message, reason, said, decision.now))
    decision.commands.append(Tell(0, message, Said(error=said)))


def retake(decision: Decision, *, unclean: bool) -> None:
    """See to the turn that was open when a process died: after too many of that it was the message that killed them."""
    run = decision.run
    turn = None if run.turn is None else run.open[run.turn]
    if turn is None or turn.letter is None or not unclean or turn.asks:  # what waits for others kills nobody
        return
    if turn.letter.takes >= HANDLED_IN_CRASHES:
        died = RuntimeError(f"{HANDLED_IN_CRASHES} processes died while they handled it")
        bury(decision, turn, turn.letter.id, "poison", died)
    else:
        decision.note(TurnRetaken(turn.id))


# -- what waits for messages ----------------------------------------------------------


def wake_for(decision: Decision, type_name: str) -> None:
    """Nodes that wait for a message of this type run again, to see whether it is theirs."""
    for activation in list(decision.run.open.values()):
        if any(ask.kind == "receive" and ask.question == type_name for ask in activation.asks.values()):
            decision.note(Woken(activation.id))
            decision.begin.append(activation.id)


def take(decision: Decision, event: Taking) -> None:
    """A node takes a message that it waited for; nothing happens if somebody else was faster."""
    if event.message not in decision.run.mail.queue or event.id not in decision.run.open:
        return
    if event.error is not None:
        bury(decision, None, event.message, "failed", event.error)
    else:
        decision.note(Taken(event.id, event.key, event.message))
        decision.commands.append(Tell(0, event.message, Said()))


def name_of_wait(activation: Activation, key: str) -> str:
    """How a reply refers to the wait that it answers: the same after every restart."""
    return f"{activation.key.hex()}.{key}"


def answer_wait(decision: Decision, name: str | None, value: Any, error: ErrorInfo | None) -> None:
    """Hand a reply to the activation that waits for it, if there still is one."""
    for activation in list(decision.run.open.values()):
        for key, ask in activation.asks.items():
            if ask.kind in ("reply", "child") and name_of_wait(activation, key) == name:
                said = None if error is None else [error.type, error.message, error.traceback]
                decision.note(Answered(activation.id, key, [value, said]))
                decision.begin.append(activation.id)
                return


def hear_of_end(decision: Decision, event: Receiving) -> None:
    """A run that this one watches ended: whoever waits for that goes on, a link ends this one, too, else it is told."""
    values: dict[str, Any] = event.values
    run, mail = decision.run, decision.run.mail
    ended, sender = str(values["status"]), event.sender or ""
    child = mail.children.get(sender)
    if not _is_asked(run, child, event.ask):
        return  # it may be that of a child which is forgotten: no mark is kept of that
    if event.lane is not None:
        _ask_no_more(decision, sender, event.ask, linked=bool(values.get("linked")))
    if is_wait(event.ask):
        _mark(decision, event)
        failed = None if ended == "finished" else ErrorInfo("RunEnded", f"run {event.sender!r} is {ended}")
        answer_wait(decision, event.ask, values.get("result"), event.error or failed)
    elif values.get("linked") and ended != "finished":
        _mark(decision, event)
        decision.fail(None, LinkedExit(run.run_id, str(event.sender), ended))
    elif DOWN.name in decision.plan.messages:
        said = {name: values[name] for name in ("run_id", "status", "error")}
        _accept(decision, replace(event, form=DOWN, values=said, ask=None, bounded=False))
    else:
        _mark(decision, event)
    if event.sender in mail.watchers:
        decision.note(Watched(sender, on=False))
    if child is not None:
        _, generation, number = event.lane or ("", 0, 0)
        only = event.lane[0] if event.lane is not None and number == 1 and event.ask is not None else None
        decision.note(Forgotten(sender, only, generation, child.by))


def _ask_no_more(decision: Decision, ended: str, ask: str | None, *, linked: bool) -> None:
    """A monitor that is not known to have come to a run which has ended has: it said so.

    Once that run is deleted it would bounce, and be answered twice. A link is not answered by what no link was told.
    """
    said = ErrorInfo("RunEnded", f"run {ended!r} has ended, and has said so")
    for parcel in list(decision.run.mail.outbox):
        if (parcel.kind, parcel.target, parcel.ask) == ("monitor", ended, ask) and (linked or not parcel.values):
            decision.note(Undelivered(ended, parcel.number, said, decision.now))


def _is_asked(run: RunState, child: Child | None, ask: str | None) -> bool:
    """Whether word of an end answers what the run still asks; without a question it is for its mark to say."""
    if ask is None:
        return True
    if not is_wait(ask):
        return child is not None and ask == question_of(child)
    return child is not None or any(name_of_wait(one, key) == ask for one in run.open.values() for key in one.asks)


# -- timers ---------------------------------------------------------------------------


def fire(decision: Decision) -> None:
    """Put the messages of timers whose time has come into the mailbox; be told when the next one is due."""
    run = decision.run
    for name, timer in sorted(run.mail.timers.items(), key=lambda one: (one[1].due, one[0])):
        if timer.due > decision.now:
            break
        seed = run_key(run.run_id, run.life)
        id_ = key_of(seed, b"timer", name.encode(), timer.set.to_bytes(8, "big"))
        decision.note(TimerFired(name, id_, decision.now))
        if (type_name := run.forms[timer.form].name) not in decision.plan.handlers:
            wake_for(decision, type_name)
    await_timers(decision)


def await_timers(decision: Decision) -> None:
    """Be told when the next timer is due."""
    if timers := decision.run.mail.timers:
        decision.commands.append(Expire(0, min(timer.due for timer in timers.values())))
