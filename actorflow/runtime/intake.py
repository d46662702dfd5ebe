"""Intake: the runs that live here take what came for them from elsewhere.

A look begins with the marks and ids that the run knows, and ends with a commit
that holds everything it took, and everything that those rest on. Then the
files may go (guarantee 5). Whoever dies in between leaves them to the next.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct

from actorflow.engine.events import Receiving
from actorflow.engine.keys import key_of
from actorflow.errors import MailboxFull, SchemaTooNew, StoreError
from actorflow.runtime import clock
from actorflow.runtime.attending import Request
from actorflow.runtime.letters import marks_of, received
from actorflow.runtime.steering import next_actor
from actorflow.store.callers import Limits, Window
from actorflow.store.callers import Seen as Known
from actorflow.store.keys import Letter, encode_id
from actorflow.store.taking import Batch

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from actorflow.engine.mail import Mail
    from actorflow.graph.graph import Graph
    from actorflow.runtime.actor import Actor
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.waking import Letters
    from actorflow.store.backend import Steps
    from actorflow.store.lanes import Marks

AT_ONCE = 256
"""So many messages are read at once at most, and committed together."""

_REMEMBERED = 10_000  # letters that were said to be left: each once

_logger = logging.getLogger("actorflow.runtime")


class _Room(NamedTuple):
    """What the mailbox of a run could still take."""

    messages: int
    bytes: int


class _Found(Struct, frozen=True):
    """What one look found, and what the run is to be told of it."""

    batch: Batch
    events: dict[Letter, Receiving]
    more: bool  # there may be more than one look takes


class _Look(Struct, frozen=True):
    """What is to be done after one look: wait with this until there is room, look again, or (neither) nothing."""

    waits: Request | None = None
    letter: Letter | None = None  # that it is for
    more: bool = False


class Intake:
    """Looks into the inbox on behalf of the runs that live here. One for each runtime."""

    def __init__(self, lives: Lives, tasks: TaskGroup, *, migration_timeout: float) -> None:
        """Begin without a look.

        Args:
            lives: whose runs live here.
            tasks: of the runtime.
            migration_timeout: seconds that the migration of one message may take.
        """
        self._lives = lives
        self._tasks = tasks
        self._limit = migration_timeout
        self._again: dict[str, bool] = {}  # runs that are looked after now, and whether something came meanwhile
        self._held: set[Letter] = set()  # that were said to be left where they are

    def notify(self, letters: Letters) -> Letters:
        """Messages are there, by encoded id. Those for runs that live here are taken; the others are given back."""
        here = {encode_id(run_id): run_id for run_id in self._lives}
        for encoded in letters.keys() & here.keys():
            if (life := self._lives.get(here[encoded])) is not None:
                self.look(life)
        return {encoded: its for encoded, its in letters.items() if encoded not in here}

    def look(self, life: Life) -> None:
        """See soon what is there for a run that lives here; until then it does not lie down."""
        if life.run_id in self._again:
            self._again[life.run_id] = True
            return
        self._again[life.run_id] = False
        life.actor.hold()
        self._tasks.start_soon(self._tend, life, life.actor)

    async def _tend(self, life: Life, held: Actor | None) -> None:
        """Look as long as there is more."""
        try:
            while not life.done.is_set():
                actor, held = held or life.actor.hold(), None
                self._again[life.run_id] = False
                try:
                    look = await self._take(actor)
                finally:
                    actor.drop()
                if look.waits is not None:
                    await actor.ask(look.waits)
                    if look.letter is not None and look.waits.seq is not None:
                        await self._delete(life.run_id, [look.letter])
                elif not (look.more or self._again[life.run_id]):
                    break
                if actor.left:
                    await next_actor(life)
        except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8); it is told again
            _logger.warning("what was sent to run %r is not taken yet: %s", life.run_id, error)
            self._again[life.run_id] = False
        finally:
            if held is not None:
                held.drop()
            again = self._again.pop(life.run_id)
        if again and (next_life := self._lives.get(life.run_id)) is not None:
            self.look(next_life)

    async def _take(self, actor: Actor) -> _Look:
        """One look: let the actor take what is there.

        Raises:
            StoreError: the store did not answer, or the commit failed. Nothing was deleted.
        """
        if actor.run.ended:
            return _Look()
        run_id, mail, bounds = actor.run.run_id, actor.run.mail, actor.graph.plan.mailbox
        room = _Room(bounds.messages - len(mail.queue), bounds.bytes - mail.size)
        if room.messages <= 0:
            return _Look(waits=Request(None, patient=True))
        marks, window = marks_of(mail), _window_of(mail)
        find = partial(self._finding, run_id, actor.graph, marks, window, room)
        found = await self._lives.in_batches(find)  # each run that is taken up wants a look
        if not found.events and not found.batch.deletable:
            return _Look()
        requests = {letter: Request(event) for letter, event in found.events.items()}
        barrier = Request(None)  # its commit holds the marks and ids that the look began with
        for request in requests.values():
            actor.put(request)
        if not actor.put(barrier):
            return _Look(more=True)  # for the next actor
        await barrier.done.wait()
        if barrier.error is not None:
            raise barrier.error
        if barrier.seq is None:
            return _Look(more=True)
        done = [letter for letter, request in requests.items() if request.seq is not None]
        await self._delete(run_id, [*found.batch.deletable, *done])
        for letter, request in requests.items():
            if isinstance(request.error, MailboxFull):  # the first that found no room is the next
                return _Look(waits=Request(request.event, patient=True), letter=letter)
        return _Look(more=found.more and bool(done))

    def _finding(
        self, run_id: str, graph: Graph[Any], marks: Marks, window: Window, room: _Room, *, may_migrate: bool
    ) -> Steps[_Found]:
        """One step; see `StoreAccess.in_batches`."""
        yield from ()
        return self._find(run_id, graph, marks, window, room, may_migrate=may_migrate)

    def _find(
        self, run_id: str, graph: Graph[Any], marks: Marks, window: Window, room: _Room, *, may_migrate: bool
    ) -> _Found:
        bounds, now = graph.plan.mailbox, clock.now()
        most, size = min(AT_ONCE, max(1, room.messages // 2)), max(1, room.bytes)
        limit = self._limit if may_migrate else None
        limits = Limits(ids=bounds.ids, hours=bounds.hours)
        inbox = self._lives.store.inbox
        batch = inbox.take(run_id, marks=marks, window=window, now=now, limit=most, size=size, limits=limits)
        for letter, reason in batch.held.items():
            self._leave(letter, reason)
        there = (*batch.taken, *batch.deletable, *batch.held)
        present = frozenset(letter.sender for letter in there if letter.from_caller)
        messages = {message.letter: message for message in batch.messages}
        events: dict[Letter, Receiving] = {}
        for letter in batch.taken:
            if (message := messages.get(letter)) is None:  # a dead letter, under whose number the lane goes on
                events[letter] = _passed(letter, now)
                continue
            try:
                events[letter] = received(message, graph, now=now, present=present, limit=limit)
            except SchemaTooNew as error:  # and those behind it come out of order, and stay
                self._leave(letter, error)
        return _Found(batch, events, more=batch.cut or len(batch.taken) >= most)

    def _leave(self, letter: Letter, reason: Exception) -> None:
        if letter not in self._held:
            if len(self._held) >= _REMEMBERED:
                self._held.clear()
            self._held.add(letter)
            _logger.warning("message %s stays in the inbox: %s", letter, reason)

    async def _delete(self, run_id: str, letters: list[Letter]) -> None:
        if not letters:
            return
        try:
            await self._lives.in_store(lambda: self._lives.store.inbox.delete(letters))
        except StoreError as error:
            _logger.warning("%d messages that run %r has taken are left: %s", len(letters), run_id, error)


def _window_of(mail: Mail) -> Window:
    return Window({name: Known(seen.content, seen.time) for name, seen in mail.seen.items()})


def _passed(letter: Letter, now: float) -> Receiving:
    number, generation = letter.number.to_bytes(8, "big"), letter.generation.to_bytes(8, "big")
    id_ = key_of(b"lane", letter.sender.encode(), generation, number)
    return Receiving(id_, "lost", now=now, lane=(letter.sender, letter.generation, letter.number), kept=True)
