"""The actor: one incarnation of a run, its only writer. Waits for events, decides, commits, carries out.

One loop owns the run. Nodes run beside it and hand their results back as
events; a lone ready node runs inline in the loop's own task. Everything that
became ready while a commit was in flight goes into the next one. What a commit
releases (the start of successors, under ``sync``) waits for it.
"""

from __future__ import annotations

import logging
import math
import random
import time
from contextlib import suppress
from inspect import isawaitable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import anyio.lowlevel
from anyio import CapacityLimiter, Event, to_thread
from msgspec import Struct

from actorflow.engine.decide import decide
from actorflow.engine.decision import Decision
from actorflow.engine.events import Command, Crash, GaveUp, Raised, Retry, Returned, Start, Stop, Sweep
from actorflow.engine.merge import typed
from actorflow.engine.records import Released
from actorflow.errors import CommitRefused, CommitUnknown, NodeTimeout, StateMutated, StoreError
from actorflow.runtime.context import NodeContext
from actorflow.runtime.groups import first_of
from actorflow.runtime.pending import Pending
from actorflow.runtime.validation import Commit, pass_or_refuse
from actorflow.store.frames import Draft, FilePart, Header, Kind

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from actorflow.engine.run import Activation, RunState
    from actorflow.graph.graph import Graph
    from actorflow.graph.node import Node
    from actorflow.graph.schema import Schema
    from actorflow.graph.state import State
    from actorflow.runtime.committer import Committer
    from actorflow.runtime.large import Splitter
    from actorflow.runtime.validation import Validate
    from actorflow.runtime.workers.pool import Workers
    from actorflow.store.backend import Steps
    from actorflow.store.blobs import Blob
    from actorflow.store.ownership import Ownership

_logger = logging.getLogger("actorflow.actor")


class Crashed(Struct, frozen=True):
    """A node's exception left it, and the run is to be restarted from its last file."""

    error: Exception
    node: str
    key: bytes


class _Sealed(NamedTuple):
    """A commit to be carried to the store: the blobs come first."""

    blobs: tuple[Blob, ...]
    steps: Steps[None]


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
        context: Any,
        debug: bool,
        validate: Validate | None,
        threads: CapacityLimiter,
        workers: Workers,
        alone: Callable[[], bool],
        on_end: Callable[[Actor], None],
        large: Splitter,
        first: list[Command] | None = None,
    ) -> None:
        """Take over a run that was claimed.

        Args:
            graph: what the code declares.
            run: as loaded and adopted.
            ownership: the claim.
            file: what new files say; another one than the claim's own forces a snapshot.
            committer: carries commits to the store.
            context: what nodes get as ``ctx.context``.
            debug: compare each state after its node with what it was before.
            validate: the user's rule for commits.
            threads: how many sync nodes run at once.
            workers: the processes of isolated nodes.
            alone: whether no other actor of the runtime is live.
            on_end: blocking work after the commit that ended the run: its markers.
            large: parts large values from what is committed.
            first: the commands of a spawn; None for a run that was loaded, which is swept.
        """
        self.graph = graph
        self.run = run
        self.ownership = ownership
        self.cause: BaseException | None = None
        self._plan = graph.plan
        self._schema = graph.schema
        self.file = file
        self._committer = committer
        self._context = context
        self._debug = debug
        self._validate = validate
        self._threads = threads
        self._workers = workers
        self._alone = alone
        self._on_end = on_end
        self._swept = first is not None
        self._commands: list[Command] = first or []
        self._large = large
        self._pending = Pending(
            large=large,
            snapshot=None if file == ownership.file else large.dump(run),
            every=ownership.snapshot_every,
            commits=ownership.header.seq - ownership.header.snapshot,
        )
        if file == ownership.file:
            self._pending.snapshot_if_due(run)
        self._events: list[Returned | Raised] = []
        self._wake = Event()
        self._ready: list[tuple[int, int]] = []  # (activation, attempt)
        self._flying: set[int] = set()
        self._sleeping: set[int] = set()  # those of the flying that only wait for their next attempt
        self._committing: Event | None = None
        self._failure: StoreError | None = None  # of a commit: nothing may follow the gap
        self._interrupt: KeyboardInterrupt | SystemExit | None = None  # of a node, for the loop to raise
        self._crash: Crash | None = None
        self._stop: Stop | None = None
        self._parking = False
        self._scope = anyio.CancelScope()

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
                    crashed = await self._loop(tasks)
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                first = first_of(group)
                raise first from first.__cause__
            return crashed
        if self._stop is not None and not self.run.ended:
            self._take(decide(self._plan, self.run, self._stop))
            await self._commit()
        return None

    def stop(self, stop: Stop) -> None:
        """End the run in this status as soon as its nodes have been cancelled."""
        self._stop = stop
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
        if not self._swept:
            self._take(decide(self._plan, self.run, Sweep()))
        while True:
            await self._settle(tasks)
            if self.run.ended:
                return None
            if self._crash is not None:
                activation = self.run.open[self._crash.id]
                return Crashed(self._crash.error, activation.node, activation.key)
            if self._parking:
                self._ready.clear()
                if self._flying <= self._sleeping and not self._events:
                    await self._await_commit()
                    return None
            if self._is_lone():
                await anyio.lowlevel.checkpoint()  # nodes that never wait must not starve the loop
                id_, attempt = self._ready.pop()
                self._events.append(await self._attempt(self.run.open[id_], attempt))
            else:
                self._start_ready(tasks)
                if not self._events and self._interrupt is None:
                    self._wake = Event()
                    await self._wake.wait()
            # inside a commit, records are in the order in which their activations were opened
            events, self._events = sorted(self._events, key=attrgetter("id")), []
            for event in events:
                self._take(decide(self._plan, self.run, event))

    def _take(self, decision: Decision) -> None:
        self.run = decision.run
        self._pending.add(decision.records)
        self._commands += decision.commands
        if decision.cause is not None:
            self.cause = decision.cause

    async def _settle(self, tasks: TaskGroup) -> None:
        """Commit as the durability of the run asks, and carry out what may be carried out."""
        if (error := self._interrupt or self._failure) is not None:
            raise error
        mode = self.run.durability
        forced = self.run.ended or any(isinstance(command, Crash) for command in self._commands)
        if self._pending and (mode == "sync" or forced or (mode == "exit" and self._pending.is_much())):
            await self._commit()
        elif self._pending and mode == "async":
            await self._await_commit()
            sealed = self._seal()
            while self._pending:  # more than one commit can hold
                await self._carry(sealed)
                sealed = self._seal()
            self._committing = Event()
            tasks.start_soon(self._commit_beside, sealed)
        if (tidy := self.ownership.tidying()) is not None:
            tasks.start_soon(self._tidy, tidy)
        commands, self._commands = self._commands, []
        for command in commands:
            match command:
                case Start(id_):
                    self._ready.append((id_, self.run.open[id_].attempt + 1))
                case Retry():
                    self._retry_later(tasks, command)
                case Crash():
                    self._crash = command

    # -- nodes --------------------------------------------------------------------

    def _start_ready(self, tasks: TaskGroup) -> None:
        for id_, attempt in self._ready:
            due = self.run.open[id_].due
            if due is None:
                self._flying.add(id_)
                tasks.start_soon(self._fly, id_, attempt)
            else:  # a recorded retry, taken up again: late is immediate
                self._retry_later(tasks, Retry(id_, attempt, max(0.0, due - time.time())))
        self._ready.clear()

    def _retry_later(self, tasks: TaskGroup, retry: Retry) -> None:
        # it sleeps from now on, not from when its task is first scheduled: parking asks in between
        self._flying.add(retry.id)
        self._sleeping.add(retry.id)
        tasks.start_soon(self._retry, retry)

    def _is_lone(self) -> bool:
        """Whether one activation is ready and nothing else goes on: it needs no task of its own."""
        if len(self._ready) != 1 or self._flying or self._events:
            return False
        return self.run.open[self._ready[0][0]].due is None

    async def _fly(self, id_: int, attempt: int) -> None:
        try:
            event = await self._attempt(self.run.open[id_], attempt)
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt = error  # raised by the loop: out of this task it would stop asyncio's at once
        else:
            self._events.append(event)
        self._flying.discard(id_)
        self._wake.set()

    async def _retry(self, retry: Retry) -> None:
        await anyio.sleep(retry.delay)
        self._sleeping.discard(retry.id)
        await self._fly(retry.id, retry.attempt)

    async def _attempt(self, activation: Activation, attempt: int) -> Returned | Raised:
        """Call a node once; what it returns or raises becomes an event."""
        node = self._plan.nodes[activation.node]
        started = time.perf_counter()
        try:
            state = typed(self._schema, activation.base)
            before = _images(self._schema, state) if self._debug else None
            value = await self._call(node, state, activation, attempt)
            if before is not None and (mutated := _changed(before, _images(self._schema, state))):
                raise StateMutated(node.name, mutated)  # noqa: TRY301 - fails the attempt like any other error
        except Exception as error:  # noqa: BLE001 - whatever a node raises is decided upon
            error.add_note(f"in node {node.name!r} of run {self.run.run_id!r}, after commit {self.header.seq}")
            return Raised(activation.id, error, attempt, time.time(), random.random())
        took = time.perf_counter() - started
        return Returned(activation.id, value, took, attempt, time.time(), random.random())

    async def _call(self, node: Node, state: Any, activation: Activation, attempt: int) -> Any:
        arguments: tuple[Any, ...] = (state,)
        if node.takes_context:
            key = activation.key.hex()
            arguments += (NodeContext(self.run.run_id, node.name, attempt, key, self._context),)
        if node.isolated is not None:  # its time limit does not run while it waits for a process
            async with self._workers.one(node, node.isolated) as worker:
                with anyio.move_on_after(node.timeout):
                    return await worker.call(self._plan, node, self._schema, arguments)
            raise NodeTimeout(node.name, node.timeout or math.inf)
        try:
            if not node.is_async:
                value = await to_thread.run_sync(node.fn, *arguments, limiter=self._threads)
                return await value if isawaitable(value) else value  # a plain function may return a coroutine
            if node.timeout is None or node.timeout == math.inf:
                return await node.fn(*arguments)
            with anyio.move_on_after(node.timeout):
                return await node.fn(*arguments)
        except anyio.get_cancelled_exc_class() as error:
            if anyio.current_effective_deadline() == -math.inf:
                raise  # this task was cancelled, by whoever closes or stops the run
            message = f"node {node.name!r} raised {type(error).__name__} itself"
            raise RuntimeError(message) from error
        raise NodeTimeout(node.name, node.timeout)

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

    def _seal(self, *, kind: Kind = "commit") -> _Sealed:
        """What waits, as what commits it; what one commit can't hold goes on waiting."""
        run, header = self.run, self.header
        sealed = self._pending.seal()
        rest = bool(self._pending)
        ended = run.ended and not rest
        draft = Draft(
            kind="release" if ended or (kind == "release" and not rest) else "commit",
            epoch=run.epoch,
            status="running" if rest else run.status,
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
            return _Sealed(sealed.blobs, self._write_end(draft))
        if not rest:
            self._pending.snapshot_if_due(run)
        return _Sealed(sealed.blobs, self.ownership.committing(draft))

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


def _images(schema: Schema, state: State) -> dict[str, bytes]:
    """The fields as they would be encoded: values can't be compared, a NaN is not even equal to itself."""
    return {name: schema.codecs.encode(getattr(state, name)) for name in state.__struct_fields__}


def _changed(before: dict[str, bytes], after: dict[str, bytes]) -> list[str]:
    return [name for name, image in after.items() if before[name] != image]
