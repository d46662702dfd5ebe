"""Returned: what a node's function returned, as a message from its worker process and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec import Raw

from actorflow.errors import BadUpdate, UndeclaredTarget
from actorflow.graph.reducers import Overwrite, Remove
from actorflow.graph.routing import END, End, Goto, NodeHandle, Reply, Send, label
from actorflow.graph.schema import ENCODE_ERRORS
from actorflow.graph.state import State
from actorflow.runtime.workers.wire import Refused, Returned, Route, Sent, Whole, Write

if TYPE_CHECKING:
    from actorflow.graph.codec import Codecs
    from actorflow.graph.plan import Plan
    from actorflow.graph.routing import NodeRef, Target
    from actorflow.graph.schema import Schema


def pack(value: Any, codecs: Codecs, *, is_item: bool, call: int) -> Returned | Refused:
    """In the worker process: a message that says the same as ``value``, or why there is none."""
    try:
        if is_item:
            return Returned(call, result=(codecs.plain(value),))
        if isinstance(value, End):
            return Returned(call, routes=(_route(value),))
        if isinstance(value, Goto):
            routes = tuple(map(_route, value.targets))
            return Returned(call, _update(value.update, codecs), routes, parent=value.parent)
        if isinstance(value, Reply):
            return Returned(call, _update(value.update, codecs), reply=(codecs.plain(value.value),))
        if isinstance(value, Send):
            value = [value]
        if isinstance(value, list | tuple):
            return Returned(call, sends=tuple(_sent(one, codecs) for one in cast("list[Any]", value)))
        return Returned(call, _update(value, codecs))
    except _Unfit as unfit:
        return Refused(call, unfit.problem, unfit.field)
    except ENCODE_ERRORS as error:
        return Refused(call, str(error), None)


def unpack(returned: Returned, plan: Plan, node: str, schema: Schema) -> Any:
    """In the runtime's process: what the function returned.

    Raises:
        BadUpdate: it is a state of another class, or one that does not decode.
        UndeclaredTarget: a route to a function that is no declared target.
    """
    if returned.result is not None:
        return returned.result[0]
    if returned.sends is not None:
        declared: tuple[str | End, ...] = plan.nodes[node].send
        return [
            Send(cast("NodeRef", _unroute(sent.to, plan, node, declared)), sent.input, _written(sent.update))
            for sent in returned.sends
        ]
    update = returned.update
    value: Any = _state(update, node, schema) if isinstance(update, Whole) else _written(update)
    if returned.reply is not None:
        return Reply(returned.reply[0], value)
    if returned.routes is None:
        return value
    if [route.how for route in returned.routes] == ["end"] and value is None and not returned.parent:
        return END
    declared = () if returned.parent else plan.nodes[node].goto
    first, *more = (_unroute(route, plan, node, declared) for route in returned.routes)
    return Goto(first, *more, update=value, parent=returned.parent)


class _Unfit(Exception):
    """What a node returned is no update, or a field of it can't be encoded."""

    def __init__(self, problem: str, field: str | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.field = field


def _update(value: Any, codecs: Codecs) -> tuple[Write, ...] | Whole | None:
    if value is None:
        return None
    if isinstance(value, State):
        return Whole(_path(type(value)), Raw(codecs.encode(value)))
    if not isinstance(value, Mapping):
        raise _Unfit(
            f"returned {type(value).__name__}; a node returns None, a dict of fields, its State, Goto, Send or END"
        )
    writes: list[Write] = []
    for field, new in cast("Mapping[Any, Any]", value).items():  # type: ignore[redundant-cast]
        try:
            writes.append(_write(codecs.plain(field), new, codecs))
        except ENCODE_ERRORS as error:
            raise _Unfit(str(error), str(field)) from error
    return tuple(writes)


def _state(whole: Whole, node: str, schema: Schema) -> State:
    kind = schema.state_type
    if whole.kind != _path(kind):
        other = whole.kind.rpartition(":")[2]
        raise BadUpdate(node, f"returned a {other}, not a {kind.__name__} or an update")
    try:
        return cast("State", schema.codecs.decode(bytes(whole.state), kind))
    except Exception as error:  # its own __post_init__ may raise anything
        raise BadUpdate(node, f"returned a {kind.__name__} that does not decode: {error}") from error


def _write(field: Any, value: Any, codecs: Codecs) -> Write:
    if isinstance(value, Overwrite):
        return Write(field, "overwrite", codecs.plain(value.value))
    if isinstance(value, Remove):
        return Write(field, "remove", codecs.plain(value.keys))
    return Write(field, "update", codecs.plain(value))


def _written(writes: tuple[Write, ...] | None) -> dict[Any, Any] | None:
    if writes is None:
        return None
    made: dict[str, Callable[[Any], Any]] = {
        "overwrite": Overwrite,
        "remove": lambda keys: Remove(*keys),
        "update": lambda value: value,
    }
    return {write.field: made[write.how](write.value) for write in writes}


def _sent(value: Any, codecs: Codecs) -> Sent:
    if not isinstance(value, Send):
        raise _Unfit(f"returned a list with {type(value).__name__}; a node may return a list of Send")
    update = _update(value.update, codecs)
    if isinstance(update, Whole):
        raise _Unfit("a Send takes an update, not a whole state")
    return Sent(_route(value.node), codecs.plain(value.input), update)


def _route(target: Target) -> Route:
    if isinstance(target, End):
        return Route("end")
    if isinstance(target, str | NodeHandle):
        return Route("name", label(target))
    return Route("function", _path(target))


def _unroute(route: Route, plan: Plan, node: str, declared: tuple[str | End, ...]) -> Target:
    match route.how:
        case "end":
            return END
        case "name":
            return route.target
        case "function":
            for name in declared:
                if isinstance(name, str) and _path(plan.nodes[name].fn) == route.target:
                    return plan.nodes[name].fn
            raise UndeclaredTarget(node, route.target, map(label, declared))


def _path(thing: Callable[..., Any]) -> str:
    return f"{getattr(thing, '__module__', '')}:{getattr(thing, '__qualname__', label(thing))}"
