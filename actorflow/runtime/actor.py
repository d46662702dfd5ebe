"""The actor: one incarnation of a run, its only writer. Waits for events, decides, commits, carries out.

One loop owns the run. Nodes run beside it and hand their results back as
events; a lone ready node runs inline in the loop's own task. Everything that
became ready while a commit was in flight goes into the next one. What a commit
releases (the start of successors, under ``sync``) waits for it.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel
from anyio import CancelScope, Event
from msgspec import Struct, field
from msgspec.structs import replace

from actorflow.engine.decide import decide
from actorflow.engine.events import (
    Asking,
    Command,
    Crash,
    Due,
    Expire,
    GaveUp,
    Raised,
    Retry,
    Returned,
    Start,
    Stop,
    Suspended,
    Sweep,
    Updating,
    Warn,
)
from actorflow.engine.merge import typed
from actorflow.engine.records import Released, Rewound
from actorflow.engine.waits import questions
from actorflow.errors import CommitRefused, CommitUnknown, StoreError
from actorflow.runtime.groups import first_of
from actorflow.runtime.pending import Pending
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.store.frames import Draft, FilePart, Header, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from actorflow.engine.decision import Decision
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.attempt import Caller
    from actorflow.runtime.committer import Committer
    from actorflow.runtime.large import Splitter
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.validation import Validate
    from actorflow.store.backend import Steps
    from actorflow.store.blobs import Blob
    from actorflow.store.ownership import Ownership

_logger = logging.getLogger("actorflow.actor")


class Crashed(Struct, frozen=True):
    """A node's exception left it, and the run is to be restarted from its last file."""

    error: Exception
    node: str
    key: bytes


class Request(Struct, eq=False):
    """Something that somebody asks of a live run, and what became of it."""

    event: Asking | None  # None: only that the run was taken up, and what it was taken up with is committed
    done: Event = field(default_factory=Event)
    error: Exception | None = None  # it was refused, or the store failed
    seq: int | None = None  # of the commit that holds it; None without an error: the actor left before
    taken: bool = False  # by an actor


class _Sealed(NamedTuple):
    """A commit to be carried to the store: the blobs come first."""

    blobs: tuple[Blob, ...]
    steps: Steps[None]
    draft: Draft


class Actor:
    """One incarnation of a run: owns its state and its log until it ends, crashes or is told to stop."""

    def __init__(
        self,
        graph: Graph[Any],
        run: RunState,
        ownership: Ownership,
        *,
        file: FilePart,
        committer: Committer,
        caller: Caller,
        alone: Callable[[], bool],
        on_end: Callable[[Actor], None],
        large: Splitter,
        observers: Observers,
        validate: Validate | None,
        leaving: Callable[[], bool],
        first: list[Command] | None = None,
        request: Request | None = None,
        rewound: Rewound | None = None,
    ) -> None:
        """Take over a run that was claimed.

        Args:
            graph: what the code declares.
            run: as loaded and adopted.
            ownership: the claim.
            file: what new files say; another one than the claim's own forces a snapshot.
            committer: carries commits to the store.
            caller: calls the nodes.
            alone: whether no other actor of the runtime is live.
            on_end: blocking work after the commit that ended the run: its markers.
            large: parts large values from what is committed.
            observers: those who watch the run here.
            validate: the user's rule for commits.
            leaving: whether the runtime is being left, so that nobody waits for what is not due yet.
            first: the commands of a spawn; None for a run that was loaded, which is swept.
            request: what the run was loaded for.
            rewound: says that the run is not as it was read; it is committed in full, with the request.
        """
        self.graph = graph
        self.run = run
        self.ownership = ownership
        self.cause: BaseException | None = None
        self._plan = graph.plan
        self._schema = graph.schema
        self.file = file
        self._committer = committer
        self._caller = caller
        self._validate = validate
        self._alone = alone
        self._on_end = on_end
        self._swept = first is not None
        self._commands: list[Command] = first or []
        self._large = large
        self._observers = observers
        observers.begins(ownership.header)
        self._pending = Pending(
            large=large,
            snapshot=None if file == ownership.file and rewound is None else large.dump(run),
            every=ownership.snapshot_every,
            commits=ownership.header.seq - ownership.header.snapshot,
        )
        if rewound is not None:
            self._pending.add([rewound])
        elif file == ownership.file:
            self._pending.snapshot_if_due(run)
        self._leaving = leaving
        self._events: list[Returned | Raised | Suspended | Due] = []
        self._requests: list[Request] = [] if request is None else [request]
        if request is not None:
            request.taken = True
        self._accepted: list[Request] = []  # decided, and not committed yet
        self._left = False  # nobody takes requests any more
        self._wake = Event()
        self._ready: dict[int, int] = {}  # activation: attempt
        self._flying: dict[int, CancelScope] = {}
        self._sleeping: set[int] = set()  # those of the flying that only wait for their next attempt
        self._inline = False  # the loop itself runs a node
        self._serving: Event | None = None  # somebody is served meanwhile
        self._expiring: dict[int, float] = {}  # activations that are told of a time, and when
        self._committing: Event | None = None
        self._failure: StoreError | None = None  # of a commit: nothing may follow the gap
        self._interrupt: KeyboardInterrupt | SystemExit | None = None  # of a node, for the loop to raise
        self._crash: Crash | None = None
        self._stop: Stop | None = None
        self._parking = False
        self._scope = CancelScope()
        self._looping = CancelScope()  # around the loop: the next one begins when this is cancelled
        self._looping.cancel()
        self._tasks: TaskGroup | None = None  # while it lives

    @property
    def header(self) -> Header:
        """The newest header that was committed."""
        return self.ownership.header

    # -- the loop -----------------------------------------------------------------

    async def live(self) -> Crashed | None:
        """Run until the run ends, is parked or stopped; a crash is returned for the supervisor to judge.

        Raises:
            StoreError: a commit failed; nothing that depended on it was done.
        """
        crashed: Crashed | None = None
        with self._scope:
            try:
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    while self._looping.cancel_called:  # at first; and when what it ran inline is not wanted any more
                        with CancelScope() as self._looping:
                            crashed = await self._loop(tasks)
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                first = first_of(group)
                raise first from first.__cause__
            finally:
                self._turn_away()
            return crashed
        if self._stop is not None and not self.run.ended:
            self._take(decide(self._plan, self.run, self._stop))
            await self._commit()
        return None

    async def ask(self, request: Request) -> None:
        """Do what somebody asks; back when it is committed, or refused, or the actor left before it came to it."""
        if self._left:
            return
        request.taken = True
        self._requests.append(request)
        self._wake.set()
        if self._inline and self._serving is None and self._tasks is not None:
            self._serving = Event()
            self._tasks.start_soon(self._serve, self._tasks, self._serving)
        await request.done.wait()

    def nudge(self) -> None:
        """See whether there is still something to wait for."""
        self._wake.set()

    def stop(self, stop: Stop) -> None:
        """End the run in this status as soon as its nodes have been cancelled."""
        self._stop = stop
        self._scope.cancel()

    def leave(self) -> None:
        """Cancel what runs, unrecorded; `live` returns."""
        self._scope.cancel()

    def park(self) -> None:
        """Start nothing any more; `live` returns once what runs has finished and is committed."""
        self._parking = True
        self._wake.set()

    async def give_up(self, crashed: Crashed) -> None:
        """Record that the supervisor does not restart this run again."""
        self._crash = None
        self._take(decide(self._plan, self.run, GaveUp(crashed.key, crashed.error)))
        await self._commit()

    async def release(self) -> None:
        """Commit that anybody may claim, with all records that were waiting; does nothing for a run that ended."""
        await self._await_commit()
        if not self.run.ended:
            if not self._pending:
                self._pending.forgo_snapshot()
            self._pending.add([Released()])
            await self._commit(kind="release")

    async def _loop(self, tasks: TaskGroup) -> Crashed | None:
        await self._await_service()  # the loop before may have been cancelled for it
        if not self._swept:
            self._swept = True
            self._answer_requests()  # before the sweep: it would end a run that was reopened for this
            self._take(decide(self._plan, self.run, Sweep(time.time())))
        while True:
            await self._settle(tasks)
            if self.run.ended:
                return None
            if self._crash is not None:
                activation = self.run.open[self._crash.id]
                return Crashed(self._crash.error, activation.node, activation.key)
            if self._parking:
                self._ready.clear()
                if self._flying.keys() <= self._sleeping and not self._events:
                    await self._await_commit()
                    return None
            if self._is_resting():
                await self._await_commit()
                return None
            if self._is_lone():
                await self._run_inline(*self._ready.popitem())
            else:
                self._start_ready(tasks)
                if not self._events and not self._requests and self._interrupt is None:
                    self._wake = Event()
                    await self._wake.wait()
            self._answer_requests()
            self._decide_events()

    def _decide_events(self) -> None:
        """What became of attempts and times since the last look, in the order in which activations were opened."""
        events, self._events = self._events, []
        if len(events) > 1:
            events.sort(key=attrgetter("id"))
        for event in events:
            decision = decide(self._plan, self.run, event)
            self._take(decision)
            if self._observers.live and isinstance(event, Raised):
                self._observers.raised(event, decision)

    def _is_resting(self) -> bool:
        """Whether nothing can go on until somebody asks for it, so that the run needs no actor."""
        if self._ready or self._events or self._requests or self._flying or self.run.standing == "running":
            return False
        return self._leaving() or _due(self.run) is None

    def _answer_requests(self) -> None:
        """Do what was asked for, in the order in which it was; what is refused changes nothing."""
        while self._requests and not self.run.ended:  # what one of them ended, the next one must find so
            request = self._requests.pop(0)
            event = request.event
            if isinstance(event, Updating):
                event = replace(event, idle=not self._flying and not self._events)
            try:
                if event is not None:
                    self._take(decide(self._plan, self.run, event))
            except Exception as error:  # noqa: BLE001 - whoever asks gets it: a reducer of the user's may raise anything
                request.error = error
                request.done.set()
            else:
                self._accepted.append(request)

    def _acknowledge(self) -> None:
        """Tell those whose requests are committed now."""
        accepted, self._accepted = self._accepted, []
        for request in accepted:
            request.seq = self.header.seq
            request.done.set()

    def _turn_away(self) -> None:
        """Leave what was asked for to the next actor of the run, or say that nobody knows what came of it."""
        self._left = True
        for request in self._accepted:
            request.error = self._failure or CommitUnknown(self.ownership.path, "its run was left meanwhile")
        requests, self._requests, self._accepted = [*self._accepted, *self._requests], [], []
        for request in requests:
            request.done.set()

    def _take(self, decision: Decision) -> None:
        self.run = decision.run
        self._pending.add(decision.records)
        self._commands += decision.commands
        if decision.cause is not None:
            self.cause = decision.cause

    async def _settle(self, tasks: TaskGroup) -> None:
        """Commit as the durability of the run asks, and carry out what may be carried out."""
        self._cancel_needless()
        if (error := self._interrupt or self._failure) is not None:
            raise error
        mode = self.run.durability
        if self._pending and (mode == "sync" or self._is_forced() or (mode == "exit" and self._pending.is_much())):
            await self._commit()
        elif self._pending and mode == "async":
            await self._await_commit()
            sealed = self._seal()
            while self._pending:  # more than one commit can hold
                await self._carry(sealed)
                sealed = self._seal()
            self._committing = Event()
            tasks.start_soon(self._commit_beside, sealed)
        if self._accepted:
            await self._commit()
            self._acknowledge()
        if (tidy := self.ownership.tidying()) is not None:
            tasks.start_soon(self._tidy, tidy)
        self._carry_out(tasks)

    def _is_forced(self) -> bool:
        """Whether what waits is to be committed now, whatever the durability."""
        if self._accepted or self.run.standing != "running":  # it waits, or is over
            return True
        return Crash in map(type, self._commands)

    def _carry_out(self, tasks: TaskGroup) -> None:
        """What was decided may be done now: its records are as durable as they need to be."""
        commands, self._commands = self._commands, []
        for command in commands:
            match command:
                case Start(id_) if id_ not in self._flying and id_ in self.run.open:
                    self._ready[id_] = self.run.open[id_].attempt + 1
                case Retry() if command.id in self.run.open:
                    self._retry_later(tasks, command)
                case Expire(id_, due):
                    self._expire_later(tasks, id_, due)
                case Crash():
                    self._crash = command
                case Warn(text=text):
                    _logger.warning("run %r: %s", self.run.run_id, text)
                case _:
                    pass  # what it was about is over, or runs

    # -- nodes --------------------------------------------------------------------

    def _start_ready(self, tasks: TaskGroup) -> None:
        for id_, attempt in self._ready.items():
            due = self.run.open[id_].due
            if due is None:
                scope = self._flying[id_] = CancelScope()
                tasks.start_soon(self._fly, id_, attempt, scope)
            else:  # a recorded retry, taken up again: late is immediate
                self._retry_later(tasks, Retry(id_, attempt, max(0.0, due - time.time())))
        self._ready.clear()

    def _retry_later(self, tasks: TaskGroup, retry: Retry) -> None:
        # it sleeps from now on, not from when its task is first scheduled: parking asks in between
        scope = self._flying[retry.id] = CancelScope()
        self._sleeping.add(retry.id)
        tasks.start_soon(self._retry, retry, scope)

    def _is_lone(self) -> bool:
        """Whether one activation is ready and nothing else goes on: it needs no task of its own."""
        if len(self._ready) != 1 or self._flying or self._events or self._requests or self._expiring:
            return False
        return self.run.open[next(iter(self._ready))].due is None

    async def _run_inline(self, id_: int, attempt: int) -> None:
        """Run a lone node in the loop's own task. Who asks something meanwhile is served beside it."""
        self._inline = True
        self._flying[id_] = self._looping
        try:
            await anyio.lowlevel.checkpoint()  # nodes that never wait must not starve the loop
            if id_ in self.run.open and not self.run.paused:
                event = await self._attempt(id_, attempt)
                self._events.append(event)
        finally:
            del self._flying[id_]
            self._inline = False
        await self._await_service()

    async def _await_service(self) -> None:
        """Wait until those are served who asked while the loop ran a node."""
        if self._serving is not None:
            await self._serving.wait()
            self._serving = None

    async def _serve(self, tasks: TaskGroup, served: Event) -> None:
        """Do what is asked for while the loop itself runs a node, and waits for this before it goes on."""
        try:
            while self._requests and not self.run.ended:
                self._answer_requests()
                await self._settle(tasks)
                if not self._parking:
                    self._start_ready(tasks)
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt = error  # as in `_fly`
        served.set()

    async def _fly(self, id_: int, attempt: int, scope: CancelScope) -> None:
        try:
            if id_ in self.run.open:
                with scope:
                    event = await self._attempt(id_, attempt)
                    self._events.append(event)  # to the list that there is by now
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt = error  # raised by the loop: out of this task it would stop asyncio's at once
        del self._flying[id_]
        self._wake.set()

    async def _attempt(self, id_: int, attempt: int) -> Returned | Raised | Suspended:
        activation = self.run.open[id_]
        if self._observers.live:
            self._observers.started(activation, attempt)
        return await self._caller.attempt(self.run, activation, attempt, seq=self.header.seq)

    def _expire_later(self, tasks: TaskGroup, id_: int, due: float) -> None:
        if self._expiring.get(id_) != due:
            self._expiring[id_] = due
            tasks.start_soon(self._expire, id_, due)

    async def _expire(self, id_: int, due: float) -> None:
        await anyio.sleep(max(0.0, due - time.time()))
        if self._expiring.get(id_) == due:
            del self._expiring[id_]
            self._events.append(Due(id_, time.time()))
            self._wake.set()

    async def _retry(self, retry: Retry, scope: CancelScope) -> None:
        with scope:
            await anyio.sleep(retry.delay)
        if not scope.cancel_called:  # else whoever did that has forgotten it
            self._sleeping.discard(retry.id)
            scope = self._flying[retry.id] = CancelScope()
            await self._fly(retry.id, retry.attempt, scope)

    def _cancel_needless(self) -> None:
        """End the attempts of activations that are open no more; and, of a paused run, those that have not begun."""
        for id_, scope in list(self._flying.items()):
            waits = id_ in self._sleeping
            if id_ not in self.run.open or (self.run.paused and waits):
                scope.cancel()
                if waits:
                    del self._flying[id_]
                    self._sleeping.discard(id_)

    # -- commits ------------------------------------------------------------------

    async def _await_commit(self) -> None:
        """Wait for the commit in flight, if there is one, and raise what it raised."""
        if self._committing is not None:
            await self._committing.wait()
            self._committing = None
        if self._failure is not None:
            raise self._failure

    async def _commit_beside(self, sealed: _Sealed) -> None:
        done = self._committing
        try:
            with suppress(StoreError):  # kept as the failure, and raised in the loop, which owns the run
                await self._carry(sealed)
        finally:
            if done is not None:
                done.set()
            self._wake.set()

    async def _tidy(self, tidy: Callable[[], None]) -> None:
        try:
            await self._committer.call(tidy)
        except StoreError as error:
            _logger.warning("the log of run %r could not be made smaller, and is as it was: %s", self.run.run_id, error)

    async def _commit(self, *, kind: Kind = "commit") -> None:
        """Commit all records that wait, and come back when they are durable.

        Raises:
            StoreError: this commit failed, or one before it.
        """
        await self._await_commit()
        while self._pending:
            await self._carry(self._seal(kind=kind))

    async def _carry(self, sealed: _Sealed) -> None:
        try:
            if sealed.blobs:
                # shielded like the commit that they belong to; bounded by the store's timeouts
                with anyio.CancelScope(shield=True):
                    await self._committer.call(lambda: self._large.blobs.put(sealed.blobs))
            await self._committer.commit(sealed.steps, alone=self._alone() and self._committing is None)
        except BaseException as error:
            # a Ctrl-C inside an inline commit, too: what was sealed may be lost, and the end in it never happened
            broken = f"it was interrupted by {error!r}"
            self._failure = error if isinstance(error, StoreError) else CommitUnknown(self.ownership.path, broken)
            raise
        self._observers.committed(sealed.draft, self.ownership)

    def _seal(self, *, kind: Kind = "commit") -> _Sealed:
        """What waits, as what commits it; what one commit can't hold goes on waiting."""
        run, header = self.run, self.header
        sealed = self._pending.seal()
        rest = bool(self._pending)
        ended = run.ended and not rest
        draft = Draft(
            kind="release" if ended or (kind == "release" and not rest) else "commit",
            epoch=run.epoch,
            status="running" if rest else run.standing,
            due=_due(run),
            opening=run.opening,
            crashes=0 if sealed.progressed else header.crashes,
            file=self.file if sealed.snapshot else self.ownership.file,
            body=sealed.body,
            snapshot=sealed.snapshot,
            node=run.last_node,
            tags=header.tags,
            marks=header.marks,
        )
        self._refuse_invalid(draft)
        if ended:
            return _Sealed(sealed.blobs, self._write_end(draft), draft)
        if not rest:
            self._pending.snapshot_if_due(run)
        return _Sealed(sealed.blobs, self.ownership.committing(draft), draft)

    def _refuse_invalid(self, draft: Draft) -> None:
        if self._validate is None:
            return
        run, seq = self.run, self.header.seq + 1
        state = typed(self._schema, run.root.values)
        commit = Commit(run.run_id, run.graph, seq, run.status, draft.node, draft.tags, state)
        try:
            pass_or_refuse(self._validate, commit, path=self.ownership.path)
        except CommitRefused as error:
            self._failure = error
            raise

    def _write_end(self, draft: Draft) -> Steps[None]:
        yield from self.ownership.committing(draft)
        try:
            self._on_end(self)
        except StoreError as error:
            # the run has ended, durably; its markers are an index, and a scan puts them right
            _logger.warning("the markers of run %r could not be changed: %s", self.run.run_id, error)
        self.ownership.close()  # here, in the thread: in the event loop it would hold up everybody


def _due(run: RunState) -> int | None:
    """When the first of the questions in a run expires, in seconds since the epoch."""
    if run.paused:
        return None  # nobody need come for it: it is seen to when the run goes on
    dues = [ask.due for _, ask in questions(run) if ask.due is not None]
    return math.ceil(min(dues)) if dues else None
