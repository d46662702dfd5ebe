"""Scheduling: a schedule is a run like any other, of a graph that every runtime knows.

It is an actor with a timer. When that fires, it begins a child for each time
that is due, under an id made of its own and that time, and sets the next one,
all in one commit. So a time is never lost, and never begun twice, by however
many processes; a time that nobody was there for is late, and not gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

from actorflow.graph.graph import Graph
from actorflow.graph.message import Down, Message
from actorflow.graph.state import State
from actorflow.runtime import clock
from actorflow.runtime.times import Times, stamp

if TYPE_CHECKING:
    from actorflow.graph.context import Context
    from actorflow.graph.state import Update
    from actorflow.runtime.context import NodeContext

Overlap = Literal["skip", "buffer", "allow", "cancel_other"]
"""What becomes of a time that is due while the child of the one before still runs."""

NAME = "actorflow.schedule"
TIMER = "due"


class Fire(Message, version=1, name="actorflow.Fire"):
    """Its timer came."""


class Plan(Message, version=1, name="actorflow.Plan"):
    """What is begun, and when. Sent to a schedule, it replaces what it had."""

    graph: str
    input: list[Any]  # the form of the state that a child begins with (name, version, fields), and its values
    every: float | None = None
    cron: str | None = None
    timezone: str = "UTC"
    overlap: Overlap = "skip"
    backfill: int = 0


class Schedule(State, version=1, name="actorflow.Schedule"):
    """How far a schedule is.

    Args:
        plan: what is begun, and when.
        due: the next time, in seconds since the epoch; 0 before the first was set.
        running: the children that have not ended, as far as is known.
        waiting: times that are begun when that ends, one after the other.
        begun: how many children were begun.
        passed: how many times were not: the one before still ran, or nobody was there.
    """

    plan: Plan
    due: float = 0.0
    running: tuple[str, ...] = ()
    waiting: tuple[float, ...] = ()
    begun: int = 0
    passed: int = 0


schedule: Graph[Schedule] = Graph(NAME, Schedule, lifetime="actor")


@schedule.node
async def begin(state: Schedule, ctx: Context) -> Update:
    """Set the timer for the first time."""
    due = _times(state.plan).after(clock.now())
    ctx.set_timer(TIMER, Fire(), at=due)
    return {"due": due}


@schedule.on(Plan)
async def replan(state: Schedule, msg: Plan, ctx: Context) -> Update:
    """From now on do this. An interval or a cron line that stays the same keeps its next time."""
    if _times(msg) == _times(state.plan):
        return {"plan": msg}
    due = _times(msg).after(clock.now())
    ctx.set_timer(TIMER, Fire(), at=due)
    return {"plan": msg, "due": due}


@schedule.on(Fire)
async def fire(state: Schedule, _: Fire, ctx: Context) -> Update:
    """Begin what is due, and be told of the next time."""
    times, due = _times(state.plan).until(state.due, clock.now())  # now, and not when it fired: it may have waited
    ctx.set_timer(TIMER, Fire(), at=due)
    course = _Course(state, ctx)
    course.come(times)
    return {"due": due, **course.update}


@schedule.on(Down)
async def ended(state: Schedule, msg: Down, ctx: Context) -> Update:
    """A child ended: what waited for that is begun."""
    course = _Course(state, ctx)
    course.running = [child for child in course.running if child != msg.run_id]
    course.go_on()
    return course.update


class _Course:
    """What one message makes of a schedule."""

    def __init__(self, state: Schedule, ctx: Context) -> None:
        self._plan = state.plan
        self._ctx = cast("NodeContext", ctx)
        self.running = list(state.running)
        self.waiting = list(state.waiting)
        self.begun = state.begun
        self.passed = state.passed

    def come(self, times: list[float]) -> None:
        """These times are due: more than one if nobody was there."""
        most = 1 + self._plan.backfill
        overlap = self._plan.overlap
        if overlap == "allow":
            for time in times[-most:]:
                self._begin(time)
            self.passed += len(times[:-most])
        elif overlap == "cancel_other" and times:
            for child in self.running:
                self._ctx.cancel_child(child)
            self._begin(times[-1])
            self.passed += len(times) - 1
        elif overlap == "skip" and self.running:
            self.passed += len(times)
        else:
            wait = [*self.waiting, *times]
            self.waiting = wait[-most:]
            self.passed += len(wait) - len(self.waiting)
            self.go_on()

    def go_on(self) -> None:
        """Begin what waits, one after the other."""
        if self.waiting and not self.running:
            self._begin(self.waiting.pop(0))

    def _begin(self, time: float) -> None:
        """Begin the child of a time; be told when it ends, unless that does not matter."""
        child = f"{self._ctx.run_id}/{stamp(time)}"
        followed = self._plan.overlap != "allow"
        self._ctx.begin_child(child, self._plan.graph, self._plan.input, monitor=followed)
        self.begun += 1
        if followed:
            self.running.append(child)

    @property
    def update(self) -> Update:
        """What the state becomes."""
        return {
            "running": tuple(self.running),
            "waiting": tuple(self.waiting),
            "begun": self.begun,
            "passed": self.passed,
        }


def _times(plan: Plan) -> Times:
    return Times(plan.every, plan.cron, plan.timezone)
