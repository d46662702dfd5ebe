"""Turns: messages change the state once, one at a time, in the order in which they came."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from actorflow.engine.events import Bounced, Dispatched, Due, Outgoing, Receiving, Returned, Taking
from actorflow.engine.mail import HANDLED_IN_CRASHES, lane_of
from actorflow.engine.moving import move
from actorflow.engine.operations import thaw
from actorflow.engine.posting import down_values
from actorflow.engine.records import Ask, Buried, Ended, ErrorInfo, Rebased, Replied
from actorflow.engine.run import Form
from actorflow.engine.snapshot import dump, load
from actorflow.errors import BadMessage, BadUpdate, IdempotencyConflict, MailboxFull, OutOfOrder, WindowFull
from actorflow.graph.graph import Graph
from actorflow.graph.message import Down, Mailbox, Message
from actorflow.graph.reducers import extend
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, Goto, Reply
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from tests.engine.driver import Driver, picture, replayed


class Account(State):
    """What messages change."""

    balance: int = 0
    note: str = ""
    log: Annotated[list[int], extend] = []


class Deposit(Message, version=1):
    """Is handled."""

    amount: int = 1


class Close(Message, version=1):
    """Is handled, too."""


class Approve(Message, version=1):
    """Is for nodes that wait for it."""

    ok: bool = True


class Unknown(Message, version=1):
    """Nobody knows it."""


def handler(state: Account, msg: Any) -> None:
    """Never called: decide() is told what it returned."""


def node(state: Account) -> None:
    """Never called either."""


def actor(**options: Any) -> Driver:
    """A run that only handles messages."""
    graph = Graph("account", Account, lifetime="actor", **options)
    graph.on(Deposit, handler, name="deposit")
    graph.on(Close, handler, name="close")
    return Driver(graph, Account())


def with_nodes(*, mailbox: Mailbox | None = None, **options: Any) -> Driver:
    """A run of two nodes, which handles deposits meanwhile."""
    graph = Graph("account", Account, messages=[Approve], mailbox=mailbox or Mailbox())
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    graph.on(Deposit, handler, name="deposit", **options)
    return Driver(graph, Account())


def lane(number: int, *, generation: int = 1, amount: int = 1, sender: str = "x") -> Receiving:
    """A deposit that another run sends."""
    schema = schema_of(Deposit)
    return Receiving(
        f"{sender} {generation} {number}".encode(),
        form=Form(schema.name, schema.version, schema.table),
        values={"amount": amount},
        sender=sender,
        lane=(sender, generation, number),
    )


# -- one at a time ---------------------------------------------------------------------


def test_an_actor_waits_handles_and_waits_again() -> None:
    """It never ends by itself."""
    run = actor()
    assert (run.run.standing, run.frontier) == ("waiting", [])

    run.gets_message(Deposit())
    assert (run.run.standing, run.running) == ("running", ["deposit"])
    run.returns("deposit", {"balance": 1})

    assert (run.state.balance, run.run.standing, run.frontier) == (1, "waiting", [])


def test_messages_are_handled_one_at_a_time_in_the_order_in_which_they_came() -> None:
    """Each sees what those before it did."""
    run = actor()
    for amount in (1, 2, 3):
        run.gets_message(Deposit(amount=amount))

    for amount in (1, 2, 3):
        (turn,) = [one for one in run.run.open.values() if one.letter is not None]
        assert turn.letter is not None
        assert turn.letter.values == {"amount": amount}
        assert len(thaw(turn.base["log"])) == amount - 1
        run.returns("deposit", {"log": [amount]})

    assert run.state.log == [1, 2, 3]


def test_a_run_with_nodes_handles_messages_meanwhile_and_before_its_end() -> None:
    """What came in time is handled, also if nothing else is left to do."""
    run = with_nodes()
    run.returns("a")
    run.gets_message(Deposit())
    run.gets_message(Deposit())
    assert run.running == ["b", "deposit"]

    run.returns("b")
    assert run.run.status == "running"
    run.returns("deposit", {"log": [1]})
    run.returns("deposit", {"log": [2]})

    assert (run.run.status, run.state.log) == ("finished", [1, 2])


def test_what_nobody_takes_is_a_dead_letter_at_the_end() -> None:
    """A message that no node came to wait for; whoever asked is told."""
    run = with_nodes()
    waiting = run.gets_message(Approve(), id="mine")
    run.returns("a")
    run.returns("b")

    assert run.run.status == "finished"
    ((dead),) = run.run.mail.dead
    assert (dead.letter.id, dead.reason) == (waiting, "ended")
    assert run.run.mail.queue == {}
    assert run.run.mail.seen["mine"].said is not None


def test_a_message_that_is_being_handled_when_the_run_is_cancelled_is_a_dead_letter() -> None:
    """Whoever asked is told, be it a caller or a run that waits for the reply."""
    run = actor()
    mine = run.gets_message(Deposit(), id="mine")
    run.stop()
    assert [(one.letter.id, one.reason) for one in run.run.mail.dead] == [(mine, "ended")]
    assert run.told[mine].error is not None

    run = actor()
    run.settle(replace(lane(1), ask="a question"))
    run.stop()
    (reply,) = run.run.mail.outbox
    assert (reply.target, reply.kind, reply.ask) == ("x", "reply", "a question")
    assert reply.error is not None


def test_what_a_node_takes_is_answered_with_nothing() -> None:
    """So that nobody waits for ever, and the window may forget its id."""
    run = with_nodes(mailbox=Mailbox(ids=1, hours=0))
    for id_ in ("one", "two"):
        message = run.gets_message(Approve(), id=id_)
        run.settle(Taking(run.open_at("a").id, f"(receive) {id_}", message))
        assert run.told[message].value is None
    assert list(run.run.mail.seen) == ["two"]

    run = with_nodes()
    schema = schema_of(Approve)
    run.settle(replace(lane(1), ask="a question", form=Form(schema.name, schema.version, schema.table)))
    run.settle(Taking(run.open_at("a").id, "(receive)", next(iter(run.run.mail.queue))))
    assert [(reply.target, reply.kind, reply.ask) for reply in run.run.mail.outbox] == [("x", "reply", "a question")]


def test_word_of_an_end_that_nobody_wants_is_a_dead_letter() -> None:
    """It can't be refused: what was to be monitored is gone."""

    def refuse(state: Account, msg: Any) -> None:
        raise ValueError("no")

    graph = Graph("account", Account, lifetime="actor")
    graph.on(Deposit, handler, name="deposit")
    graph.on(Down, handler, name="down", validate=refuse)
    run = Driver(graph, Account())
    run.gets_message(Deposit())
    run.settle(Returned(run.open_at("deposit").id, None, outgoing=(Outgoing("monitor", "nobody"),)))
    run.settle(Bounced("nobody", 1, ErrorInfo("NoSuchRun", "there is none")))

    assert [one.reason for one in run.run.mail.dead] == ["failed"]
    assert picture(replayed(run.history)) == picture(run.run)


def hands_out(run: Driver, *outgoing: Outgoing) -> None:
    """The run is sent a deposit, whose handler sends this."""
    run.gets_message(Deposit())
    run.settle(Returned(run.open_at("deposit").id, None, outgoing=outgoing))


FORM = Form("Work", 1, ())


def test_who_was_told_that_a_run_is_deleted_is_not_told_that_there_is_none() -> None:
    """It is not known that the monitor had come to it, since the process died; but it had. Planted: it bounces."""
    graph = Graph("watcher", Account, lifetime="actor")
    graph.on(Deposit, handler, name="deposit")
    graph.on(Down, handler, name="down")
    run = Driver(graph, Account())
    hands_out(run, Outgoing("monitor", "kid"))
    (monitor,) = run.run.mail.outbox
    last = {**down_values("kid", "deleted", None), "linked": False}
    run.settle(Receiving(b"last", "down", values=last, sender="kid", lane=("kid", 1, 1)))
    run.returns("down")

    run.settle(Bounced("kid", monitor.number, ErrorInfo("NoSuchRun", "no run 'kid'")))

    assert not run.run.mail.queue
    assert run.run.turn is None


def test_a_number_is_not_used_again_for_a_child_that_was_cancelled_before_it_began() -> None:
    """It would be taken for what came before."""
    run = actor()
    hands_out(run, Outgoing("spawn", "child", FORM, [{}, {}], graph="work", on_close="cancel"))
    hands_out(run, Outgoing("cancel", "child"))
    run.settle(Dispatched({"child": 1}))
    run.settle(Dispatched({"child": 2}))
    hands_out(run, Outgoing("message", "child", FORM, {}))

    assert [lane_of(1, one.number) for one in run.run.mail.outbox] == [(2, 1)]


def test_a_child_that_is_cancelled_is_forgotten_when_it_has_ended() -> None:
    """Until then it may be cancelled again; nothing is kept of it afterwards."""
    run = actor()
    spawned = Outgoing("spawn", "child", FORM, [{}, {}], graph="work", on_close="forget")
    hands_out(run, spawned, Outgoing("monitor", "child"))
    ask = run.run.mail.outbox[-1].ask
    for _ in range(2):
        assert "child" in run.run.mail.children
        hands_out(run, Outgoing("cancel", "child"))
    run.settle(Dispatched({"child": 4}))
    down = {"run_id": "child", "status": "cancelled", "error": ""}
    run.settle(Receiving(b"down", "down", values=down, sender="child", ask=ask, lane=("child", 1, 1)))

    mail = run.run.mail
    assert (mail.children, mail.lanes, mail.marks, mail.outbox) == ({}, {}, {}, [])


def test_a_failed_run_keeps_its_messages_for_when_it_goes_on() -> None:
    """It is reopened with them."""
    run = with_nodes()
    run.raises("a", BadUpdate("a", "wrong"))
    assert run.run.status == "failed"

    run.reopen()
    run.gets_message(Deposit())
    run.returns("deposit", {"balance": 5})
    assert run.state.balance == 5


def test_an_actor_takes_input_that_was_queued_when_its_nodes_are_done() -> None:
    """It waits for messages only when nothing else is left to do."""
    graph = Graph("account", Account, lifetime="actor")
    graph.node(node, name="a")
    graph.on(Deposit, handler, name="deposit")
    run = Driver(graph, Account())
    run.gets({"note": "more"}, "queue")
    assert run.run.queue

    run.returns("a")

    assert (run.frontier, run.state.note, run.run.queue) == (["a"], "more", [])


def test_a_paused_run_begins_no_turn() -> None:
    """It takes messages, and handles them when it goes on."""
    run = actor()
    run.pauses()
    run.gets_message(Deposit())
    assert run.frontier == []

    run.pauses(on=False)
    assert run.running == ["deposit"]


def test_end_from_a_handler_ends_an_actor() -> None:
    """What is left in its mailbox is told so."""
    run = actor()
    run.gets_message(Close())
    late = run.gets_message(Deposit())
    run.returns("close", END)

    assert run.run.status == "finished"
    assert [dead.letter.id for dead in run.run.mail.dead] == [late]
    assert run.told[late].error == run.run.mail.dead[0].error is not None


@pytest.mark.parametrize("last", [Goto(END, update={"balance": 1}), Reply("bye", END)])
def test_the_last_word_may_hold_an_update_or_a_reply(last: Goto | Reply) -> None:
    """Both are in the same commit as the end."""
    graph = Graph("account", Account, lifetime="actor")
    graph.on(Close, handler, name="close", goto=END)
    run = Driver(graph, Account())
    message = run.gets_message(Close(), id="last")
    run.returns("close", last)

    assert run.run.status == "finished"
    assert (run.state.balance, run.told[message].value) in {(1, None), (0, "bye")}
    assert run.run.mail.seen["last"].said == run.told[message]


def test_a_handler_may_open_nodes() -> None:
    """Which run beside the next turns."""
    graph = Graph("account", Account, lifetime="actor")
    graph.node(node, name="work")
    graph.on(Deposit, handler, name="deposit", goto="work")
    run = Driver(graph, Account())

    run.gets_message(Deposit())
    run.returns("deposit", Goto("work", update={"balance": 1}))
    run.gets_message(Deposit())

    assert sorted(run.running) == ["deposit", "work"]


# -- what is accepted ------------------------------------------------------------------


def test_a_type_that_nobody_takes_is_refused() -> None:
    """Naming what is taken; what was kept elsewhere already is a dead letter instead."""
    run = actor()

    with pytest.raises(BadMessage, match=r"it takes .*Close.*Deposit"):
        run.gets_message(Unknown())
    run.gets_message(Unknown(), lane=("x", 1, 1), sender="x")

    assert [dead.reason for dead in run.run.mail.dead] == ["unknown"]
    assert run.run.mail.marks == {"x": (1, 1)}


def test_a_full_mailbox_refuses_by_count_and_by_bytes() -> None:
    """And takes what is too large by itself when it is empty, so that it is not stuck for ever."""
    run = actor(mailbox=Mailbox(messages=2, bytes=100))
    run.gets_message(Deposit())  # is being handled
    run.gets_message(Deposit())
    run.gets_message(Deposit())
    with pytest.raises(MailboxFull):
        run.gets_message(Deposit())

    run = actor(mailbox=Mailbox(messages=10, bytes=100))
    run.gets_message(Deposit())
    run.gets_message(Deposit(), size=200)
    with pytest.raises(MailboxFull):
        run.gets_message(Deposit(), size=1)


def test_the_same_id_is_the_same_message() -> None:
    """Whoever sends it again gets the same reply; with another content it is refused."""
    run = actor()
    message = run.gets_message(Deposit(amount=7), id="one")
    run.gets_message(Deposit(amount=7), id="one")
    run.returns("deposit", Reply(70, update={"balance": 7}))
    assert run.told.pop(message).value == 70

    run.gets_message(Deposit(amount=7), id="one")
    assert (run.told[message].value, run.frontier) == (70, [])
    with pytest.raises(IdempotencyConflict):
        run.gets_message(Deposit(amount=8), id="one")
    assert run.state.balance == 7


def test_a_full_window_refuses_rather_than_forget_too_early() -> None:
    """It forgets the oldest when their time is over, and none that is still to be answered."""
    run = actor(mailbox=Mailbox(ids=2, hours=1))
    for index in range(2):
        run.gets_message(Deposit(), id=f"m{index}", now=100.0)
        run.returns("deposit")
    with pytest.raises(WindowFull) as refused:
        run.gets_message(Deposit(), id="m2", now=200.0)
    assert refused.value.wait == 3500.0

    run.gets_message(Deposit(), id="m2", now=3701.0)

    assert list(run.run.mail.seen) == ["m1", "m2"]
    with pytest.raises(WindowFull):  # m2 is being handled
        run.gets_message(Deposit(), id="m3", now=3702.0, present=frozenset({"m1"}))


def test_a_lane_is_taken_in_order_and_once() -> None:
    """What was taken before does nothing; what comes before others is refused."""
    run = actor()
    run.settle(lane(1))
    run.settle(lane(1))
    with pytest.raises(OutOfOrder):
        run.settle(lane(3))
    run.settle(lane(2))
    run.returns("deposit", {"log": [1]})
    run.returns("deposit", {"log": [2]})
    run.settle(lane(1, generation=2))
    run.settle(lane(2))

    assert [one.letter.id for one in run.run.open.values() if one.letter is not None] == [b"x 2 1"]
    assert run.run.mail.queue == {}


# -- who writes the same ----------------------------------------------------------------


def test_a_node_that_overlooked_a_turns_write_runs_again() -> None:
    """Nobody fails for a message."""
    run = with_nodes()
    run.gets_message(Deposit())
    run.returns("deposit", {"balance": 5})

    run.returns("a", {"balance": 1})
    assert isinstance(run.history[-1], Rebased)
    assert run.open_at("a").base["balance"] == 5
    run.returns("a", {"balance": 6})

    assert run.state.balance == 6


def test_a_turn_that_overlooked_a_nodes_write_is_handled_again() -> None:
    """On the state with that write, under its key."""
    run = with_nodes()
    run.gets_message(Deposit())
    key = run.open_at("deposit").key
    run.returns("a", {"balance": 1})

    run.returns("deposit", {"balance": 5})
    assert run.open_at("deposit").base["balance"] == 1
    assert run.open_at("deposit").key == key
    run.returns("deposit", {"balance": 6})

    assert run.state.balance == 6


# -- what goes wrong --------------------------------------------------------------------


def test_a_handler_that_raises_consumes_its_message() -> None:
    """It is a dead letter with what was raised, whoever asked is told, and the run goes on."""
    run = actor()
    message = run.gets_message(Deposit())
    after = run.gets_message(Deposit())
    run.raises("deposit", ValueError("no such account"))

    (dead,) = run.run.mail.dead
    assert (dead.letter.id, dead.reason) == (message, "failed")
    assert dead.error is not None
    assert dead.error.message == "no such account"
    assert run.told[message].error == dead.error
    run.returns("deposit", Reply(1))
    assert run.told[after].value == 1


def test_a_handler_is_tried_again_by_its_policy() -> None:
    """Only then is its message given up."""
    graph = Graph("account", Account, lifetime="actor")
    graph.on(Deposit, handler, name="deposit", retry=Retry(attempts=2))
    run = Driver(graph, Account())
    run.gets_message(Deposit())

    run.raises("deposit")
    assert run.run.mail.dead == []
    run.raises("deposit")

    assert len(run.run.mail.dead) == 1


def test_a_reply_from_a_node_is_an_error() -> None:
    """It handles no message."""
    run = with_nodes()
    run.returns("a", Reply(1))
    assert run.crashed is not None or run.run.status == "failed"


def test_a_message_that_kills_process_after_process_is_set_aside() -> None:
    """After three of them; those behind it are handled."""
    run = actor()
    message = run.gets_message(Deposit())
    after = run.gets_message(Deposit())
    for _ in range(HANDLED_IN_CRASHES):
        assert run.running == ["deposit"]
        run.recover(unclean=True)

    (dead,) = run.run.mail.dead
    assert (dead.letter.id, dead.reason) == (message, "poison")
    assert run.open_at("deposit").letter is not None
    assert run.open_at("deposit").letter.id == after  # type: ignore[union-attr]


def test_a_message_whose_handler_waits_for_others_kills_nobody() -> None:
    """It is not being handled when a process dies: that has another reason."""
    run = actor()
    run.gets_message(Deposit())
    run.suspends("deposit", Ask("(reply)", "reply", "the reply of run 'x'"))
    for _ in range(HANDLED_IN_CRASHES + 1):
        run.recover(unclean=True)
    assert run.run.mail.dead == []
    assert run.frontier == ["deposit"]


def test_processes_that_end_well_set_nothing_aside() -> None:
    """However often a run moves while it handles a message."""
    run = actor()
    run.gets_message(Deposit())
    for _ in range(5):
        run.recover()

    assert (run.run.mail.dead, run.running) == ([], ["deposit"])


def test_a_message_that_is_being_handled_goes_with_its_type_to_newer_code() -> None:
    """To its new handler, whatever that is called; if there is none it waits, and is not lost."""
    renamed = Graph("account", Account, lifetime="actor", moves={"deposit": END})
    renamed.on(Deposit, handler, name="pay_in")
    without = Graph("account", Account, lifetime="actor")
    without.on(Close, handler, name="close")

    for graph, frontier, waiting in ((renamed, ["pay_in"], 0), (without, [], 1)):
        run = actor()
        message = run.gets_message(Deposit())
        move(graph, run.run)

        assert (run.frontier, len(run.run.mail.queue)) == (frontier, waiting)
        held = [one.letter.id for one in run.run.open.values() if one.letter is not None]
        assert [*held, *run.run.mail.queue] == [message]


# -- timers -------------------------------------------------------------------------------


def test_the_time_has_come_only_once() -> None:
    """However often the run is told so."""
    run = actor()
    schema = schema_of(Deposit)
    form = Form(schema.name, schema.version, schema.table)
    run.gets_message(Deposit())
    turn = run.open_at("deposit")
    payday = Outgoing("timer", "payday", form, {"amount": 9}, due=100.0)
    run.settle(Returned(turn.id, None, outgoing=(payday,)))
    assert run.alarm == 100.0

    run.settle(Due(0, 99.0))
    assert (run.alarm, run.frontier) == (100.0, [])

    run.settle(Due(0, 150.0))
    run.settle(Due(0, 151.0))
    run.returns("deposit", {"balance": 9})

    assert (run.state.balance, run.frontier, run.run.mail.timers) == (9, [], {})


# -- in any order, with crashes -------------------------------------------------------------

Step = tuple[str, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["caller", "lane", "again", "handle", "fail", "crash", "snapshot"]), st.integers(0, 5)),
    max_size=40,
)


@given(STEPS)
def test_each_message_counts_once_whatever_happens(steps: list[Step]) -> None:
    """Sent again, handled again after a crash, loaded from a snapshot: what is committed holds each message once."""
    run = actor()
    sent: dict[str, int] = {}
    number = 0

    for kind, n in steps:
        match kind:
            case "caller":
                sent.setdefault(f"c{n}", 1 << n)
                run.gets_message(Deposit(amount=1 << n), id=f"c{n}")
            case "lane":
                number += 1
                run.settle(lane(number, amount=100 * number))
                sent[f"l{number}"] = 100 * number
            case "again" if number:
                again = 1 + n % number
                run.settle(lane(again, amount=100 * again))
            case "handle" if run.running:
                letter = run.open_at("deposit").letter
                assert letter is not None
                run.returns("deposit", {"log": [letter.values["amount"]]})
            case "fail" if run.running:
                run.raises("deposit")
            case "crash":
                run.recover()
            case "snapshot":
                run.run = load(dump(run.run))
            case _:
                pass
    while run.running:
        letter = run.open_at("deposit").letter
        assert letter is not None
        run.returns("deposit", {"log": [letter.values["amount"]]})

    dead = [one.letter.values["amount"] for one in run.run.mail.dead]
    assert sorted(run.state.log + dead) == sorted(sent.values())
    assert picture(replayed(run.history))["mail"] == picture(run.run)["mail"]
    assert not any(isinstance(record, Ended) for record in run.history)
    assert sum(isinstance(record, Buried) for record in run.history) == len(dead)
    assert not any(isinstance(record, Replied) for record in run.history)
