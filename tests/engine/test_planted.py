"""Mistakes planted in the engine, each of which was once a good idea: the random plays must find every one.

A check that can't fail proves nothing. Each plant replaces one function of the
engine, or one method of the driver, by a version with the mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import actorflow.engine.decision as deciding
from actorflow.engine.fold import fold
from actorflow.engine.merge import typed
from actorflow.engine.records import Finished, Open, Record
from actorflow.graph.routing import END
from actorflow.graph.schema import schema_of
from tests.engine.driver import Driver, picture, replayed
from tests.engine.generator import Sketch, World
from tests.engine.player import play
from tests.engine.test_interleavings import compared, played_in_all_modes
from tests.engine.witness import Ledger, Violation, Witness, demand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.run import RunState

pytestmark = pytest.mark.no_cover  # thousands of times the same ways

ENOUGH = 60  # sketches, five times as many as the shyest mistake takes to show


def found(**options: Any) -> str:
    """The objection to the first sketch that shows the mistake."""
    for seed in range(ENOUGH):
        sketch = Sketch(seed)
        try:
            compared(sketch, played_in_all_modes(sketch, seed, **options))
        except (Violation, LookupError) as objection:  # a mistake may also break fold itself
            return repr(objection)
    return "nothing"


# -- the reset of unseen --------------------------------------------------------------


def resetting(run: RunState, record: Record) -> RunState:
    """Forget what is unseen when a single activation is open: nothing runs beside it, after all."""
    run = fold(run, record)
    if len(run.open) == 1:
        for activation in run.open.values():
            activation.unseen = frozenset()
    return run


def test_a_reset_of_unseen_is_found_by_the_witness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The causal past, worked out by brute force, says otherwise."""
    monkeypatch.setattr(deciding, "fold", resetting)
    monkeypatch.setattr("tests.engine.witness.fold", resetting)

    assert "unseen is wrong" in found()


def test_a_reset_of_unseen_is_found_by_its_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any witness: what comes of the run depends on timing."""
    monkeypatch.setattr(deciding, "fold", resetting)
    monkeypatch.setattr("tests.engine.witness.Witness._demand_seen", lambda *_: None)

    assert "two orders" in found(watched=False)


def test_a_lost_update_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever unseen: the history itself shows a write over one that its writer does not come after."""

    def forgetful(run: RunState, record: Record) -> RunState:
        run = fold(run, record)
        for activation in run.open.values():
            activation.unseen = frozenset()
        return run

    monkeypatch.setattr(deciding, "fold", forgetful)

    with pytest.raises(Violation, match="an update was lost"):
        witness_histories()


def witness_histories() -> None:
    """Play unwatched, and have the finished histories witnessed."""
    for seed in range(ENOUGH):
        Witness(Ledger(), play(Sketch(seed), seed, watched=False).run.history)


# -- counters as keys -------------------------------------------------------------------


def counting(run: RunState, record: Record) -> RunState:
    """Number the activations, and use the number as the key."""
    run = fold(run, record)
    for activation in run.open.values():
        activation.key = activation.id.to_bytes(16, "big")
    return run


def test_counters_as_keys_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a crash that loses a suffix, another node gets the key, and with it somebody else's effect."""
    monkeypatch.setattr(deciding, "fold", counting)
    monkeypatch.setattr("tests.engine.witness.fold", counting)

    assert "a key went to another activation" in found()


# -- targets evaluated at replay -----------------------------------------------------------


def evaluating(sketch: Sketch) -> Any:
    """A fold that asks the branches again instead of reading their targets from the record."""
    plan, schema = sketch.graph.plan, schema_of(World)

    def asking(run: RunState, record: Record) -> RunState:
        if isinstance(record, Finished) and (branches := plan.branches.get(run.open[record.id].node)):
            state = typed(schema, run.root.values)
            answers = [branch.fn(state) for branch in branches]
            opens = tuple(
                Open(answer, opened.key) for answer, opened in zip(answers, record.opens, strict=False) if answer != END
            )
            record = msgspec.structs.replace(record, opens=opens)
        return fold(run, record)

    return asking


def history_under_newer_code(monkeypatch: pytest.MonkeyPatch, *, planted: bool) -> Iterator[int]:
    """Play, deploy code in which every choice is another one, and read the history again."""
    for seed in range(ENOUGH):
        sketch = Sketch(seed)
        played = play(sketch, seed)
        before = picture(played.run.run)
        sketch.flipped = True
        with monkeypatch.context() as patched:
            if planted:
                patched.setattr(deciding, "fold", evaluating(sketch))
            demand(picture(replayed(played.run.history)) == before, "history changed with the code", seed)
        yield seed


def test_history_is_the_same_under_newer_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was decided stays decided."""
    assert len(list(history_under_newer_code(monkeypatch, planted=False))) == ENOUGH


def test_targets_evaluated_at_replay_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The history would go where the new code points."""
    with pytest.raises((Violation, LookupError)):
        list(history_under_newer_code(monkeypatch, planted=True))


# -- commit-level bases ------------------------------------------------------------------------


class Batching(Driver):
    """Gives what a commit opened the state after the whole commit."""

    def commit(self) -> None:
        known = getattr(self, "known", set[int]())
        super().commit()
        for activation in self.run.open.values():
            if activation.id not in known:
                activation.base = self.run.scopes[activation.scope].values
        self.known = set(self.run.open)


def test_commit_level_bases_are_found() -> None:
    """A node would see what a concurrent one wrote, whenever they happen to share a commit."""
    objection = found(driver=Batching)

    assert "a base is not the state after its record" in objection or "the history is not the run" in objection


# -- finishes lost and doubled --------------------------------------------------------------------


class Forgetting(Driver):
    """Loses the last record of a commit of several."""

    def commit(self) -> None:
        if len(self.pending) > 2:
            self.pending.pop()
        super().commit()


def test_a_lost_record_is_found() -> None:
    """The history is not the run any more."""
    assert found(driver=Forgetting) != "nothing"


def test_without_a_mistake_nothing_is_found() -> None:
    """The same search over the same sketches."""
    assert found() == "nothing"
