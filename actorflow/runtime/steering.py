"""Steering: what is asked of a run reaches its actor, wherever the run is, or whoever must take it up for that."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct
from msgspec.structs import replace

from actorflow.engine.decide import decide
from actorflow.engine.decision import Decision
from actorflow.engine.events import Inputting, Tagging, Updating
from actorflow.engine.fold import fold
from actorflow.engine.records import ENDED, Claimed, Forked, Rewound, Tagged
from actorflow.engine.rewinding import forked, rewound
from actorflow.engine.run import RunState
from actorflow.engine.snapshot import dump, load
from actorflow.errors import NoSuchTarget, RunEnded, UnknownGraph
from actorflow.runtime.actor import Request
from actorflow.runtime.adopt import adopt
from actorflow.runtime.asking import Asking
from actorflow.runtime.care import tag_as_is, tombstone_of
from actorflow.runtime.claiming import Adopted, EndedMeanwhile, claim_run, creating_run, preview_run
from actorflow.runtime.history import Point, replay_at, to_point
from actorflow.store.frames import Frame
from actorflow.store.keys import fresh_id

if TYPE_CHECKING:
    from actorflow.engine.events import Asking as Asked
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.log import Tip

_REOPENING = (Inputting, Updating)
"""What may be asked of a run that is over: it goes on from there."""

_BEFORE_A_RESTART = 0.01  # seconds: an actor that crashed leaves its requests to the next one


class _Then(Struct, frozen=True):
    """A run as it was, under this code."""

    run: RunState
    frame: Frame


class Steering(Asking):
    """The part of a runtime that changes runs from outside."""

    async def steer(self, run_id: str, event: Asked, *, context: Any = None) -> int:
        """Do what is asked of a run; the commit that holds it.

        A run that lives here is told; one that waits, or is over, or that nobody
        owns, is taken up for it. What is refused is refused before anything is written.

        Raises:
            NoSuchRun, RunDeleted, RunOwned, Blocked
            UnknownGraph: the graph of the run is not registered here.
            RunEnded: it is over, and this is only for a run that is not.
            What the request is refused with.
        """
        lives = self._writable()
        record = Tagged(event.name, event.seq, event.by) if isinstance(event, Tagging) else None
        while True:
            life = lives.get(run_id)
            if life is not None and not life.done.is_set():
                if (seq := await life.ask(event)) is not None:
                    return seq
                await _next_actor(life)
                continue
            if record is not None:  # whatever became of the run, it stays so
                return await lives.apart(run_id, lambda: tag_as_is(lives.store, run_id, record))
            request = Request(event)
            await self._take_up_for(lives, run_id, request, context)
            if request.taken:
                await request.done.wait()
            if request.error is not None:
                raise request.error
            if request.seq is not None:
                return request.seq

    async def _take_up_for(self, lives: Lives, run_id: str, request: Request, context: Any) -> None:
        tip = await lives.tip(run_id)
        graph = self._graph_for(tip)
        over = tip.header.status in ENDED
        if over and not isinstance(request.event, _REOPENING):
            raise RunEnded(run_id, tip.header.status)
        preview = await lives.in_store(
            lambda: preview_run(lives.store, graph, lives.store.log(run_id), tip, self._limits)
        )
        _try(graph, _copy(preview.run), request.event, reopened=over)
        try:
            await lives.take_up(
                graph,
                run_id,
                context=context,
                reopen=tip.header.opening if over else None,
                preview=preview,
                request=request,
            )
        except EndedMeanwhile:
            return  # looked at again

    async def rewind(
        self, run_id: str, at: int | str, *, update: Updating | None, keep_keys: bool, by: str | None, context: Any
    ) -> int:
        """Let a run go on from how it was; the commit that says so. See `Run.rewind`."""
        lives = self._writable()
        request = None if update is None else Request(update)
        while True:
            life = lives.get(run_id)
            if life is not None:
                life.let_go()
                await life.done.wait()
            tip = await lives.tip(run_id)
            graph = self._graph_for(tip)
            then = await self._then(lives, graph, run_id, await self._point(run_id, at))
            if update is not None:
                preview = await lives.in_store(
                    lambda: preview_run(lives.store, graph, lives.store.log(run_id), tip, self._limits)  # noqa: B023 - awaited here
                )
                trial = rewound(_copy(preview.run), _copy(then.run), keep_keys=keep_keys)
                _try(graph, trial, replace(update, idle=True), reopened=False)
            reopen = tip.header.opening if tip.header.status in ENDED else None

            def claim() -> Adopted:
                adopted = claim_run(lives.store, graph, run_id, self._limits, reopen=reopen)  # noqa: B023 - called here
                back = rewound(adopted.run, then.run, keep_keys=keep_keys)  # noqa: B023
                point = then.frame.header.seq  # noqa: B023
                return replace(adopted, run=back, rewound=Rewound(point, None, by))

            try:
                life = await lives.launch(
                    graph, run_id, partial(lives.in_store, claim), context=context, request=request
                )
            except EndedMeanwhile:
                continue
            if request is not None:
                await request.done.wait()
                if request.error is not None:
                    raise request.error
            return life.actor.header.seq

    async def fork(
        self,
        run_id: str,
        at: int | str | None,
        *,
        new_id: str | None,
        update: Updating | None,
        tags: dict[str, str],
        by: str | None,
        context: Any,
        reuse: bool,
    ) -> Life:
        """Begin a new run as another one was. See `Run.fork`."""
        lives = self._writable()
        store = lives.store
        new_id = fresh_id() if new_id is None else new_id
        store.log(new_id)  # refuses an id that can't be one, before anything is made of it
        tip = await lives.tip(run_id)
        graph = self._graph_for(tip)
        point = None if at is None else await self._point(run_id, at)
        then = await self._then(lives, graph, run_id, point)
        tombstone = await lives.in_store(lambda: tombstone_of(store, new_id)) if reuse else None
        life_of_id = 1 if tombstone is None else tombstone.file.life + 1
        begins = forked(then.run, new_id, life=life_of_id)
        decision = Decision(graph.plan, _copy(begins))
        header = then.frame.header
        decision.note(Forked(run_id, then.frame.file.store, header.seq, then.frame.digest, by))
        if update is not None:
            more = decide(graph.plan, decision.run, replace(update, idle=True))
            decision.records += more.records
            decision.run = more.run
        return await lives.launch(
            graph,
            new_id,
            lambda: lives.in_steps(
                creating_run(store, graph, new_id, decision, tags, tombstone=tombstone, begins=begins)
            ),
            context=context,
        )

    def _graph_for(self, tip: Tip) -> Graph[Any]:
        graph = self._graphs.get(tip.file.graph)
        if graph is None:
            raise UnknownGraph(tip.file.run_id, tip.file.graph)
        return graph

    async def _then(self, lives: Lives, graph: Graph[Any], run_id: str, point: Point | None) -> _Then:
        def read() -> _Then:
            run, frame = replay_at(lives.store, run_id, point)
            return _Then(adopt(graph, run, frame.file, time_limit=self._limits.migration_timeout), frame)

        return await lives.in_store(read)

    async def _point(self, run_id: str, at: int | str) -> Point:
        """The point that a number, or the name of a commit, means."""
        if isinstance(at, str) and not at.replace(".", "").isdigit():
            _, run = await self.load(run_id)
            if at not in run.tags:
                raise NoSuchTarget(run_id, at, sorted(run.tags))
            return Point(run.tags[at])
        return to_point(at)


async def _next_actor(life: Life) -> None:
    """Wait until the run has another actor, or none here: this one has left."""
    actor = life.actor
    while life.actor is actor and not life.done.is_set():
        with anyio.move_on_after(_BEFORE_A_RESTART):
            await life.done.wait()


def _copy(run: RunState) -> RunState:
    return load(dump(run))


def _try(graph: Graph[Any], run: RunState, event: Asked, *, reopened: bool) -> None:
    """Raise what the request would be refused with; the run is spent."""
    if reopened:
        run = fold(run, Claimed(run.epoch + 1, run.opening + 1))
    if isinstance(event, Updating):
        event = replace(event, idle=True)
    decide(graph.plan, run, event)
