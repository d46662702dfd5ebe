"""Results: what nodes with a `Cache` returned is looked up before they are called, and kept after."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import MsgspecError, msgpack

from actorflow.engine.fans import checked_result
from actorflow.engine.flow import take_apart
from actorflow.engine.merge import merge
from actorflow.engine.operations import thaw
from actorflow.errors import ActorflowError
from actorflow.graph.schema import ENCODE_ERRORS
from actorflow.runtime import clock
from actorflow.runtime.workers.returned import pack, unpack
from actorflow.runtime.workers.wire import Returned

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.engine.decision import Place
    from actorflow.graph.cache import Cached
    from actorflow.graph.middleware import Call
    from actorflow.runtime.context import NodeContext
    from actorflow.store.cache import ResultCache

FORMAT = 1
"""Part of every key: another form of what is kept is another key."""

_encode = msgpack.Encoder(order="deterministic").encode
_encode_unsorted = msgpack.Encoder().encode
_decode = msgpack.Decoder(Returned).decode

_logger = logging.getLogger("actorflow.node")


class Results:
    """The cache of a runtime's store, for its nodes."""

    def __init__(self, cache: ResultCache, *, in_store: Callable[[Callable[[], Any]], Awaitable[Any]]) -> None:
        """``in_store`` does blocking work of the store in a thread."""
        self._cache = cache
        self._in_store = in_store

    async def of(self, place: Place, cached: Cached, argument: Any, function: Call, *, ctx: NodeContext) -> Any:
        """What a function returns, or has returned before.

        Args:
            place: the activation.
            cached: the cache of its node.
            argument: what the function takes.
            function: calls it.
            ctx: its context, which is told if the function was not called; what waits for an answer is not kept.

        Raises:
            What ``key=`` or the function raises.
        """
        digest = self._cache.digest(_what(place, cached, argument))
        known = await self._in_store(partial(self._cache.get, digest, now=clock.now(), ttl=cached.ttl))
        if known is not None and (found := _read(place, known)) is not None:
            ctx.course.cached = True
            return found[0]
        value = await function()
        if not ctx.asked and (data := _written(place, value)) is not None:
            plan, node = place.plan.graph, place.node.name
            keep = partial(self._cache.put, digest, data, graph=plan, node=node, now=clock.now(), ttl=cached.ttl)
            await self._in_store(keep)
        return value


def _what(place: Place, cached: Cached, argument: Any) -> bytes:
    """All that a result depends on: whose it is, the code, the fields that it is for, and the key."""
    schema, activation = place.schema, place.activation
    if cached.key is not None:
        key: Any = schema.codecs.plain(cached.key(argument))
    elif activation.fan is not None:
        key = schema.codecs.plain(argument)
    else:
        key = {name: thaw(value) for name, value in activation.base.items()}
    kind = "state" if activation.fan is None else "item"
    table = (schema.name, schema.version, schema.table)
    whole = (FORMAT, place.plan.graph, place.node.name, cached.code, table, kind, key)
    try:
        return _encode(whole)
    except TypeError:  # keys of a dict that can't be sorted: found again where they come in the same order
        return _encode_unsorted(whole)


def _written(place: Place, value: Any) -> bytes | None:
    """What a node returned, to be kept; None if it is not what it may return, as the engine will say."""
    if not _fits(place, value):
        return None
    try:
        packed = pack(value, place.schema.codecs, is_item=place.node.fan is not None, call=0)
        return _encode(packed) if isinstance(packed, Returned) else None
    except ENCODE_ERRORS:
        return None


def _read(place: Place, data: bytes) -> tuple[Any] | None:
    """What was kept, if it still is something that the node may return."""
    node = place.node.name
    try:
        value = unpack(_decode(data), place.plan, node, place.schema)
    except (ActorflowError, MsgspecError, ValueError, TypeError) as error:
        _logger.warning("node %r: its result in the cache does not fit, and is computed again: %s", node, error)
        return None
    if _fits(place, value):
        return (value,)
    _logger.warning("node %r: its result in the cache does not fit, and is computed again", node)
    return None


def _fits(place: Place, value: Any) -> bool:
    """Whether this would be merged: tried without merging it."""
    try:
        if place.is_item:
            checked_result(place, value)
        elif update := take_apart(place, value).update:
            merge(place.schema, place.scope.values, update, node=place.node.name)
    except Exception:  # noqa: BLE001 - the user's types and reducers may raise anything
        return False
    return True
