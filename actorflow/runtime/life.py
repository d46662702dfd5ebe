"""A life: one run as this process carries it, across crashes and restarts, until it ends or is let go."""

from __future__ import annotations

import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
from msgspec import Struct, field

from actorflow.engine.events import Asking, Stop
from actorflow.engine.operations import Values
from actorflow.engine.policy import GiveUp, Restart, RestartPolicy, after_crash, backoff
from actorflow.engine.supervision import RestartType, Under, reason_of
from actorflow.errors import ActorflowError, StoreError
from actorflow.graph.graph import Graph
from actorflow.runtime import clock
from actorflow.runtime.actor import Actor, Crashed
from actorflow.runtime.attending import Request
from actorflow.runtime.halt import Halt
from actorflow.runtime.recall import Recall
from actorflow.runtime.signal import Signal
from actorflow.store.frames import FilePart

if TYPE_CHECKING:
    from actorflow.engine.run import RunState

_logger = logging.getLogger("actorflow.supervisor")


Activity = Literal["live", "restarting", "stalled", "over"]
"""Whether a run has an actor, waits for its next one, waits for the store, or is not carried any more."""


class Outcome(Struct, frozen=True):
    """How a life ended, as its actor knew it: what `Run.result` needs without reading the store again."""

    status: str
    values: Values
    file: FilePart
    seq: int
    node: str | None
    cause: BaseException | None


class Superior(Protocol):
    """Who decides about the restarts of several lives."""

    def crashed(self, life: Life, error: Exception) -> Restart | GiveUp:
        """What becomes of a life whose node raised this; a restart may be for its `Life.recalled` to wait for."""
        ...

    def admit(self, life: Life, restart: RestartType | None) -> None:
        """A life began that is a child of this supervisor."""
        ...

    def dismiss(self, life: Life) -> None:
        """A life goes to another supervisor."""
        ...

    def left(self, life: Life) -> None:
        """A life is over: its run has ended, sleeps, or this process let go of it."""
        ...


class Life(Struct, eq=False):
    """One run in this process. `supervise` is its task; handles wait for ``done``."""

    run_id: str
    graph: Graph[Any]
    context: Any
    awaited: bool  # spawned or resumed by the user: leaving the runtime waits for it
    actor: Actor
    policy: RestartPolicy
    outage: Callable[[], Awaitable[None]]  # waits until the store answers
    restarts: tuple[float, ...] = ()  # times, on the monotonic clock: those that count
    supervisor: Superior | None = None  # None: the root, which counts for each run apart
    under: Under | None = None  # its supervisor, where the next claim is to say so
    done: Signal = field(default_factory=Signal)
    outcome: Outcome | None = None  # set when the run ended
    error: Exception | None = None  # set when this process had to let go of it
    stopping: Stop | None = None
    parking: bool = False
    aside: str | None = None  # the supervisor for which it is to wait when it was let go of
    hurried: Signal = field(default_factory=Signal)  # set when a restart must not be waited for
    halted: Halt | None = None  # somebody wants the run to stand still
    recalled: Recall | None = None  # its supervisor restarts it with others
    stalled: bool = False  # it waits for the store
    stalls: int = 0  # how often in a row, without a commit between them but claims
    outage_since: float = 0.0  # the first of them, on the monotonic clock
    claimed: int = -1  # the number of its newest claim
    pausing: bool = False  # between two actors
    restarted: int = 0  # how often it was claimed again

    async def ask(self, event: Asking) -> int | None:
        """Ask something of the run; the commit that holds it, or None if its actor left before it came to it.

        Raises:
            What `decide` refuses it with; StoreError: it could not be committed.
        """
        actor, request = self.actor, Request(event)
        await actor.ask(request)
        if request.error is not None:
            raise request.error
        return request.seq

    def stop(self, stop: Stop) -> None:
        """End the run in this status; `done` tells when that is recorded."""
        self.stopping = stop
        self._hurry()
        self.actor.stop(stop)

    def let_go(self, *, aside: str | None = None) -> None:
        """Cancel what runs, unrecorded, and let go of the run, so that it can be claimed.

        Args:
            aside: the path of the supervisor that it is then to wait for; None: whoever looks may take it up.
        """
        self.parking, self.aside = True, aside
        self._hurry()
        self.actor.leave()

    def park(self) -> None:
        """Finish what runs, start nothing new, and let go."""
        self.parking = True
        self._hurry()
        self.actor.park()

    def halt(self) -> Halt:
        """Finish what runs, start nothing new, and stand still until `go_on`. A restart is not waited for."""
        if self.halted is None:
            self.halted = Halt()
            self.hurried.set()
            if self.recalled is not None:  # whose turn it is may depend on those who stand still already
                self.recalled.turn.set()
            self.actor.park()
        return self.halted

    def interrupt(self) -> None:
        """Of a run that is to halt: cancel what still runs, unrecorded."""
        self.actor.leave()

    def go_on(self, graph: Graph[Any] | None = None, run: RunState | None = None) -> None:
        """End a halt, if there is one; the run goes on as it stood, or as this run under this graph."""
        if self.halted is not None and not self.halted.over.is_set():
            self.graph, self.halted.run = graph or self.graph, run
            self.halted.over.set()

    @property
    def stands(self) -> bool:
        """Whether it halts, and everything is committed."""
        return self.halted is not None and self.halted.settled.is_set() and not self.halted.over.is_set()

    @property
    def lasts(self) -> bool:
        """Whether the run goes on in this process, as far as is known."""
        return not (self.parking or self.done.is_set() or self.actor.run.ended)

    @property
    def activity(self) -> Activity:
        """What goes on in this life."""
        if self.done.is_set():
            return "over"
        if self.stalled:
            return "stalled"
        return "restarting" if self.pausing else "live"

    def pull(self) -> None:
        """Of a run that was recalled: cancel what runs, unrecorded, so that it waits for its turn."""
        self.hurried.set()
        self.actor.leave()

    def _hurry(self) -> None:
        self.hurried.set()
        if self.recalled is not None:
            self.recalled.turn.set()
        if self.halted is not None:
            self.halted.over.set()

    async def supervise(
        self, reopen: Callable[[Life], Awaitable[Actor]], renew: Callable[[Life, RunState], Actor]
    ) -> None:
        """Run the actor, restart it when it crashes, and let go of the run in the end, whatever happens.

        Over before that if the actor is idle: called again when it was stirred.

        Args:
            reopen: claims the run anew, from its last file.
            renew: makes the next actor under the same claim, from the run as it stood.
        """
        try:
            delay = await self._next(None, renew)
            while delay is not None and await self._pause(delay):
                delay = await self._next(reopen, renew)
        except ActorflowError as error:
            self.error = error
            _logger.error("run %r stopped in this process: %s", self.run_id, error)  # noqa: TRY400 - says it all
        except Exception as error:
            # one bad run never stops the others (guarantee 8), whatever is wrong with it or with us
            self.error = error
            _logger.exception("run %r stopped in this process", self.run_id)
        finally:
            if not self.actor.idle:
                # shielded: closing a runtime leaves its runs claimable; bounded by the store's timeouts
                with anyio.CancelScope(shield=True):
                    await self._let_go()

    async def _next(
        self, reopen: Callable[[Life], Awaitable[Actor]] | None, renew: Callable[[Life, RunState], Actor]
    ) -> float | None:
        """Let one actor live; how long to wait before the next one, None if there is none.

        Raises:
            What keeps this process from going on with the run. A store that does not answer is waited for instead.
        """
        back: Recall | None = None
        try:
            if reopen is not None:
                back, self.recalled = self.recalled, None
                before = self.actor
                before.writer.ownership.close()
                self.actor = await reopen(self)
                self.actor.inherit(before)
                self.pausing = self.stalled = False
                self.claimed = self.actor.header.seq
                self.restarted += 1
                self._pass_on()
            if back is not None:
                back.back.set()
            crashed = await self._live(renew)
            if crashed is None:
                return None if self.recalled is None or not self.lasts or self.stopping is not None else 0.0
            verdict = self._judge(crashed)
            if isinstance(verdict, GiveUp):
                await self.actor.give_up(crashed)
                return None
        except StoreError as error:
            return self._stall(error)
        finally:
            if back is not None:
                back.back.set()
        if math.isfinite(verdict.delay):  # else it waits to be stopped
            _logger.warning(
                "run %r crashed in node %r (%r); restart %d in %.2f s, from its last file",
                self.run_id,
                crashed.node,
                crashed.error,
                self.restarted + 1,
                verdict.delay,
            )
        return verdict.delay

    def _judge(self, crashed: Crashed) -> Restart | GiveUp:
        if self.recalled is not None:  # it was about to be stopped, and is started again anyway
            return Restart(0.0)
        now = clock.monotonic()
        if self.supervisor is not None:
            verdict = self.supervisor.crashed(self, crashed.error)
        else:
            verdict = after_crash(self.policy, crashed.error, self.restarts, now=now, chance=random.random())
        if isinstance(verdict, Restart):
            self.restarts = (*(at for at in self.restarts if now - at < self.policy.period), now)
        return verdict

    def _stall(self, error: StoreError) -> float:
        """How long to wait before the run is claimed again that a store which does not answer has stopped."""
        if reason_of(error) != "storage" or self.parking or self.stopping is not None:
            raise error
        now, seq = clock.monotonic(), self.actor.header.seq
        if not self.stalls or seq > self.claimed:  # nothing but claims succeeding is no progress
            self.stalls, self.outage_since, self.claimed = 0, now, seq
        if now - self.outage_since >= self.policy.max_outage:
            raise error
        self.stalled = True
        delay = backoff(self.policy, self.stalls, chance=random.random())
        self.stalls += 1
        _logger.warning("run %r waits for the store: %s", self.run_id, error)
        return delay

    async def _live(self, renew: Callable[[Life, RunState], Actor]) -> Crashed | None:
        """Let the actor live, and after each halt the next one; a crash, as `Actor.live`."""
        while True:
            crashed = await self.actor.live()
            if crashed is not None or self.halted is None or self.parking or self.actor.run.ended:
                return crashed
            if self.recalled is not None:
                return None
            await self.actor.writer.commit(self.actor.run)
            run = await self._stand_still() or self.actor.run
            if not self.lasts:
                return None
            before, self.actor = self.actor, renew(self, run)
            self.actor.inherit(before)
            self._pass_on()

    async def _stand_still(self) -> RunState | None:
        """Until whoever wanted a halt is done with it, or the run is to be left; the run as it goes on, if changed."""
        halt = self.halted
        if halt is None:
            return None
        halt.settled.set()
        await halt.over.wait()
        self.halted = None
        if self.stopping is None and not self.parking:
            self.hurried = Signal()
        return halt.run

    def _pass_on(self) -> None:
        """Tell a new actor what was wanted of the ones before."""
        if self.stopping is not None:
            self.actor.stop(self.stopping)
        if self.parking or self.halted is not None:
            self.actor.park()
        if self.recalled is not None:
            self.actor.leave()

    async def _pause(self, delay: float) -> bool:
        """Wait before a restart, or until the run is to be stopped or parked; whether a restart still makes sense."""
        self.pausing = True
        with anyio.move_on_after(delay):
            await self.hurried.wait()
        if self.stalled:
            await self._until_answered()
        if self.recalled is not None:
            self.recalled.stopped.set()
            await self._stand_still()
            await self.recalled.turn.wait()
            if self.stopping is None and not self.parking and self.halted is None:
                self.hurried = Signal()
        await self._stand_still()
        return not self.parking

    async def _until_answered(self) -> None:
        """Wait until the store answers, or the run is not to wait for that."""

        async def wait() -> None:
            await self.outage()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await self.hurried.wait()
            tasks.cancel_scope.cancel()

    async def _let_go(self) -> None:
        actor = self.actor
        try:
            if self.error is None and not actor.writer.ownership.closed:
                await actor.release()
        except StoreError as error:
            # nothing is lost: the run is claimable as soon as this store is closed
            _logger.warning("run %r could not be released: %s", self.run_id, error)
            self.error = error
        finally:
            actor.dismiss()
            actor.writer.ownership.close()
            if actor.run.ended and self.error is None:
                self.outcome = Outcome(
                    status=actor.run.status,
                    values=actor.run.root.values,
                    file=actor.writer.file,
                    seq=actor.header.seq,
                    node=actor.run.failed_in,
                    cause=actor.cause,
                )
            if self.halted is not None:
                self.halted.settled.set()
                self.halted.over.set()
            if self.recalled is not None:
                self.recalled.stopped.set()
                self.recalled.back.set()
            self.done.set()
