"""A life: one run as this process carries it, across crashes and restarts, until it ends or is let go."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import anyio
from anyio import Event
from msgspec import Struct, field

from actorflow.engine.events import Asking, Stop
from actorflow.engine.operations import Values
from actorflow.engine.policy import GiveUp, RestartPolicy, after_crash
from actorflow.errors import ActorflowError, StoreError
from actorflow.graph.graph import Graph
from actorflow.runtime import clock
from actorflow.runtime.actor import Actor, Request
from actorflow.store.frames import FilePart

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


_logger = logging.getLogger("actorflow.supervisor")


class Outcome(Struct, frozen=True):
    """How a life ended, as its actor knew it: what `Run.result` needs without reading the store again."""

    status: str
    values: Values
    file: FilePart
    seq: int
    node: str | None
    cause: BaseException | None


class Life(Struct):
    """One run in this process. `supervise` is its task; handles wait for ``done``."""

    run_id: str
    graph: Graph[Any]
    context: Any
    awaited: bool  # spawned or resumed by the user: leaving the runtime waits for it
    actor: Actor
    policy: RestartPolicy
    restarts: list[float] = field(default_factory=list[float])  # times, on the monotonic clock
    done: Event = field(default_factory=Event)
    outcome: Outcome | None = None  # set when the run ended
    error: Exception | None = None  # set when this process had to let go of it
    stopping: Stop | None = None
    parking: bool = False
    hurried: Event = field(default_factory=Event)  # set when a restart must not be waited for

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
        self.hurried.set()
        self.actor.stop(stop)

    def let_go(self) -> None:
        """Cancel what runs, unrecorded, and let go of the run, so that it can be claimed."""
        self.parking = True
        self.hurried.set()
        self.actor.leave()

    def park(self) -> None:
        """Finish what runs, start nothing new, and let go."""
        self.parking = True
        self.hurried.set()
        self.actor.park()

    async def supervise(self, reopen: Callable[[Life], Awaitable[Actor]]) -> None:
        """Run the actor, restart it when it crashes, and let go of the run in the end, whatever happens."""
        try:
            while (crashed := await self.actor.live()) is not None:
                now = clock.monotonic()
                verdict = after_crash(
                    self.policy,
                    crashed.error,
                    tuple(self.restarts),
                    now=now,
                    chance=random.random(),
                )
                if isinstance(verdict, GiveUp):
                    await self.actor.give_up(crashed)
                    return
                self.restarts.append(now)
                _logger.warning(
                    "run %r crashed in node %r (%r); restart %d in %.2f s, from its last file",
                    self.run_id,
                    crashed.node,
                    crashed.error,
                    len(self.restarts),
                    verdict.delay,
                )
                if not await self._pause(verdict.delay):
                    return
                self.actor.writer.ownership.close()
                self.actor = await reopen(self)
                if self.stopping is not None:
                    self.actor.stop(self.stopping)
                if self.parking:
                    self.actor.park()
        except ActorflowError as error:
            self.error = error
            _logger.error("run %r stopped in this process: %s", self.run_id, error)  # noqa: TRY400 - says it all
        except Exception as error:
            # one bad run never stops the others (guarantee 8), whatever is wrong with it or with us
            self.error = error
            _logger.exception("run %r stopped in this process", self.run_id)
        finally:
            # shielded: closing a runtime leaves its runs claimable; bounded by the store's timeouts
            with anyio.CancelScope(shield=True):
                await self._let_go()

    async def _pause(self, delay: float) -> bool:
        """Wait before a restart, or until the run is to be stopped or parked; whether a restart still makes sense."""
        with anyio.move_on_after(delay):
            await self.hurried.wait()
        return not self.parking

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
            self.done.set()
