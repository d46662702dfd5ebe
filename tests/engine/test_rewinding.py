"""Rewinding: a run goes on from how it was, under keys of its own, and nothing that others were told goes back."""

from __future__ import annotations

import operator
from typing import Annotated, Any

from actorflow.engine.events import Outgoing, Receiving, Returned, Sweep, Taking
from actorflow.engine.mail import HANDLED_IN_CRASHES, Letter
from actorflow.engine.records import Ask
from actorflow.engine.rewinding import forked, rewound
from actorflow.engine.run import Form
from actorflow.engine.snapshot import dump, load
from actorflow.engine.turns import name_of_wait
from actorflow.graph.graph import Graph
from actorflow.graph.message import Message
from actorflow.graph.state import State
from tests.engine.driver import Driver, picture, replayed


class Work(State):
    """What is to be done, and what came of it."""

    items: list[int] = []
    done: list[int] = []
    total: Annotated[int, operator.add] = 0


class Add(Message, version=1):
    """Is handled."""

    n: int = 0


class Old(Message, version=1):
    """Is handled, too."""


def node(state: Any, msg: Any = None) -> None:
    """Never called: decide() is told what it returned."""


def nested() -> Driver:
    """A map whose items are graphs of two nodes, and a node beside it."""
    inside: Graph[Any] = Graph("inside", Work)
    inside.node(node, name="x", entry=True)
    inside.node(node, name="y", after="x")
    graph = Graph("g", Work)
    graph.node(node, name="a", entry=True)
    graph.map(inside, over="items", into="done", enter="total", leave="total", name="each", after="a", limit=2)
    graph.node(node, name="b", after="a")
    run = Driver(graph, Work(items=[10, 20, 30]))
    run.returns("a")
    return run


def back(run: Driver, records: int, **options: Any) -> Driver:
    """The run, gone back to so many of its records; through a snapshot, as its commit has it."""
    again = rewound(run.run, replayed(run.history[:records]), **options)
    run.run = load(dump(again))
    assert picture(run.run) == picture(again)
    run.ready, run.held = {}, []
    run.settle(Sweep())
    return run


def finish(run: Driver) -> None:
    """Let everything that is open inside items return."""
    for _ in range(20):
        inside = [where for where in run.running if where.startswith("each")]
        if not inside:
            return
        run.returns(inside[0], {"total": 1} if inside[0].endswith("/x") else None)


def test_a_nested_run_goes_on_from_how_it_was() -> None:
    """Items that were done by then are; scopes and items have their owners; the outcome is that of the first time."""
    run = nested()
    run.returns("each[1]/x", {"total": 1})
    run.returns("each[1]/y")
    then = len(run.history)
    finish(run)
    run.returns("b")
    first = run.state.done

    run = back(run, then)
    assert run.running == ["b", "each[0]/x", "each[2]/x"]
    finish(run)
    run.returns("b")

    assert (run.run.status, run.state.done) == ("finished", first)


def test_what_is_open_again_has_other_keys_and_numbers() -> None:
    """Items that open later, too: an effect of the first time is none of the second."""
    run = nested()
    then = len(run.history)
    known = {one.id for one in run.run.open.values()}
    finish(run)
    keys = {one.key for at in range(1, len(run.history)) for one in replayed(run.history[:at]).open.values()}

    run = back(run, then)
    seen = {one.key for one in run.run.open.values()}
    run.returns("each[0]/x")
    run.returns("each[0]/y")
    seen |= {one.key for one in run.run.open.values()}

    assert not keys & seen
    assert not known & set(run.run.open)


def test_keys_may_be_kept() -> None:
    """By whoever knows that the effects are the same."""
    run = nested()
    keys = [one.key for one in run.run.open.values()]

    run = back(run, len(run.history), keep_keys=True)

    assert [one.key for one in run.run.open.values()] == keys


def test_an_answer_is_forgotten() -> None:
    """What was asked is asked again, also if it had been answered by then."""
    run = nested()
    run.suspends("b", Ask("go", "ask", "Go?"))
    run.answers(True)

    run = back(run, len(run.history))

    assert (run.open_at("b").answers, run.open_at("b").asks, "b" in run.running) == ({}, {}, True)


def test_a_fork_shares_nothing_with_where_it_came_from() -> None:
    """Neither keys nor anything that either of them changes."""
    run = nested()
    before = picture(run.run)
    other = Driver(run.graph, Work(items=[10, 20, 30]))

    other.run = forked(replayed(run.history), "other", life=1)
    other.ready = {}
    other.settle(Sweep())
    assert not {one.key for one in other.run.open.values()} & {one.key for one in run.run.open.values()}
    finish(other)
    other.returns("b")

    assert (other.run.status, other.state.done) == ("finished", [11, 21, 31])
    assert picture(run.run) == before


def handling() -> tuple[Driver, int]:
    """An actor that has begun to handle a message, and how long its history was when that came."""
    graph = Graph("g", Work, lifetime="actor")
    graph.on(Add, node, name="add")
    run = Driver(graph, Work())
    before = len(run.history)
    run.gets_message(Add(n=1))
    return run, before


def test_a_message_that_is_handled_again_is_so_under_another_key_since_it_began_or_before() -> None:
    """Planted: it waits again, and its turn gets the key of the first one: a reply to that one's question is taken."""
    for began in (False, True):
        run, before = handling()
        asks = Ask("who", "reply", "Who?", payload="other")
        run.suspends("add", asks)
        first = run.open_at("add")

        back(run, len(run.history) if began else before)
        turn = run.open_at("add")
        assert (turn.key == first.key, turn.letter, run.run.turn) == (False, first.letter, turn.id)
        run.suspends("add", asks)
        answer_to(run, name_of_wait(first, "who"), "the old one")
        assert turn.answers == {}
        answer_to(run, name_of_wait(turn, "who"), "the new one")
        assert turn.answers["who"].value == ["the new one", None]
        run.returns("add")

        assert (run.run.mail.handled, run.run.mail.queue, run.running) == (1, {}, [])


def answer_to(run: Driver, wait: str, value: str) -> None:
    """Another run replies."""
    run.settle(Receiving(wait.encode(), "reply", values=value, sender="other", ask=wait))


def test_two_messages_that_were_in_hand_under_one_key_are_two() -> None:
    """A node whose keys are kept may take another one the second time. Planted: the key alone says which it was."""
    graph = Graph("g", Work, messages=[Add])
    graph.node(node, name="a")
    run = Driver(graph, Work())
    start = len(run.history)

    def takes(n: int) -> None:
        run.settle(Taking(run.open_at("a").id, "(receive) Add", run.gets_message(Add(n=n))))

    takes(1)
    first = len(run.history)
    began = replayed(run.history[:first])
    back(run, start, keep_keys=True)
    takes(2)
    back(run, start, keep_keys=True)
    waiting = [letter.values["n"] for letter in run.run.mail.queue.values()]
    takes(3)
    run.run = load(dump(rewound(run.run, began, keep_keys=True)))

    assert sorted(waiting) == [1, 2]
    assert sorted(letter.values["n"] for letter in run.run.mail.queue.values()) == [1, 2, 3]
    assert run.open_at("a").answers == {}


def test_in_how_many_crashes_a_message_was_handled_does_not_go_back() -> None:
    """Else nobody would find out that it is the message. Planted: its turn has the letter as it was then."""
    run, _ = handling()
    began = len(run.history)
    for _ in range(2):
        run.recover(unclean=True)

    back(run, began)

    letter = run.open_at("add").letter
    assert letter is not None
    assert letter.takes == HANDLED_IN_CRASHES


def test_messages_stay_readable_in_a_run_that_goes_back_to_before_their_type_was_known() -> None:
    """Those that wait, that are being handled, that are set aside and that are to be sent; timers, too."""
    graph = Graph("g", Work, lifetime="actor")
    graph.on(Add, node, name="add")
    graph.on(Old, node, name="old")
    run = Driver(graph, Work())
    start = len(run.history)
    run.gets_message(Old())
    run.raises("old")
    run.gets_message(Add(n=1))
    form = Form("Sent", 1, ())
    out = Outgoing("message", "x", form, {}), Outgoing("timer", "soon", form, {}, due=9.0)
    run.settle(Returned(run.open_at("add").id, None, outgoing=out))
    run.gets_message(Add(n=2))
    run.gets_message(Add(n=3))

    back(run, start)

    forms, mail = run.run.forms, run.run.mail
    assert [forms[one.letter.form].name for one in mail.dead] == ["Old"]
    assert [forms[one.form].name for one in (*mail.outbox, *mail.timers.values())] == ["Sent", "Sent"]
    for n in (2, 3):
        turn = run.open_at("add")
        assert turn.letter is not None
        assert turn.letter.values == {"n": n}
        run.returns("add")


def test_a_form_that_has_another_key_by_now_is_not_mixed_up() -> None:
    """Forms that nothing is in any more are forgotten, and their names are used again."""
    now, then = replayed(nested().history), replayed(nested().history)
    now.forms["Add"] = Form("Add", 2, ())
    then.forms["Add"] = Form("Add", 1, ())
    now.mail.queue[b"id"] = Letter(b"id", "Add", {}, 0.0)

    run = rewound(now, then)

    assert run.forms[run.mail.queue[b"id"].form].version == 2
