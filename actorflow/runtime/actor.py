"""The actor: one incarnation of a run, its only writer. Waits for events, decides, commits, carries out.

One loop owns the run. Nodes run beside it and hand their results back as
events; a lone ready node runs inline in the loop's own task. Everything that
became ready while a commit was in flight goes into the next one. What a commit
releases (the start of successors, under ``sync``) waits for it.
"""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
from anyio import CancelScope, Event
from msgspec import Struct

from actorflow.engine.decide import decide
from actorflow.engine.events import (
    Command,
    Crash,
    Expire,
    GaveUp,
    Raised,
    Retry,
    Start,
    Stop,
    Sweep,
    Tell,
    Warn,
)
from actorflow.engine.records import Released
from actorflow.runtime import clock
from actorflow.runtime.groups import first_of
from actorflow.runtime.noticing import noticed
from actorflow.runtime.resting import Resting

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskGroup

    from actorflow.engine.decision import Decision
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.attempt import Caller
    from actorflow.runtime.attending import Request
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.writer import Writer
    from actorflow.store.frames import Header

_UNBROKEN = 8
"""So many nodes are run inline before others get their turn, while none of them waits for anything."""

_logger = logging.getLogger("actorflow.actor")


_TURNS = 256
"""So many turns are committed together at most."""

_TURNS_SECONDS = 0.02
"""For so long they are collected at most."""


class Crashed(Struct, frozen=True):
    """A node's exception left it, and the run is to be restarted from its last file."""

    error: Exception
    node: str
    key: bytes


class Actor(Resting):
    """One incarnation of a run: owns its state and its log until it ends, crashes or is told to stop."""

    __slots__ = (
        "_commands",
        "_crash",
        "_cut_off",
        "_fresh",
        "_inline",
        "_looping",
        "_parking",
        "_scope",
        "_serving",
        "_since",
        "_stop",
        "_swept",
        "_tasks",
        "_tells",
        "_turns",
        "_unbroken",
        "_unclean",
        "cause",
        "graph",
    )  # there may be thousands

    def __init__(
        self,
        graph: Graph[Any],
        run: RunState,
        *,
        writer: Writer,
        caller: Caller,
        observers: Observers,
        leaving: Callable[[], bool],
        crowded: Callable[[], bool],
        linger: float,
        first: list[Command] | None = None,
        request: Request | None = None,
    ) -> None:
        """Take over a run that was claimed.

        Args:
            graph: what the code declares.
            run: as loaded and adopted.
            writer: commits what is decided.
            caller: calls the nodes.
            observers: those who watch the run here.
            leaving: whether the runtime is being left, so that nobody waits for what is not due yet.
            crowded: whether very many own a task just now.
            linger: seconds for which it is worth staying in memory for what is due then.
            first: the commands of a spawn. A run without any, as all that are loaded, is swept.
            request: what the run was loaded for.
        """
        super().__init__(
            run,
            graph.plan,
            caller=caller,
            observers=observers,
            writer=writer,
            request=request,
            leaving=leaving,
            crowded=crowded,
            linger=linger,
        )
        self.graph = graph
        self.cause: BaseException | None = None
        observers.begins(writer.header)
        self._swept = bool(first)
        self._unclean = True  # what ran when the process before died may still have to be seen to
        self._commands: list[Command] = first or []
        self._tells: list[Tell] = []  # those of the commands that come in great numbers
        self._unbroken = 0  # nodes that ran inline since others got their turn
        self._turns = 0  # handled since the last commit
        self._since = 0.0  # when the first of them began, on the monotonic clock
        self._fresh = False  # nothing was committed since it rested
        self._inline = False  # the loop itself runs a node
        self._serving: Event | None = None  # somebody is served meanwhile
        self._crash: Crash | None = None
        self._stop: Stop | None = None
        self._parking = False
        self._cut_off = False  # it is to leave at once
        self._scope: CancelScope | None = None  # while it lives
        self._looping: CancelScope  # around the loop, while it lives: the next one begins when this is cancelled
        self._tasks: TaskGroup | None = None  # while it lives

    @property
    def header(self) -> Header:
        """The newest header that was committed."""
        return self.writer.header

    # -- the loop -----------------------------------------------------------------

    async def live(self) -> Crashed | None:
        """Run until the run ends, is parked or stopped; a crash is returned for the supervisor to judge.

        Also until it is `idle`: then it is called again when it was stirred.

        Raises:
            StoreError: a commit failed; nothing that depended on it was done.
        """
        while True:
            try:
                crashed = await self._live()
            except BaseException:
                self._turn_away()  # also if it was about to be idle
                raise
            if not self._drowsy:
                return crashed
            # from here on nothing is awaited: nobody wants something of it in between
            self._drowsy = self._swept = self._unclean = False
            self._expiring.clear()
            wanted = self._requests or self._events or self._holds or self._parking or self._cut_off
            if not (wanted or self._leaving()):
                del self._looping
                self._begin_idling()
                return None

    async def _live(self) -> Crashed | None:
        crashed: Crashed | None = None
        with CancelScope() as scope:
            self._scope = scope
            self._dozing, self._rest = False, None
            if self._cut_off:
                scope.cancel()
            try:
                async with anyio.create_task_group() as tasks:
                    self._tasks = tasks
                    again = True
                    while again:
                        with CancelScope() as self._looping:
                            crashed = await self._loop(tasks)
                        again = self._looping.cancel_called  # what it ran inline is not wanted any more
                    tasks.cancel_scope.cancel()
            except BaseExceptionGroup as group:
                first = first_of(group)
                raise first from first.__cause__
            finally:
                self._scope = self._tasks = self._wake = None
                if not self._drowsy:
                    self._turn_away()
            return crashed
        if self._stop is not None and not self._drowsy and not self.run.ended:
            self._take(decide(self._plan, self.run, self._stop))
            await self.writer.commit(self.run)
        return None

    def stop(self, stop: Stop) -> None:
        """End the run in this status as soon as its nodes have been cancelled."""
        self._stop = stop
        self.leave()

    def leave(self) -> None:
        """Cancel what runs, unrecorded; `live` returns."""
        self._cut_off = True
        if self._scope is not None:
            self._scope.cancel()
        self._stir()

    def park(self) -> None:
        """Start nothing any more; `live` returns once what runs has finished and is committed."""
        self._parking = True
        self._stir()

    async def give_up(self, crashed: Crashed) -> None:
        """Record that the supervisor does not restart this run again."""
        self._crash = None
        self._take(decide(self._plan, self.run, GaveUp(crashed.key, crashed.error)))
        await self.writer.commit(self.run)

    async def release(self) -> None:
        """Commit that anybody may claim, with all records that were waiting; does nothing for a run that ended."""
        await self.writer.settled()
        if not self.run.ended:
            await self.writer.release(self.run, Released())

    async def _loop(self, tasks: TaskGroup) -> Crashed | None:
        await self._await_service()  # the loop before may have been cancelled for it
        if not self._swept:
            self._swept = True
            self._answer_requests()  # before the sweep: it would end a run that was reopened for this
            self._take(decide(self._plan, self.run, Sweep(clock.now(), self._unclean and self.header.crashes > 0)))
        while True:
            await self._settle(tasks)
            if self.run.ended:
                return None
            if self._crash is not None:
                activation = self.run.open[self._crash.id]
                return Crashed(self._crash.error, activation.node, activation.key)
            if self._parking:
                self._ready.clear()
                if self._flying.keys() <= self._sleeping.keys() and not self._events:
                    await self.writer.settled()
                    return None
            if self._is_resting():
                await self.writer.settled()
                if not await self._is_called(tasks):
                    return None
                self._fresh = True
            elif self._is_lone():
                await self._run_inline(*self._ready.popitem())
            else:
                self._start_ready(tasks)
                if not self._events and not self._requests and self._interrupt is None:
                    self._wake = wake = Event()
                    await wake.wait()
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

    def _take(self, decision: Decision) -> None:
        self.run = decision.run
        self.writer.add(decision.records)
        for command in decision.commands:
            if isinstance(command, Tell):
                self._tells.append(command)
            else:
                self._commands.append(command)
        if decision.cause is not None:
            self.cause = decision.cause

    async def _settle(self, tasks: TaskGroup, *, batching: bool = True) -> None:
        """Commit as the durability of the run asks, and carry out what may be carried out.

        Turns that follow one another are committed together: the next one may
        begin at once, since nothing leaves the run before that commit.
        """
        if self._row:
            self._let_in()
        if self._flying:
            self._cancel_needless()
        if (error := self._interrupt or self.writer.failure) is not None:
            raise error
        if batching and self.run.turn is not None and self._begin_turn(self.run.turn):
            return
        self._turns = 0
        self._fresh = False
        mode, writer = self.run.durability, self.writer
        if writer and (mode == "sync" or self._is_forced() or (mode == "exit" and writer.is_much())):
            await writer.commit(self.run)
        elif writer and mode == "async":
            await writer.commit_beside(self.run, tasks, self.nudge)
        if self._accepted:
            await self.writer.commit(self.run)
            self._acknowledge()
        writer.tidy(tasks)
        self._carry_out(tasks)

    def _is_forced(self) -> bool:
        """Whether what waits is to be committed now, whatever the durability."""
        if self._accepted or self._tells or self.run.standing != "running":  # it waits, or is over
            return True
        return Crash in map(type, self._commands)

    def _begin_turn(self, turn: int) -> bool:
        """Let the turn that was just opened begin, though it is not committed; whether it did.

        Not after a process died with this run: then it must be known which message was being handled.
        """
        if self._flying or self._expiring or self._ready or self._parking:
            return False
        start = Start(turn)
        if start not in self._commands or self._turns >= _TURNS or (self._turns % 16 == 15 and self.writer.is_much()):
            return False
        now = clock.monotonic()
        if not self._turns:
            if self.header.crashes:
                return False
            self._since = now
        elif now - self._since > _TURNS_SECONDS:
            return False
        self._turns += 1
        self._commands.remove(start)
        self._ready[turn] = self.run.open[turn].attempt + 1
        return True

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
        tells, self._tells = self._tells, []
        for tell in tells:
            for request in self._askers.pop(tell.message, ()):
                request.said = tell.said
                request.done.set()

    # -- nodes --------------------------------------------------------------------

    def _is_lone(self) -> bool:
        """Whether one activation is ready and nothing else goes on: it needs no task of its own."""
        if len(self._ready) != 1 or self._flying or self._events or self._expiring:
            return False
        if self._requests and not self._turns:  # a few turns, one after the other, hold nobody up
            return False
        return self.run.open[next(iter(self._ready))].due is None

    async def _run_inline(self, id_: int, attempt: int) -> None:
        """Run a lone node in the loop's own task. Who asks something meanwhile is served beside it.

        What is not committed yet, because a turn began before that, is committed when it first waits.
        """
        if self._turns == 1 and not self._fresh:
            await anyio.lowlevel.checkpoint()  # those who were told just now may send more, so that it is collected
        self._inline = True
        self._flying[id_] = self._looping
        try:
            if not self._turns:
                self._unbroken += 1
                if self.run.durability == "sync" and not self.writer.alone:  # others ran while it was committed
                    await anyio.lowlevel.checkpoint_if_cancelled()
                elif self._unbroken >= _UNBROKEN or self.run.durability == "sync":  # a commit may have taken long
                    self._unbroken = 0
                    await anyio.lowlevel.checkpoint()  # nodes that never wait must not starve the loop
            if id_ in self.run.open and not self.run.paused:
                attempted = self._attempt(id_, attempt)
                event = await (noticed(attempted, self._begin_service) if self._turns else attempted)
                self._events.append(event)
        finally:
            del self._flying[id_]
            self._inline = False
        if self._serving is not None:
            await self._await_service()

    async def _await_service(self) -> None:
        """Wait until those are served who asked while the loop ran a node."""
        if self._serving is not None:
            await self._serving.wait()
            self._serving = None

    def _look_up(self) -> None:
        """Something happened: the loop is to look, or to be served while it runs a node."""
        self._stir()
        if self._inline:
            self._begin_service()

    def _begin_service(self) -> None:
        if self._tasks is not None and (self._serving is None or self._serving.is_set()):
            self._serving = Event()
            self._tasks.start_soon(self._serve, self._tasks, self._serving)

    async def _serve(self, tasks: TaskGroup, served: Event) -> None:
        """Do what there is to do while the loop itself runs a node, and waits for this before it goes on."""
        try:
            while True:
                self._answer_requests()
                self._decide_events()
                await self._settle(tasks, batching=False)
                if self._crash is not None:
                    self._looping.cancel()  # the node is left, for the loop to say so
                elif not self._parking:
                    self._start_ready(tasks)
                if not (self._requests or self._events) or self.run.ended or self._crash is not None:
                    break
        except (KeyboardInterrupt, SystemExit) as error:
            self._interrupt = error  # as in `_fly`
        served.set()
