"""Observers: those who watch one run from inside this process, as its actor sees them.

The actor hands them its commits, and says what no commit holds. Each has a
bounded buffer and is never waited for. Whoever is too slow loses the buffer:
commits are read again from the log, what is live only is counted as dropped.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

import anyio
from anyio import from_thread
from anyio.lowlevel import current_token

from actorflow.engine.events import Crash, Raised, Retry
from actorflow.engine.records import Attempted, describe
from actorflow.runtime import clock
from actorflow.runtime.events import LIVE_ONLY, DataEvent, Event, HookEvent, NodeEvent, Offset, ProgressEvent
from actorflow.store.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Collection

    from actorflow.engine.decision import Decision
    from actorflow.engine.error_info import ErrorInfo
    from actorflow.engine.run import Activation
    from actorflow.runtime.events import Mode, NodeKind
    from actorflow.store.frames import Draft, Header
    from actorflow.store.ownership import Ownership

BUFFER = 1_024
"""Pieces that wait for one who watches: commits, and events that are live only."""

LULL = 0.01
"""Seconds between two looks of one who watches a busy run: to be woken for each commit costs more than to tell it."""

BUFFER_BYTES = 8 * 1024 * 1024
"""What the commits among them may take."""


NOTHING: frozenset[Mode] = frozenset()  # of all whom nobody watches: each empty set would be another one


class Home:
    """Where the observers of all runs of a runtime are told: its thread, and its event loop."""

    def __init__(self) -> None:
        self.token = current_token()
        self._thread = threading.get_ident()

    def is_here(self) -> bool:
        """Whether this is called there."""
        return threading.get_ident() == self._thread


class Fresh(Frame, frozen=True, kw_only=True):
    """A commit as its owner made it; ``short`` if its records say all that is new, and refer to no large values."""

    short: bool

    @property
    def seq(self) -> int:
        """Its number."""
        return self.header.seq


class Feed:
    """The buffer of one who watches. `put` and the rest are called on the event loop."""

    def __init__(self, live: Collection[Mode]) -> None:
        """Begin empty.

        Args:
            live: the modes of which live-only events are wanted.
        """
        self.live = LIVE_ONLY.intersection(live)
        self._pieces: deque[Fresh | Event] = deque()
        self._bytes = 0
        self._dropped = 0
        self._wake: anyio.Event | None = None  # only while somebody waits
        self._lulled = False
        self._woken = 0.0  # when somebody last came out of waiting

    def __bool__(self) -> bool:
        """Whether something is in it."""
        return bool(self._pieces) or self.has_dropped

    @property
    def has_dropped(self) -> bool:
        """Whether live-only events were dropped of which nobody was told."""
        return self._dropped > 0

    def put(self, piece: Fresh | Event, size: int = 0) -> None:
        """Add what just happened, and what it takes; never waits."""
        pieces = self._pieces
        self._bytes += size
        if len(pieces) >= BUFFER or self._bytes > BUFFER_BYTES:
            self._dropped += sum(isinstance(one, Event) for one in pieces)
            pieces.clear()
            self._bytes = size
        pieces.append(piece)
        if self._wake is not None and (not self._lulled or len(pieces) > BUFFER // 2):
            self._wake.set()

    def first(self) -> Fresh | Event | None:
        """The oldest piece; None if there is none."""
        return self._pieces[0] if self._pieces else None

    def take(self) -> Fresh | Event:
        """The oldest piece, which is taken out."""
        piece = self._pieces.popleft()
        if isinstance(piece, Fresh):
            self._bytes -= piece.size
        return piece

    def dropped(self) -> int:
        """How many live-only events were dropped since this was last asked."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def drop(self) -> None:
        """Count an event that comes too late."""
        self._dropped += 1

    def wake(self) -> None:
        """Let whoever waits look again."""
        if self._wake is not None:
            self._wake.set()

    async def wait(self) -> None:
        """Wait until something is in it, or `wake`. Soon after the last time, let some more come together."""
        self._lulled = time.monotonic() - self._woken < LULL
        if self and not self._lulled:
            return
        self._wake = anyio.Event()
        try:
            if self._lulled:
                with anyio.move_on_after(LULL):
                    await self._wake.wait()
            else:
                await self._wake.wait()
        finally:
            self._wake, self._lulled = None, False
            self._woken = time.monotonic()


class Observers:
    """The feeds of one run, through all its lives here. Does next to nothing while there is none.

    Held by the actor and by those who watch: gone with the last of them. Feeds
    are held weakly, so that a loop over events which is left leaves nothing behind.
    """

    __slots__ = ("__weakref__", "_feeds", "_home", "_newer", "_told", "live", "run_id", "seq")  # there may be thousands

    def __init__(self, run_id: str, home: Home) -> None:
        self.run_id = run_id
        self.live = NOTHING  # what somebody wants to be told of that is live only
        self._feeds: tuple[weakref.ref[Feed], ...] = ()
        self.seq = -1  # the newest commit of whoever owns the run here
        self._told = 0  # live-only events since
        self._newer: anyio.Event | None = None  # only while somebody waits for a newer commit
        self._home = home

    def __bool__(self) -> bool:
        """Whether anybody watches."""
        return bool(self._feeds)

    def add(self, feed: Feed) -> None:
        """Let somebody watch, until nobody holds the feed any more."""
        self._feeds += (weakref.ref(feed, self._remove),)
        self.live |= feed.live

    def _remove(self, feed: weakref.ref[Feed]) -> None:
        self._feeds = tuple(ref for ref in self._feeds if ref is not feed)
        self.live = NOTHING.union(*(one.live for one in self._all()))

    def begins(self, header: Header) -> None:
        """The run was claimed here."""
        self._at(header.seq)
        self.wake()

    async def newer(self, seq: int) -> None:
        """Wait until the run was claimed here, or has committed something, since ``self.seq`` was this.

        So whoever remembers that before a look misses nothing that came while it looked.
        """
        while self.seq == seq:
            if self._newer is None:
                self._newer = anyio.Event()
            await self._newer.wait()

    def _at(self, seq: int) -> None:
        self.seq, self._told = seq, 0
        newer, self._newer = self._newer, None
        if newer is not None:
            newer.set()

    def wake(self) -> None:
        """Let all look again: the run began or ended to live here, or the runtime is left."""
        for feed in self._all():
            feed.wake()

    # -- what the actor says ------------------------------------------------------

    def committed(self, draft: Draft, ownership: Ownership, *, short: bool) -> None:
        """A commit is durable, the newest of this owner's; see `Fresh`."""
        self._at(ownership.header.seq)
        if self._feeds:
            fresh = Fresh(
                header=ownership.header,
                file=draft.file,
                body=draft.body,
                digest=b"",
                path=ownership.path,
                offset=0,
                size=len(draft.body),
                short=short,
            )
            for ref in self._feeds:
                if (feed := ref()) is not None:
                    feed.put(fresh, fresh.size)

    def started(self, activation: Activation, attempt: int) -> None:
        """A node is about to be called."""
        if "nodes" in self.live:
            self._node(activation, attempt, "started")

    def raised(self, event: Raised, decision: Decision) -> None:
        """An attempt raised, and this is what comes of it: what is no record is said here."""
        activation = decision.run.open.get(event.id)
        if "nodes" not in self.live or activation is None:
            return
        error = describe(event.error)
        for command in decision.commands:
            if isinstance(command, Crash):
                self._node(activation, event.attempt, "crashed", error)
            elif isinstance(command, Retry) and not any(isinstance(one, Attempted) for one in decision.records):
                self._node(activation, event.attempt, "retrying", error, event.now + command.delay)

    def told(self, activation: Activation, attempt: int, verb: str, facts: tuple[Any, ...]) -> None:
        """A node emits or reports something. In a thread of its own this waits until the event loop takes it."""
        wanted: Mode = "data" if verb == "emit" else "progress"
        if verb == "heartbeat" or wanted not in self.live:
            return
        if self._home.is_here():
            self._tell(activation, attempt, verb, facts)
        else:
            from_thread.run_sync(self._tell, activation, attempt, verb, facts, token=self._home.token)

    def hook_failed(self, hook: str, error: Exception) -> None:
        """A hook raised."""
        if "hooks" in self.live:
            self._put(HookEvent(**self._place(None, None), hook=hook, error=describe(error)))

    def _tell(self, activation: Activation, attempt: int, verb: str, facts: tuple[Any, ...]) -> None:
        place = self._place(activation, attempt)
        if verb == "emit":
            self._put(DataEvent(**place, data=facts[0]))
        else:
            self._put(ProgressEvent(**place, done=facts[0], total=facts[1]))

    def _node(
        self,
        activation: Activation,
        attempt: int,
        kind: NodeKind,
        error: ErrorInfo | None = None,
        due: float | None = None,
    ) -> None:
        self._told += 1
        self._put(
            NodeEvent(
                run_id=self.run_id,
                offset=Offset(self.seq, self._told),
                time=clock.now(),
                scope=activation.scope,
                node=activation.node,
                index=activation.index,
                attempt=attempt,
                kind=kind,
                error=error,
                due=due,
            )
        )

    def _place(self, activation: Activation | None, attempt: int | None) -> dict[str, Any]:
        """Who it is about, and where in the story of the run it stands: after the newest commit."""
        self._told += 1
        place: dict[str, Any] = {
            "run_id": self.run_id,
            "offset": Offset(self.seq, self._told),
            "time": clock.now(),
            "attempt": attempt,
        }
        if activation is not None:
            place |= {"scope": activation.scope, "node": activation.node, "index": activation.index}
        return place

    def _put(self, event: Event) -> None:
        for ref in self._feeds:
            if (feed := ref()) is not None and event.mode in feed.live:
                feed.put(event)

    def _all(self) -> list[Feed]:
        return [feed for ref in self._feeds if (feed := ref()) is not None]
