"""Posting: what goes out with a commit, what is sent with a wait, and what a run leaves behind when it ends."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Down, Graph, Message, State
from actorflow.engine.events import Bounced, Dispatched, Outgoing, Receiving, Returned, Suspended, Taking
from actorflow.engine.fold import fold
from actorflow.engine.mail import QUESTIONS, Watch
from actorflow.engine.posting import down_values, result_values
from actorflow.engine.records import Ask, ErrorInfo, Posted, Watched
from actorflow.engine.run import Form
from actorflow.engine.turns import name_of_wait
from actorflow.graph.schema import schema_of
from tests.engine.driver import Driver


class Work(State):
    """What a run works on."""

    n: int = 0


class Word(Message, version=1):
    """Is received."""

    text: str = ""


def node(state: Work) -> None:
    """Never called: decide() is told what it returned."""


def run_of(*messages: type[Message]) -> Driver:
    """A run of one node."""
    graph = Graph("work", Work, messages=messages)
    graph.node(node, name="a")
    return Driver(graph, Work())


def form_of(type_: type[State]) -> Form:
    """The form of a message."""
    schema = schema_of(type_)
    return Form(schema.name, schema.version, schema.table)


def word(target: str, text: str = "", *, ask: str | None = None) -> Outgoing:
    """A message that a node sends."""
    return Outgoing("message", target, form_of(Word), {"text": text}, ask)


def returns(run: Driver, *outgoing: Outgoing) -> None:
    """The node is done, and sends this."""
    run.settle(Returned(run.open_at("a").id, None, outgoing=outgoing))


def test_what_a_node_sends_is_numbered_by_target() -> None:
    """In the record that follows its result, in the order of sending."""
    run = run_of()
    returns(run, word("x", "1"), word("y", "2"), word("x", "3"))

    assert [(one.target, one.number, one.values["text"]) for one in run.run.mail.outbox] == [
        ("x", 1, "1"),
        ("y", 1, "2"),
        ("x", 2, "3"),
    ]
    assert run.run.mail.lanes == {"x": 2, "y": 1}


def test_what_is_delivered_leaves_the_outbox_and_is_told_once() -> None:
    """A number that is passed already changes nothing."""
    run = suspended(word("x", ask="later"))
    assert run.run.standing == "running"

    run.settle(Dispatched({"x": 1}))
    assert (run.run.mail.outbox, run.run.standing) == ([], "waiting")
    assert run.settle(Dispatched({"x": 1})).records == []


def suspended(*outgoing: Outgoing, key: str = "(reply) x", kind: Any = "reply") -> Driver:
    """A run whose node waits, and has sent this for it; "later" stands for the name of the wait."""
    run = run_of(Down)
    wait_again(run, *outgoing, key=key, kind=kind)
    return run


def wait_again(run: Driver, *outgoing: Outgoing, key: str = "(reply) x", kind: Any = "reply") -> None:
    """The node comes to its wait, for the first time or once more."""
    activation = run.open_at("a")
    name = name_of_wait(activation, key)
    sent = tuple(
        Outgoing(one.kind, one.target, one.form, one.values, name if one.ask else None, one.graph, one.on_close)
        for one in outgoing
    )
    run.settle(Suspended(activation.id, (Ask(key, kind, "it", payload="x"),), outgoing=sent))


def test_what_is_sent_with_a_wait_is_sent_once() -> None:
    """However often the node comes to it; what has nothing to do with the wait goes out with the result."""
    run = suspended(word("x", ask="later"), word("y"))
    run.recover()
    wait_again(run, word("x", ask="later"), word("y"))

    assert [(one.target, one.number) for one in run.run.mail.outbox] == [("x", 1)]


def test_a_child_begins_with_the_first_wait_and_once() -> None:
    """Its node runs again, and asks for it again."""
    child = Outgoing("spawn", "kid", form_of(Work), [{"n": 1}, {}], graph="work", on_close="cancel")
    run = suspended(child)
    wait_again(run, child, key="(end) kid", kind="child")
    run.settle(Receiving(b"1", "reply", values=1, sender="x", lane=("x", 1, 1), ask=_name(run, "(reply) x")))
    assert [one.kind for one in run.run.mail.outbox] == ["spawn"]
    assert run.run.mail.children["kid"].on_close == "cancel"


def _name(run: Driver, key: str) -> str:
    return name_of_wait(run.open_at("a"), key)


def test_a_reply_lets_the_node_go_on_with_value_and_error() -> None:
    """The same whether it is read live or from the log."""
    run = suspended(word("x", ask="later"))
    error = ErrorInfo("ValueError", "no")
    run.settle(Receiving(b"1", "reply", values=None, error=error, lane=("x", 1, 1), ask=_name(run, "(reply) x")))

    assert run.running == ["a"]
    assert run.open_at("a").answers["(reply) x"].value == [None, ["ValueError", "no", ""]]


def test_of_two_waits_the_one_that_is_meant_is_answered() -> None:
    """In whichever order replies come. Planted: a reply for whoever waits first."""
    run = run_of()
    activation = run.open_at("a")
    asks = tuple(Ask(f"(reply) {name}", "reply", "it", payload=name) for name in "xy")
    sent = tuple(word(one.payload, ask=name_of_wait(activation, one.key)) for one in asks)
    run.settle(Suspended(activation.id, asks, outgoing=sent))

    for number, name in enumerate("yx", start=1):
        to = _name(run, f"(reply) {name}")
        run.settle(Receiving(name.encode(), "reply", values=f"from {name}", lane=("z", 1, number), ask=to))

    answers = run.open_at("a").answers
    assert {key: answer.value[0] for key, answer in answers.items()} == {"(reply) y": "from y", "(reply) x": "from x"}


def test_what_bounces_is_a_dead_letter_and_an_answer() -> None:
    """Of a child that can't begin nothing is left but its number, which is filled so that the lane has no gap."""
    run = suspended(word("x", ask="later"))
    run.settle(Bounced("x", 1, ErrorInfo("NoSuchRun", "there is none")))

    assert [dead.reason for dead in run.run.mail.dead] == ["undeliverable"]
    assert run.open_at("a").answers["(reply) x"].value[1][0] == "NoSuchRun"

    child = Outgoing("spawn", "kid", form_of(Work), [{}, {}], graph="work", on_close="cancel")
    run = suspended(child)
    run.settle(Bounced("kid", 1, ErrorInfo("WrongGraph", "it is another one")))
    assert run.run.mail.children == {}
    assert [(parcel.kind, parcel.number, parcel.values) for parcel in run.run.mail.outbox] == [("reply", 1, None)]


@pytest.mark.parametrize("status", ["finished", "failed", "noproc"])
def test_who_monitors_what_is_over_gets_word_of_it(status: str) -> None:
    """As a message, as if it had ended just now; where there is nothing, too."""
    graph = Graph("work", Work, messages=[Down])
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    run = Driver(graph, Work())
    returns(run, Outgoing("monitor", "z"))
    error = ErrorInfo("ValueError", "no")
    down = None if status == "noproc" else down_values("z", status, error if status == "failed" else None)

    run.settle(Bounced("z", 1, error, down=down))
    run.settle(Bounced("z", 1, error, down=down))

    (letter,) = run.run.mail.queue.values()
    told = "" if status == "finished" else "ValueError: no"
    assert letter.values == {"run_id": "z", "status": status, "error": told}
    assert [parcel.kind for parcel in run.run.mail.outbox] == ["reply"]  # its number is filled


def test_a_run_that_ends_tells_its_watchers_and_cancels_its_children() -> None:
    """Who waits for its result gets that, with the schema it is of."""
    run = run_of()
    run.run.mail.watchers = {"w": Watch(), "asks": Watch(ask="q"), "tied": Watch(linked=True)}
    child = Outgoing("spawn", "kid", form_of(Work), [{}, {}], graph="work", on_close="cancel")
    free = Outgoing("spawn", "free", form_of(Work), [{}, {}], graph="work", on_close="abandon")
    run.settle(Returned(run.open_at("a").id, {"n": 3}, outgoing=(child, free)))

    assert run.run.status == "finished"
    sent = {(one.target, one.kind): one for one in run.run.mail.outbox if one.kind != "spawn"}
    assert set(sent) == {("kid", "cancel"), ("w", "down"), ("asks", "down"), ("tied", "down")}
    assert sent["w", "down"].values == {"run_id": "run", "status": "finished", "error": "", "linked": False}
    assert sent["asks", "down"].values["result"] == result_values(run.run, form_of(Work))
    assert sent["tied", "down"].values["linked"]
    assert run.run.mail.watchers == {}


def test_each_question_of_a_watcher_is_answered_and_the_oldest_waits_are_forgotten() -> None:
    """A run may wait for another one again and again, and give up: what is kept of that is bounded.

    Planted: keeping all of them; and dropping the oldest, whether or not an activation waits for it.
    """
    run = run_of()
    for ask in (None, *(f"wait {n}" for n in range(QUESTIONS + 5))):
        fold(run.run, Watched("w", ask, linked=ask is None))
    fold(run.run, Watched("w", "wait 7"))
    fold(run.run, Watched("gone", "q"))
    fold(run.run, Watched("gone", on=False))
    run.settle(Returned(run.open_at("a").id, {"n": 3}))

    downs = [(one.target, one.ask) for one in run.run.mail.outbox if one.kind == "down"]
    assert downs[:2] == [("w", None), ("w", "wait 5")]
    assert len(set(downs)) == len(downs) == QUESTIONS + 1
    assert run.run.mail.watchers == {}


def test_a_link_is_both_ways() -> None:
    """Whoever links watches, and is watched."""
    graph = Graph("work", Work)
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    run = Driver(graph, Work())
    returns(run, Outgoing("monitor", "z", values=True))

    assert run.run.mail.watchers["z"].linked
    run.settle(Receiving(b"1", "down", values={**down_values("z", "cancelled", None), "linked": True}, sender="z"))
    assert run.run.status == "failed"
    assert run.run.error is not None
    assert run.run.error.type == "LinkedExit"


def test_a_message_that_is_taken_is_gone_for_all_others() -> None:
    """Whoever is second is told nothing, and looks on."""
    run = run_of(Word)
    message = run.gets_message(Word(text="hi"))
    activation = run.open_at("a")

    run.settle(Taking(activation.id, "one", message))
    run.settle(Taking(activation.id, "two", message))

    assert list(run.open_at("a").answers) == ["one"]
    assert run.run.mail.queue == {}


def test_a_message_that_nobody_can_read_is_set_aside() -> None:
    """By the node that came upon it, which goes on looking."""
    run = run_of(Word)
    message = run.gets_message(Word(text="hi"))
    run.settle(Taking(run.open_at("a").id, "one", message, ValueError("what is this")))

    (dead,) = run.run.mail.dead
    assert (dead.reason, dead.letter.id) == ("failed", message)
    assert run.open_at("a").answers == {}


def test_a_message_wakes_who_waits_for_its_type_and_no_one_else() -> None:
    """Its deadline stays the first one."""
    run = run_of(Word)
    activation = run.open_at("a")
    run.settle(Suspended(activation.id, (Ask("w", "receive", "Word", due=50.0),)))
    assert run.run.standing == "waiting"

    run.gets_message(Word())
    assert run.running == ["a"]
    assert run.open_at("a").until == {"w": 50.0}


def test_nothing_is_posted_by_a_replayed_history() -> None:
    """The log says what was sent, once, and a recovered run has the same outbox."""
    graph = Graph("work", Work)
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    run = Driver(graph, Work())
    returns(run, word("x", "1"))
    before = list(run.run.mail.outbox)
    run.commit()
    run.recover()

    assert run.run.mail.outbox == before
    assert sum(isinstance(record, Posted) for record in run.history) == 1
