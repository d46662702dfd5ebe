"""Mail: what a run remembers of messages. A snapshot loses none of it, and none of it grows without a bound."""

from __future__ import annotations

import pytest
from msgspec.structs import fields

from actorflow.engine.events import Due, Outgoing, Returned
from actorflow.engine.mail import DEAD_LETTERS, Child, Dead, Letter, Mail, Parcel, Said, Seen, Timer, Watch
from actorflow.engine.records import ErrorInfo
from actorflow.engine.rewinding import forked
from actorflow.engine.run import Form
from actorflow.engine.snapshot import dump, load
from actorflow.errors import BadUpdate, MailboxFull, WindowFull
from actorflow.graph.graph import Graph
from actorflow.graph.message import Mailbox, Message
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from tests.engine.driver import Driver

ERROR = ErrorInfo("ValueError", "broken", "Traceback ...")


class Count(State):
    """What a node and a turn may both write."""

    n: int = 0


class Deposit(Message, version=1):
    """Is handled."""


def handler(state: Count, msg: Deposit) -> None:
    """Never called: decide() is told what it returned."""


def node(state: Count) -> None:
    """Never called either."""


def actor(mailbox: Mailbox | None = None) -> Driver:
    """A run that only handles messages."""
    graph = Graph("account", Count, lifetime="actor", mailbox=mailbox or Mailbox())
    graph.on(Deposit, handler, name="deposit")
    return Driver(graph, Count())


def full() -> Mail:
    """Something of everything."""
    letter = Letter(
        id=b"a", form="f", values={"n": 1}, at=1.0, sender="s", caller="c", ask="q", by="me", takes=2, size=7
    )
    return Mail(
        queue={b"a": letter},
        size=7,
        marks={"s": (2, 3)},
        seen={"c": Seen(b"digest", 1.0, Said(1, ERROR))},
        timers={"t": Timer(9.0, "f", {"n": 2}, 4)},
        settings=4,
        outbox=[Parcel("r", 5, "message", "f", {"n": 3}, "q", "g", ERROR)],
        lanes={"r": 5},
        children={"kid": Child("g", "cancel", 3, watched=True, over=("kid", 1))},
        watchers={"w": Watch("q", linked=True)},
        dead=[Dead(letter, "failed", ERROR, 2.0)],
        handled=6,
        forgotten=2,
        over={3: ["kid"]},
    )


def test_a_snapshot_has_all_of_the_mail() -> None:
    """Whoever goes on from one takes nothing twice, and owes nobody anything that is forgotten."""
    run = actor().run
    run.mail = full()

    again = load(dump(run)).mail

    assert again == run.mail == full()
    empty = Mail()
    assert [one.name for one in fields(Mail) if getattr(again, one.name) == getattr(empty, one.name)] == []


def test_a_fork_has_none_of_the_mail() -> None:
    """Else it would send what the other one sent, once more, and answer for it. Planted: the mail is copied."""
    run = actor().run
    run.mail = full()

    assert forked(run, "copy", life=1).mail == Mail()


def test_room_in_bytes_comes_back() -> None:
    """What is being handled takes none of it any more."""
    run = actor(Mailbox(bytes=100))
    run.gets_message(Deposit())  # is being handled
    run.gets_message(Deposit(), size=90)
    with pytest.raises(MailboxFull):
        run.gets_message(Deposit(), size=90)

    run.returns("deposit")
    run.gets_message(Deposit(), size=90)

    assert run.run.mail.size == 90


def test_an_id_whose_message_is_not_handled_yet_is_never_forgotten() -> None:
    """However late it is: sent again it would count twice."""
    run = actor(Mailbox(ids=2, hours=1))
    run.gets_message(Deposit(), id="is being handled", now=100.0)
    run.gets_message(Deposit(), id="waits", now=100.0)

    with pytest.raises(WindowFull):
        run.gets_message(Deposit(), id="new", now=1_000_000.0)
    run.returns("deposit")
    run.gets_message(Deposit(), id="new", now=1_000_000.0)

    assert list(run.run.mail.seen) == ["waits", "new"]


def test_the_oldest_dead_letters_go_first() -> None:
    """A run whose handler always fails keeps the last thousand, and does not grow for ever."""
    run = actor()
    sent = list[bytes]()
    for _ in range(DEAD_LETTERS + 2):
        sent.append(run.gets_message(Deposit()))
        run.raises("deposit")

    assert [dead.letter.id for dead in run.run.mail.dead] == sent[2:]


def test_what_a_failed_run_had_not_handled_is_handled_when_it_goes_on() -> None:
    """It is no dead letter: neither what waited, nor what was just being handled."""
    graph = Graph("account", Count)
    graph.node(node, name="a")
    graph.on(Deposit, handler, name="deposit")
    run = Driver(graph, Count())
    for _ in range(2):
        run.gets_message(Deposit())

    run.raises("a", BadUpdate("a", "wrong"))
    assert (run.run.status, run.run.mail.dead) == ("failed", [])
    run.reopen()
    for _ in range(2):
        run.returns("deposit")

    assert (run.run.mail.handled, run.run.mail.queue, run.run.mail.dead) == (2, {}, [])


def test_each_setting_of_a_timer_is_a_message_of_its_own() -> None:
    """Also if the one before still waits to be handled. Planted: messages that are known by the name of the timer."""
    graph = Graph("account", Count)
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    graph.on(Deposit, handler, name="deposit")
    run = Driver(graph, Count())
    run.gets_message(Deposit())  # is being handled, and the next ones wait
    schema = schema_of(Deposit)
    form = Form(schema.name, schema.version, schema.table)

    for time, name in enumerate(("a", "b"), start=1):
        tick = Outgoing("timer", "tick", form, {}, due=float(time))
        run.settle(Returned(run.open_at(name).id, None, outgoing=(tick,)))
        run.settle(Due(0, now=float(time)))

    assert len(run.run.mail.queue) == 2


def test_what_a_turn_sent_that_is_handled_again_is_not_sent() -> None:
    """Only what its last handling sends goes out. Planted: each of them sends."""
    graph = Graph("account", Count)
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    graph.on(Deposit, handler, name="deposit")
    run = Driver(graph, Count())
    run.gets_message(Deposit())
    run.returns("a", {"n": 1})  # which the turn has not seen

    for n in (5, 6):
        out = Outgoing("message", "x", None, {"n": n})
        run.settle(Returned(run.open_at("deposit").id, {"n": n}, outgoing=(out,)))

    assert run.state.n == 6
    assert [(parcel.number, parcel.values) for parcel in run.run.mail.outbox] == [(1, {"n": 6})]
