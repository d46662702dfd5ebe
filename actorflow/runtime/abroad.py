"""Abroad: the runs that other processes have, as far as who sends to them must know: whose they are, and what waits.

The newest commit of each is remembered, so that the next look reads only what
was committed since; and so is how many messages wait in its inbox, as long as
this process has not put many more there. Each look begins after whoever wants
it has asked: nothing is put there for a run that had ended when it was sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct, field

from actorflow.runtime.adopt import current_part
from actorflow.runtime.claiming import preview_run
from actorflow.runtime.following import Following
from actorflow.runtime.together import Together
from actorflow.store.keys import Letter
from actorflow.store.log import Tip

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.lives import Lives
    from actorflow.store.messages import Message

MOST = 1_000
"""So many runs are remembered."""

SHARE = 8
"""One part in so many of the room that a count has shown is taken before the next one: others count and put, too."""


class Sight(NamedTuple):
    """A run as it was seen."""

    tip: Tip
    owned: bool  # by somebody who lives, or may live, and whose run this process could not take up


class _Known(Struct, eq=False):
    """What is remembered of a run."""

    tip: Tip | None = None
    waiting: int | None = None  # in its inbox, when that was counted
    put: int = 0  # since
    putting: set[Letter] = field(default_factory=set[Letter])  # just now

    def has_room(self, bound: int) -> bool:
        """Whether one more may be put there before it is counted again."""
        return self.waiting is not None and self.waiting < bound and self.put * SHARE <= bound - self.waiting - SHARE


class Abroad:
    """What a runtime knows of the runs of others. One for each runtime."""

    def __init__(self, lives: Lives, graphs: Mapping[str, Graph[Any]]) -> None:
        """Begin with nothing.

        Args:
            lives: for the store.
            graphs: by name, those that are known here. Whose the runs of others are is not asked.
        """
        self._lives = lives
        self._graphs = graphs
        self._known: dict[str, _Known] = {}  # the one that was asked for last is the last
        self._looks = Together(self._look)
        self._following = Following(lives)
        self._runs = Together(self._run)
        self._views = Together(self._view)
        self._counts = Together(self._count)

    async def look(self, run_id: str) -> Sight | None:
        """A run as it is now; None: there is no such run.

        Raises:
            CorruptCheckpoint: what was committed since the look before can't be read.
        """
        return await self._looks.ask(run_id)

    async def run(self, run_id: str) -> RunState | None:
        """A run as its commits have it, whatever code made them, as it is now; None: there is none.

        To be looked at only, and before anything else is awaited.

        Raises:
            CorruptCheckpoint
        """
        return await self._runs.ask(run_id)

    async def view(self, run_id: str) -> RunState | None:
        """A run of a graph that is known here, in the form that this code has its state in; otherwise as `run`.

        Raises:
            Blocked: this code can't run it.
            CorruptCheckpoint
        """
        return await self._views.ask(run_id)

    async def put(self, message: Message, *, bound: int, named: bool) -> int | None:
        """Put a message into the inbox of its run; None: it is there, durably. Else how many wait there: too many.

        Args:
            message: from a caller.
            bound: so many may wait. Several processes that put at once may exceed it, each by a `SHARE` of it.
            named: its id is its caller's, so that others may have sent it, too.

        Raises:
            What `Inbox.send` raises.
        """
        known = self._of(message.run_id)
        there: list[Letter] = []
        if named:
            there = await self._counts.ask(message.run_id)
        while not known.has_room(bound):
            there = await self._counts.ask(message.run_id)
            if known.waiting is not None and known.waiting >= bound:
                return known.waiting
            if known.put == 0:
                break  # what little room there is, whoever comes first has
        known.put += 1
        known.putting.add(letter := message.letter)
        try:
            await self._lives.in_steps(self._lives.store.inbox.sending(message, there=there))
        finally:
            known.putting.discard(letter)
        return None

    def _of(self, run_id: str) -> _Known:
        known = self._known[run_id] = self._known.pop(run_id) if run_id in self._known else _Known()
        if len(self._known) > MOST:
            del self._known[next(iter(self._known))]
        return known

    async def _look(self, run_id: str) -> Sight | None:
        known, log = self._of(run_id), self._lives.store.log(run_id)
        before = known.tip

        def read() -> Sight | None:
            tip = log.tip(known=before)
            if tip is None:
                return None
            ours = tip.header.owner.incarnation == self._lives.store.incarnation.name
            owned = not ours and tip.file.graph in self._graphs and log.is_owned(tip.header) is not False
            return Sight(tip, owned)

        sight = await self._lives.in_store(read)
        known.tip = None if sight is None else sight.tip
        return sight

    async def _run(self, run_id: str) -> RunState | None:
        sight = await self._look(run_id)
        return None if sight is None else await self._following.run(run_id, sight.tip)

    async def _view(self, run_id: str) -> RunState | None:
        sight = await self._look(run_id)
        graph = None if sight is None else self._graphs.get(sight.tip.file.graph)
        if sight is None or graph is None:
            return None
        if current_part(graph, sight.tip.file) is sight.tip.file:  # by code like this: it can be looked at as it is
            return await self._following.run(run_id, sight.tip)
        store, limits = self._lives.store, self._lives.limits
        log, tip = store.log(run_id), sight.tip
        preview = await self._lives.in_store(lambda: preview_run(store, graph, log, tip, limits))
        return preview.run

    async def _count(self, run_id: str) -> list[Letter]:
        known = self._of(run_id)
        flying, put = set(known.putting), known.put
        letters = await self._lives.in_store(lambda: self._lives.store.inbox.letters(run_id))
        known.waiting = len(flying.union(letters))
        known.put -= put  # what is put meanwhile may be listed or not
        return letters
