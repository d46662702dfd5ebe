"""EventStream: what happens in a run, for ``async for``: from its log, and then as it happens."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from actorflow.engine.records import ENDED
from actorflow.errors import ActorflowError, Blocked, RuntimeClosed
from actorflow.runtime import clock
from actorflow.runtime.events import CommitEvent, DroppedEvent, Event, Offset
from actorflow.runtime.observers import Feed, Fresh
from actorflow.runtime.reading import Reader
from actorflow.runtime.telling import Teller

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from actorflow.graph.graph import Graph
    from actorflow.runtime.events import Mode
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.observers import Observers

T = TypeVar("T")

_POLL = (0.02, 1.0)  # seconds: the first and the longest pause between two looks at a run that does not live here


class EventStream:
    """The events of a run, oldest first. Each loop over it begins anew. `Run.events` makes it.

    Commits are told in the order of their numbers, whichever way they came: a
    number that does not follow is looked up in the log. So there is no gap and
    nothing twice, and whoever is too slow loses only what no file holds.

    Not an async generator, so that a loop left early leaves nothing behind.
    """

    def __init__(
        self,
        living: Callable[[], Lives],
        run_id: str,
        *,
        modes: Collection[Mode],
        graphs: Callable[[str], Graph[Any] | None],
        after: Offset | None = None,
        committed_only: bool = False,
        scope: str | None = None,
        stays: bool = True,
    ) -> None:
        """See `Run.events`.

        Args:
            living: the runtime's lives; raises `RuntimeClosed`.
            run_id: which run.
            modes: what to tell of.
            graphs: the graph of a name, if it is known.
            after: the last event that is not wanted.
            committed_only: nothing that is in no file.
            scope: only of this one.
            stays: until the run is over, wherever it lives; otherwise for as long as it lives in this process.
        """
        self._living = living
        self._run_id = run_id
        self._modes = modes
        self._graphs = graphs
        self._after = after
        self._known = after  # until something newer was told
        self._committed_only = committed_only
        self._scope = scope
        self._stays = stays
        self._ready: deque[Event] = deque()
        self._feed: Feed | None = None  # from the first event on
        self._over = False
        self._error: ActorflowError | None = None
        self._behind = True  # what comes next is to be read from the log
        self._told = Offset(0)
        self._pause = _POLL[0]

    def __aiter__(self) -> EventStream:
        return EventStream(
            self._living,
            self._run_id,
            modes=self._modes,
            graphs=self._graphs,
            after=self._after,
            committed_only=self._committed_only,
            scope=self._scope,
            stays=self._stays,
        )

    async def __anext__(self) -> Event:
        if not self._ready:
            await self._fill()
            if not self._ready:
                raise StopAsyncIteration
        return self._ready.popleft()

    async def batch(self) -> list[Event]:
        """All events that are there, at least one; none when it is over."""
        await self._fill(whole=True)
        batch = list(self._ready)
        self._ready.clear()
        return batch

    def begin(self) -> None:
        """Listen from now on, instead of from the first event that is asked for.

        Raises:
            RuntimeClosed: the runtime was not entered, or has been left.
        """
        lives = self._living()
        self._lives: Lives = lives
        self._observers: Observers = lives.observers(self._run_id)
        self._feed = Feed(() if self._committed_only else self._modes)
        self._observers.add(self._feed)
        self._teller = Teller(self._modes, graphs=self._graphs, time_limit=lives.limits.migration_timeout)
        self._reader = Reader(self._run_id, self._teller, after=self._after)

    async def _fill(self, *, whole: bool = False) -> None:
        """Wait until something is told: the next piece, which is told only now, or the ``whole`` of what is there."""
        if self._feed is None and not self._over:
            self.begin()
        while not self._over and (whole or not self._ready):
            assert self._feed is not None, "it is there until this is over"  # noqa: S101
            try:
                if not self._take(self._feed):
                    if self._ready:
                        break
                    await self._go_on(self._feed)
            except RuntimeClosed:
                self._over = True
            except ActorflowError as error:
                self._over, self._error = True, error  # raised after what was told before it
        if self._over:
            self._feed = None
        if not self._ready and self._error is not None:
            broken, self._error = self._error, None
            raise broken

    async def _go_on(self, feed: Feed) -> None:
        """Take the next step, where `_take` could not: read a page, or large values, or wait."""
        if self._lives.closed:
            self._over = True
        elif self._behind:
            to = self._newest(feed)
            self._behind = await self._read(lambda: self._reader.read(self._lives.store, to=to))
        elif dropped := feed.dropped():
            self._told = Offset(self._told.seq, self._told.live + 1)
            self._ready.append(DroppedEvent(run_id=self._run_id, offset=self._told, time=clock.now(), count=dropped))
        elif isinstance(large := feed.first(), Fresh):  # else `_take` would have told it
            feed.take()
            self._behind = True  # if this is cancelled: then it is looked up in the log
            await self._read(partial(self._reader.tell, self._lives.store, large))
            self._behind = False
        elif self._teller.status in ENDED if self._stays else not self._is_here:
            self._over = True
        else:
            await self._wait(feed)

    def _newest(self, feed: Feed) -> int | None:
        """The commit to read to: what is newer is handed over. None: to the end, since nobody hands anything over."""
        newest = self._observers.seq if self._is_here else None
        first = feed.first()
        if first is None:
            return newest
        before = first.seq if isinstance(first, Event) else first.seq - 1
        return before if newest is None else min(before, newest)  # also of a run that is over: it was handed over here

    async def _read(self, work: Callable[[], T]) -> T:
        """Let the reader read something, and tell what it read, also if it did not come to its end."""
        try:
            return await self._lives.in_store(work)
        finally:
            self._tell(self._reader.take())

    def _take(self, feed: Feed) -> bool:
        """Tell the next piece that was handed over; False if there is none for which that can be done at once."""
        piece = feed.first()
        if piece is None or self._behind or feed.has_dropped:
            return False
        if not self._follows(piece):
            self._behind = True
            return False
        told = self._teller.seq or 0
        if isinstance(piece, Event):
            if piece.seq < told:
                feed.drop()  # its place in the story has been told already, out of the log
            else:
                self._tell([piece])
        elif piece.seq > told:
            if not piece.short:
                return False
            self._tell(self._teller.tell(piece))
        feed.take()
        return True

    def _follows(self, piece: Fresh | Event) -> bool:
        """Whether all before this has been told: otherwise it was not handed over, or was dropped."""
        told = self._teller.seq
        return told is not None and piece.seq <= (told if isinstance(piece, Event) else told + 1)

    async def _wait(self, feed: Feed) -> None:
        """Wait until something is handed over, or may be in the log that is not: a claim, or what others commit."""
        if self._is_here and self._observers.seq <= (self._teller.seq or 0):
            self._pause = _POLL[0]
            await feed.wait()
            return
        if not self._is_here and (reason := self._lives.blocked.get(self._run_id)) is not None:
            raise Blocked(self._run_id, reason)
        await clock.rest(self._pause, until=feed.wait)
        self._pause = min(self._pause * 2, _POLL[1])
        self._behind = True

    def _tell(self, events: list[Event]) -> None:
        if not events:
            return
        self._told = events[-1].offset
        if (known := self._known) is not None:
            events = [event for event in events if event.offset > known]
            if self._told > known:
                self._known = None  # so is all that comes
        if self._scope is not None:
            events = [event for event in events if event.scope == self._scope or isinstance(event, CommitEvent)]
        self._ready += events

    @property
    def _is_here(self) -> bool:
        return self._lives.get(self._run_id) is not None
