"""Mailing: what the records about messages, timers and other runs make of a run. A part of `fold`."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from msgspec.structs import replace

from actorflow.engine.closing import close
from actorflow.engine.forgetting import child_ended, end_lane, let_go
from actorflow.engine.mail import (
    DEAD_LETTERS,
    Child,
    Dead,
    Letter,
    Parcel,
    Said,
    Seen,
    Timer,
    next_number,
    questions_of,
    watch_of,
)
from actorflow.engine.records import (
    Buried,
    Closing,
    Delivered,
    Forgotten,
    Inherited,
    MailRecord,
    Posted,
    Received,
    Replied,
    Taken,
    TimerCancelled,
    TimerFired,
    TimerSet,
    TurnOpened,
    TurnRetaken,
    Undelivered,
    Watched,
    Woken,
)
from actorflow.engine.run import ROOT, Activation, Answer

if TYPE_CHECKING:
    from actorflow.engine.mail import Mail
    from actorflow.engine.run import RunState

OF_MAIL = frozenset(get_args(MailRecord))
"""Their types."""


def fold_mail(run: RunState, record: MailRecord) -> None:  # noqa: C901, PLR0912 - one case a kind of record
    """The run after the record, in place."""
    mail = run.mail
    match record:
        case Received():
            _receive(mail, record)
        case TurnOpened():
            _open_turn(run, record)
        case TurnRetaken(id=id_):
            if (letter := run.open[id_].letter) is not None:
                letter.takes += 1
        case Replied(id=id_):
            _reply(run, run.open[id_], Said(record.value, record.error))
        case Buried():
            _bury(run, record)
        case Taken(id=id_, key=key, message=message):
            letter = _pop(mail, message)
            run.open[id_].asks.pop(key, None)
            run.open[id_].answers[key] = Answer([letter.form, letter.values], letter.by)
            mail.handled += 1
            _answer(mail, letter, Said())  # what a node takes it does not reply to
        case Woken(id=id_):
            activation = run.open[id_]
            for key, ask in list(activation.asks.items()):
                if ask.kind == "receive":
                    activation.until[key] = activation.asks.pop(key).due
        case Closing():
            run.closing = True
        case TimerSet():
            mail.settings += 1
            mail.timers[record.name] = Timer(record.due, record.form, record.values, mail.settings)
        case TimerCancelled(name=name):
            mail.timers.pop(name, None)
        case TimerFired(name=name, message=message, at=at):
            timer = mail.timers.pop(name)
            mail.queue[message] = Letter(message, timer.form, timer.values, at)
        case Posted():
            _post(mail, record)
        case Delivered(upto=upto):
            _deliver(mail, upto)
        case Forgotten():
            child_ended(run, record)
        case Inherited(marks=marks):
            mail.marks = dict(marks)
        case Undelivered():
            _set_aside(mail, record)
        case Watched():
            _watch(mail, record)


def _watch(mail: Mail, record: Watched) -> None:
    """A watcher asks one more question, or none any more."""
    before = mail.watchers.pop(record.run_id, None)
    if record.on:
        questions = questions_of(before)
        questions[record.ask] = questions.pop(record.ask, False) or record.linked
        mail.watchers[record.run_id] = watch_of(questions)


def end_turn(run: RunState, activation: Activation) -> None:
    """A turn is over: what it handled is remembered no longer than its caller's id is."""
    run.mail.handled += 1
    letter, activation.letter = activation.letter, None
    if letter is None:
        return
    if letter.caller is not None and (seen := run.mail.seen.get(letter.caller)) is not None and seen.said is None:
        seen.said = Said()
    if letter.ask is not None:  # it was asked, and said nothing
        _answer(run.mail, letter, Said())


def _deliver(mail: Mail, upto: dict[str, int]) -> None:
    for parcel in mail.outbox:
        there, alone = parcel.number <= upto.get(parcel.target, 0), mail.lanes.get(parcel.target) == parcel.number
        if there and alone and parcel.kind == "spawn" and parcel.target not in mail.children:
            end_lane(mail, parcel.target)  # nothing else was sent to it
    mail.outbox = [parcel for parcel in mail.outbox if parcel.number > upto.get(parcel.target, 0)]


def _receive(mail: Mail, record: Received) -> None:
    for name in record.forgets:
        mail.seen.pop(name, None)
    if record.lane is not None:
        sender, generation, number = record.lane
        mail.marks[sender] = (generation, number)
    if record.caller is not None:
        mail.seen[record.caller] = Seen(record.content, record.at)
    if record.form:
        mail.size += record.size
        mail.queue[record.id] = Letter(
            id=record.id,
            form=record.form,
            values=record.values,
            at=record.at,
            sender=record.sender,
            caller=record.caller,
            ask=record.ask,
            by=record.by,
            size=record.size,
        )


def _open_turn(run: RunState, record: TurnOpened) -> None:
    letter = _pop(run.mail, record.message)
    letter.takes += 1
    scope = run.root
    run.open[run.next_id] = Activation(
        id=run.next_id, key=record.key, node=record.node, scope=ROOT, base=scope.values, letter=letter
    )
    run.turn = run.next_id
    run.next_id += 1
    run.activations += 1
    scope.live += 1


def _reply(run: RunState, activation: Activation, said: Said) -> None:
    if activation.letter is not None:
        _answer(run.mail, activation.letter, said)


def _answer(mail: Mail, letter: Letter, said: Said) -> None:
    """What was replied is kept for whoever asks again, and goes to the run that asked."""
    if letter.caller is not None and (seen := mail.seen.get(letter.caller)) is not None:
        seen.said = said
    if letter.sender is not None and letter.ask is not None:
        ask, letter.ask = letter.ask, None
        _post(mail, Posted(letter.sender, "reply", values=said.value, ask=ask, error=said.error))


def _bury(run: RunState, record: Buried) -> None:
    mail = run.mail
    if record.id is None:
        letter = _pop(mail, record.message)
    else:
        activation = run.open[record.id]
        assert activation.letter is not None, "only a turn is buried"
        letter, activation.letter = activation.letter, None
        close(run, activation)
        mail.handled += 1
    _answer(mail, letter, Said(error=record.error))
    _keep_dead(mail, Dead(letter, record.reason, record.error, record.at))


def _post(mail: Mail, record: Posted) -> None:
    number = mail.lanes[record.target] = next_number(mail, record.target)
    mail.outbox.append(
        Parcel(
            target=record.target,
            number=number,
            kind=record.kind,
            form=record.form,
            values=record.values,
            ask=record.ask,
            graph=record.graph,
            error=record.error,
        )
    )
    if record.kind == "down":  # once
        questions = questions_of(mail.watchers.pop(record.target, None))
        questions.pop(record.ask, None)
        if questions:
            mail.watchers[record.target] = watch_of(questions)
        end_lane(mail, record.target)  # who takes it may forget this run
    child = mail.children.get(record.target)
    if child is not None and record.kind == "monitor":
        mail.children[record.target] = replace(child, watched=True)
    if record.kind == "cancel":
        let_go(mail, record.target)
    if record.kind == "spawn" and record.graph is not None and record.on_close is not None:
        mail.children[record.target] = Child(record.graph, record.on_close, record.by, number=number)


def _set_aside(mail: Mail, record: Undelivered) -> None:
    for index, parcel in enumerate(mail.outbox):
        if (parcel.target, parcel.number) == (record.target, record.number):
            # its number goes out all the same: whoever comes to be there finds no gap
            mail.outbox[index] = Parcel(record.target, record.number, "reply")
            if parcel.kind == "spawn":
                let_go(mail, record.target)
            if parcel.kind == "message":
                letter = Letter(b"", parcel.form, parcel.values, record.at, sender=parcel.target)
                _keep_dead(mail, Dead(letter, "undeliverable", record.error, record.at))
            return


def _keep_dead(mail: Mail, dead: Dead) -> None:
    mail.dead.append(dead)
    del mail.dead[:-DEAD_LETTERS]


def _pop(mail: Mail, message: bytes) -> Letter:
    letter = mail.queue.pop(message)
    mail.size -= letter.size
    return letter
