"""Attempts: calling what a graph declares, once, so that whatever comes of it becomes an event."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import anyio
from anyio import CapacityLimiter
from msgspec import Struct, field

from actorflow.engine.decision import place_of
from actorflow.engine.events import Raised, Recorded, Returned, Suspended
from actorflow.engine.merge import typed
from actorflow.engine.run import Activation
from actorflow.engine.scopes import item_of
from actorflow.errors import NodeTimeout, StateMutated
from actorflow.graph.plan import Plan
from actorflow.runtime import clock
from actorflow.runtime.calling import invoke
from actorflow.runtime.context import NodeContext, Suspend
from actorflow.runtime.limits import Course, within
from actorflow.runtime.means import Graphs, Means
from actorflow.runtime.results import Results
from actorflow.runtime.turnstile import Turnstile
from actorflow.runtime.workers.pool import Workers

if TYPE_CHECKING:
    from actorflow.engine.decision import Place
    from actorflow.engine.run import RunState
    from actorflow.graph.middleware import Call
    from actorflow.graph.node import Handler, Node
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State


class Caller(Struct, frozen=True):
    """How the nodes of a run are called."""

    plan: Plan
    context: Any  # what they get as ``ctx.context``
    debug: bool  # compare each state after its node with what it was before
    threads: CapacityLimiter  # how many sync nodes run at once
    workers: Workers  # the processes of isolated nodes
    tell: Callable[[Activation, int, str, tuple[Any, ...]], None]  # what a node emits and reports
    results: Results  # of nodes that have a cache
    graphs: Graphs  # that are known here
    undoing: Turnstile = field(default_factory=Turnstile)  # one rolls back at a time

    async def attempt(
        self,
        run: RunState,
        activation: Activation,
        attempt: int,
        *,
        seq: int,
        record: Callable[[Recorded], Awaitable[None]],
    ) -> _Event:
        """Call a node, or what takes over for it, once.

        Args:
            run: as it is now.
            activation: what to call.
            attempt: the first is 1.
            seq: the newest commit, for messages.
            record: commits what it records while it goes on; back when that is durable.
        """
        place = place_of(self.plan, run, activation)
        ctx = self._context(place, attempt, record) if _looks_around(place) else None
        started = time.perf_counter()
        value = None
        try:
            value = await self._value(place, ctx)
        except Exception as error:  # noqa: BLE001 - whatever a node raises is decided upon
            if ctx is None or not ctx.asked:  # a node that failed because it waits is asked again when it need not
                error.add_note(f"in node {place.node.name!r} of run {run.run_id!r}, after commit {seq}")
                final = type(error) is NodeTimeout and error.limit == "total"
                return Raised(activation.id, error, attempt, clock.now(), random.random(), final)
        except (Suspend, BaseExceptionGroup) as error:
            if ctx is None or not ctx.asked or _rest(error) is not None:
                raise  # not ours, or it was cancelled from outside meanwhile
        finally:
            if ctx is not None:
                ctx.course.ended = True
        took, now, chance = time.perf_counter() - started, clock.now(), random.random()
        if ctx is None:
            return Returned(activation.id, value, took, attempt, now, chance)
        if ctx.asked:
            return Suspended(activation.id, tuple(ctx.asked), attempt, tuple(ctx.outgoing))
        return Returned(activation.id, value, took, attempt, now, chance, ctx.course.cached, tuple(ctx.outgoing))

    def _context(self, place: Place, attempt: int, record: Callable[[Recorded], Awaitable[None]]) -> NodeContext:
        course = Course(partial(self.tell, place.activation, attempt))
        return NodeContext(
            place.activation,
            attempt,
            run_id=place.run.run_id,
            context=self.context,
            codecs=place.schema.codecs,
            tell=course,
            means=Means(place, self.threads, record, self.undoing, course, self.graphs),
        )

    def _value(self, place: Place, context: NodeContext | None) -> Awaitable[Any]:
        ctx = cast("NodeContext", context)  # None: nothing that is called takes it
        activation, node, schema = place.activation, place.node, place.schema
        if activation.handling and node.on_error is not None:
            return self._handle(node.on_error, typed(schema, activation.base), ctx)
        if activation.fan is not None:
            return self._call(place, item_of(place), ctx)
        state = typed(schema, activation.base)
        return self._watched(place, state, ctx) if self.debug else self._call(place, state, ctx)

    async def _watched(self, place: Place, state: State, ctx: NodeContext) -> Any:
        before = _images(place.schema, state)
        value = await self._call(place, state, ctx)
        if mutated := _changed(before, _images(place.schema, state)):
            raise StateMutated(place.node.name, mutated)
        return value

    async def _handle(self, handler: Handler, state: State, ctx: NodeContext) -> Any:
        assert handler.fn is not None, "a node that handles is opened like any other"  # noqa: S101
        arguments: tuple[Any, ...] = (state, ctx.error, ctx) if handler.takes_context else (state, ctx.error)
        return await invoke(handler.fn, arguments, self.threads)

    async def _call(self, place: Place, argument: Any, ctx: NodeContext) -> Any:
        node: Node = place.node
        taken = (argument,) if place.activation.letter is None else (argument, message_of(place))
        try:
            if node.isolated is not None:  # its time does not run while it waits for a process
                async with self.workers.one(node, node.isolated) as worker:
                    function = partial(worker.call, place.plan, node, place.schema, taken, ctx)
                    return await self._around(place, argument, ctx, function)
            arguments: tuple[Any, ...] = (*taken, ctx) if node.takes_context else taken
            if node.timeout is None and not node.middleware and node.cache is None:
                if node.is_async:
                    return await node.fn(*arguments)
                return await invoke(node.fn, arguments, self.threads)
            return await self._around(place, argument, ctx, partial(self._function, node, arguments))
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise  # this task was cancelled, by whoever closes or stops the run
            message = f"node {node.name!r} raised {type(error).__name__} itself"
            raise RuntimeError(message) from error

    async def _around(self, place: Place, argument: Any, ctx: NodeContext, function: Call) -> Any:
        """Call a function with what is around it, from outside to inside: time limits, middleware, the cache."""
        node, activation = place.node, place.activation
        call = function
        if node.cache is not None and not activation.answers:  # what it was answered is in no key
            call = partial(self.results.of, place, node.cache, argument, function, ctx=ctx)
        if node.middleware:
            call = _surrounded(node, argument, ctx, call)
        if node.timeout is None:
            return await call()
        return await within(node.timeout, call, node=node.name, began=activation.began, course=ctx.course)

    async def _function(self, node: Node, arguments: tuple[Any, ...]) -> Any:
        if node.is_async:
            return await node.fn(*arguments)
        return await invoke(node.fn, arguments, self.threads)


def _looks_around(place: Place) -> bool:
    """Whether anything that is called for an activation needs the context. Most nodes don't, and are spared it."""
    node = place.node
    if node.takes_context or node.middleware or place.activation.handling:
        return True
    return node.timeout is not None or node.cache is not None or node.isolated is not None


def message_of(place: Place) -> State:
    """The message that a turn handles."""
    letter = place.activation.letter
    assert letter is not None, "only a turn has one"  # noqa: S101
    return typed(place.plan.messages[place.run.forms[letter.form].name], letter.values)


def _surrounded(node: Node, argument: Any, ctx: NodeContext, function: Call) -> Call:
    """The function with the middleware around it. Only the function can wait: it alone is called again for that."""
    outer = ctx.around()

    def anew() -> Awaitable[Any]:
        ctx.ask_anew()
        return function()

    call: Call = anew
    for middleware in reversed(node.middleware):
        call = partial(middleware, argument, outer, call)
    return call


_Event = Returned | Raised | Suspended


def _rest(error: Suspend | BaseExceptionGroup[BaseException]) -> BaseException | None:
    """What is in a group beside waits and failures: a cancellation, or somebody's wish to end the process."""
    return None if isinstance(error, Suspend) else error.split((Suspend, Exception))[1]


def _images(schema: Schema, state: State) -> dict[str, bytes]:
    """The fields as they would be encoded: values can't be compared, a NaN is not even equal to itself."""
    return {name: schema.codecs.encode(getattr(state, name)) for name in state.__struct_fields__}


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [name for name, image in after.items() if before[name] != image]
