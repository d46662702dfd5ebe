"""Mistakes planted in what is nested: fan-outs, scopes, joins of some, queues. The random plays must find every one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import actorflow.engine.decide as deciding
from actorflow.engine import fold as folding
from actorflow.engine import scopes, snapshot
from actorflow.engine.merge import plain_writes
from tests.engine.nested import NestedSketch
from tests.engine.test_nested import compared, played_in_all_modes
from tests.engine.witness import Violation

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.run import FanOut, RunState, Scope

pytestmark = pytest.mark.no_cover  # thousands of times the same ways

ENOUGH = 30  # sketches, four times as many as the shyest mistake takes to show


def found() -> str:
    """The objection to the first sketch that shows the mistake."""
    for seed in range(ENOUGH):
        sketch = NestedSketch(seed)
        try:
            compared(sketch, played_in_all_modes(sketch, seed))
        except (Violation, LookupError, AssertionError) as objection:  # a mistake may also break fold itself
            return repr(objection)
    return "nothing"


def test_an_item_that_counts_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fan-out would be over too early."""
    right = folding._end_item

    def twice(run: RunState, id_: int, *result: Any) -> None:
        fan = run.fans[run.open[id_].fan or 0]
        right(run, id_, *result)
        fan.done += fan.total > 2

    monkeypatch.setattr(folding, "_end_item", twice)

    assert "items do not add up" in found()


def test_results_in_the_order_of_completion_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two orders would be two states."""

    def hasty(run: RunState, id_: int, result: object, error: Any) -> None:
        item = run.open[id_]
        right(run, id_, result, error)
        fan = run.fans[item.fan or 0]
        if error is None and not fan.failed:
            fan.results[item.index or 0] = None
            fan.results[fan.done - 1] = result

    right = folding._end_item
    monkeypatch.setattr(folding, "_end_item", hasty)

    assert found() != "nothing"


def test_a_late_leg_that_opens_again_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its token would open, or wait for, a round that has been."""
    right = folding._open

    def forgetful(run: RunState, path: str, opens: Any, inherited: Any) -> None:
        right(run, path, [msgspec.structs.replace(one, late=()) for one in opens], inherited)

    monkeypatch.setattr(folding, "_open", forgetful)

    assert found() != "nothing"


def test_a_fan_out_that_is_over_with_an_item_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The item, and its scope, would be dropped."""
    right = deciding.look_at

    def hasty(decision: Decision, place: Place) -> None:
        fan = decision.run.fans[place.activation.id]
        last = [one.index for one in decision.run.open.values() if one.fan == place.activation.id]
        early = place.node.fan is not None and fan.total > 1 and last == [fan.total - 1]
        results, fan.results = fan.results, fan.results[: fan.total - early]
        fan.total -= early
        right(decision, place)
        fan.total += early
        fan.results = results

    monkeypatch.setattr(deciding, "look_at", hasty)

    assert "before its items" in found()


def test_a_scope_that_is_left_with_something_open_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes on there would be dropped with it."""
    right = deciding._look

    def hasty(decision: Decision, path: str) -> None:
        scope = decision.run.scopes.get(path)
        if scope is not None and path and scope.owner is not None and scope.live == 1:
            deciding._leave(decision, path)
        else:
            right(decision, path)

    monkeypatch.setattr(deciding, "_look", hasty)

    assert "left with something open" in found()


def test_updates_that_are_handed_up_twice_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """All executions would agree; what was written inside is not what comes out."""
    right = scopes._updates

    def doubled(*arguments: Any) -> list[Any]:
        found = right(*arguments)
        return [*found, *(update for update in found if "log" in update)]

    monkeypatch.setattr(scopes, "_updates", doubled)

    assert "not what was handed up" in found()


def test_unseen_that_leaks_between_scopes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A write in one scope would conflict with one of another."""
    right = folding._write

    def leaking(run: RunState, activation: Any, operations: Any, *handed: Any) -> None:
        right(run, activation, operations, *handed)
        for other in run.open.values():
            if other.scope != activation.scope:
                other.unseen |= plain_writes(operations)

    monkeypatch.setattr(folding, "_write", leaking)

    assert "unseen is wrong" in found()


def test_a_queue_in_another_order_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came last would be next."""

    def last(decision: Decision, place: Place) -> Any:
        here = place.activation.scope, place.node.name
        waiting = [one for one in decision.run.open.values() if one.queued and (one.scope, one.node) == here]
        return waiting[-1] if waiting else None

    monkeypatch.setattr(scopes, "_next", last)

    assert "before those who waited" in found()


def test_a_count_of_what_is_open_that_is_wrong_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scope would never come to its end, or too early."""
    right = folding._open_item

    def uncounted(run: RunState, owner: Any, fan: FanOut) -> None:
        right(run, owner, fan)
        run.scopes[owner.scope].live -= 1

    monkeypatch.setattr(folding, "_open_item", uncounted)

    assert "the count of what is open in a scope is wrong" in found()


def test_something_that_a_snapshot_leaves_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was loaded would go on as another one."""
    right = snapshot._load_scope

    def forgetful(*arguments: Any) -> Scope:
        scope = right(*arguments)
        scope.written = frozenset()
        return scope

    monkeypatch.setattr(snapshot, "_load_scope", forgetful)

    assert "a snapshot differs from its run" in found()


def test_without_a_mistake_nothing_is_found() -> None:
    """The same search over the same sketches."""
    assert found() == "nothing"
