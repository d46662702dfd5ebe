"""Beginning: how a life begins, in a task of the runtime's own, in which it then goes on.

Cancelling whoever asked for it ends only the waiting, and never leaks a claim.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, field

from actorflow.engine.events import Command, Pausing
from actorflow.errors import NoContext, RuntimeClosed
from actorflow.graph.graph import Graph
from actorflow.runtime.attending import Request
from actorflow.runtime.claiming import Adopted, adopted_anew
from actorflow.runtime.contexts import lacks_context
from actorflow.runtime.events import Offset
from actorflow.runtime.life import Life
from actorflow.runtime.stream import EventStream

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from actorflow.engine.policy import RestartPolicy
    from actorflow.runtime.claimants import Claimants
    from actorflow.runtime.hooks import Hooks
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.making import ActorMaker
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.outage import Outage


class Beginnings:
    """Lets lives begin, one of a run at a time. One for each runtime."""

    def __init__(
        self,
        lives: Lives,
        tasks: TaskGroup,
        claimants: Claimants,
        maker: ActorMaker,
        *,
        policy: RestartPolicy,
        outage: Outage,
        hooks: Hooks,
        newest: Callable[[Graph[Any]], Graph[Any]],
    ) -> None:
        """Begin none.

        Args:
            lives: where they live.
            tasks: of the runtime.
            claimants: who is about to claim.
            maker: makes their actors.
            policy: how they are restarted.
            outage: tells when the store answers again.
            hooks: those of the user.
            newest: the graph that a reload put in the place of one.
        """
        self._lives = lives
        self._tasks = tasks
        self._claimants = claimants
        self._maker = maker
        self._policy = policy
        self._answered = outage.over  # made once, and not for each of thousands of lives
        self._hooks = hooks
        self._newest = newest

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
            NoContext: nobody gave one, and the graph declares it; likewise.
            RuntimeClosed: the process is about to end.
            What ``claim`` raises.
        """
        if self._lives.draining:
            raise RuntimeClosed
        context = self._lives.contexts.choose(graph, context, self._lives.sleepers.context_of(run_id))
        if lacks_context(graph, context) and not _only_pauses(request):
            raise NoContext(graph.name, graph.context_type)
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
        del start  # with the spawn that it holds, it would otherwise last as long as the life
        if life is not None:
            await self._lives.carry(life)

    async def _begin(self, start: _Start) -> Life | None:
        """The life that was asked for, in ``start``; returned if it is a new one."""
        async with self._claimants.one(start.run_id):
            other = self._lives.get(start.run_id)
            if other is not None and other.actor.run.ended:  # it is about to be over, and then may be reopened
                await other.done.wait()
            elif other is not None and start.first is None:  # another task was faster
                other.awaited = other.awaited or start.awaited
                start.life = other
                return None
            adopted = await start.claim()
            while (newest := self._newest(start.graph)) is not start.graph:  # reloaded since this was asked for
                adopted = await self._lives.in_store(partial(adopted_anew, adopted, newest, self._lives.limits))
                start.graph, start.first = newest, None
            life = start.life = self._life(start, adopted)
            self._lives.add(life, begins=bool(start.first))
            if lacks_context(start.graph, start.context):
                life.park()  # it was only to be paused: nothing of it begins here
            run = (life.run_id, adopted.file.life)
            if self._hooks and not self._hooks.follows(run):
                self._tasks.start_soon(self._hooks.follow, run, *self._watched(life))
            return life

    def _life(self, start: _Start, adopted: Adopted) -> Life:
        return Life(
            run_id=start.run_id,
            graph=start.graph,
            context=start.context,
            awaited=start.awaited,
            actor=self._maker.make(
                start.graph, adopted, context=start.context, first=start.first, request=start.request
            ),
            policy=self._policy,
            outage=self._answered,
            supervisor=self._lives.supervisors.get(adopted.run.supervisor),
        )

    def _watched(self, life: Life) -> tuple[EventStream, Observers]:
        """What the hooks are told of a life: all since its claim, while it lasts, and of those that follow on it."""
        claim = life.actor.header.seq
        stream = EventStream(
            lambda: self._lives,
            life.run_id,
            modes=self._hooks.modes,
            graphs=partial(self._graph_of, life),
            after=Offset.parse(claim - 1) if claim else None,
            stays=False,
        )
        stream.begin()  # before its actor does
        return stream, self._lives.observers(life.run_id)

    def _graph_of(self, life: Life, name: str) -> Graph[Any] | None:
        """The graph of this name, if it is that of a run: in the life that it has now, if it has another one."""
        graph = (self._lives.get(life.run_id) or life).graph
        return graph if graph.name == name else None


def _only_pauses(request: Request | None) -> bool:
    """Whether a run is claimed for something after which none of its nodes begins."""
    return request is not None and isinstance(request.event, Pausing) and request.event.on


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
