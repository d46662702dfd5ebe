"""Runtime: a store and the actors that live in this process, entered with ``async with``."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

import anyio
from anyio import CapacityLimiter, to_thread
from msgspec import Struct, field

from actorflow.engine.decide import Command, checked_input, input_digest, spawn
from actorflow.engine.policy import RestartPolicy
from actorflow.engine.records import ENDED
from actorflow.errors import (
    Blocked,
    CommitTooLarge,
    NoSuchRun,
    Quarantined,
    RunCancelled,
    RunExists,
    RunOwned,
    RuntimeClosed,
    StoreDenied,
    StoreError,
)
from actorflow.graph.graph import Graph
from actorflow.graph.schema import schema_of
from actorflow.graph.state import State
from actorflow.runtime.actor import Actor
from actorflow.runtime.claiming import (
    Adopted,
    EndedMeanwhile,
    Limits,
    Preview,
    check_graph,
    claim_run,
    create_run,
    end_markers,
    end_unowned,
    near_ids,
    nodes_to_start,
    preview_run,
)
from actorflow.runtime.committer import Committer
from actorflow.runtime.groups import first_of
from actorflow.runtime.life import Life
from actorflow.runtime.listing import RunInfo, list_runs, orphans, verify_store
from actorflow.runtime.replay import replay
from actorflow.runtime.run import Run
from actorflow.store.store import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from anyio.abc import TaskGroup

    from actorflow.engine.decide import Stop
    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip
    from actorflow.store.verify import Finding

S = TypeVar("S", bound=State)
T = TypeVar("T")
Durability = Literal["sync", "async", "exit"]

_logger = logging.getLogger("actorflow.runtime")

SYNC_NODES = 40
"""How many sync nodes run in worker threads at once, as anyio's own default."""


class Runtime:
    """Runs graphs durably: a store, and the actors of its runs that live in this process.

    Leaving it normally waits until every run that was spawned or resumed
    through it has ended (``drain="park"``: only until what runs just now is
    committed). Leaving it by an exception or Ctrl-C cancels activations,
    unrecorded. Either way each run that is left unfinished is released, so
    that any process can go on with it at once.

    Args:
        store: a folder or URL; ``memory://`` keeps nothing.
        graphs: those whose orphaned runs are recovered from the start.
        recover: which orphaned runs of registered graphs are taken up by themselves,
            every ``scan_every`` seconds: those last owned by this machine, any, or none.
        drain: see above.
        restarts: how a crashed run is restarted.
        max_crashes: a run with which more processes than this died, without an
            activation finishing in between, is quarantined.
        debug: raise `StateMutated` when a node changes its state in place.
        scan_every: seconds between two looks for orphaned runs.
        migration_timeout: seconds that migrating one run may take.
        max_open_files: how many files of runs are kept open.
        readonly: only look: nothing is written, not even a lock, nothing is
            recovered, and the store must exist.

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
        store: str | os.PathLike[str] = "./.actorflow",
        *,
        graphs: Iterable[Graph[Any]] = (),
        recover: Literal["owned", "always", "never"] = "owned",
        drain: Literal["finish", "park"] = "finish",
        restarts: RestartPolicy | None = None,
        max_crashes: int = 10,
        debug: bool = False,
        scan_every: float = 2.0,
        migration_timeout: float = 60.0,
        max_open_files: int = 256,
        readonly: bool = False,
    ) -> None:
        self.url = os.fspath(store)
        self.max_crashes = max_crashes
        self.migration_timeout = migration_timeout
        self._graphs = {graph.name: graph for graph in graphs}
        self._recover = "never" if readonly else recover
        self._drain = drain
        self._policy = restarts or RestartPolicy()
        self._debug = debug
        self._scan_every = scan_every
        self._max_open_files = max_open_files
        self._readonly = readonly
        self._limits = Limits(migration_timeout=migration_timeout, max_crashes=max_crashes)
        self._lives: dict[str, Life] = {}
        self._claiming: dict[str, anyio.Event] = {}
        self._blocked: dict[str, str] = {}  # why this process can't run them
        self._leaving = False
        self._interrupt: KeyboardInterrupt | SystemExit | None = None  # raised in a run, to be raised by leaving
        self._store: Store | None = None
        self._tasks: TaskGroup | None = None
        self._committer: Committer | None = None
        self._threads: CapacityLimiter | None = None

    def __repr__(self) -> str:
        return f"<Runtime {self.url!r}: {len(self._lives)} live>"

    # -- entering and leaving -------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the store.

        Raises:
            StoreError: it can't be used; the message says why.
        """
        for graph in self._graphs.values():
            _ = graph.plan  # raises GraphError before anything is opened
        self._store = await to_thread.run_sync(
            lambda: open_store(self.url, max_open_files=self._max_open_files, readonly=self._readonly)
        )
        self._threads = CapacityLimiter(SYNC_NODES)
        self._leaving, self._interrupt = False, None
        self._tasks = anyio.create_task_group()
        await self._tasks.__aenter__()
        self._committer = Committer(self._tasks)
        if self._recover != "never":
            self._tasks.start_soon(self._scan)
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, store = self._open()
        try:
            if type_ is None:
                await self._finish_lives()
        finally:
            tasks.cancel_scope.cancel()
            try:
                # None: the group has only its own tasks to wait for; the body's exception travels as it is
                await tasks.__aexit__(None, None, None)
            except BaseExceptionGroup as group:
                raise first_of(group) from None
            finally:
                self._tasks = self._committer = self._store = None
                # shielded: one file to unlock and remove; bounded by the disk
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(store.close)
            if self._interrupt is not None:
                raise self._interrupt

    async def _finish_lives(self) -> None:
        self._leaving = True
        for life in list(self._lives.values()):
            if self._drain == "park" or not life.awaited:
                life.park()
        while awaited := [life for life in self._lives.values() if not life.done.is_set()]:
            for life in awaited:
                if self._drain == "park" or not life.awaited:
                    life.park()
                await life.done.wait()

    def _open(self) -> tuple[TaskGroup, Store]:
        if self._tasks is None or self._store is None:
            raise RuntimeClosed("this call")
        return self._tasks, self._store

    def _writable(self) -> tuple[TaskGroup, Store]:
        if self._readonly:
            raise StoreDenied(self.url, "this Runtime only looks (readonly=True)")
        return self._open()

    # -- starting and resuming ------------------------------------------------------

    def register(self, graph: Graph[Any]) -> None:
        """Make a graph known: its orphaned runs are recovered, its states are typed.

        Of several graphs of one name the newest counts, and is asked anew about runs that were blocked.

        Raises:
            GraphError: the graph can't run.
        """
        _ = graph.plan
        if self._graphs.get(graph.name) is not graph:
            self._graphs[graph.name] = graph
            self._blocked.clear()

    async def run(self, graph: Graph[S], state: S | None = None, *, id: str | None = None, context: Any = None) -> S:
        """Spawn a run, or go on with the one that has this id; then its result.

        A finished run only returns its result: nothing runs. A failed one is
        tried again from where it failed.

        Raises:
            RunExists: the id is taken by a run of another input.
            WrongGraph, RunOwned, RunFailed, RunCancelled, Quarantined, Blocked, GraphError, BadUpdate, StoreError
        """
        if id is None:
            return await (await self.spawn(graph, state, context=context)).result()
        self.register(graph)
        tip = await self._find(id)
        if tip is None:
            run = await self.spawn(graph, state, id=id, on_conflict="attach", context=context)
            return await run.result()
        _, store = self._open()
        check_graph(graph, store.log(id), tip)
        await self._check_input(graph, state, id)
        match tip.header.status:
            case "finished":
                return await Run[S](self, id, graph, None).result()
            case "cancelled":
                raise RunCancelled(id, seq=tip.header.seq)
            case "quarantined":
                raise Quarantined(id, tip.header.crashes)
            case _:
                try:
                    life = await self._take_up(graph, id, context=context, reopen=_ended_opening(tip))
                except EndedMeanwhile:
                    return await self.run(graph, state, id=id, context=context)
                return await Run[S](self, id, graph, life).result()

    async def spawn(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        on_conflict: Literal["fail", "attach"] = "fail",
        tags: Mapping[str, str] | None = None,
        durability: Durability = "sync",
        context: Any = None,
    ) -> Run[S]:
        """Begin a run; it is durable when this returns. Without ``id`` it gets one that sorts by time.

        Args:
            graph: what to run.
            state: the input; by default the State with all defaults.
            id: any string of up to 512 bytes in Unicode's normal form NFC.
            on_conflict: what to do if the id is taken: raise, or take the run as it is (going on with it).
            tags: kept in every header, for listings.
            durability: when a successor may start: after the commit (``sync``), while it is
                in flight (``async``), or at once, committing only when forced (``exit``).
            context: clients and settings that nodes read as ``ctx.context``; never stored.

        Raises:
            RunExists: the id is taken, and ``on_conflict`` is "fail".
            GraphError, BadUpdate, BadRunId, StoreError
        """
        self.register(graph)
        _, store = self._open()
        run_id = new_id() if id is None else id
        store.log(run_id)  # refuses an id that can't be one, before anything is made of it
        state = graph.state_type() if state is None else state
        decision = spawn(graph.plan, schema_of(graph.state_type), state, run_id=run_id, durability=durability)
        try:
            life = await self._launch(
                graph,
                run_id,
                lambda: create_run(store, graph, run_id, decision, dict(tags or {})),
                first=decision.commands,
                context=context,
            )
        except RunExists:
            if on_conflict == "fail":
                raise
            return await self.resume(graph, run_id, context=context)
        return Run(self, run_id, graph, life)

    async def resume(self, graph: Graph[S], id: str, *, context: Any = None) -> Run[S]:
        """Go on with a run: after a crash, after a failure, out of quarantine, or under a graph that grew.

        A run that is over and has nowhere to go is not touched: the handle gives its result.

        Raises:
            NoSuchRun: with ids that look alike.
            WrongGraph, RunOwned, Blocked, CorruptCheckpoint, GraphError
        """
        self.register(graph)
        _, store = self._open()
        tip = await self.tip(id)
        log, preview = store.log(id), None
        check_graph(graph, log, tip)
        if tip.header.status == "finished":
            if tip.file.topology == graph.plan.digest:
                return Run(self, id, graph, None)
            preview = await self._in_store(lambda: preview_run(graph, log, tip, self._limits))
            if not nodes_to_start(graph, preview):
                return Run(self, id, graph, None)
        try:
            life = await self._take_up(graph, id, context=context, reopen=_ended_opening(tip), preview=preview)
        except EndedMeanwhile:
            return await self.resume(graph, id, context=context)
        return Run(self, id, graph, life)

    def get(self, id: str) -> Run[Any]:
        """A handle of a run, without looking whether there is one."""
        life = self._lives.get(id)
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
        _, store = self._open()
        name = graph if graph is None or isinstance(graph, str) else graph.name
        found = await self._in_store(lambda: list_runs(store))
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
        return await self._recover_orphans(awaited=True)

    async def preview(self, graph: Graph[Any], id: str) -> tuple[str, ...]:
        """The nodes that `resume` would start, were this graph to go on with the run; it is read and left as it is.

        Ask before a deployment what the new code would do with the runs there are.

        Raises:
            NoSuchRun, CorruptCheckpoint, GraphError
            WrongGraph: it is a run of another graph.
            Blocked: this code can't run it; the message says why.
        """
        _ = graph.plan
        _, store = self._open()
        tip = await self.tip(id)
        check_graph(graph, store.log(id), tip)
        preview = await self._in_store(lambda: preview_run(graph, store.log(id), tip, self._limits))
        return nodes_to_start(graph, preview)

    async def verify(self, id: str | None = None) -> list[Finding]:
        """What is wrong or odd about a run's files, or all runs'; every finding says what to do."""
        _, store = self._open()
        return await self._in_store(lambda: verify_store(store, id))

    # -- what handles ask -------------------------------------------------------------

    def life_of(self, run_id: str) -> Life | None:
        """The life of a run in this process, if it has one."""
        return self._lives.get(run_id)

    def graph_named(self, name: str) -> Graph[Any] | None:
        """The registered graph of this name."""
        return self._graphs.get(name)

    def why_blocked(self, run_id: str) -> str | None:
        """Why this process found that it can't run this run; None: it did not."""
        return self._blocked.get(run_id)

    async def tip(self, run_id: str) -> Tip:
        """The newest commit of a run.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        tip = await self._find(run_id)
        if tip is None:
            raise await self._unknown(run_id)
        return tip

    async def read(self, run_id: str, *, first: int | None = None) -> list[Frame]:
        """The frames of a run, from its newest snapshot or from ``first``.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        _, store = self._open()
        frames = await self._in_store(lambda: store.log(run_id).read(first=first))
        if not frames:
            raise await self._unknown(run_id)
        return frames

    async def _find(self, run_id: str) -> Tip | None:
        _, store = self._open()
        return await self._in_store(lambda: store.log(run_id).tip())

    async def _unknown(self, run_id: str) -> NoSuchRun:
        _, store = self._open()
        return NoSuchRun(run_id, await self._in_store(lambda: near_ids(store, run_id)))

    async def stop(self, run_id: str, stop: Stop) -> str:
        """End a run in this status, wherever it is; the status it has then.

        Raises:
            StoreError: this could not be recorded.
        """
        _, store = self._writable()
        life = self._lives.get(run_id)
        if life is not None:
            life.stop(stop)
            await life.done.wait()
            if life.error is not None:
                raise life.error
        elif (await self.tip(run_id)).header.status not in ENDED:
            async with _Claiming(self._claiming, run_id):
                if run_id not in self._lives:
                    with suppress(EndedMeanwhile):
                        await self._in_store(lambda: end_unowned(store, run_id, stop.status, stop.by))
            return await self.stop(run_id, stop)
        return (await self.tip(run_id)).header.status

    # -- lives ------------------------------------------------------------------------

    async def _take_up(
        self,
        graph: Graph[Any],
        run_id: str,
        *,
        context: Any,
        reopen: int | None,
        awaited: bool = True,
        preview: Preview | None = None,
    ) -> Life:
        """The life of a run in this process: the one it has, or a new one after a claim."""
        _, store = self._open()
        life = self._lives.get(run_id)
        if life is not None and not life.actor.run.ended:
            life.awaited = life.awaited or awaited
            return life
        try:
            life = await self._launch(
                graph,
                run_id,
                lambda: claim_run(store, graph, run_id, self._limits, reopen=reopen, preview=preview),
                context=context,
                awaited=awaited,
            )
        except Blocked as error:
            self._blocked[run_id] = error.reason
            raise
        self._blocked.pop(run_id, None)
        return life

    async def _launch(
        self,
        graph: Graph[Any],
        run_id: str,
        claim: Callable[[], Adopted],
        *,
        first: list[Command] | None = None,
        context: Any,
        awaited: bool = True,
    ) -> Life:
        """Claim a run and let it live, in a task of the runtime's own: cancelling the caller never leaks a claim."""
        tasks, _ = self._writable()
        start = _Start(graph, run_id, claim, first, context, awaited)
        tasks.start_soon(self._live, start)
        await start.done.wait()
        if start.life is None:
            raise start.error or RuntimeClosed(f"starting run {run_id!r}")
        return start.life

    async def _live(self, start: _Start) -> None:
        run_id = start.run_id
        try:
            async with _Claiming(self._claiming, run_id):
                other = self._lives.get(run_id)
                if other is not None and other.actor.run.ended:  # it is about to be over, and then may be reopened
                    await other.done.wait()
                elif other is not None and start.first is None:  # another task was faster
                    start.life = other
                    start.life.awaited = start.life.awaited or start.awaited
                    return
                adopted = await self._in_store(start.claim)
                life = Life(
                    run_id=run_id,
                    graph=start.graph,
                    context=start.context,
                    awaited=start.awaited,
                    actor=self._actor(start.graph, adopted, first=start.first, context=start.context),
                    policy=self._policy,
                )
                self._lives[run_id] = life
                start.life = life
        except Exception as error:  # noqa: BLE001 - raised again where the start is awaited
            start.error = error
            return
        finally:
            start.done.set()
        try:
            await life.supervise(self._reopen)
        except (KeyboardInterrupt, SystemExit) as error:
            # out of this task it would stop asyncio's loop, with runs that nobody released and threads that nobody ends
            self._interrupt = error
            self._open()[0].cancel_scope.cancel()
        finally:
            self._lives.pop(run_id, None)
            if life.error is not None and (
                isinstance(life.error, CommitTooLarge) or not isinstance(life.error, StoreError)
            ):
                self._blocked[run_id] = str(life.error)  # not taken up again by itself; resume() lifts it

    def _actor(self, graph: Graph[Any], adopted: Adopted, *, first: list[Command] | None, context: Any) -> Actor:
        if self._committer is None or self._threads is None or self._store is None:
            raise RuntimeClosed("this call")
        store = self._store
        return Actor(
            graph,
            adopted.run,
            adopted.ownership,
            file=adopted.file,
            committer=self._committer,
            context=context,
            debug=self._debug,
            threads=self._threads,
            alone=lambda: len(self._lives) == 1,
            on_end=lambda actor: end_markers(store, actor.run, actor.header),
            first=first,
        )

    async def _reopen(self, life: Life) -> Actor:
        _, store = self._open()
        adopted = await self._in_store(lambda: claim_run(store, life.graph, life.run_id, self._limits, reopen=None))
        return self._actor(life.graph, adopted, first=None, context=life.context)

    # -- recovery ---------------------------------------------------------------------

    async def _scan(self) -> None:
        """Level-triggered: looks at what is there, again and again, and remembers nothing."""
        while True:
            await anyio.sleep(self._scan_every)
            if self._graphs and not self._leaving:
                try:
                    await self._recover_orphans(awaited=False)
                except StoreError as error:
                    _logger.warning("could not look for orphaned runs: %s", error)

    async def _recover_orphans(self, *, awaited: bool) -> list[Run[Any]]:
        _, store = self._open()
        runs: list[Run[Any]] = []
        busy = {*self._lives, *self._claiming, *(() if awaited else self._blocked)}
        for run_id, graph_name in await self._in_store(
            lambda: orphans(store, busy, anywhere=self._recover == "always")
        ):
            graph = self._graphs.get(graph_name)
            if graph is None or run_id in self._claiming or run_id in self._lives or self._leaving:
                continue
            try:
                life = await self._take_up(graph, run_id, context=None, reopen=None, awaited=awaited)
            except (RunOwned, EndedMeanwhile):
                continue  # somebody else was faster
            except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
                _logger.warning("run %r is not recovered: %r", run_id, error)
                continue
            _logger.info("run %r is taken up: its owner is gone", run_id)
            runs.append(Run(self, run_id, graph, life))
        return runs

    # -- helpers of the above -----------------------------------------------------------

    async def _check_input(self, graph: Graph[Any], state: State | None, run_id: str) -> None:
        if state is None:
            return
        run = replay(await self.read(run_id))
        schema = schema_of(graph.state_type)
        digest = input_digest(schema, checked_input(schema, state))
        same_schema = (await self.tip(run_id)).file.version == schema_of(graph.state_type).version
        if same_schema and run.digest != digest:
            raise RunExists(run_id, "began with another input")

    async def _in_store(self, work: Callable[[], T]) -> T:
        """Blocking work of the store in a worker thread; not interrupted by a cancellation."""
        if self._committer is None:
            raise RuntimeClosed("this call")
        outcome: list[T] = []
        await self._committer.call(lambda: outcome.append(work()))
        return outcome[0]


class _Start(Struct):
    """The start of a life, and what became of it: the life, or why there is none."""

    graph: Graph[Any]
    run_id: str
    claim: Callable[[], Adopted]
    first: list[Command] | None
    context: Any
    awaited: bool
    done: anyio.Event = field(default_factory=anyio.Event)
    life: Life | None = None
    error: Exception | None = None


class _Claiming:
    """One task of a runtime at a time claims a run: two would fence each other. The second waits for the first."""

    def __init__(self, claiming: dict[str, anyio.Event], run_id: str) -> None:
        self._claiming = claiming
        self._run_id = run_id
        self._over = anyio.Event()

    async def __aenter__(self) -> None:
        while (other := self._claiming.get(self._run_id)) is not None:
            await other.wait()
        self._claiming[self._run_id] = self._over

    async def __aexit__(self, *_: object) -> None:
        del self._claiming[self._run_id]
        self._over.set()


def _ended_opening(tip: Tip) -> int | None:
    return tip.header.opening if tip.header.status in ENDED else None


def new_id() -> str:
    """A new run id: 48 bits of time in milliseconds, then 80 random bits, in hex; sorts by time."""
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"
