"""Supervisors: runs that are started, restarted and stopped together, by OTP's rules."""

from __future__ import annotations

import logging
import math
import random
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
from anyio import CancelScope

from actorflow.engine.events import Inputting
from actorflow.engine.policy import GiveUp, Restart, backoff, hopeless
from actorflow.engine.supervision import (
    Reason,
    RestartType,
    Strategy,
    Under,
    Window,
    affected,
    level,
    reason_of,
    verdict,
)
from actorflow.errors import RestartIntensity, SupervisorClosed
from actorflow.graph.state import State
from actorflow.runtime import clock
from actorflow.runtime.life import Life, Superior
from actorflow.runtime.members import Child, recalled, restart_together
from actorflow.runtime.stats import SupervisorStats, supervisor_stats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from actorflow.engine.policy import RestartPolicy
    from actorflow.graph.graph import Graph
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.options import Durability, OnConflict
    from actorflow.runtime.run import Run
    from actorflow.runtime.supervising import Supervising

S = TypeVar("S", bound=State)

_logger = logging.getLogger("actorflow.supervisor")

_REASONS: dict[str, Reason] = {"finished": "normal", "failed": "failed", "quarantined": "failed"}


class Supervisor(Superior):
    """A named group of runs, its children, and of other supervisors. `Runtime.supervise` makes it.

    A child that crashes is started again from its last file; with it, as the
    strategy has it, its siblings, each from its own last file. That is no
    rollback of the group: what each of them had committed stays.
    """

    def __init__(
        self,
        runtime: Supervising,
        living: Lives,
        path: str,
        *,
        strategy: Strategy,
        restart: RestartType,
        policy: RestartPolicy,
        parent: Supervisor | None,
    ) -> None:
        self.path = path
        """Its name, after those of the supervisors around it: ``payments/cards``."""
        self.failure: RestartIntensity | None = None
        self.scope = CancelScope()  # around what was written inside `async with`
        self.members: dict[str | Supervisor, Child | Supervisor] = {}  # in the order of their starts; runs by id
        self.policy = policy
        self.window = Window(max_restarts=policy.max_restarts, period=policy.period)
        self.leaving = False  # nothing that ends is opened again
        self.closed = False
        self._runtime = runtime
        self._living = living
        self.strategy: Strategy = strategy
        self._restart: RestartType = restart
        self.parent = parent

    def __repr__(self) -> str:
        return f"<Supervisor {self.path!r}: {sum(1 for _ in self.children())} children>"

    # -- what users call --------------------------------------------------------------

    async def spawn(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        restart: RestartType | None = None,
        on_conflict: OnConflict = "fail",
        reuse: bool = False,
        tags: Mapping[str, str] | None = None,
        durability: Durability = "sync",
        context: Any = None,
    ) -> Run[S]:
        """Begin a run as a child: `Runtime.spawn`.

        Args:
            graph: what to run.
            state: the input.
            id: its id.
            restart: ``"permanent"``, ``"transient"`` or ``"temporary"``; by default as the supervisor has it.
            on_conflict: what to do if the id is taken: ``"fail"``, or ``"attach"``, to take the run as it is; that is
                `RunOwned` while another process has it, since it has no supervisor here then.
            reuse: whether a deleted run's id may be used again.
            tags: kept in every header.
            durability: when a successor may start.
            context: what its nodes read as ``ctx.context``.

        Raises:
            SupervisorClosed: the supervisor has been left.
            What `Runtime.spawn` raises.
        """
        return await self._runtime.spawn(
            graph,
            state,
            id=id,
            on_conflict=on_conflict,
            reuse=reuse,
            tags=tags,
            durability=durability,
            context=context,
            under=self._under(restart),
        )

    async def run(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        restart: RestartType | None = None,
        context: Any = None,
    ) -> S:
        """Begin a run as a child, or go on with the one that has this id; then its result: `Runtime.run`."""
        return await self._runtime.run(graph, state, id=id, context=context, under=self._under(restart))

    async def resume(
        self, graph: Graph[S], id: str, *, restart: RestartType | None = None, context: Any = None
    ) -> Run[S]:
        """Go on with a run, as a child from now on: `Runtime.resume`."""
        return await self._runtime.resume(graph, id, context=context, under=self._under(restart))

    def supervise(
        self,
        name: str,
        *,
        strategy: Strategy = "one_for_one",
        restart: RestartType = "transient",
        max_restarts: int = 3,
        period: float = 60.0,
        backoff: float = 0.1,
        max_backoff: float = 30.0,
        never_restart: tuple[type[Exception], ...] = (),
    ) -> AbstractAsyncContextManager[Supervisor]:
        """A supervisor inside this one: `Runtime.supervise`. When its children crash too often, this one restarts it.

        Raises:
            SupervisorClosed, SupervisorExists, ValueError
        """
        self._check_open()
        return self._runtime.supervise(
            name,
            strategy=strategy,
            restart=restart,
            max_restarts=max_restarts,
            period=period,
            backoff=backoff,
            max_backoff=max_backoff,
            never_restart=never_restart,
            parent=self,
        )

    def stats(self) -> SupervisorStats:
        """What goes on in the children that live here, and in those of the supervisors inside. Cheap."""
        return supervisor_stats(self.path, self._lives(), restarts=self.window.total)

    # -- what lives tell it -----------------------------------------------------------

    def admit(self, life: Life, restart: RestartType | None) -> None:
        """A life began that is a child of this supervisor; one that was its child before keeps its place."""
        child = self._child(life.run_id)
        if child is None:
            child = self.members[life.run_id] = Child(life.run_id, restart or self._restart)
        child.restart, child.life, child.ended = restart or child.restart, life, None
        child.context = life.context

    def dismiss(self, life: Life) -> None:
        """A life goes to another supervisor."""
        self.members.pop(life.run_id, None)

    def crashed(self, life: Life, error: Exception) -> Restart | GiveUp:
        """What becomes of a child whose node raised this."""
        if self.failure is not None or self.closed:
            return Restart(math.inf)  # it waits to be stopped with the others
        child = self._child(life.run_id) or Child(life.run_id, self._restart)
        if verdict("crashed", child.restart) != "restart":
            return GiveUp(f"a {child.restart} run is not started again")
        if (reason := hopeless(self.policy, error)) is not None:
            return GiveUp(reason)
        return self._answer(child, error)

    def left(self, life: Life) -> None:
        """A child's life is over: if its run has ended it is a child no more, unless it is to be opened again."""
        child = self._child(life.run_id)
        if child is None or child.life is not life:
            return
        child.life = None
        if life.outcome is None:
            if life.error is not None:  # fenced, or not to be run here: should it come back, it joins again
                del self.members[child.run_id]
            return
        reason = _REASONS.get(life.outcome.status, "cancelled")
        if verdict(reason, child.restart) == "restart" and not (self.leaving or life.parking):
            child.ended = reason
            if isinstance(self._answer(child, life.outcome.cause), Restart):
                return
        self.members.pop(child.run_id, None)

    # -- restarting -------------------------------------------------------------------

    def _answer(self, child: Child, error: BaseException | None) -> Restart | GiveUp:
        """Let the innermost supervisor that may still restart do so; with none left the outermost gives up."""
        now = clock.monotonic()
        chain = [self, *self._around()]
        found = level([one.window for one in chain], now)
        if found is None:
            top = chain[-1]
            failure = RestartIntensity(top.path, child.run_id, top.policy.max_restarts, top.policy.period)
            failure.__cause__ = error
            top.give_up(failure)
            return GiveUp(f"supervisor {top.path!r} gave up")
        taker, member = chain[found], chain[found - 1] if found else child
        delay = backoff(taker.policy, taker.window.recent(now), chance=random.random())
        taker.window.note(now)
        again = affected(taker.strategy, list(taker.members.values()), member)
        for one in again:
            if isinstance(one, Supervisor):
                one.begin_anew()
        children = [inner for one in again for inner in _children_of(one)]
        if children == [child] and child.ended is None:
            return Restart(delay)  # which it waits for by itself
        _logger.warning(
            "supervisor %r restarts %d of its children: run %r exited", taker.path, len(children), child.run_id
        )
        batch = recalled(children)
        self._living.in_background(lambda: restart_together(batch, delay, self._open_again))
        return Restart(0.0)

    async def _open_again(self, child: Child) -> None:
        """A run that ended, though it is permanent, goes on: from its entry, or where it had failed."""
        reason, child.ended = child.ended, None
        failures = 0
        while not self.leaving:
            try:
                if reason == "normal":
                    await self._runtime.steer(child.run_id, Inputting({}), context=child.context)
                else:
                    await self._runtime.resume_any(child.run_id, context=child.context)
            except Exception as error:
                if reason_of(error) == "storage":
                    await anyio.sleep(backoff(self.policy, failures, chance=random.random()))
                    failures += 1
                    continue
                # one bad run never stops the others (guarantee 8)
                _logger.exception("permanent run %r could not be opened again", child.run_id)
                self.members.pop(child.run_id, None)
            return

    def begin_anew(self) -> None:
        """Forget restarts, here and inside, as a supervisor does that is started again itself."""
        self.window.clear()
        for member in self.members.values():
            if isinstance(member, Supervisor):
                member.begin_anew()

    def give_up(self, failure: RestartIntensity) -> None:
        """Stop everything, and raise this out of ``async with``."""
        if self.failure is None:
            self.failure, self.leaving = failure, True
            self.scope.cancel()
            for member in self.members.values():
                if isinstance(member, Supervisor):
                    member.give_up(failure)

    # -- leaving ----------------------------------------------------------------------

    async def finish(self, *, park: bool) -> None:
        """Wait until the children are over: those that are awaited by themselves, the others (or all) being parked."""
        self.leaving = True
        while lives := list(self._lives()):
            for life in lives:
                if park or not life.awaited:
                    life.park()
            await lives[0].done.wait()

    async def stop(self) -> None:
        """Stop the children, the last that was started first: what runs is cancelled, unrecorded, and let go of."""
        self.leaving = True
        while lives := list(self._lives()):
            lives[-1].let_go(aside=self.path)
            await lives[-1].done.wait()

    def close(self) -> None:
        """Take no more children."""
        self.leaving = self.closed = True
        if self.parent is not None:
            self.parent.members.pop(self, None)

    def join(self, parent: Supervisor) -> None:
        """Become the newest member of the supervisor around."""
        parent.members[self] = self

    def children(self) -> Iterator[Child]:
        """Its children and those of the supervisors in it, in the order of their starts."""
        return _children_of(self)

    def _lives(self) -> Iterator[Life]:
        return (child.life for child in self.children() if child.life is not None and not child.life.done.is_set())

    def _child(self, run_id: str) -> Child | None:
        found = self.members.get(run_id)
        return found if isinstance(found, Child) else None

    def _around(self) -> Iterator[Supervisor]:
        outer = self.parent
        while outer is not None:
            yield outer
            outer = outer.parent

    def _under(self, restart: RestartType | None) -> Under:
        self._check_open()
        return Under(self.path, restart)

    def _check_open(self) -> None:
        if self.closed or self.leaving:
            raise SupervisorClosed(self.path)


def _children_of(member: Child | Supervisor) -> Iterator[Child]:
    if isinstance(member, Child):
        yield member
    else:
        for inner in member.members.values():
            yield from _children_of(inner)
