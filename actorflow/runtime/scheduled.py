"""Scheduled: the part of a runtime that begins runs at given times."""

from __future__ import annotations

from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.engine.inputs import checked_input, default_input
from actorflow.engine.operations import thaw
from actorflow.errors import RunExists
from actorflow.graph.state import State
from actorflow.runtime.options import check_word
from actorflow.runtime.scheduling import Overlap, Plan, Schedule, schedule
from actorflow.runtime.sending import Sending
from actorflow.runtime.supervising import Supervising
from actorflow.runtime.times import Times

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.graph.graph import Graph
    from actorflow.runtime.run import Run

S = TypeVar("S", bound=State)


class Scheduled(Sending, Supervising):
    """The part of a runtime that has schedules."""

    @abstractmethod
    def register(self, graph: Graph[Any], *, context: Any = None) -> None:
        """Make a graph known."""

    @abstractmethod
    def get(self, id: str) -> Run[Any]:
        """A handle of a run."""

    async def schedule(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        cron: str | None = None,
        every: float | timedelta | None = None,
        timezone: str = "UTC",
        overlap: Overlap = "skip",
        backfill: int = 0,
        id: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Run[Schedule]:
        """Begin runs of a graph at given times, for as long as the store is there; the run that sees to it.

        A schedule is a run itself: it is looked at, paused and cancelled as any
        other, sleeps between its times, and goes on in whatever process serves
        the store and has registered the graph. Each time begins one run, whose
        id is the schedule's and the time (``"schedule:report/2026-01-01T06:00:00Z"``),
        so that none is begun twice. A time that no process was there for is late,
        not lost.

        Called again with the same ``id``, it replaces what was scheduled.

        Args:
            graph: of the runs.
            state: with which each begins.
            cron: a line of five fields, as ``"0 6 * * MON-FRI"``; needs ``actorflow[cron]``.
            every: seconds, or a timedelta, from now on; the grid stays however late a run begins.
            timezone: in which the line is read.
            overlap: what becomes of a time that is due while the run of an earlier one goes on:
                ``"skip"`` passes it over, ``"buffer"`` begins it afterwards (the last one only), ``"allow"``
                begins it all the same, ``"cancel_other"`` cancels the earlier one.
            backfill: of the times that were missed, how many are made up for, besides the last.
            id: of the schedule; by default ``"schedule:"`` and the graph's name.
            tags: of the schedule.

        Raises:
            ValueError: this is no time that ever comes.
            RunEnded: the schedule was cancelled; give another id, or delete it.
            What `Runtime.spawn` raises.

        Example:
            >>> import anyio
            >>> from actorflow import Graph, Runtime, State
            >>> class Report(State):
            ...     lines: int = 0
            >>> report = Graph("report", Report)
            >>> @report.node
            ... async def write(state: Report):
            ...     return {"lines": 3}
            >>> async def main():
            ...     async with Runtime("memory://") as rt:
            ...         nightly = await rt.schedule(report, every=86_400)
            ...         print(nightly.id, (await nightly.state()).begun)
            >>> anyio.run(main)
            schedule:report 0
        """
        check_word("overlap", overlap, Overlap)
        if type(backfill) is not int or backfill < 0:
            raise ValueError(f"backfill={backfill!r}: give a number of at least 0")
        seconds = every.total_seconds() if isinstance(every, timedelta) else every
        Times(seconds, cron, timezone)  # raises ValueError
        self.register(graph)
        schema = graph.schema
        values = checked_input(schema, default_input(schema) if state is None else state)
        form: list[Any] = [schema.name, schema.version, schema.table]
        plan = Plan(
            graph=graph.name,
            input=[form, {name: thaw(value) for name, value in values.items()}],
            every=seconds,
            cron=cron,
            timezone=timezone,
            overlap=overlap,
            backfill=backfill,
        )
        its_id = f"schedule:{graph.name}" if id is None else id
        try:
            return await self.spawn(schedule, Schedule(plan=plan), id=its_id, tags=tags)
        except RunExists:
            await self.ask_for_reply(its_id, plan, id=None, by=None, timeout=None, context=None)
            return self.get(its_id)
