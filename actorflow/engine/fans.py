"""Fans: one activation becomes many items, whose results come back in the items' order."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from actorflow.engine.flow import Outcome, deliver, take_apart
from actorflow.engine.fold import gather
from actorflow.engine.merge import merge, plain_writes, typed
from actorflow.engine.operations import thaw
from actorflow.engine.records import Fanned, Handed, ItemDone, ItemFailed, describe
from actorflow.engine.updates import keep, restore
from actorflow.errors import BadUpdate, ConcurrentWrite, NoItems, TooManyItems
from actorflow.graph.fan import WHOLE, ItemError
from actorflow.graph.schema import ENCODE_ERRORS, kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.run import FanOut
    from actorflow.graph.fan import Fan
    from actorflow.graph.schema import Field


def fan_out(decision: Decision, place: Place) -> None:
    """Begin the fan-out of an activation: its items are fixed from now on.

    Raises:
        Whatever ``over=`` and ``limit=`` raise; BadUpdate, NoItems, TooManyItems: nothing has begun.
    """
    activation, fan = place.activation, place.node.fan
    if fan is None:
        assert activation.sent is not None, "only what was sent to is a fan-out without being a map"
        record = Fanned(activation.id, len(activation.sent), place.node.limit)
    else:
        record = _mapped(place, fan)
    if record.total > place.plan.max_items:
        raise TooManyItems(place.node.name, record.total, place.plan.max_items)
    if record.total == 0 and fan is not None and fan.on_empty == "fail":
        raise NoItems(place.node.name)
    decision.note(record)
    decision.done.append(activation.id)


def _mapped(place: Place, fan: Fan) -> Fanned:
    activation, node = place.activation, place.node.name
    state = typed(place.schema, activation.base) if callable(fan.over) or callable(fan.limit) else None
    limit = fan.at_once(state, node=node) if state is not None else fan.limit
    assert isinstance(limit, int)
    if isinstance(fan.over, str):
        return Fanned(activation.id, len(thaw(activation.base[fan.over])), limit, field=fan.over)
    if isinstance(fan.over, int):
        return Fanned(activation.id, fan.over, limit)
    assert state is not None
    items = fan.items(state, node=node)
    if isinstance(items, range):
        return Fanned(activation.id, len(items), limit)
    codecs = place.schema.codecs
    try:
        plain = [codecs.plain(item) for item in items]
    except ENCODE_ERRORS as error:
        raise BadUpdate(node, f"over= gave an item that can't be encoded: {error}") from error
    return Fanned(activation.id, len(plain), limit, items=plain)


def look_at(decision: Decision, place: Place) -> None:
    """Finish the owner of a fan-out if all of its items are done.

    Raises:
        BadUpdate, ReducerError: what they made does not fit; nothing was merged.
    """
    fan = decision.run.fans[place.activation.id]
    if fan.done < fan.total:
        return
    if place.node.fan is None:
        _merge_sent(decision, place, fan)
    else:
        _merge_results(decision, place, place.node.fan, fan)


def item_returned(decision: Decision, place: Place, value: Any, *, took: float) -> None:
    """A function's item finished.

    Raises:
        BadUpdate: what it returned does not fit where it is to go.
    """
    finish_item(decision, place, checked_result(place, value), took=took)


def finish_item(decision: Decision, place: Place, result: Any, *, took: float = 0.0) -> None:
    """An item is done; perhaps it was the last one."""
    decision.note(ItemDone(place.activation.id, result, took))
    _after_item(decision, place)


def fail_item(decision: Decision, place: Place, error: BaseException) -> None:
    """An item failed for good, and its map collects such."""
    decision.note(ItemFailed(place.activation.id, describe(error)))
    _after_item(decision, place)


def _after_item(decision: Decision, place: Place) -> None:
    assert place.activation.fan is not None
    decision.done.append(place.activation.fan)


def checked_result(place: Place, value: Any) -> Any:
    """The result of an item as it is kept: a plain value that fits its field, or a node's update.

    Raises:
        BadUpdate: it does not.
    """
    node, schema = place.node, place.schema
    if node.fan is None:
        outcome = take_apart(place, value)
        if outcome.goto is not None:
            raise BadUpdate(node.name, "what is sent to it comes back as updates; its edges say where the run goes on")
        update = outcome.update or {}
        merge(schema, place.scope.values, update, node=node.name)  # tried now, so that it is this item's mistake
        return [msgspec.to_builtins(one) for one in keep(schema, update)]
    whole = [name for name, part in node.fan.into.items() if part == WHOLE]
    try:
        if len(whole) == 1 and _is_listed(field := schema.fields[whole[0]]):
            return (field.check_update if field.reducer is not None else field.check)([value])[0]
        return kept(value, schema.codecs)
    except Exception as error:
        where = f" (it goes into {whole[0]!r})" if whole else ""
        raise BadUpdate(node.name, f"an item's result does not fit: {error}{where}") from error


def _is_listed(field: Field) -> bool:
    """Whether the field takes a list of results as it is, so that one result can be checked on its own."""
    return field.type_text.startswith("list[") and (field.reducer is None or field.update_type == field.type)


def _merge_results(decision: Decision, place: Place, fan: Fan, done: FanOut) -> None:
    update: dict[str, Any] = {}
    results: dict[str, tuple[str, list[Any]]] = {}
    failed = [_item_error(place, done, index) for index in sorted(done.failed)]
    for name, part in fan.into.items():
        gathered = gather(done, part)
        if failed and fan.errors is None:
            update[name] = _with_errors(done, part, iter(failed))
        else:
            update[name] = gathered
            results[name] = (part, gathered)
    if fan.errors is not None and failed:
        update[fan.errors] = failed
    if done.total == 0:
        update = {}
    deliver(decision, place, Outcome(update), updates=[update] if update else [], results=results)


def _with_errors(done: FanOut, part: str, failed: Any) -> list[Any]:
    """The results with the errors in their places."""
    return [
        next(failed) if index in done.failed else result if part == WHOLE else result[part]
        for index, result in enumerate(done.results)
    ]


def _item_error(place: Place, done: FanOut, index: int) -> ItemError:
    error = done.failed[index]
    return ItemError(index, done.item(index, place.activation.base), error.type, error.message)


def _merge_sent(decision: Decision, place: Place, done: FanOut) -> None:
    updates: list[Mapping[str, Any]] = []
    counts: Counter[str] = Counter()
    for result in done.results:
        update = {its.field: restore(its) for its in msgspec.convert(result, list[Handed])}
        counts.update(plain_writes(merge(place.schema, place.scope.values, update, node=place.node.name)))
        updates.append(update)
    if several := [name for name, count in counts.items() if count > 1]:
        decision.fail(place.activation.id, ConcurrentWrite(place.node.name, several))
        return
    deliver(decision, place, Outcome(None), updates=[update for update in updates if update])
