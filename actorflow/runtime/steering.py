"""Steering: what is asked of a run reaches its actor, wherever the run is, or whoever must take it up for that."""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
from msgspec import Struct
from msgspec.structs import replace

from actorflow.engine.decide import decide
from actorflow.engine.decision import Decision
from actorflow.engine.events import Inputting, Tagging, Updating
from actorflow.engine.fold import fold
from actorflow.engine.merge import typed
from actorflow.engine.records import ENDED, Claimed, Ended, Failed, Forked, Rewound, Tagged
from actorflow.engine.rewinding import forked, rewound
from actorflow.engine.run import RunState
from actorflow.engine.snapshot import dump, load
from actorflow.errors import NoSuchTarget, RunEnded, RunExists, UnknownGraph
from actorflow.runtime.adopt import adopt
from actorflow.runtime.asking import Asking
from actorflow.runtime.attending import Request
from actorflow.runtime.care import tag_as_is
from actorflow.runtime.claiming import Adopted, EndedMeanwhile, Preview, claiming_run, creating_run, preview_run
from actorflow.runtime.deletion import tombstone_of
from actorflow.runtime.history import Point, replay_at, to_point
from actorflow.runtime.letting_go import set_apart
from actorflow.runtime.options import check_context, check_texts
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.store.frames import Frame
from actorflow.store.keys import fresh_id

if TYPE_CHECKING:
    from actorflow.engine.events import Asking as Asked
    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.backend import Steps
    from actorflow.store.log import Tip

_REOPENING = (Inputting, Updating)
"""What may be asked of a run that is over: it goes on from there."""

_BEFORE_A_RESTART = 0.01  # seconds: an actor that crashed leaves its requests to the next one


class _Then(Struct, frozen=True):
    """A run as it was, under this code."""

    run: RunState
    frame: Frame


class Done(NamedTuple):
    """The commit that holds what was asked, and the life of the run in which that was done, if it needed one."""

    seq: int
    life: Life | None


class Steering(Asking):
    """The part of a runtime that changes runs from outside."""

    async def steer(self, run_id: str, event: Asked, *, context: Any = None) -> Done:
        """Do what is asked of a run; what came of it.

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
                    return Done(seq, life)
                await next_actor(life)
                continue
            if record is not None:  # whatever became of the run, it stays so
                return Done(await set_apart(lives, run_id, lambda: tag_as_is(lives.store, run_id, record)), None)
            request = Request(event)
            life = await self._take_up_for(lives, run_id, request, event, context)
            if (seq := await _outcome(request)) is not None:
                return Done(seq, life)

    async def _take_up_for(
        self, lives: Lives, run_id: str, request: Request, event: Asked, context: Any
    ) -> Life | None:
        tip = await lives.tip(run_id)
        graph = self._graph_for(tip)
        over = tip.header.status in ENDED
        if over and not isinstance(event, _REOPENING):
            raise RunEnded(run_id, tip.header.status)
        preview = await lives.in_store(partial(self._preview, lives, graph, tip))
        _try(graph, _copy(preview.run), event, reopened=over)
        try:
            return await lives.take_up(
                graph,
                run_id,
                context=context,
                reopen=tip.header.opening if over else None,
                preview=preview,
                request=request,
            )
        except EndedMeanwhile:
            return None  # looked at again

    async def rewind(
        self, run_id: str, at: int | str, *, update: Updating | None, keep_keys: bool, by: str | None, context: Any
    ) -> Done:
        """Let a run go on from how it was; what came of it. See `Run.rewind`."""
        lives = self._writable()
        point = await self._point(run_id, at)
        while True:
            tip = await lives.tip(run_id)
            graph = self._graph_for(tip)
            check_context(graph, context)
            # all that may be refused is, before anything of the run is disturbed
            then = await self._then(lives, graph, run_id, point)
            preview = await lives.in_store(partial(self._preview, lives, graph, tip))
            if update is not None:
                _try(graph, rewound(preview.run, _copy(then.run), keep_keys=keep_keys), update, reopened=False)
            if (life := lives.get(run_id)) is not None:
                context = life.context if context is None else context
                life.let_go()
                await life.done.wait()
                tip = await lives.tip(run_id)
            request = Request(update)
            reopen = tip.header.opening if tip.header.status in ENDED else None
            back_to = Rewound(then.frame.header.seq, point.record, by)

            def claiming(
                run: RunState, back_to: Rewound, graph: Graph[Any], reopen: int | None, *, may_migrate: bool
            ) -> Steps[Adopted]:
                adopted = yield from claiming_run(
                    lives.store, graph, run_id, self._limits, reopen=reopen, may_migrate=may_migrate
                )
                return replace(adopted, run=rewound(adopted.run, run, keep_keys=keep_keys), rewound=back_to)

            try:
                life = await lives.beginnings.launch(
                    graph,
                    run_id,
                    partial(lives.in_batches, partial(claiming, then.run, back_to, graph, reopen)),
                    context=context,
                    request=request,
                )
            except EndedMeanwhile:
                continue
            if (seq := await _outcome(request)) is not None:
                return Done(
                    seq, life
                )  # otherwise somebody else was faster to take the run up, and must let go of it again

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
        check_texts("tags", itertools.chain.from_iterable(tags.items()))
        lives = self._writable()
        store = lives.store
        new_id = fresh_id() if new_id is None else new_id
        store.log(new_id)  # refuses an id that can't be one, before anything is made of it
        tip = await lives.tip(run_id)
        graph = self._graph_for(tip)
        point = None if at is None else await self._point(run_id, at)
        then = await self._then(lives, graph, run_id, point)
        tombstone = await lives.in_store(lambda: tombstone_of(store, new_id)) if reuse else None
        life_of_id = 1 if tombstone is None else tombstone.tip.file.life + 1
        begins = forked(then.run, new_id, life=life_of_id)
        decision = Decision(graph.plan, _copy(begins))
        header = then.frame.header
        decision.note(Forked(run_id, then.frame.file.store, header.seq, then.frame.digest, by))
        if update is not None:
            for record in decide(graph.plan, _copy(begins), replace(update, idle=True)).records:
                if isinstance(record, Ended | Failed):
                    break  # that it is over is for its actor to commit
                decision.note(record)
        if self._validate is not None:
            state = typed(graph.schema, decision.run.root.values)
            first = Commit(new_id, graph.name, 0, "running", decision.run.last_node, tags, state)
            pass_or_refuse(self._validate, first, path=self.url)
        if context is None and (life := lives.get(run_id)) is not None:
            context = life.context
        created: list[str] = []

        async def create() -> Adopted:
            created.append(new_id)
            return await lives.in_steps(
                creating_run(store, graph, new_id, decision, tags, tombstone=tombstone, begins=begins)
            )

        life = await lives.beginnings.launch(graph, new_id, create, context=context)
        if not created:
            raise RunExists(new_id)  # it lives here
        return life

    def _preview(self, lives: Lives, graph: Graph[Any], tip: Tip) -> Preview:
        return preview_run(lives.store, graph, lives.store.log(tip.file.run_id), tip, self._limits)

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


async def _outcome(request: Request) -> int | None:
    """The commit that holds what was asked for; None if no actor came to it. Raises what it was refused with."""
    if request.taken:
        await request.done.wait()
    if request.error is not None:
        raise request.error
    return request.seq


async def next_actor(life: Life) -> None:
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
