"""Flights: the attempts of an actor that are under way beside its loop, and the times that it is told of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import anyio
from anyio import CancelScope

from actorflow.engine.events import Due, Raised, Recorded, Retry, Returned, Suspended
from actorflow.runtime import clock

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from anyio.abc import TaskGroup

    from actorflow.engine.run import RunState
    from actorflow.runtime.attempt import Caller
    from actorflow.runtime.observers import Observers
    from actorflow.store.frames import Header


class Flights(ABC):
    """The part of an actor that calls nodes, and waits for times. What comes of that are its events."""

    __slots__ = ("_caller", "_events", "_expiring", "_flying", "_interrupt", "_observers", "_ready", "_sleeping", "run")

    def __init__(self, run: RunState, caller: Caller, observers: Observers) -> None:
        """Nothing is under way."""
        self.run = run
        self._caller = caller
        self._observers = observers
        self._events: list[Returned | Raised | Suspended | Due] = []
        self._ready: dict[int, int] = {}  # activation: attempt
        self._flying: dict[int, CancelScope] = {}
        self._sleeping: dict[int, CancelScope] = {}  # those of the flying that only wait for their next attempt
        self._expiring: dict[int, float] = {}  # activations that are told of a time, and when
        self._interrupt: KeyboardInterrupt | SystemExit | None = None  # of a node, for the loop to raise

    @property
    @abstractmethod
    def header(self) -> Header:
        """The newest header that was committed."""

    @abstractmethod
    def _look_up(self) -> None:
        """Something happened."""

    @abstractmethod
    async def _record(self, event: Recorded) -> None:
        """Commit what an attempt wants recorded while it goes on."""

    def _start_ready(self, tasks: TaskGroup) -> None:
        for id_, attempt in self._ready.items():
            due = self.run.open[id_].due
            if due is None:
                scope = self._flying[id_] = CancelScope()
                tasks.start_soon(self._fly, id_, attempt, scope)
            else:  # a recorded retry, taken up again: late is immediate
                self._retry_later(tasks, Retry(id_, attempt, max(0.0, due - clock.now())))
        self._ready.clear()

    def _retry_later(self, tasks: TaskGroup, retry: Retry) -> None:
        # it sleeps from now on, not from when its task is first scheduled: parking asks in between
        scope = self._flying[retry.id] = self._sleeping[retry.id] = CancelScope()
        tasks.start_soon(self._retry, retry, scope)

    async def _fly(self, id_: int, attempt: int, scope: CancelScope) -> None:
        try:
            if id_ in self.run.open:
                with scope:
                    event = await self._attempt(id_, attempt)
                    self._events.append(event)  # to the list that there is by now
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt = error  # raised by the loop: out of this task it would stop asyncio's at once
        del self._flying[id_]
        self._look_up()

    def _attempt(self, id_: int, attempt: int) -> Coroutine[Any, Any, Returned | Raised | Suspended]:
        activation = self.run.open[id_]
        if self._observers.live:
            self._observers.started(activation, attempt)
        return self._caller.attempt(self.run, activation, attempt, seq=self.header.seq, record=self._record)

    def _expire_later(self, tasks: TaskGroup, id_: int, due: float) -> None:
        if self._expiring.get(id_) != due:
            self._expiring[id_] = due
            tasks.start_soon(self._expire, id_, due)

    async def _expire(self, id_: int, due: float) -> None:
        await clock.sleep_until(due)
        if self._expiring.get(id_) == due:
            del self._expiring[id_]
            self._events.append(Due(id_, clock.now()))
            self._look_up()

    async def _retry(self, retry: Retry, scope: CancelScope) -> None:
        with scope:
            await anyio.sleep(retry.delay)
        if not scope.cancel_called:  # else whoever did that has forgotten it
            self._sleeping.pop(retry.id, None)
            scope = self._flying[retry.id] = CancelScope()
            await self._fly(retry.id, retry.attempt, scope)

    def _cancel_needless(self) -> None:
        """End the attempts of activations that are open no more; and, of a paused run, those that have not begun."""
        for id_, scope in list(self._flying.items()):
            waits = id_ in self._sleeping
            if id_ not in self.run.open or (self.run.paused and waits):
                scope.cancel()
                if waits:
                    del self._flying[id_]
                    del self._sleeping[id_]
