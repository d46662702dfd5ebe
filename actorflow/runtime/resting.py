"""Resting: an actor that only waits for others keeps its task for a while, and then goes on waiting without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anyio import Event

from actorflow.engine.compact import compact, expand, give_back, take_back
from actorflow.runtime import clock
from actorflow.runtime.attending import Attending, Request
from actorflow.runtime.writer import first_due

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from actorflow.engine.run import RunState
    from actorflow.graph.plan import Plan
    from actorflow.runtime.attempt import Caller
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.writer import Writer

BRIEF = 1.0
"""Seconds for which an actor that only waits keeps its task: what asks again and again finds it there."""

GLANCE = 0.05
"""Seconds for which it does so where very many do: a task takes as much memory as all the rest of an actor."""

_OF_THE_LOOP = ("_accepted", "_commands", "_events", "_expiring", "_flying", "_ready", "_row", "_sleeping", "_tells")
"""What nothing is put into but by the loop, and by the tasks that it began."""


class Resting(Attending):
    """The part of an actor that waits until somebody wants something of it, or a time comes."""

    __slots__ = ("_crowded", "_dozing", "_drowsy", "_leaving", "_linger", "_rest", "_wake", "idle", "stirred")

    def __init__(
        self,
        run: RunState,
        plan: Plan,
        *,
        caller: Caller,
        observers: Observers,
        writer: Writer,
        request: Request | None,
        leaving: Callable[[], bool],
        crowded: Callable[[], bool],
        linger: float,
    ) -> None:
        """Begin awake. See `Actor` for the arguments."""
        super().__init__(run, plan, caller=caller, observers=observers, writer=writer, request=request)
        self.idle = False  # it only waits, and owns no task: `stirred` is called when it is to go on
        self.stirred: Callable[[str], object] | None = None
        self._leaving = leaving
        self._crowded = crowded
        self._linger = linger
        self._drowsy = False  # it is about to be idle
        self._dozing = False  # it becomes drowsy when it has rested for a while
        self._rest: Event | None = None  # while it rests
        self._wake: Event | None = None  # only while the loop waits

    def nudge(self) -> None:
        """See whether there is still something to wait for."""
        self._stir()

    def lie_down(self) -> None:
        """Nobody wanted anything of an idle actor for long enough."""
        self._lingered = True
        self._stir()

    def _stir(self) -> None:
        if self._wake is not None:
            self._wake.set()
        if self.idle:
            self.idle = False
            expand(self.run)
            take_back(self, _OF_THE_LOOP)
            if self.stirred is not None:
                self.stirred(self.run.run_id)

    def _begin_idling(self) -> None:
        """Own no task, and little memory, until somebody stirs it."""
        self.idle = True
        compact(self.run)
        give_back(self, _OF_THE_LOOP)

    def _is_resting(self) -> bool:
        """Whether nothing can go on until somebody asks for it, so that the run needs no actor."""
        if self._ready or self._events or self._requests or self._flying or self.run.standing == "running":
            return False
        return not self._holds

    async def _is_called(self, tasks: TaskGroup) -> bool:
        """Whether somebody wants something of it, or a time comes, before it has lingered in vain, or is `_drowsy`."""
        until = first_due(self.run)
        soon = until is not None and until - clock.now() <= self._linger
        lingers = self.run.rests and self._linger > 0 and not self._lingered
        if self._leaving() or not (soon or lingers):
            return False
        self._wake = wake = Event()
        if soon and self._linger <= BRIEF:
            await wake.wait()
            return True
        if self._linger <= BRIEF:
            await clock.rest(self._linger, until=wake.wait)
            return wake.is_set()
        if self._crowded():
            await clock.rest(GLANCE, until=wake.wait)
            self._drowsy = not wake.is_set()
        else:
            if not self._dozing:
                self._dozing = True
                tasks.start_soon(self._doze)
            self._rest = wake
            await wake.wait()
            self._rest = None
        return not self._drowsy

    async def _doze(self) -> None:
        """Make it drowsy when one of its rests lasts. Where it is asked again and again, no rest needs a timer."""
        while not self._drowsy:
            rest = self._rest
            await clock.rest(BRIEF)
            if rest is not None and rest is self._rest and not rest.is_set():
                self._drowsy = True
                rest.set()
