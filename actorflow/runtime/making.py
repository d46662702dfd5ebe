"""Making: the actor of a run that was claimed, from it and from what all actors of a process share."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from anyio import CapacityLimiter

from actorflow.runtime.actor import Actor
from actorflow.runtime.adopt import current_part
from actorflow.runtime.attempt import Caller
from actorflow.runtime.claiming import Adopted, claiming_run, end_markers
from actorflow.runtime.results import Results
from actorflow.runtime.sleeping import is_asleep, lying_down
from actorflow.runtime.writer import Writer
from actorflow.store.cache import ResultCache

if TYPE_CHECKING:
    from actorflow.engine.events import Command
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.attending import Request
    from actorflow.runtime.committer import Committer
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.means import Graphs
    from actorflow.runtime.validation import Validate
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Header
    from actorflow.store.store import Store

SYNC_NODES = 40
"""How many sync nodes run in worker threads at once, as anyio's own default."""

CROWD = 256
"""So many actors may keep a task that they have no use for just now."""


class ActorMaker:
    """Makes all actors of a runtime: those of runs that begin, and those that follow one which crashed or halted."""

    def __init__(
        self,
        lives: Lives,
        committer: Committer,
        graphs: Graphs,
        *,
        debug: bool,
        validate: Validate | None,
        linger: float,
    ) -> None:
        """Begin with none.

        Args:
            lives: where they live.
            committer: carries what they commit.
            graphs: those that are known here, for the children that they begin.
            debug: whether a state that a node changes in place is an error.
            validate: the user's rule for commits.
            linger: seconds that one which only waits stays.
        """
        store = lives.store
        self._lives = lives
        self._committer = committer
        self._graphs = graphs
        self._debug = debug
        self._validate = validate
        self._linger = linger
        self._threads = CapacityLimiter(SYNC_NODES)
        cache = ResultCache(store.backend, store=store.uuid, sealing=store.sealing)
        self._results = Results(cache, in_store=lives.in_store)
        # made once, and not for each of thousands of actors
        self._alone = lambda: len(lives) == 1
        self._is_leaving = lambda: lives.leaving
        self._crowded = lambda: len(lives) - len(lives.idlers) > CROWD
        self._on_end = partial(end_markers, store)
        self._lie_down = partial(_lying_down, store)
        self._on_sent = lives.dispatcher.told

    def make(
        self,
        graph: Graph[Any],
        adopted: Adopted,
        *,
        context: Any,
        first: list[Command] | None = None,
        request: Request | None = None,
    ) -> Actor:
        """The actor of a run that this process owns.

        Args:
            graph: what runs it.
            adopted: the run as it was claimed.
            context: what its nodes get as ``ctx.context``.
            first: the commands of a spawn; None for a run that existed.
            request: what it was claimed for.
        """
        observers = self._lives.observers(adopted.run.run_id)
        writer = Writer(
            adopted.run,
            adopted.ownership,
            schema=graph.schema,
            file=adopted.file,
            committer=self._committer,
            large=adopted.large,
            validate=self._validate,
            observers=observers,
            alone=self._alone,
            on_end=self._on_end,
            on_rest=self._lie_down,
            on_sent=self._on_sent,
            rewound=adopted.rewound,
        )
        caller = Caller(
            graph.plan,
            context,
            self._debug,
            self._threads,
            self._lives.workers,
            observers.told,
            self._results,
            self._graphs,
        )
        return Actor(
            graph,
            adopted.run,
            writer=writer,
            caller=caller,
            observers=observers,
            leaving=self._is_leaving,
            crowded=self._crowded,
            linger=self._linger,
            first=first,
            request=request,
        )

    async def reopen(self, life: Life) -> Actor:
        """The next actor of a life, of the run as its last file has it, claimed anew.

        Raises:
            What `claiming_run` raises.
        """
        lives, graph = self._lives, life.graph
        under, life.under = life.under, None
        lives.restarts += 1
        claiming = partial(claiming_run, lives.store, graph, life.run_id, lives.limits, reopen=None, under=under)
        adopted = await lives.in_batches(claiming)
        lives.dispatcher.told_again(adopted.run)
        return self.make(graph, adopted, context=life.context)

    def renew(self, life: Life, run: RunState) -> Actor:
        """The next actor of a life under the same claim, of the run as it stands."""
        writer = life.actor.writer
        adopted = Adopted(run, writer.ownership, current_part(life.graph, writer.file), writer.large)
        return self.make(life.graph, adopted, context=life.context)


def _lying_down(store: Store, run: RunState, header: Header) -> Steps[None]:
    if is_asleep(header):
        yield from lying_down(store, run.run_id, header)
