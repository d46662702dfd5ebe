"""Forgetting: of children that ended a run keeps nothing, and nothing counts twice or is lost because of that."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Down, Graph, Message, State
from actorflow.engine.events import Bounced, Dispatched, Outgoing, Receiving, Returned, Suspended
from actorflow.engine.forgetting import forget_children_of
from actorflow.engine.mail import is_wait, lane_of
from actorflow.engine.posting import down_values
from actorflow.engine.records import Ask, ErrorInfo
from actorflow.engine.rewinding import rewound
from actorflow.engine.run import Form
from actorflow.engine.snapshot import dump, load
from actorflow.engine.turns import name_of_wait
from actorflow.graph.schema import schema_of
from tests.engine.driver import Driver, copied, picture, replayed


class Work(State):
    """What a run works on."""

    n: int = 0


class Begin(Message, version=1):
    """Begin a child."""


def node(state: Work) -> None:
    """Never called: decide() is told what it returned."""


def handler(state: Work, msg: Any) -> None:
    """Likewise."""


_SCHEMA = schema_of(Work)
WORK = Form(_SCHEMA.name, _SCHEMA.version, _SCHEMA.table)


def parent() -> Driver:
    """An actor that begins children, and handles word of their ends."""
    graph = Graph("parent", Work, lifetime="actor")
    graph.node(node, name="a")
    graph.on(Begin)(handler)
    graph.on(Down, name="ended")(handler)
    run = Driver(graph, Work())
    run.returns("a")
    return run


def begin(run: Driver, child: str) -> str | None:
    """A turn begins a child and monitors it; what the monitor asks."""
    run.gets_message(Begin())
    spawn = Outgoing("spawn", child, WORK, [{}, {}], graph="work", on_close="cancel")
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(spawn, Outgoing("monitor", child))))
    *_, monitor = run.run.mail.outbox
    deliver(run)
    return monitor.ask


def deliver(run: Driver) -> None:
    """Others have all that was sent."""
    run.settle(Dispatched({parcel.target: parcel.number for parcel in run.run.mail.outbox}))


def end(run: Driver, child: str, ask: str | None, *, lane: tuple[int, int] = (1, 1)) -> None:
    """Word of the end of a child comes, and is handled if it is told to the actor."""
    values = down_values(child, "finished", None)
    event = Receiving(f"{child}{lane}".encode(), "down", values=values, sender=child, ask=ask, lane=(child, *lane))
    run.settle(event)
    for activation in [one for one in run.run.open.values() if one.node == "ended"]:
        run.settle(Returned(activation.id, None))


def test_a_thousand_children_that_ended_leave_a_parent_as_small_as_ten() -> None:
    """Neither children nor lanes nor marks stay; each was told once.

    Planted: forgetting only those of schedules: 106 kB instead of 1.6 kB.
    """
    run = parent()
    sizes: list[int] = []
    for number in range(1_000):
        child = f"parent/begin-{number:012x}-1"
        end(run, child, begin(run, child))
        if number in {9, 999}:
            sizes.append(len(dump(run.run)))

    assert run.run.mail.handled == 2_000
    assert sizes[1] - sizes[0] < 50  # counters have more digits
    assert picture(load(dump(run.run))) == picture(replayed(run.history))


def test_word_of_an_end_that_comes_once_more_says_nothing() -> None:
    """Its mark is forgotten: it is known by what it answers, and by that there is no such child.

    Planted: taking it all the same.
    """
    run = parent()
    ask = begin(run, "kid")
    assert ask is not None
    assert not is_wait(ask)
    end(run, "kid", ask)
    before = dump(run.run)

    end(run, "kid", ask)

    assert dump(run.run) == before


def test_what_is_sent_to_a_forgotten_run_is_of_a_later_generation() -> None:
    """It has a mark of the first one, before which all that came with small numbers would count as taken.

    Planted: a lane that begins with 1 again.
    """
    run = parent()
    end(run, "kid", begin(run, "kid"))
    first = lane_of(1, 2)  # its monitor

    begin(run, "kid")
    second = lane_of(1, run.run.mail.lanes["kid"] - 1)  # it is begun again, under an id of the user's

    assert (first, second[1]) == ((1, 2), 1)
    assert second > first
    assert lane_of(2, 1) > second


def test_what_is_acknowledged_late_is_none_of_the_later_generation() -> None:
    """Two who carry the same may both say that it was delivered."""
    run = parent()
    end(run, "kid", begin(run, "kid"))
    run.gets_message(Begin())
    spawn = Outgoing("spawn", "kid", WORK, [{}, {}], graph="work", on_close="cancel")
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(spawn,)))

    run.settle(Dispatched({"kid": 2}))

    assert [parcel.kind for parcel in run.run.mail.outbox] == ["spawn"]


def test_a_child_that_has_sent_more_keeps_its_mark() -> None:
    """What it sent before may come once more, and must not count twice."""
    run = parent()
    ask = begin(run, "kid")
    form = next(form for form in run.run.forms.values() if form.name == "Begin")
    run.settle(Receiving(b"m", "message", form=form, values={}, sender="kid", lane=("kid", 1, 1)))
    run.settle(Returned(next(iter(run.run.open)), None))

    end(run, "kid", ask, lane=(1, 2))

    assert run.run.mail.children == {}
    assert run.run.mail.marks == {"kid": (1, 2)}


def test_a_sender_ends_its_lane_with_word_of_its_end() -> None:
    """Whoever takes it may forget the sender: what that sends when it goes on later is of a later generation."""
    graph = Graph("child", Work)
    graph.node(node, name="a")
    run = Driver(graph, Work())
    run.settle(Receiving(b"1", "monitor", sender="mum", ask="(child)", lane=("mum", 1, 1)))
    run.returns("a")
    assert [(one.kind, lane_of(1, one.number), one.values.get("result")) for one in run.run.mail.outbox] == [
        ("down", (1, 1), None)
    ]

    assert "mum" not in run.run.mail.lanes
    assert run.run.mail.forgotten == 1


def test_a_child_is_remembered_while_the_activation_that_began_it_may_run_again() -> None:
    """It begins it once more then, under the same id: that is the same child.

    Planted: looking for what was begun only after the activation is over.
    """
    graph = Graph("waits", Work)
    graph.node(node, name="a")
    graph.node(node, name="b", after="a")
    run = Driver(graph, Work())
    activation = run.open_at("a")
    name = name_of_wait(activation, "(end) kid")
    spawn = Outgoing("spawn", "kid", WORK, [{}, {}], graph="work", on_close="cancel")
    watch = Outgoing("monitor", "kid", ask=name)
    asks = (Ask("(end) kid", "child", "it", payload="kid"),)
    run.settle(Suspended(activation.id, asks, outgoing=(spawn, watch)))
    deliver(run)
    end(run, "kid", name)
    run.recover()
    assert set(run.run.mail.children) == {"kid"}

    run.settle(Returned(activation.id, None, outgoing=(spawn,)))

    assert (run.run.mail.outbox, run.run.mail.children, run.run.mail.lanes, run.run.mail.marks) == ([], {}, {}, {})


def test_a_rewind_forgets_what_ended_of_those_that_it_leaves_behind() -> None:
    """Their activations are none that would be over some day."""
    run = parent()
    then = copied(run.run)
    begin(run, "kid")
    run.run.mail.children["kid"] = type(run.run.mail.children["kid"])("work", "cancel", 99, over=("kid", 1))
    run.run.mail.over = {99: ["kid"]}

    back = rewound(run.run, then)

    assert (back.mail.children, back.mail.over) == ({}, {})


def test_who_was_begun_again_meanwhile_is_not_forgotten_with_the_one_before() -> None:
    """The activation that began the first one is over when the second one is there, under an id of the user's."""
    run = parent()
    begin(run, "kid")
    run.run.mail.over = {99: ["kid"]}

    forget_children_of(run.run.mail, 99)

    assert set(run.run.mail.children) == {"kid"}


@pytest.mark.parametrize("watched", [True, False])
def test_a_child_that_is_cancelled_is_remembered_only_for_word_of_its_end(watched: bool) -> None:
    """It comes once, to who monitors it."""
    run = parent()
    run.gets_message(Begin())
    spawn = Outgoing("spawn", "kid", WORK, [{}, {}], graph="work", on_close="cancel")
    monitor = (Outgoing("monitor", "kid"),) if watched else ()
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(spawn, *monitor, Outgoing("cancel", "kid"))))
    (ask,) = [one.ask for one in run.run.mail.outbox if one.kind == "monitor"] or [None]
    deliver(run)
    assert set(run.run.mail.children) == ({"kid"} if watched else set())
    handled = run.run.mail.handled

    if watched:
        end(run, "kid", ask)

    assert run.run.mail.handled == handled + watched
    assert (run.run.mail.children, run.run.mail.lanes) == ({}, {})


def test_word_of_the_end_before_says_nothing_of_a_child_that_was_begun_anew() -> None:
    """Its mark is forgotten, and there is such a child again: whose end it tells of is known by the question.

    Planted: one question for all children: the second one ended before it had, and its own end was never heard.
    """
    run = parent()
    first = begin(run, "kid")
    end(run, "kid", first)
    second = begin(run, "kid")

    before = dump(run.run)
    end(run, "kid", first)
    assert dump(run.run) == before

    end(run, "kid", second, lane=(2, 1))
    assert (run.run.mail.handled, run.run.mail.children) == (4, {})


def test_a_mark_stays_if_word_of_the_end_answers_no_question() -> None:
    """It was monitored before it was a child: nothing else says then that this comes once more.

    Planted: forgetting the mark all the same: the end is heard twice.
    """
    run = parent()
    run.gets_message(Begin())
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(Outgoing("monitor", "kid"),)))
    run.gets_message(Begin())
    spawn = Outgoing("spawn", "kid", WORK, [{}, {}], graph="work", on_close="cancel")
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(spawn,)))
    deliver(run)

    end(run, "kid", None)
    end(run, "kid", None)

    assert (run.run.mail.handled, run.run.mail.children) == (3, {})


def test_who_monitors_a_child_that_can_not_begin_is_told() -> None:
    """First of the child, of which only that is left; whoever else has its id is not cancelled for this run's end.

    Planted: a child that is forgotten before its monitor bounced: nobody is told.
    """
    run = parent()
    run.gets_message(Begin())
    spawn = Outgoing("spawn", "kid", WORK, [{}, {}], graph="work", on_close="cancel")
    run.settle(Returned(next(iter(run.run.open)), None, outgoing=(spawn, Outgoing("monitor", "kid"))))
    begins, watches = run.run.mail.outbox
    error = ErrorInfo("WrongGraph", "it is another one")

    run.settle(Bounced("kid", begins.number, error))
    assert run.run.mail.children["kid"].on_close == "forget"
    run.settle(Bounced("kid", watches.number, error))

    (told,) = [one.letter for one in run.run.open.values() if one.letter is not None]
    assert told.values["status"] == "noproc"
    assert run.run.mail.children == {}
