"""Steps: what an activation did is remembered with it, and what can be undone is with the run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.engine.events import Effect, Intending, Stepping, Trying, Undoing
from actorflow.engine.fold import fold
from actorflow.engine.memos import Memo, step_key
from actorflow.engine.rewinding import forked, rewound
from actorflow.engine.snapshot import dump, load
from actorflow.errors import AttemptOver
from tests.engine.driver import copied, picture, replayed
from tests.engine.small import linear, mapped

if TYPE_CHECKING:
    from tests.engine.driver import Driver


def step_of(run: Driver, at: str = "a", name: str = "pay", key: str | int = 1) -> bytes:
    """By what a step of an open activation is known."""
    return step_key(run.open_at(at).key, b"node", name, key)


def does(run: Driver, value: Any = None, *, at: str = "a", name: str = "pay", **how: Any) -> bytes:
    """A step of an open activation comes to its end, and that is committed; what it is known by."""
    step = step_of(run, at, name)
    run.settle(Stepping(run.open_at(at).id, step, name, None, value, **how))
    return step


def test_what_a_step_came_to_is_there_after_a_crash() -> None:
    """As long as its activation is open, under the same key."""
    run = linear()
    step = does(run, {"receipt": 7})

    run.recover()

    assert run.running == ["a"]
    assert step_of(run) == step
    assert run.open_at("a").memos[step] == Memo("pay", over=True, value={"receipt": 7})


def test_what_is_remembered_of_steps_is_closed_with_the_activation() -> None:
    """So that a history costs what one node costs."""
    run = linear()
    does(run, 1)

    run.returns("a", {"n": 1})

    assert run.open_at("b").memos == {}


def test_the_first_result_counts() -> None:
    """Of two that did the same step, say one that was left behind, both go on with what was recorded first."""
    run = linear()
    step = does(run, "first")

    decision = run.settle(Stepping(run.open_at("a").id, step, "pay", None, "second"))

    assert decision.records == []
    assert run.open_at("a").memos[step].value == "first"


@pytest.mark.parametrize("event", [Intending, Stepping, Trying, Undoing], ids=lambda kind: kind.__name__)
def test_a_late_attempt_records_nothing(event: type[Effect]) -> None:
    """Its activation is over: nothing that it did comes into the run after that."""
    run = linear()
    id_, step = run.open_at("a").id, step_of(run)
    run.returns("a", {"n": 1})
    before = picture(run.run)
    more: dict[str, Any] = {
        "Intending": {"name": "pay", "key": None, "now": 1.0},
        "Stepping": {"name": "pay", "key": None},
        "Trying": {
            "name": "pay",
            "key": None,
            "attempt": 1,
            "due": 1.0,
            "began": 0.0,
            "error": RuntimeError("boom"),
        },
        "Undoing": {},
    }[event.__name__]

    with pytest.raises(AttemptOver):
        run.decide(event(id=id_, step=step, **more))

    assert picture(run.run) == before


def test_an_intent_is_there_until_the_step_is_over() -> None:
    """With the time at which it was begun; and then it is known that the step must not run twice."""
    run = linear()
    step, id_ = step_of(run), run.open_at("a").id
    run.settle(Intending(id_, step, "pay", None, 5.0))
    run.recover()

    assert run.open_at("a").memos[step] == Memo("pay", once=True, intended=5.0)
    does(run, 1)

    assert run.open_at("a").memos[step] == Memo("pay", over=True, value=1, once=True)


def test_attempts_of_a_step_are_counted_over_restarts() -> None:
    """A crash gives no fresh budget, and the pause is not begun anew."""
    run = linear()
    step, id_ = step_of(run), run.open_at("a").id

    run.settle(Trying(id_, step, "pay", None, 2, 90.0, 10.0, RuntimeError("boom")))
    run.recover()

    memo = run.open_at("a").memos[step]
    assert (memo.over, memo.attempt, memo.due, memo.began) == (False, 2, 90.0, 10.0)


def test_a_run_that_is_reopened_tries_again_what_failed_but_not_what_must_not_run_twice() -> None:
    """As a node has a fresh budget then; results stay."""
    run = linear()
    failed = does(run, name="failed", error=RuntimeError("boom"))
    succeeded = does(run, 1, name="succeeded")
    once = step_of(run, name="once")
    run.settle(Intending(run.open_at("a").id, once, "once", None, 5.0))
    does(run, name="once", error=RuntimeError("it may have happened"))
    tried = step_of(run, name="tried")
    run.settle(Trying(run.open_at("a").id, tried, "tried", None, 2, 90.0, 10.0, RuntimeError("boom")))
    run.raises("a")
    run.gives_up()

    run.reopen()

    memos = run.open_at("a").memos
    assert (failed in memos, tried in memos) == (False, False)
    assert memos[succeeded].value == 1
    assert memos[once].error is not None


def test_keys_of_steps_never_meet() -> None:
    """Not those of other activations, names, keys, or of the one of that name."""
    keys = [
        step_key(activation, kind, name, key)
        for activation in (b"a", b"b")
        for kind in (b"node", b"handling")
        for name in ("pay", "pa")
        for key in (1, 2, "1", "y", "")
    ]

    assert len(set(keys)) == len(keys)


def test_a_rebased_activation_keeps_what_it_did() -> None:
    """It runs again on a newer state, and its effects were had already."""
    run = linear()
    step = does(run, 1)
    run.updates({"n": 5})

    run.returns("a", {"n": 1})

    assert run.running == ["a"]
    assert run.open_at("a").memos[step].value == 1


def test_items_of_a_fan_out_have_steps_of_their_own() -> None:
    """Each under its own key."""
    run = mapped()

    steps = [does(run, n, at=f"item[{n}]") for n in range(2)]
    run.recover()

    assert steps[0] != steps[1]
    assert [run.open_at(f"item[{n}]").memos[steps[n]].value for n in range(2)] == [0, 1]


def test_what_can_be_undone_outlives_the_activation_that_did_it() -> None:
    """Latest last, with what it came to; it goes when it is undone, by whichever node."""
    run = linear()
    first = does(run, "hotel", name="hotel", undo="cancel_hotel")
    second = does(run, "flight", name="flight", undo="cancel_flight")
    run.returns("a")
    run.recover()

    assert [(one.name, one.undo, one.value) for one in run.run.saga] == [
        ("hotel", "cancel_hotel", "hotel"),
        ("flight", "cancel_flight", "flight"),
    ]
    run.settle(Undoing(run.open_at("b").id, second))
    run.recover()

    assert [one.step for one in run.run.saga] == [first]
    assert run.open_at("b").undone == ["flight"]


def test_what_was_undone_is_not_undone_twice() -> None:
    """The second time nothing is recorded."""
    run = linear()
    step = does(run, undo="cancel")
    run.settle(Undoing(run.open_at("a").id, step))

    decision = run.settle(Undoing(run.open_at("a").id, step))

    assert decision.records == []


def test_a_step_that_failed_is_not_to_be_undone() -> None:
    """There is nothing to undo; and it is told by the record alone, whatever its event says."""
    run = linear()

    does(run, error=RuntimeError("boom"), undo="cancel")

    assert run.run.saga == []


def test_a_snapshot_has_what_is_remembered_and_what_can_be_undone() -> None:
    """In full, whatever was shortened in between."""
    run = linear()
    does(run, {"x": [1]}, name="kept", undo="cancel", shape=("Case", 1, (("n", "int", True),)))
    does(run, name="failed", error=RuntimeError("boom"))
    run.settle(Intending(run.open_at("a").id, step_of(run, name="once"), "once", "k", 5.0))
    undone = does(run, 1, name="undone", undo="cancel")
    run.settle(Undoing(run.open_at("a").id, undone))

    again = load(dump(run.run, shorten=lambda value: ["short", value]), restore=lambda value: value[1])

    assert picture(again) == picture(run.run)


def test_fold_may_spend_what_it_is_given_and_says_the_same_if_it_does_not() -> None:
    """The history folded in place and folded by copies end alike."""
    run = linear()
    does(run, 1, undo="cancel")
    run.settle(Undoing(run.open_at("a").id, step_of(run)))

    by_copies = replayed(run.history[:1])
    for record in run.history[1:]:
        before = picture(by_copies)
        after = fold(copied(by_copies), record)
        assert picture(by_copies) == before
        by_copies = after

    assert picture(by_copies) == picture(run.run)


def test_who_goes_back_begins_without_memos_and_can_still_undo_all_that_was_done() -> None:
    """What is done outside is done, before and after the point to which the run went back."""
    run = linear()
    step = does(run, 1, name="early", undo="cancel")
    then = replayed(run.history)
    does(run, 2, name="late", undo="cancel")
    run.returns("a")

    again = rewound(run.run, then)

    (one,) = again.open.values()
    assert (one.node, one.memos, one.undone) == ("a", {}, [])
    assert step_key(one.key, b"node", "early", 1) != step
    assert [done.name for done in again.saga] == ["early", "late"]


def test_a_fork_undoes_nothing_of_the_run_that_it_is_a_copy_of() -> None:
    """That one goes on, with its hotel."""
    run = linear()
    does(run, 1, undo="cancel")

    fork = forked(run.run, "other", life=1)

    assert fork.saga == []
    assert all(not one.memos for one in fork.open.values())
