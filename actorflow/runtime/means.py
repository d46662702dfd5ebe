"""Means: what an attempt records with while it goes on, and whether it still may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter
from msgspec import Struct

from actorflow.engine.decision import Place
from actorflow.engine.events import Recorded
from actorflow.errors import AttemptOver
from actorflow.graph.graph import Graph
from actorflow.runtime.contexts import Contexts
from actorflow.runtime.limits import Course
from actorflow.runtime.turnstile import Turnstile

if TYPE_CHECKING:
    from actorflow.engine.memos import Memo


class Graphs(Struct, frozen=True):
    """The graphs that are known in this process."""

    known: Mapping[str, Graph[Any]]  # by name
    register: Callable[[Graph[Any]], None]
    contexts: Contexts


class Means(Struct, frozen=True, eq=False):
    """What a node's context does its work with, in one attempt."""

    place: Place
    threads: CapacityLimiter  # how many sync functions run at once
    record: Callable[[Recorded], Awaitable[None]]  # back when it is durable
    undoing: Turnstile  # of the run: one rolls back at a time
    course: Course  # of the attempt: what comes after it is refused
    graphs: Graphs

    @property
    def memos(self) -> dict[bytes, Memo]:
        """What is remembered of the steps of the activation."""
        return self.place.activation.memos

    async def commit(self, event: Recorded) -> None:
        """Record something; back when it is durable.

        Raises:
            AttemptOver: too late.
            StoreError: it could not be committed.
        """
        self.check("what it did")
        await self.record(event)

    def check(self, what: str) -> None:
        """Refuse what comes too late.

        Raises:
            AttemptOver: the attempt is over, or its time is.
        """
        if self.course.over:
            raise AttemptOver(self.place.node.name, what)
