"""Lives: the runs that live in this process, how each begins, and how all are left."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

import anyio
from anyio import CapacityLimiter
from msgspec import Struct, field

from actorflow.engine.events import Command, Stop
from actorflow.engine.records import ENDED
from actorflow.errors import (
    Blocked,
    CommitRefused,
    CommitTooLarge,
    NoSuchRun,
    RunDeleted,
    RunOwned,
    RuntimeClosed,
    StoreError,
)
from actorflow.graph.graph import Graph
from actorflow.runtime.actor import Actor
from actorflow.runtime.adopt import current_part
from actorflow.runtime.attempt import Caller
from actorflow.runtime.attending import Request
from actorflow.runtime.care import delete_run
from actorflow.runtime.claiming import (
    Adopted,
    EndedMeanwhile,
    Limits,
    Preview,
    adopted_anew,
    check_there,
    claim_run,
    end_markers,
    end_unowned,
    near_ids,
)
from actorflow.runtime.committer import Committer
from actorflow.runtime.dispatcher import Dispatcher
from actorflow.runtime.events import Offset
from actorflow.runtime.idlers import Idlers
from actorflow.runtime.intake import Intake
from actorflow.runtime.life import Life
from actorflow.runtime.means import Graphs
from actorflow.runtime.observers import Observers
from actorflow.runtime.options import check_context
from actorflow.runtime.outage import Outage
from actorflow.runtime.results import Results
from actorflow.runtime.sleepers import Sleepers
from actorflow.runtime.sleeping import is_asleep, lying_down
from actorflow.runtime.stats import SupervisorStats, supervisor_stats
from actorflow.runtime.stream import EventStream
from actorflow.runtime.validation import pass_or_refuse
from actorflow.runtime.writer import Writer
from actorflow.store.cache import ResultCache
from actorflow.store.keys import MARKER

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from anyio.abc import TaskGroup

    from actorflow.engine.policy import RestartPolicy
    from actorflow.engine.run import RunState
    from actorflow.engine.supervision import Under
    from actorflow.runtime.hooks import Hooks
    from actorflow.runtime.supervisor import Supervisor
    from actorflow.runtime.validation import Commit, Validate
    from actorflow.runtime.workers.pool import Workers
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Header
    from actorflow.store.log import Tip
    from actorflow.store.store import Store

T = TypeVar("T")

_logger = logging.getLogger("actorflow.supervisor")

SYNC_NODES = 40
"""How many sync nodes run in worker threads at once, as anyio's own default."""

FILES_OF_A_CREATION = 5
"""Descriptors that beginning a run keeps open between two steps: its folders, the marker and the file."""


class Lives:
    """At most one life for each run, whoever asks for it, and however many at once.

    Lives begin and go on in tasks of the runtime's own: cancelling whoever
    asked ends only the waiting, and never leaks a claim.
    """

    def __init__(
        self,
        store: Store,
        tasks: TaskGroup,
        *,
        limits: Limits,
        policy: RestartPolicy,
        debug: bool,
        validate: Validate | None,
        files: int,
        contexts: Mapping[str, Any],
        workers: Workers,
        hooks: Hooks,
        newest: Callable[[Graph[Any]], Graph[Any]],
        graphs: Mapping[str, Graph[Any]],
        linger: float,
        register: Callable[[Graph[Any]], None],
    ) -> None:
        self.store = store
        self.limits = limits
        self.workers = workers
        self.leaving = False
        self.draining = False  # the process is to end: nothing begins any more
        self.closed = False
        self.interrupt: KeyboardInterrupt | SystemExit | None = None  # raised in a run, to be raised by leaving
        self.blocked: dict[str, str] = {}  # runs that this process can't run, and why
        self._tasks = tasks
        self._policy = policy
        self._debug = debug
        self._validate = validate
        self._contexts = contexts
        self._committer = Committer(tasks, files=files, apart=store.heartbeat is not None)
        self._threads = CapacityLimiter(SYNC_NODES)
        cache = ResultCache(store.backend, store=store.uuid, sealing=store.sealing)
        self._results = Results(cache, in_store=self.in_store)
        self._hooks = hooks
        marker = partial(store.backend.get, MARKER)
        self._outage = Outage(tasks, lambda: self.in_store(marker), policy=policy)
        self.restarts = 0  # of all lives there were
        self.supervisors: dict[str, Supervisor] = {}  # those that are entered, by their paths
        self._aside: dict[str, str] = {}  # runs that wait for a supervisor to be entered again, and its path
        self._newest = newest  # the graph that a reload put in the place of one
        self.one_reload = anyio.Lock()  # at a time
        self.reloading: set[str] = set()  # names of graphs; a life of one that begins meanwhile halts at once
        self.sleepers = Sleepers(self, graphs)
        self.idlers = Idlers(tasks, self._carry, linger=linger)
        self.dispatcher = Dispatcher(self, graphs)
        self._graphs = Graphs(graphs, register)
        self._linger = linger
        # held by actors, and by those who watch their runs
        self._observers: WeakValueDictionary[str, Observers] = WeakValueDictionary()
        self.intake = Intake(self, tasks, migration_timeout=limits.migration_timeout)
        self.wanting = anyio.Event()  # set when something here could want messages from elsewhere
        self._by_id: dict[str, Life] = {}
        # made once, and not for each of thousands of actors
        self._alone = lambda: len(self._by_id) == 1
        self._is_leaving = lambda: self.leaving
        self._on_end = partial(end_markers, store)
        self._lie_down = partial(_lying_down, store)
        self._claiming: dict[str, anyio.Event] = {}  # runs that a task is about to claim

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, run_id: object) -> bool:
        """Whether a run lives here, or is about to."""
        return run_id in self._by_id or run_id in self._claiming

    def __iter__(self) -> Iterator[str]:
        """The ids of the runs that live here, or are about to."""
        return iter({**self._by_id, **self._claiming})

    def get(self, run_id: str) -> Life | None:
        """The life of a run, if it has one here."""
        return self._by_id.get(run_id)

    def of_graph(self, name: str) -> list[Life]:
        """The lives of the runs of a graph."""
        return [life for life in self._by_id.values() if life.graph.name == name]

    def observers(self, run_id: str) -> Observers:
        """Those who watch a run in this process, whether or not it lives here now."""
        found = self._observers.get(run_id)
        if found is None:
            found = self._observers[run_id] = Observers(run_id)
        return found

    # -- the store, seen from here --------------------------------------------------

    def check_first(self, commit: Commit) -> None:
        """Refuse a run that the user's rule does not let begin.

        Raises:
            CommitRefused: with what the rule raised as its cause.
        """
        if self._validate is not None:
            pass_or_refuse(self._validate, commit, path=commit.run_id)

    async def in_store(self, work: Callable[[], T]) -> T:
        """Blocking work of the store in a worker thread; not interrupted by a cancellation."""
        outcome: list[T] = []
        await self._committer.call(lambda: outcome.append(work()))
        return outcome[0]

    async def in_steps(self, steps: Steps[T]) -> T:
        """Brief work of the store that many runs may have at once; not interrupted by a cancellation."""
        return await self._committer.share(steps, files=FILES_OF_A_CREATION)

    async def find(self, run_id: str) -> Tip | None:
        """The newest commit of a run; None: there is no such run."""
        return await self.in_store(lambda: self.store.log(run_id).tip())

    async def tip(self, run_id: str) -> Tip:
        """The newest commit of a run.

        Raises:
            NoSuchRun: with ids that look alike.
            RunDeleted: it was deleted.
        """
        tip = await self.find(run_id)
        if tip is None:
            raise await self.unknown(run_id)
        check_there(tip)
        return tip

    async def unknown(self, run_id: str) -> NoSuchRun:
        """The error for an id that nobody knows, with those that look alike."""
        return NoSuchRun(run_id, await self.in_store(lambda: near_ids(self.store, run_id)))

    # -- beginning --------------------------------------------------------------------

    async def take_up(
        self,
        graph: Graph[Any],
        run_id: str,
        *,
        context: Any,
        reopen: int | None,
        awaited: bool = True,
        preview: Preview | None = None,
        request: Request | None = None,
        under: Under | None = None,
    ) -> Life:
        """The life of an existing run: the one it has here, or a new one after a claim.

        Args:
            graph: what is to run it.
            run_id: which run.
            context: what its nodes get as ``ctx.context``.
            reopen: the opening that the caller saw ended, to be followed by the next; None: only if it is unfinished.
            awaited: whether leaving the runtime waits for it.
            preview: see `claim_run`.
            request: what it is claimed for, if it has no life here yet.
            under: the supervisor that it is to be under; None: the one it was under.

        Raises:
            What `claim_run` raises.
        """
        life = self._by_id.get(run_id)
        if life is not None and not life.actor.run.ended:
            life.awaited = life.awaited or awaited
            if under is not None:
                self._move(life, under)
            return life
        try:
            life = await self.launch(
                graph,
                run_id,
                lambda: self.in_store(
                    lambda: claim_run(
                        self.store, graph, run_id, self.limits, reopen=reopen, preview=preview, under=under
                    )
                ),
                context=context,
                awaited=awaited,
                request=request,
            )
        except Blocked as error:
            self.blocked[run_id] = error.reason
            raise
        self.blocked.pop(run_id, None)
        self._aside.pop(run_id, None)
        return life

    async def launch(
        self,
        graph: Graph[Any],
        run_id: str,
        claim: Callable[[], Awaitable[Adopted]],
        *,
        first: list[Command] | None = None,
        context: Any,
        awaited: bool = True,
        request: Request | None = None,
    ) -> Life:
        """Claim a run and let it live; back when it does.

        Args:
            graph: what is to run it.
            run_id: which run.
            claim: makes the run or claims it.
            first: the commands of a spawn; None for a run that existed.
            context: what its nodes get as ``ctx.context``.
            awaited: whether leaving the runtime waits for it.
            request: what it is claimed for.

        Raises:
            BadContext: it is not what the graph declares; nothing was written.
            RuntimeClosed: the process is about to end.
            What ``claim`` raises.
        """
        if self.draining:
            raise RuntimeClosed
        if context is None:
            context = self.sleepers.context_of(run_id)
        context = self._contexts.get(graph.name) if context is None else context
        check_context(graph, context)
        start = _Start(graph, run_id, claim, first, context, awaited, request)
        self._tasks.start_soon(self._live, start)
        await start.done.wait()
        if start.life is None:
            raise start.error or RuntimeClosed
        return start.life

    async def _live(self, start: _Start) -> None:
        try:
            life = await self._begin(start)
        except Exception as error:  # noqa: BLE001 - raised again where the start is awaited
            start.error = error
            return
        finally:
            start.done.set()
        if life is not None:
            await self._carry(life)

    async def _carry(self, life: Life) -> None:
        """The task of a life, until it is over, or its actor only waits: then it owns none."""
        try:
            await life.supervise(self._reopen, self._renew)
        except (KeyboardInterrupt, SystemExit) as error:
            # out of this task it would stop asyncio's loop, with runs that nobody released and threads that nobody ends
            self.interrupt = error
            self.leave()
        finally:
            if life.actor.idle:
                self.idlers.add(life)
            else:
                self._is_over(life)

    def _is_over(self, life: Life) -> None:
        del self._by_id[life.run_id]
        self.sleepers.lay_down(life)
        self.observers(life.run_id).wake()
        if life.supervisor is not None:
            life.supervisor.left(life)
        if life.error is not None and not _may_pass(life.error):
            self.blocked[life.run_id] = str(life.error)  # not taken up again by itself; resume() lifts it

    async def _begin(self, start: _Start) -> Life | None:
        """The life that was asked for, in ``start``; returned if it is a new one."""
        async with _Claiming(self._claiming, start.run_id):
            other = self._by_id.get(start.run_id)
            if other is not None and other.actor.run.ended:  # it is about to be over, and then may be reopened
                await other.done.wait()
            elif other is not None and start.first is None:  # another task was faster
                other.awaited = other.awaited or start.awaited
                start.life = other
                return None
            adopted = await start.claim()
            while (newest := self._newest(start.graph)) is not start.graph:  # reloaded since this was asked for
                adopted = await self.in_store(partial(adopted_anew, adopted, newest, self.limits))
                start.graph, start.first = newest, None
            self.sleepers.get_up(start.run_id)
            life = Life(
                run_id=start.run_id,
                graph=start.graph,
                context=start.context,
                awaited=start.awaited,
                actor=self._actor(
                    start.graph, adopted, first=start.first, context=start.context, request=start.request
                ),
                policy=self._policy,
                outage=self._outage.over,
                supervisor=self.supervisors.get(adopted.run.supervisor),
            )
            self._admit(life, adopted.run)
            if start.graph.name in self.reloading:
                life.halt()
            self._by_id[start.run_id] = start.life = life
            self._send_again(adopted)
            if not start.first:
                self.intake.look(life)
            if start.graph.plan.messages or adopted.run.mail.lanes:
                self.wanting.set()
            if self._hooks:
                self._tasks.start_soon(self._hooks.follow, *self._watched(life))
            return life

    def _admit(self, life: Life, run: RunState) -> None:
        if life.supervisor is not None:
            life.supervisor.admit(life, run.restart)
        elif run.supervisor:
            _logger.warning(
                "run %r was under supervisor %r, which is not entered in this process: the root takes it",
                run.run_id,
                run.supervisor,
            )

    def _move(self, life: Life, under: Under) -> None:
        """Put a run that lives here under another supervisor; its next claim says so."""
        if life.supervisor is not None:
            life.supervisor.dismiss(life)
        life.supervisor, life.under = self.supervisors.get(under.path), under
        if life.supervisor is not None:
            life.supervisor.admit(life, under.restart)

    # -- supervisors ------------------------------------------------------------------

    def enter(self, supervisor: Supervisor) -> None:
        """Make a supervisor known: runs that are its children, by their files, join it."""
        self.supervisors[supervisor.path] = supervisor
        for run_id in [run_id for run_id, path in self._aside.items() if path == supervisor.path]:
            del self._aside[run_id]
            self.blocked.pop(run_id, None)
        for life in self._by_id.values():
            if life.supervisor is None and life.actor.run.supervisor == supervisor.path:
                life.supervisor = supervisor
                supervisor.admit(life, life.actor.run.restart)

    def stats(self) -> SupervisorStats:
        """What goes on in all that live here."""
        return supervisor_stats("", self._by_id.values(), restarts=self.restarts)

    def set_aside(self, run_id: str, path: str) -> None:
        """Leave a run alone in this process until somebody resumes it, or enters this supervisor again."""
        self._aside[run_id] = path
        self.blocked[run_id] = f"supervisor {path!r} was left; resume the run, or enter a supervisor of that name"

    def unblock(self) -> None:
        """Look again at the runs that this process could not run: its code is another one now."""
        self.blocked = {run_id: reason for run_id, reason in self.blocked.items() if run_id in self._aside}

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this beside everything else, until it is over or the runtime is left."""
        self._tasks.start_soon(work)

    def _watched(self, life: Life) -> tuple[EventStream, Observers]:
        """What the hooks are told of a life: all since its claim, while it lasts."""
        claim = life.actor.header.seq
        stream = EventStream(
            lambda: self,
            life.run_id,
            modes=self._hooks.modes,
            graphs=lambda name: life.graph if name == life.graph.name else None,
            after=Offset.parse(claim - 1) if claim else None,
            stays=False,
        )
        stream.begin()  # before its actor does
        return stream, self.observers(life.run_id)

    def _actor(
        self,
        graph: Graph[Any],
        adopted: Adopted,
        *,
        first: list[Command] | None,
        context: Any,
        request: Request | None = None,
    ) -> Actor:
        observers = self.observers(adopted.run.run_id)
        writer = Writer(
            adopted.run,
            adopted.ownership,
            schema=graph.schema,
            file=adopted.file,
            committer=self._committer,
            large=adopted.large,
            validate=self._validate,
            observers=observers,
            alone=self._alone,
            on_end=self._on_end,
            on_rest=self._lie_down,
            on_sent=self.dispatcher.told,
            rewound=adopted.rewound,
        )
        caller = Caller(
            graph.plan, context, self._debug, self._threads, self.workers, observers.told, self._results, self._graphs
        )
        return Actor(
            graph,
            adopted.run,
            writer=writer,
            caller=caller,
            observers=observers,
            leaving=self._is_leaving,
            linger=self._linger,
            first=first,
            request=request,
        )

    def _send_again(self, adopted: Adopted) -> None:
        """What its last commit says that others do not have, they may have all the same; they take it once."""
        if adopted.run.mail.outbox:
            self.dispatcher.told(adopted.run, tuple(adopted.run.mail.outbox), again=True)

    async def _reopen(self, life: Life) -> Actor:
        graph = life.graph
        under, life.under = life.under, None
        self.restarts += 1
        adopted = await self.in_store(
            lambda: claim_run(self.store, graph, life.run_id, self.limits, reopen=None, under=under)
        )
        self._send_again(adopted)
        return self._actor(graph, adopted, first=None, context=life.context)

    def _renew(self, life: Life, run: RunState) -> Actor:
        writer = life.actor.writer
        adopted = Adopted(run, writer.ownership, current_part(life.graph, writer.file), writer.large)
        return self._actor(life.graph, adopted, first=None, context=life.context)

    # -- ending -----------------------------------------------------------------------

    async def stop(self, run_id: str, stop: Stop) -> str:
        """End a run in this status, here or unowned in the store; the status it has then.

        Raises:
            NoSuchRun, RunOwned
            StoreError: this could not be recorded.
        """
        life = self._by_id.get(run_id)
        if life is not None:
            life.stop(stop)
            await life.done.wait()
            if life.error is not None:
                raise life.error
        status = (await self.tip(run_id)).header.status
        if status not in ENDED:  # nobody has it, or it was being let go of just now
            async with _Claiming(self._claiming, run_id):
                if run_id not in self._by_id:
                    with suppress(EndedMeanwhile):
                        ended = await self.in_store(lambda: end_unowned(self.store, run_id, stop.status, stop.by))
                        self.dispatcher.told(ended, tuple(ended.mail.outbox), over=True)
            return await self.stop(run_id, stop)
        return status

    async def delete(self, run_id: str, *, by: str | None) -> None:
        """Delete a run, having cancelled it first if it lives here.

        Raises:
            NoSuchRun, RunOwned, CorruptCheckpoint, StoreError
        """
        if (life := self._by_id.get(run_id)) is not None:
            life.stop(Stop("cancelled", by))
            await life.done.wait()
        async with _Claiming(self._claiming, run_id):
            await self.in_store(lambda: delete_run(self.store, run_id, by=by))
        self.blocked.pop(run_id, None)

    async def apart(self, run_id: str, work: Callable[[], T]) -> T:
        """Work of the store on a run that is let go of here first: what runs of it ends, and nothing begins.

        Raises:
            StoreError: it could not be let go of.
        """
        async with _Claiming(self._claiming, run_id):
            if (life := self._by_id.get(run_id)) is not None:
                life.park()
                await life.done.wait()
                if life.error is not None:
                    raise life.error
            return await self.in_store(work)

    async def finish(self, *, park: bool) -> None:
        """Wait until all are over: those that are awaited by themselves, the others (or all) by being parked."""
        self.leaving = True
        for life in self._by_id.values():
            life.actor.nudge()
        while True:
            unfinished = [life for life in self._by_id.values() if not life.done.is_set()]
            for life in unfinished:
                if park or not life.awaited:
                    life.park()
            if unfinished:
                await unfinished[0].done.wait()
            elif not park and self.dispatcher:  # which may begin others
                await self.dispatcher.drained()
            else:
                break
        await self._hooks.drained()

    def drain(self, error: SystemExit) -> None:
        """Begin nothing, let all finish what runs just now, and then end everything; leaving raises this."""
        self.draining = self.leaving = True
        self.interrupt = self.interrupt or error
        for life in self._by_id.values():  # now, and not when another task comes to it
            life.park()
        self.in_background(self._drain)

    async def _drain(self) -> None:
        await self.finish(park=True)
        self.leave()

    def leave(self) -> None:
        """Cancel all that goes on, unrecorded, and whatever is inside `async with`."""
        self._tasks.cancel_scope.cancel()

    def close(self) -> None:
        """End the loops over events that still go on."""
        self.closed = True
        for observers in list(self._observers.values()):
            observers.wake()


def _lying_down(store: Store, run: RunState, header: Header) -> Steps[None]:
    if is_asleep(header):
        yield from lying_down(store, run.run_id, header)


class _Start(Struct):
    """The start of a life, and what became of it: the life, or why there is none."""

    graph: Graph[Any]
    run_id: str
    claim: Callable[[], Awaitable[Adopted]]
    first: list[Command] | None
    context: Any
    awaited: bool
    request: Request | None = None
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


def _may_pass(error: Exception) -> bool:
    """Whether it is the store's trouble, or somebody else's doing, and not that this process can't run the run."""
    if isinstance(error, RunOwned | RunDeleted | EndedMeanwhile):
        return True
    return isinstance(error, StoreError) and not isinstance(error, CommitTooLarge | CommitRefused)
