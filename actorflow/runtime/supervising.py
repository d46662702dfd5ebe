"""Supervising: what a runtime has for its supervisors."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from actorflow.engine.policy import RestartPolicy
from actorflow.engine.supervision import RestartType, Strategy
from actorflow.errors import SupervisorExists
from actorflow.graph.state import State
from actorflow.runtime.options import check_word
from actorflow.runtime.steering import Steering
from actorflow.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from actorflow.engine.supervision import Under
    from actorflow.graph.graph import Graph
    from actorflow.runtime.options import Drain, Durability, OnConflict
    from actorflow.runtime.run import Run
    from actorflow.runtime.stats import SupervisorStats

S = TypeVar("S", bound=State)


class Supervising(Steering):
    """The part of a runtime in which runs are supervised together."""

    _drain: Drain

    @abstractmethod
    async def spawn(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        on_conflict: OnConflict = "fail",
        reuse: bool = False,
        tags: Mapping[str, str] | None = None,
        durability: Durability = "sync",
        context: Any = None,
        under: Under | None = None,
    ) -> Run[S]:
        """Begin a run."""

    @abstractmethod
    async def run(
        self,
        graph: Graph[S],
        state: S | None = None,
        *,
        id: str | None = None,
        context: Any = None,
        under: Under | None = None,
    ) -> S:
        """Begin a run or go on with it; its result."""

    @abstractmethod
    async def resume(self, graph: Graph[S], id: str, *, context: Any = None, under: Under | None = None) -> Run[S]:
        """Go on with a run."""

    def stats(self) -> SupervisorStats:
        """What goes on in the runs that live in this process; of the root and all supervisors together.

        Cheap: nothing is read. `Supervisor.stats` and `Run.stats` have parts of it.
        """
        return self._open().stats()

    async def resume_any(self, run_id: str, *, context: Any) -> None:
        """Go on with a run of a registered graph."""
        await self.resume(self._graph_for(await self.tip(run_id)), run_id, context=context)

    @asynccontextmanager
    async def supervise(
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
        parent: Supervisor | None = None,
    ) -> AsyncGenerator[Supervisor]:
        """A supervisor: runs that are spawned through it are its children, and are restarted by its rules.

        Its restarts are counted together. One too many, and it stops all of its
        children, the last that was started first, and exits: to the supervisor
        around it, which restarts it or gives up itself; with none around it,
        `RestartIntensity` is raised out of the ``async with``. Runs that are
        spawned without a supervisor are the root's, which counts for each apart.

        Leaving it normally waits for its children as leaving the runtime does.
        Leaving it by an exception stops them: what runs is cancelled, unrecorded,
        they are let go of, and this process leaves them alone until somebody
        resumes them or a supervisor of this name is entered again.

        A run keeps its supervisor's name in its files: when it is recovered it
        joins the supervisor of that name, or the root if there is none.

        Args:
            name: not empty, and without ``/``; with those of the supervisors around it, its path.
            strategy: who is restarted with a child that crashes: nobody (``"one_for_one"``), all
                (``"one_for_all"``), or those that were started after it (``"rest_for_one"``).
            restart: what children are by default: started again after a crash (``"transient"``), never
                (``"temporary"``: a crash fails them), or always (``"permanent"``: one that finished is
                opened again at its entry with the state it has, one that failed where it failed).
            max_restarts: more than so many restarts of its children within ``period`` are too many.
            period: seconds.
            backoff: seconds before the first restart; each further one within the period doubles it.
            max_backoff: seconds.
            never_restart: errors after which a restart is of no use.
            parent: the supervisor around; `Supervisor.supervise` gives itself.

        Raises:
            RestartIntensity: its children crashed too often; ``__cause__`` is the last crash.
            SupervisorExists: one of this name is entered already.
            ValueError: the name can't be one, or an option is out of range.
        """
        if not name or "/" in name:
            raise ValueError(f"supervise({name!r}): a name is not empty, and has no '/' in it")
        check_word("strategy", strategy, Strategy)
        check_word("restart", restart, RestartType)
        policy = RestartPolicy(
            max_restarts=max_restarts,
            period=period,
            backoff=backoff,
            max_backoff=max_backoff,
            never_restart=never_restart,
        )
        lives = self._writable()
        path = name if parent is None else f"{parent.path}/{name}"
        if path in lives.supervisors:
            raise SupervisorExists(path)
        group = Supervisor(self, lives, path, strategy=strategy, restart=restart, policy=policy, parent=parent)
        if parent is not None:
            group.join(parent)
        lives.enter(group)
        try:
            with group.scope:
                yield group
                await group.finish(park=self._drain == "park")
            if group.failure is not None:
                raise group.failure
        finally:
            # shielded: its children end with it, and leave claimable runs; bounded by the store's timeouts
            with anyio.CancelScope(shield=True):
                await group.stop()
            group.close()
            lives.supervisors.leave(path)
