"""Starting: how a runtime comes to know graphs, begins their runs, and goes on with those that are there."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.engine.inputs import checked_input, default_input, input_digest
from actorflow.engine.records import ENDED, decode_body
from actorflow.engine.spawn import spawn
from actorflow.errors import Quarantined, RunCancelled, RunDeleted, RunExists, RunOwned
from actorflow.graph.state import State
from actorflow.runtime.claiming import EndedMeanwhile, check_graph, creating_run, nodes_to_start, preview_run
from actorflow.runtime.deletion import tombstone_of
from actorflow.runtime.options import Durability, OnConflict, check_texts, check_word
from actorflow.runtime.recovery import recover
from actorflow.runtime.reload import Reloading
from actorflow.runtime.run import Run
from actorflow.runtime.scheduled import Scheduled
from actorflow.runtime.scheduling import schedule
from actorflow.runtime.upkeep import Upkeep
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.store.keys import fresh_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.engine.supervision import Under
    from actorflow.graph.graph import Graph
    from actorflow.graph.schema import Schema
    from actorflow.runtime.contexts import Contexts
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.options import Recover
    from actorflow.store.frames import FilePart
    from actorflow.store.log import Tip

S = TypeVar("S", bound=State)


class Starting(Upkeep, Scheduled, Reloading):
    """The part of a runtime by which runs begin and go on."""

    _contexts: Contexts
    _recover: Recover | None
    _lives: Lives | None

    @property
    @abstractmethod
    def _anywhere(self) -> bool:
        """Whether orphans that another machine owned are taken up, too."""

    def register(self, graph: Graph[Any], *, context: Any = None) -> None:
        """Make a graph known: its orphaned runs are recovered, its states are typed.

        Of several graphs of one name the newest counts, and is asked anew about runs that were blocked.
        One that a `reload` replaced stays replaced.

        Args:
            graph: as the code has it.
            context: what its nodes get as ``ctx.context`` where no other is given: in runs that are
                recovered, woken, answered or steered, and in children. Of a graph that declares one, such runs are
                left to other processes until it is registered with one.

        Raises:
            GraphError: the graph can't run.
            BadContext: the context is not what the graph declares.
        """
        _ = graph.plan
        news = self._contexts.register(graph, context)
        if news or self._graphs.get(graph.name) is not self.newest(graph):
            self._graphs[graph.name] = self.newest(graph)
            self._graphs.setdefault(schedule.name, schedule)  # there may be one for it
            if self._lives is not None:
                self._lives.blocked.look_again()
                self._lives.sleepers.hurry()
                if graph.plan.messages and self._recover != "never":
                    self._lives.wanting.set()

    async def run(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        context: Any = None,
        under: Under | None = None,
    ) -> S:
        """Spawn a run, or go on with the one that has this id; then its result.

        A finished run only returns its result: nothing runs. A failed one is
        tried again from where it failed. ``under`` is what `Supervisor.run` gives.

        Raises:
            RunExists: the id is taken by a run that began with another input, in the schema of this one.
            RunWaiting: it waits for an answer, or is paused; it is durable, and nothing of it runs.
            WrongGraph, RunOwned, RunFailed, RunCancelled, Quarantined, Blocked, GraphError, BadUpdate, StoreError
        """
        if id is None:
            return await (await self.spawn(graph, state, context=context, under=under)).outcome()
        self.register(graph)
        lives = self._open()
        tip = await lives.find(id)
        if tip is None:
            run = await self._spawn(
                graph, state, run_id=id, on_conflict="attach", context=context, under=under, looked=True
            )
            return await run.outcome()
        check_graph(graph, lives.store.log(id), tip)
        await self._check_input(graph, state, id)
        graph = self.newest(graph)
        match tip.header.status:
            case "finished":
                return await Run[S](self, id, graph, None).result()
            case "cancelled":
                raise RunCancelled(id, seq=tip.header.seq)
            case "quarantined":
                raise Quarantined(id, tip.header.crashes)
            case "deleted":
                raise RunDeleted(id)
            case "waiting" | "paused" if tip.header.kind == "release" and tip.header.due is None:
                raise await Run[S](self, id, graph, None).waiting(tip.header.status)
            case _:
                try:
                    life = await self._writable().take_up(
                        graph, id, context=context, reopen=_ended_opening(tip), under=under
                    )
                except EndedMeanwhile:
                    return await self.run(graph, state, id=id, context=context, under=under)
                return await Run[S](self, id, graph, life).outcome()

    async def spawn(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        on_conflict: OnConflict = "fail",
        reuse: bool = False,
        tags: Mapping[str, str] | None = None,
        durability: Durability = "sync",
        context: Any = None,
        under: Under | None = None,
    ) -> Run[S]:
        """Begin a run; it is durable when this returns. Without ``id`` it gets one that sorts by time.

        Args:
            graph: what to run.
            state: the input; by default the State with all defaults.
            id: any string of up to 512 bytes in Unicode's normal form NFC.
            on_conflict: what to do if the id is taken: raise (``"fail"``), or take the run as it is (``"attach"``):
                it goes on here, or where another process has it.
            reuse: whether a deleted run's id may be used again.
            tags: kept in every header, for listings.
            durability: when a successor may start: after the commit (``sync``), while it is
                in flight (``async``), or at once, committing only when forced (``exit``).
            context: clients and settings that nodes read as ``ctx.context``; never stored.
            under: the supervisor that it is a child of, as `Supervisor.spawn` gives it; by default the root.

        Raises:
            RunExists: the id is taken, and ``on_conflict`` is "fail".
            RunDeleted: the run of this id was deleted, and ``reuse`` is not given.
            BadContext: the context is not what the graph declares; NoContext: there is none.
            GraphError, BadUpdate, BadRunId, StoreError
        """
        check_word("on_conflict", on_conflict, OnConflict)
        check_word("durability", durability, Durability)
        check_texts("tags", itertools.chain.from_iterable((tags or {}).items()))
        return await self._spawn(
            graph,
            state,
            run_id=fresh_id() if id is None else id,
            on_conflict=on_conflict,
            reuse=reuse,
            tags=tags,
            durability=durability,
            context=context,
            under=under,
            looked=id is None,
        )

    async def _spawn(
        self,
        graph: Graph[S],
        state: S | None,
        *,
        run_id: str,
        on_conflict: OnConflict,
        reuse: bool = False,
        tags: Mapping[str, str] | None = None,
        durability: Durability = "sync",
        context: Any,
        under: Under | None,
        looked: bool,
    ) -> Run[S]:
        """`spawn`; ``looked``: it is known that there was no such run a moment ago."""
        self.register(graph)
        lives = self._writable()
        store = lives.store
        store.log(run_id)  # refuses an id that can't be one, before anything is made of it
        schema = graph.schema
        given = default_input(schema) if state is None else state
        tombstone = await lives.in_store(lambda: tombstone_of(store, run_id)) if reuse else None
        life_of_id = 1 if tombstone is None else tombstone.tip.file.life + 1
        decision = spawn(graph.plan, given, run_id=run_id, life=life_of_id, durability=durability)
        if self._validate is not None:
            first = Commit(run_id, graph.name, 0, "running", None, dict(tags or {}), given)
            pass_or_refuse(self._validate, first, path=self.url)
        try:
            life = await lives.beginnings.launch(
                graph,
                run_id,
                lambda: lives.in_steps(
                    creating_run(
                        store,
                        graph,
                        run_id,
                        decision,
                        dict(tags or {}),
                        tombstone=tombstone,
                        under=under,
                        looked=looked and not reuse,
                    )
                ),
                first=decision.commands,
                context=context,
            )
        except RunExists:
            if on_conflict == "fail":
                raise
            try:
                return await self.resume(graph, run_id, context=context, under=under)
            except RunOwned:
                if under is not None:  # there it has no supervisor of this process's
                    raise
                return Run(self, run_id, graph, None)
        return Run(self, run_id, graph, life)

    async def resume(self, graph: Graph[S], id: str, *, context: Any = None, under: Under | None = None) -> Run[S]:
        """Go on with a run: after a crash, after a failure, out of quarantine, or under a graph that grew.

        A run that is over and has nowhere to go is not touched: the handle
        gives its result. ``under`` is what `Supervisor.resume` gives; by default
        the run stays a child of the supervisor it was under.

        Raises:
            NoSuchRun: with ids that look alike.
            WrongGraph, RunOwned, Blocked, CorruptCheckpoint, GraphError
        """
        self.register(graph)
        graph = self.newest(graph)
        lives = self._open()
        tip = await lives.tip(id)
        log, preview = lives.store.log(id), None
        check_graph(graph, log, tip)
        if tip.header.status == "finished":
            if tip.file.topology == graph.plan.digest:
                return Run(self, id, graph, None)
            preview = await lives.in_store(lambda: preview_run(lives.store, graph, log, tip, self._limits))
            if not nodes_to_start(graph, preview):
                return Run(self, id, graph, None)
        try:
            reopen = _ended_opening(tip)
            life = await self._writable().take_up(
                graph, id, context=context, reopen=reopen, preview=preview, under=under
            )
        except EndedMeanwhile:
            return await self.resume(graph, id, context=context, under=under)
        return Run(self, id, graph, life)

    def get(self, id: str) -> Run[Any]:
        """A handle of a run, without looking whether there is one."""
        life = self._lives.get(id) if self._lives is not None else None
        return Run(self, id, life.graph if life else None, life)

    async def recover(self) -> list[Run[Any]]:
        """Take up every orphaned run of the registered graphs, now; the handles of those that were.

        One run that can't be taken up never stops the others: it is logged, and
        stays as it is. Leaving the runtime waits for the runs returned here.
        """
        found = await recover(self._writable(), self._graphs, anywhere=self._anywhere, awaited=True)
        return [Run(self, life.run_id, life.graph, life) for life in found]

    async def _check_input(self, graph: Graph[Any], state: State | None, run_id: str) -> None:
        """Refuse another input than the one the run began with, if it began under the schema of this one."""
        if state is None:
            return
        newest, run = await self.load(run_id)
        schema = graph.schema
        digest = input_digest(schema, checked_input(schema, state))
        if not _is_of(newest.file, schema) or run.digest == digest:
            return
        began = (await self.read(run_id, first=0))[0]  # the newest file may be of a migrated state, the digest never is
        spawned = decode_body(began.body).snapshot is None  # otherwise retention let go of how it began
        if spawned and _is_of(began.file, schema):
            raise RunExists(run_id, "began with another input")


def _is_of(file: FilePart, schema: Schema) -> bool:
    return (file.version, file.fields) == (schema.version, schema.table)


def _ended_opening(tip: Tip) -> int | None:
    return tip.header.opening if tip.header.status in ENDED else None
