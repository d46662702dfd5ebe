"""Runtime: a store and the actors that live in this process, entered with ``async with``."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import anyio
from anyio import to_thread

from actorflow.engine.policy import RestartPolicy
from actorflow.errors import RuntimeClosed, StoreDenied
from actorflow.runtime import ctrl_c
from actorflow.runtime.claiming import Limits
from actorflow.runtime.contexts import Contexts
from actorflow.runtime.draining import drain_on, finish
from actorflow.runtime.groups import first_of
from actorflow.runtime.hooks import Hook, Hooks
from actorflow.runtime.listening import listen
from actorflow.runtime.listing import RunInfo, list_runs
from actorflow.runtime.lives import Lives
from actorflow.runtime.options import Drain, Recover, check_word
from actorflow.runtime.recovery import SCAN_EVERY, beat, scan
from actorflow.runtime.scheduling import schedule
from actorflow.runtime.sleepers import LOOKS_APART
from actorflow.runtime.starting import Starting
from actorflow.runtime.waking import POLL
from actorflow.runtime.workers.pool import Workers
from actorflow.store.backend import Backend
from actorflow.store.files import default_limit
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from signal import Signals
    from types import TracebackType

    from anyio.abc import TaskGroup

    from actorflow.graph.graph import Graph
    from actorflow.runtime.validation import Validate
    from actorflow.store.sealing import Sealing


class Runtime(Starting):
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
        scan_every: seconds between two looks for orphaned runs; by default 2, and half a lease on a bucket, where one
            comes sooner if the lease of a process that shows no sign of life is over.
        linger: seconds: a run that only waits, until a time further off than this, leaves memory and sleeps in
            the store, and is woken then. So long stays an actor to which nobody sends anything.
        poll: seconds between two looks for messages from elsewhere, soon after one came and when none does for
            long. On a local disk the kernel tells of them.
        migration_timeout: seconds that migrating one run may take.
        hooks: functions and objects that are told what happens in the runs that live here, after it is committed:
            see `Hook`. What one raises is logged, and no matter of the run.
        processes: how many worker processes run nodes declared with ``isolate="process"``, at most; by
            default as many as the machine has cores. Each is started when it is first needed.
        max_open_files: about how many files runs may have open: exactly half of it between commits, the rest for
            those that are just begun, claimed or committed. By default half of what the process may open
            (``ulimit -n``), and at most 4,096.
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
        ctrl_c.waits_for(Runtime.__aenter__, Runtime.__aexit__)  # who is half entered is never left
        ctrl_c.waits_for_groups()
        for graph in self._graphs.values():
            _ = graph.plan  # raises GraphError before anything is opened
        store = await to_thread.run_sync(
            lambda: open_store(
                self._store,
                storage_options=self._storage_options,
                lease=self._lease,
                max_open_files=max(1, self._max_open_files // 2),
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
            files=self._max_open_files // 2,
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
            if self._recover != "never" and any(graph.plan.messages for graph in self._graphs.values()):
                self._lives.wanting.set()  # of those that it was given; of others when they are registered
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

    # -- looking ----------------------------------------------------------------------

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
