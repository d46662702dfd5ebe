"""Folding: records alone make the run, in one way only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import Extended, Put
from actorflow.engine.records import Attempted, Claimed, Ended, ErrorInfo, Failed, Finished, Open, Released, Spawned
from tests.engine.driver import copied, picture, steps, thawed

if TYPE_CHECKING:
    from actorflow.engine.records import Record
    from actorflow.engine.run import RunState

SPAWNED = Spawned(
    run_id="r",
    life=1,
    graph="g",
    topology=b"t",
    durability="sync",
    digest=b"d",
    values={"n": 0, "log": []},
    opens=(Open("a", b"A"),),
)
BOOM = ErrorInfo("RuntimeError", "boom")
FORKED = Finished(1, (Put("n", 1),), opens=(Open("b", b"B"), Open("c", b"C")))


def folded(*records: Record) -> RunState:
    """The run after a spawn and these records."""
    run = begin(SPAWNED)
    for record in records:
        run = fold(run, record)
    return run


def test_a_spawn_opens_the_entries() -> None:
    """Their base is the input."""
    run = folded()

    assert [(one.id, one.node, one.key, one.base["n"]) for one in run.open.values()] == [(1, "a", b"A", 0)]
    assert (run.status, run.epoch, run.opening, run.activations) == ("running", 1, 1, 1)


def test_a_base_is_the_state_after_its_own_record() -> None:
    """Records of one commit give bases of their own: it does not matter what else the commit held."""
    run = folded(FORKED, Finished(2, (Put("n", 2), Extended("log", ["b"])), opens=(Open("d", b"D"),)))

    bases = {one.node: thawed(one.base) for one in run.open.values()}

    assert bases == {"c": {"n": 1, "log": []}, "d": {"n": 2, "log": ["b"]}}


def test_a_write_is_unseen_by_everything_else() -> None:
    """By what is open, by what waits and by what is parked; not by its own successors."""
    run = folded(
        FORKED,
        Finished(2, puts=(("j", "b"),), opens=(Open("p", b"P"),)),
        Finished(4, parks=True),
        Finished(3, (Put("n", 3),), opens=(Open("x", b"X"), Open("y", b"Y"))),
        Finished(5, (Put("m", 1),)),
    )

    assert run.root.waiting["j"]["b"][0].unseen == {"n", "m"}
    assert run.root.parked["p"].unseen == {"n", "m"}
    assert [(one.node, one.unseen) for one in run.open.values()] == [("y", {"m"})]


def test_a_join_takes_the_oldest_token_of_each_leg() -> None:
    """Leaving the later ones, and no empty remains."""
    run = folded(
        FORKED,
        Finished(2, puts=(("j", "b"),), opens=(Open("b", b"B2"),)),
        Finished(4, puts=(("j", "b"),)),
        Finished(3, puts=(("j", "c"),), opens=(Open("j", b"J", takes=("b", "c")),)),
    )

    assert {leg: [token.key for token in tokens] for leg, tokens in run.root.waiting["j"].items()} == {"b": [b"B2"]}
    assert [one.node for one in run.open.values()] == ["j"]


def test_a_join_knows_what_any_of_its_legs_knows() -> None:
    """Unseen is what no leg has seen."""
    run = folded(
        FORKED,
        Finished(2, (Put("x", 1),), puts=(("j", "b"),)),
        Finished(3, (Put("y", 1),), puts=(("j", "c"),), opens=(Open("j", b"J", takes=("b", "c")),)),
    )

    assert run.open[4].unseen == frozenset()


def test_claims_and_releases_change_no_state() -> None:
    """A new owner under the same opening goes on where the old one was."""
    before = folded(FORKED, Attempted(2, 1, 9.0, BOOM))

    after = folded(FORKED, Attempted(2, 1, 9.0, BOOM), Released(), Claimed(epoch=2, opening=1))

    assert picture(after) == {**picture(before), "epoch": 2}


def test_an_opening_gives_everything_another_chance() -> None:
    """Attempts, due times, error and budget are those of a run just begun; bases, keys and values stay."""
    run = folded(FORKED, Attempted(2, 3, 9.0, BOOM), Failed(2, BOOM), Claimed(epoch=2, opening=2))

    assert (run.status, run.error, run.failed_in, run.activations) == ("running", None, None, 0)
    assert [(one.key, one.attempt, one.due) for one in run.open.values()] == [(b"B", 0, None), (b"C", 0, None)]


def test_a_failure_changes_the_status_only() -> None:
    """Everything is there for whoever resumes it."""
    before = picture(folded(FORKED))

    after = picture(folded(FORKED, Failed(3, BOOM)))

    assert after == {**before, "status": "failed", "error": BOOM, "failed_in": "c"}


def test_an_end_by_itself_is_a_status() -> None:
    """Cancelled, finished: whatever the record says."""
    assert folded(Ended("cancelled")).status == "cancelled"


def test_a_copy_folds_like_the_original() -> None:
    """A fold may consume what it is given; an explorer that passes copies sees the same runs."""
    records: list[Any] = [
        SPAWNED,
        FORKED,
        Finished(2, (Extended("log", ["b"]),), puts=(("j", "b"),)),
        Finished(3, (Extended("log", ["c"]),), puts=(("j", "c"),), opens=(Open("j", b"J", takes=("b", "c")),)),
        Finished(4, (Put("n", 9),), parks=True),
        Ended("finished"),
    ]
    consumed = [picture(run) for run in steps(records)]

    kept = [begin(SPAWNED)]
    for record in records[1:]:
        kept.append(fold(copied(kept[-1]), record))

    assert [picture(run) for run in kept] == consumed
