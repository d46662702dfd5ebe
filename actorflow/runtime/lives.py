"""Lives: the runs that live in this process, how each comes to it, and what becomes of its life."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import anyio

from actorflow.errors import Blocked
from actorflow.runtime.abroad import Abroad, Sight
from actorflow.runtime.access import StoreAccess
from actorflow.runtime.beginning import Beginnings
from actorflow.runtime.blocked import BlockedRuns
from actorflow.runtime.claimants import Claimants
from actorflow.runtime.claiming import check_there, claiming_run
from actorflow.runtime.committer import Committer
from actorflow.runtime.dispatcher import Dispatcher
from actorflow.runtime.idlers import Idlers
from actorflow.runtime.intake import Intake
from actorflow.runtime.making import ActorMaker
from actorflow.runtime.means import Graphs
from actorflow.runtime.observers import Home, Observers
from actorflow.runtime.outage import Outage
from actorflow.runtime.sleepers import Sleepers
from actorflow.runtime.stats import SupervisorStats, supervisor_stats
from actorflow.runtime.superiors import Superiors
from actorflow.runtime.validation import pass_or_refuse
from actorflow.store.keys import MARKER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from anyio.abc import TaskGroup

    from actorflow.engine.policy import RestartPolicy
    from actorflow.engine.supervision import Under
    from actorflow.graph.graph import Graph
    from actorflow.runtime.attending import Request
    from actorflow.runtime.claiming import Limits, Preview
    from actorflow.runtime.contexts import Contexts
    from actorflow.runtime.hooks import Hooks
    from actorflow.runtime.life import Life
    from actorflow.runtime.supervisor import Supervisor
    from actorflow.runtime.validation import Commit, Validate
    from actorflow.runtime.workers.pool import Workers
    from actorflow.store.store import Store


class Lives(StoreAccess):
    """At most one life for each run, whoever asks for it, and however many at once."""

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
        contexts: Contexts,
        workers: Workers,
        hooks: Hooks,
        newest: Callable[[Graph[Any]], Graph[Any]],
        graphs: Mapping[str, Graph[Any]],
        linger: float,
        register: Callable[[Graph[Any]], None],
    ) -> None:
        apart = store.heartbeat is not None
        committer = Committer(tasks, files=files, apart=apart)
        super().__init__(store, committer, batches=Committer(tasks, files=files, apart=apart))
        self.limits = limits
        self.workers = workers
        self.hooks = hooks
        self.leaving = False
        self.draining = False  # the process is to end: nothing begins any more
        self.closed = False
        self.interrupt: KeyboardInterrupt | SystemExit | None = None  # raised in a run, to be raised by leaving
        self.restarts = 0  # of all lives there were
        self.one_reload = anyio.Lock()  # at a time
        self.reloading: set[str] = set()  # names of graphs; a life of one that begins meanwhile halts at once
        self.wanting = anyio.Event()  # set when something here could want messages from elsewhere
        self.blocked = BlockedRuns()
        self.contexts = contexts
        self.supervisors = Superiors()
        self.sleepers = Sleepers(self, graphs)
        self.idlers = Idlers(tasks, self.carry, linger=linger)
        self.dispatcher = Dispatcher(self, graphs)
        self.abroad = Abroad(self, graphs)
        self.intake = Intake(self, tasks, migration_timeout=limits.migration_timeout)
        self._tasks = tasks
        self._validate = validate
        self._by_id: dict[str, Life] = {}
        # held by actors, and by those who watch their runs
        self._observers: WeakValueDictionary[str, Observers] = WeakValueDictionary()
        self._home = Home()
        self.claimants = Claimants()
        self._maker = ActorMaker(
            self, committer, Graphs(graphs, register, contexts), debug=debug, validate=validate, linger=linger
        )
        marker = partial(store.backend.get, MARKER)
        self.beginnings = Beginnings(
            self,
            tasks,
            self.claimants,
            self._maker,
            policy=policy,
            outage=Outage(tasks, lambda: self.in_store(marker), policy=policy),
            hooks=hooks,
            newest=newest,
        )

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, run_id: object) -> bool:
        """Whether a run lives here, or is about to."""
        return run_id in self._by_id or run_id in self.claimants

    def __iter__(self) -> Iterator[str]:
        """The ids of the runs that live here, or are about to."""
        return iter({**self._by_id, **dict.fromkeys(self.claimants)})

    def get(self, run_id: str) -> Life | None:
        """The life of a run, if it has one here."""
        return self._by_id.get(run_id)

    def of_graph(self, name: str) -> list[Life]:
        """The lives of the runs of a graph."""
        return [life for life in self._by_id.values() if life.graph.name == name]

    def present(self) -> list[Life]:
        """All lives."""
        return list(self._by_id.values())

    def observers(self, run_id: str) -> Observers:
        """Those who watch a run in this process, whether or not it lives here now."""
        found = self._observers.get(run_id)
        if found is None:
            found = self._observers[run_id] = Observers(run_id, self._home)
        return found

    def check_first(self, commit: Commit) -> None:
        """Refuse a run that the user's rule does not let begin.

        Raises:
            CommitRefused: with what the rule raised as its cause.
        """
        if self._validate is not None:
            pass_or_refuse(self._validate, commit, path=commit.run_id)

    async def look(self, run_id: str) -> Sight:
        """A run that lives elsewhere, as it is now. What was seen of it before is not read again, as it is by `tip`.

        Raises:
            NoSuchRun, RunDeleted
        """
        sight = await self.abroad.look(run_id)
        if sight is None:
            raise await self.unknown(run_id)
        check_there(sight.tip)
        return sight

    def may_run(self, graph: Graph[Any], run_id: str) -> bool:
        """Whether this process has what the nodes of a run need; otherwise it is left to one that has."""
        return self.contexts.suffice(graph, self.sleepers.context_of(run_id))

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
            preview: see `claiming_run`.
            request: what it is claimed for, if it has no life here yet.
            under: the supervisor that it is to be under; None: the one it was under.

        Raises:
            What `claiming_run` raises.
        """
        life = self._by_id.get(run_id)
        if life is not None and not life.actor.run.ended:
            life.awaited = life.awaited or awaited
            if under is not None:
                self.supervisors.move(life, under)
            return life
        claiming = partial(
            claiming_run, self.store, graph, run_id, self.limits, reopen=reopen, preview=preview, under=under
        )
        try:
            life = await self.beginnings.launch(
                graph,
                run_id,
                partial(self.in_batches, claiming),
                context=context,
                awaited=awaited,
                request=request,
            )
        except Blocked as error:
            self.blocked.block(run_id, error.reason)
            raise
        self.blocked.lift(run_id)
        return life

    def add(self, life: Life, *, begins: bool) -> None:
        """A life began: with its run, or of one that was there."""
        run = life.actor.run
        self.sleepers.get_up(life.run_id)
        self.supervisors.admit(life, run)
        if life.graph.name in self.reloading:
            life.halt()
        self._by_id[life.run_id] = life
        self.dispatcher.told_again(run)
        if not begins:
            self.intake.look(life)
        if life.graph.plan.messages or run.mail.lanes:
            self.wanting.set()

    async def carry(self, life: Life) -> None:
        """The task of a life, until it is over, or its actor only waits: then it owns none."""
        try:
            await life.supervise(self._maker.reopen, self._maker.renew)
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
        if life.error is not None:
            self.blocked.stopped(life.run_id, life.error)
        if life.aside is not None and life.outcome is None:  # now, or a scan would take it for an orphan
            self.blocked.set_aside(life.run_id, life.aside)

    # -- supervisors ------------------------------------------------------------------

    def enter(self, supervisor: Supervisor) -> None:
        """Make a supervisor known: runs that are its children, by their files, join it."""
        self.blocked.entered(supervisor.path)
        self.supervisors.enter(supervisor, self._by_id.values())

    def stats(self) -> SupervisorStats:
        """What goes on in all that live here."""
        return supervisor_stats("", self._by_id.values(), restarts=self.restarts)

    def in_background(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do this beside everything else, until it is over or the runtime is left."""
        self._tasks.start_soon(work)

    # -- leaving ----------------------------------------------------------------------

    def leave(self) -> None:
        """Cancel all that goes on, unrecorded, and whatever is inside `async with`."""
        self._tasks.cancel_scope.cancel()

    def close(self) -> None:
        """End the loops over events that still go on."""
        self.closed = True
        for observers in list(self._observers.values()):
            observers.wake()
