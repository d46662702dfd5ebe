"""Sizes: about how many bytes a scope's values take, kept up to date by what changes and not by all there is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from msgspec import msgpack

from actorflow.engine.events import Warn
from actorflow.engine.operations import Dropped, Extended, Merged, Put, Reduced, Spliced, apply, thaw
from actorflow.engine.records import Measured
from actorflow.errors import StateTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.operations import Operation, Values

WARN_AT = 0.8
"""The part of ``max_state`` from which on there is a warning."""

_encode = msgpack.Encoder().encode


def check_size(decision: Decision, place: Place, operations: Sequence[Operation]) -> None:
    """See whether the state of a scope may take what is about to be merged. Of a graph without ``max_state``: yes.

    Raises:
        StateTooLarge: it may not; a change that makes it smaller always may.
    """
    limit, scope = place.plan.max_state, place.scope
    if limit is None or not operations:
        return
    if scope.size is None:
        decision.note(Measured(scope.path, size_of(scope.values)))
    before = scope.size or 0
    after = before + growth(operations, scope.values)
    if after > max(limit, before):
        raise StateTooLarge(place.node.name, after, limit, _heaviest(operations, scope.values))
    if before < limit * WARN_AT <= after:
        state = place.schema.state_type.__name__
        decision.commands.append(
            Warn(
                place.activation.id,
                f"node {place.node.name!r} brought the {state} to {after:,} of the {limit:,} bytes that "
                f"max_state allows; the largest field is {_heaviest((), scope.values)!r}",
            )
        )


def size_of(values: Values) -> int:
    """About how many bytes all values take."""
    return sum(len(_encode(thaw(value))) for value in values.values())


def growth(operations: Sequence[Operation], values: Values) -> int:
    """By how many bytes these operations make the values larger; negative if smaller.

    Looks only at what they put in and take out. A field with several operations
    is looked at as a whole: what the later ones take out, the earlier may have put in.
    """
    several = {name for name, count in Counter(one.field for one in operations).items() if count > 1}
    if not several:
        return sum(_grown(one, values.get(one.field)) for one in operations)
    total = 0
    now = {name: thaw(values[name]) for name in several if name in values}
    for one in operations:
        if one.field in several:
            total += _grown(one, now.get(one.field))
            now = apply([one], now)
        else:
            total += _grown(one, values.get(one.field))
    return total


def _grown(operation: Operation, before: Any) -> int:
    match operation:
        case Put(value=value) | Reduced(value=value):
            return len(_encode(value)) - (0 if before is None else len(_encode(thaw(before))))
        case Extended(items=items):
            return _inside(items)
        case Spliced(start=start, stop=stop, items=items):
            return _inside(items) - _inside(thaw(before)[start:stop])
        case Merged(items=items):
            return _pairs(items) - _pairs({key: before[key] for key in items if before and key in before})
        case Dropped(keys=keys):
            return -_pairs({key: before[key] for key in keys if before and key in before})


def _inside(items: list[Any]) -> int:
    """What the elements of a list take, without the list itself."""
    return len(_encode(items)) - _head(len(items))


def _pairs(items: dict[Any, Any]) -> int:
    return len(_encode(items)) - _head(len(items))


def _head(count: int) -> int:
    """Bytes in which msgpack says how many elements there are."""
    return 1 if count < 16 else 3 if count < 65536 else 5


def _heaviest(operations: Iterable[Operation], values: Values) -> str:
    """The field that takes most, with what these operations would add to it."""
    sizes = Counter({name: len(_encode(thaw(value))) for name, value in values.items()})
    for one in operations:
        sizes[one.field] += max(0, _grown(one, values.get(one.field))) if not isinstance(one, Spliced) else 0
    return sizes.most_common(1)[0][0]
