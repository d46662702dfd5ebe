"""Runtime: a store and the actors that live in this process, entered with ``async with``."""

from __future__ import annotations

import itertools
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Self, TypeVar
from weakref import WeakSet

import anyio
from anyio import to_thread

from actorflow.engine.inputs import checked_input, default_input, input_digest
from actorflow.engine.policy import RestartPolicy
from actorflow.engine.records import ENDED, decode_body
from actorflow.engine.spawn import spawn
from actorflow.errors import (
    Quarantined,
    RunCancelled,
    RunDeleted,
    RunExists,
    RuntimeClosed,
    StoreDenied,
)
from actorflow.graph.state import State
from actorflow.runtime.care import tombstone_of
from actorflow.runtime.claiming import (
    EndedMeanwhile,
    Limits,
    check_graph,
    creating_run,
    nodes_to_start,
    preview_run,
)
from actorflow.runtime.contexts import Contexts
from actorflow.runtime.draining import drain_on, finish
from actorflow.runtime.groups import first_of
from actorflow.runtime.hooks import Hook, Hooks
from actorflow.runtime.listening import listen
from actorflow.runtime.listing import RunInfo, list_runs
from actorflow.runtime.lives import Lives
from actorflow.runtime.options import Drain, Durability, OnConflict, Recover, check_texts, check_word
from actorflow.runtime.recovery import SCAN_EVERY, beat, recover, scan
from actorflow.runtime.reload import Reloading
from actorflow.runtime.run import Run
from actorflow.runtime.scheduled import Scheduled
from actorflow.runtime.scheduling import schedule
from actorflow.runtime.sleepers import LOOKS_APART
from actorflow.runtime.upkeep import Upkeep
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.runtime.waking import POLL
from actorflow.runtime.workers.pool import Workers
from actorflow.store.backend import Backend
from actorflow.store.files import default_limit
from actorflow.store.keys import fresh_id
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from signal import Signals
    from types import TracebackType

    from anyio.abc import TaskGroup

    from actorflow.engine.supervision import Under
    from actorflow.graph.graph import Graph
    from actorflow.graph.schema import Schema
    from actorflow.runtime.validation import Validate
    from actorflow.store.frames import FilePart
    from actorflow.store.log import Tip
    from actorflow.store.sealing import Sealing

S = TypeVar("S", bound=State)
T = TypeVar("T")


class Runtime(Upkeep, Scheduled, Reloading):
    """Runs graphs durably: a store, and the actors of its runs that live in this process.

    Leaving it normally waits until every run that was spawned or resumed
    through it has ended (``drain="park"``: only until what runs just now is
    committed). Leaving it by an exception or Ctrl-C cancels activations,
    unrecorded. Either way each run that is left unfinished is released, so
    that any process can go on with it at once.

    Args:
        store: a folder, a URL (``s3://bucket/folder``, ``gs://``, ``az://``; ``memory://`` keeps
            nothing), or a `Backend` of your own.
        storage_options: what fsspec's file system for a bucket takes; by default all comes from the environment.
        lease: on a bucket, seconds without a sign of life after which the runs of a process
            are taken over by others; on a local disk its death is known at once.
        graphs: those whose orphaned runs are recovered from the start.
        recover: which orphaned runs of registered graphs are taken up by themselves, about
            every ``scan_every`` seconds: those last ``"owned"`` by this machine (by default on a
            local disk), any (``"always"``, by default on a bucket), or none (``"never"``).
        drain: see above.
        restarts: how a crashed run is restarted.
        max_crashes: a run with which more processes than this died, while no activation finished and
            none let go of it as it only waited, is quarantined.
        validate: a rule that each `Commit` must pass before anything of it is written: raise to refuse it
            (`CommitRefused`). Called on the event loop.
        debug: raise `StateMutated` when a node changes its state in place.
        scan_every: seconds between two looks for orphaned runs; by default 2, and half a lease on a bucket.
        linger: seconds: a run that only waits, until a time further off than this, leaves memory and sleeps in
            the store, and is woken then. So long stays an actor to which nobody sends anything.
        poll: seconds between two looks for messages from elsewhere, soon after one came and when none does for
            long. On a local disk the kernel tells of them.
        migration_timeout: seconds that migrating one run may take.
        hooks: functions and objects that are told what happens in the runs that live here, after it is committed:
            see `Hook`. What one raises is logged, and no matter of the run.
        processes: how many worker processes run nodes declared with ``isolate="process"``, at most; by
            default as many as the machine has cores. Each is started when it is first needed.
        max_open_files: how many files of runs are kept open; by default a quarter of what the
            process may open (``ulimit -n``), and at most 2,048.
        readonly: only look: nothing is written, not even a lock, nothing is
            recovered, and the store must exist.
        sealing: whether commits are compressed, and how they are protected; by default neither.
        drain_on: signals, say ``[signal.SIGTERM]``, at which nothing begins any more, what runs just now is finished
            and committed, all runs are let go of, and `SystemExit` is raised out of ``async with``. At a second one
            it is raised without waiting. Only in the main thread.

    Example:
        >>> import anyio
        >>> from actorflow import Graph, Runtime, State
        >>> class Hello(State):
        ...     name: str
        ...     text: str = ""
        >>> hello = Graph("hello", Hello)
        >>> @hello.node
        ... async def greet(state: Hello):
        ...     return {"text": f"Hello, {state.name}"}
        >>> async def main():
        ...     async with Runtime("memory://") as rt:
        ...         print((await rt.run(hello, Hello(name="Ada"))).text)
        >>> anyio.run(main)
        Hello, Ada
    """

    def __init__(
        self,
        store: str | os.PathLike[str] | Backend = "./.actorflow",
        *,
        storage_options: Mapping[str, Any] | None = None,
        lease: float = 15.0,
        graphs: Iterable[Graph[Any]] = (),
        recover: Recover | None = None,
        drain: Drain = "finish",
        restarts: RestartPolicy | None = None,
        max_crashes: int = 10,
        validate: Validate | None = None,
        debug: bool = False,
        scan_every: float | None = None,
        linger: float = 1.0,
        poll: tuple[float, float] = POLL,
        migration_timeout: float = 60.0,
        hooks: Iterable[Any] = (),
        processes: int | None = None,
        max_open_files: int | None = None,
        readonly: bool = False,
        sealing: Sealing | None = None,
        drain_on: Iterable[Signals] = (),
    ) -> None:
        if recover is not None:
            check_word("recover", recover, Recover)
        check_word("drain", drain, Drain)
        if scan_every is not None and not scan_every > 0:  # NaN is neither
            raise ValueError(f"scan_every={scan_every}: must be a number of seconds above 0")
        if not 0 < poll[0] <= poll[1]:
            raise ValueError(f"poll={poll}: give the shortest pause above 0, and one that is not shorter")
        if not linger >= 0:
            raise ValueError(f"linger={linger}: must be a number of seconds, 0 or more")
        if processes is not None and (type(processes) is not int or processes < 1):
            raise ValueError(f"processes={processes!r}: give a number of at least 1")
        self.url = str(store) if isinstance(store, Backend) else os.fspath(store)
        self.max_crashes = max_crashes
        self.migration_timeout = migration_timeout
        self._graphs = {graph.name: graph for graph in graphs}
        if self._graphs:
            self._graphs.setdefault(schedule.name, schedule)
        self._recover = "never" if readonly else recover
        self._store = store
        self._storage_options = storage_options
        self._lease = lease
        self._drain = drain
        self._policy = restarts or RestartPolicy()
        self._validate = validate
        self._debug = debug
        self._scan_every = scan_every
        self._linger = linger
        self._poll = poll
        self._hooks = [Hook(hook) for hook in hooks]
        self._processes = (os.cpu_count() or 1) if processes is None else processes
        self._max_open_files = default_limit() if max_open_files is None else max_open_files
        self._readonly = readonly
        self._sealing = sealing
        self._drain_on = tuple(drain_on)
        self._limits = Limits(migration_timeout=migration_timeout, max_crashes=max_crashes)
        self._contexts = Contexts()
        self._replaced: WeakSet[Graph[Any]] = WeakSet()
        self._lives: Lives | None = None  # while it is entered
        self._tasks: TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<Runtime {self.url!r}: {len(self._lives or ())} live>"

    # -- entering and leaving -------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            StoreError: it can't be used; the message says why.
        """
        for graph in self._graphs.values():
            _ = graph.plan  # raises GraphError before anything is opened
        store = await to_thread.run_sync(
            lambda: open_store(
                self._store,
                storage_options=self._storage_options,
                lease=self._lease,
                max_open_files=self._max_open_files,
                readonly=self._readonly,
                sealing=self._sealing,
            )
        )
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._lives = Lives(
            store,
            self._tasks,
            limits=self._limits,
            policy=self._policy,
            debug=self._debug,
            validate=self._validate,
            files=self._max_open_files,
            contexts=self._contexts,
            workers=Workers(self._processes),
            hooks=Hooks(self._hooks),
            newest=self.newest,
            graphs=self._graphs,
            linger=self._linger,
            register=self.register,
        )
        if self._drain_on:
            await self._listen(self._tasks, self._lives)
        if store.heartbeat is not None and not self._readonly:
            self._tasks.start_soon(beat, store.heartbeat)
        look_every: float | None = None
        if self._recover != "never":
            every = self._scan_every or (SCAN_EVERY if store.heartbeat is None else self._lease / 2)
            self._tasks.start_soon(partial(scan, self._lives, self._graphs, every=every, anywhere=self._anywhere))
            look_every = LOOKS_APART * every
        if not self._readonly:
            turn = partial(self._lives.sleepers.turn, every=look_every, anywhere=self._anywhere)
            self._tasks.start_soon(turn)
            listening = partial(listen, takes_up=self._recover != "never", anywhere=self._anywhere, poll=self._poll)
            self._tasks.start_soon(listening, self._lives, self._graphs, self._tasks)
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        lives, tasks = self._open(), self._tasks
        if tasks is None:
            raise RuntimeClosed
        try:
            if type_ is None:
                await finish(lives, park=self._drain == "park")
        finally:
            lives.idlers.stir()
            tasks.cancel_scope.cancel()
            try:
                # None: the group has only its own tasks to wait for; the body's exception travels as it is
                await tasks.__aexit__(None, None, None)
            except BaseExceptionGroup as group:
                first = first_of(group)
                raise first from first.__cause__
            finally:
                lives.close()
                self._tasks = self._lives = None
                # shielded: bounded by a grace for worker processes; one file to unlock and remove, bounded by the disk
                with anyio.CancelScope(shield=True):
                    await lives.workers.close()
                    await to_thread.run_sync(lives.store.close)
            if lives.interrupt is not None:
                raise lives.interrupt

    async def _listen(self, tasks: TaskGroup, lives: Lives) -> None:
        try:
            await tasks.start(partial(drain_on, lives, self._drain_on))
        except BaseException:  # it was not entered, so that nobody leaves it: also if this was cancelled
            tasks.cancel_scope.cancel()
            await tasks.__aexit__(None, None, None)
            self._tasks = self._lives = None
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(lives.store.close)
            raise

    def _open(self) -> Lives:
        if self._lives is None:
            raise RuntimeClosed
        return self._lives

    def _writable(self) -> Lives:
        if self._readonly:
            raise StoreDenied(self.url, "this Runtime only looks (readonly=True)")
        return self._open()

    @property
    def _anywhere(self) -> bool:
        """Whether orphans that another machine owned are taken up, too."""
        return self._recover == "always" or (self._recover is None and self._open().store.heartbeat is not None)

    # -- starting and resuming ------------------------------------------------------

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
            run = await self.spawn(graph, state, id=id, on_conflict="attach", context=context, under=under)
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
            on_conflict: what to do if the id is taken: raise (``"fail"``), or take the run as it is and go on
                with it (``"attach"``), which is `RunOwned` while another process has it.
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
        self.register(graph)
        lives = self._writable()
        store = lives.store
        run_id = fresh_id() if id is None else id
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
                    creating_run(store, graph, run_id, decision, dict(tags or {}), tombstone=tombstone, under=under)
                ),
                first=decision.commands,
                context=context,
            )
        except RunExists:
            if on_conflict == "fail":
                raise
            return await self.resume(graph, run_id, context=context, under=under)
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

    async def runs(
        self,
        *,
        graph: Graph[Any] | str | None = None,
        status: str | None = None,
        tags: Mapping[str, str] | None = None,
        since: float | None = None,
        limit: int | None = None,
    ) -> list[RunInfo]:
        """The runs of the store, the most recently changed first; their states are not read.

        Args:
            graph: only those of this graph.
            status: only those in this status.
            tags: only those that have all of these.
            since: only those changed at or after this time, in seconds since 1970.
            limit: at most so many.
        """
        lives = self._open()
        name = graph if graph is None or isinstance(graph, str) else graph.name
        found = await lives.in_store(lambda: list_runs(lives.store))
        chosen = [
            info
            for info in found
            if (name is None or info.graph == name)
            and (status is None or info.status == status)
            and (since is None or info.updated >= since)
            and (tags or {}).items() <= info.tags.items()
        ]
        return chosen[:limit]

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
