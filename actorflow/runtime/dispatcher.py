"""Dispatcher: carries what runs have sent to the runs that it is for, in the order of each lane, until those have it.

What it carries was committed by the sender, and is carried again after any
crash of this process: a receiver takes each number of a lane once, so that it
does not matter how often it comes (guarantee 5). To a run that lives here, or
that nobody owns and whose graph is known here, it goes directly; to any other
as a file of its inbox. When they have it, the sender is told, or, if that is
over, its marker goes: then nothing is left to be done for it.
"""

from __future__ import annotations

import itertools
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct, field

from actorflow.engine.events import Bounced, Dispatched
from actorflow.engine.mail import Parcel, is_wait, lane_of
from actorflow.engine.posting import down_values, result_values
from actorflow.engine.records import ENDED, ErrorInfo, describe
from actorflow.engine.run import Form, RunState
from actorflow.errors import (
    ActorflowError,
    IdempotencyConflict,
    MailboxFull,
    NoSuchRun,
    OutOfOrder,
    RunEnded,
    RunOwned,
    StoreError,
)
from actorflow.runtime import clock
from actorflow.runtime.attending import Request
from actorflow.runtime.children import CANT_BEGIN, Children, NotYet
from actorflow.runtime.claiming import EndedMeanwhile
from actorflow.runtime.large import Joiner
from actorflow.runtime.letters import posted, received
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.steering import next_actor
from actorflow.store.deletion import DELETED, is_tombstone
from actorflow.store.keys import encode_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from actorflow.engine.events import Receiving
    from actorflow.graph.graph import Graph
    from actorflow.runtime.abroad import Sight
    from actorflow.runtime.lives import Lives
    from actorflow.store.log import Tip

AT_ONCE = 16
"""How many lanes are served at once; the others wait for their turn."""

AGAIN = (0.5, 30.0)
"""Seconds before what could not be carried is tried again: at first, and at most."""

_logger = logging.getLogger("actorflow.runtime")


class _Sender(Struct):
    """A run that has sent something."""

    run: RunState  # for what never changes of it, and its forms
    parcels: tuple[Parcel, ...]
    awaited: bool
    ended: int | None = None  # it is over, in this opening
    upto: dict[str, int] = field(default_factory=dict[str, int])  # what others have
    told: dict[str, int] = field(default_factory=dict[str, int])  # what it has recorded of that
    waits: bool = False  # for a better time
    news: anyio.Event = field(default_factory=anyio.Event)

    @property
    def left(self) -> dict[str, list[Parcel]]:
        """What is still to be carried, by target."""
        found: dict[str, list[Parcel]] = {}
        for parcel in self.parcels:
            if parcel.number > self.upto.get(parcel.target, 0):
                found.setdefault(parcel.target, []).append(parcel)
        return found


class Dispatcher:
    """The senders of one runtime, each with a task while it has something to be carried."""

    def __init__(self, lives: Lives, graphs: Mapping[str, Graph[Any]]) -> None:
        """Begin with nothing.

        Args:
            lives: where runs live.
            graphs: by name, those that are known here.
        """
        self._lives = lives
        self._graphs = graphs
        self._children = Children(lives, graphs)
        self._limiter = anyio.CapacityLimiter(AT_ONCE)
        self._senders: dict[str, _Sender] = {}
        self._changed = anyio.Event()

    def told(self, run: RunState, parcels: tuple[Parcel, ...], *, over: bool = False, again: bool = False) -> None:
        """A run has sent these, and a commit holds them.

        Args:
            run: the sender.
            parcels: all that others may not have.
            over: it has ended, and this is what is left.
            again: it was read from its files: what an actor before has recorded may be lost.
        """
        life = self._lives.get(run.run_id)
        awaited = over or life is None or life.awaited
        ended = run.opening if over else None
        sender = self._senders.get(run.run_id)
        if sender is not None and sender.run.life == run.life:
            sender.run, sender.parcels, sender.awaited, sender.ended = run, parcels, awaited, ended
            if again:
                sender.upto.clear()
                sender.told.clear()
            sender.waits = False
            sender.news.set()
        elif parcels:
            self._lives.wanting.set()  # replies may come from elsewhere
            sender = self._senders[run.run_id] = _Sender(run, parcels, awaited, ended)
            self._lives.in_background(partial(self._serve, sender))

    def told_again(self, run: RunState) -> None:
        """What its last commit says that others do not have, they may have all the same; they take it once."""
        if run.mail.outbox:
            self.told(run, tuple(run.mail.outbox), again=True)

    def __bool__(self) -> bool:
        """Whether something is on its way, and does not wait for a better time."""
        return any(not sender.waits for sender in self._senders.values())

    def carries(self, run_id: str) -> bool:
        """Whether something that this run has sent is on its way."""
        return run_id in self._senders

    async def drained(self) -> None:
        """Wait until nothing is on its way."""
        while self:
            await self._next_change()

    async def tried(self, run_id: str) -> None:
        """Wait until nothing that this run has sent is on its way, or the rest waits for a better time."""
        while (sender := self._senders.get(run_id)) is not None and not sender.waits:
            await self._next_change()

    def hurry(self) -> None:
        """The runtime is being left: try all once more. What can't be carried holds up no run that only waits."""
        for sender in self._senders.values():
            sender.news.set()

    async def _next_change(self) -> None:
        if self._changed.is_set():  # or another one waits for it, too
            self._changed = anyio.Event()
        await self._changed.wait()

    async def _serve(self, sender: _Sender) -> None:
        pause = AGAIN[0]
        try:
            while True:
                sender.news = anyio.Event()
                before = dict(sender.upto)
                async with anyio.create_task_group() as tasks:
                    for target, parcels in sender.left.items():
                        tasks.start_soon(self._lane, sender, target, parcels)
                if await self._tell(sender) and not sender.left:
                    if not sender.news.is_set() and await self._is_done(sender):
                        return
                elif not self._is_here(sender) or not self._is_newest(sender):
                    return  # whoever takes it up carries what is left, and all of the rest again, in vain
                else:
                    pause = AGAIN[0] if sender.upto != before else min(2 * pause, AGAIN[1])
                    await self._wait(sender, pause * random.uniform(0.5, 1.0))
        finally:
            if self._is_newest(sender):
                del self._senders[sender.run.run_id]
            self._changed.set()

    def _is_newest(self, sender: _Sender) -> bool:
        """Whether this is what sends under its id: not a life that was deleted, after which another one began."""
        return self._senders.get(sender.run.run_id) is sender

    async def _wait(self, sender: _Sender, seconds: float) -> None:
        """Until it makes sense to try again."""
        sender.waits = True
        self._changed.set()
        if self._lives.leaving:
            seconds = min(seconds, AGAIN[0])
            life = self._lives.get(sender.run.run_id)
            if life is not None and life.actor.run.lies_still:
                life.park()  # whoever takes it up carries what is left
        await clock.rest(seconds, until=sender.news.wait)
        sender.waits = False

    async def _is_done(self, sender: _Sender) -> bool:
        """Whether nothing more is to be done for a sender, all of whose parcels others have."""
        if sender.ended is not None:
            run_id, opening = sender.run.run_id, sender.ended
            try:
                await self._lives.in_store(lambda: self._lives.store.markers.drop_active(run_id, opening))
            except StoreError as error:  # a scan finds it, and does this again
                _logger.warning("the marker of run %r could not be removed: %s", run_id, error)
        return not sender.news.is_set()

    def _is_here(self, sender: _Sender) -> bool:
        """Whether it is for this process to see to what a run has sent: nobody else does for one that is over."""
        life = self._lives.get(sender.run.run_id)
        return sender.ended is not None or (life is not None and not life.done.is_set())

    async def _tell(self, sender: _Sender) -> bool:
        """Let the sender record what others have; whether it has."""
        upto = {target: number for target, number in sender.upto.items() if number > sender.told.get(target, 0)}
        if upto and not await self._record(sender, Dispatched(upto)):
            return False
        sender.told |= upto
        return True

    async def _record(self, sender: _Sender, event: Dispatched | Bounced) -> bool:
        """Let the sender record what became of something that it has sent; whether it has, or needs not."""
        if sender.ended is not None:
            return True
        life = self._lives.get(sender.run.run_id)
        if life is None or life.done.is_set() or life.actor.run.life != sender.run.life:
            return False
        try:
            if await life.ask(event) is not None:
                return True
            await next_actor(life)
        except ActorflowError as error:
            _logger.warning("run %r could not record what became of what it sent: %s", sender.run.run_id, error)
        return False

    # -- one lane ----------------------------------------------------------------------

    async def _lane(self, sender: _Sender, target: str, parcels: list[Parcel]) -> None:
        async with self._limiter:
            for parcel in parcels:
                if parcel.number <= sender.upto.get(target, 0):
                    continue  # it went with the one before
                try:
                    carried = await self._carry(sender, parcel, parcels)
                except NotYet as later:
                    _logger.warning("run %r: %s", sender.run.run_id, later)
                    return
                except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
                    _logger.warning("what run %r sent to run %r waits: %r", sender.run.run_id, target, error)
                    return
                if not carried:
                    return
                sender.upto[target] = max(parcel.number, sender.upto.get(target, 0))

    async def _carry(self, sender: _Sender, parcel: Parcel, lane: list[Parcel]) -> bool:
        """Let the target have it; whether it has it now, durably, or never will, and the sender knows."""
        lives = self._lives
        if parcel.kind == "spawn":
            begun = await self._begin(sender, parcel, lane)
            if begun is not None:
                sender.upto[parcel.target] = begun
                return begun >= parcel.number
        while True:
            life = lives.get(parcel.target)
            if life is not None and not life.done.is_set():
                if await self._overtakes(sender, parcel):
                    return await self._drop_in(sender, parcel)
                try:
                    if await life.ask(self._event(sender, parcel, life.graph)) is not None:
                        return True
                except (OutOfOrder, MailboxFull):
                    return await self._drop_in(sender, parcel)
                await next_actor(life)
                continue
            sight = await lives.abroad.look(parcel.target)
            if sight is None or sight.tip.header.status == DELETED:
                return await self._carry_to_nobody(sender, parcel, sight)
            if sight.tip.header.status in ENDED:
                return await self._carry_to_ended(sender, parcel, sight.tip)
            if sight.owned:
                return await self._drop_in(sender, parcel)
            taken = await self._take_up(sender, parcel, sight.tip)
            if taken is not None:
                return taken

    async def _overtakes(self, sender: _Sender, parcel: Parcel) -> bool:
        """Whether something of an earlier generation waits in the inbox, which would be too old after this."""
        generation, number = lane_of(sender.run.life, parcel.number)
        if generation == 1 or number > 1:
            return False
        me, inbox = encode_id(sender.run.run_id), self._lives.store.inbox
        letters = await self._lives.in_store(lambda: inbox.letters(parcel.target))
        return any(letter.sender == me for letter in letters)

    async def _carry_to_nobody(self, sender: _Sender, parcel: Parcel, sight: Sight | None) -> bool:
        """There is no such run, any more; but its last words may wait for the sender to take them, who then knows."""
        if parcel.kind == "monitor":
            if sight is not None and not is_tombstone(sight.tip.header):
                return False  # it is being deleted, and may yet say so itself
            them, me, inbox = encode_id(parcel.target), sender.run.run_id, self._lives.store.inbox
            letters = await self._lives.in_store(lambda: inbox.letters(me))
            taken = sender.run.mail.marks.get(them, (1, 0))
            if any(one.sender == them and (one.generation, one.number) > taken for one in letters):
                return False
        return await self._bounce(sender, parcel, NoSuchRun(parcel.target, ()))

    async def _begin(self, sender: _Sender, parcel: Parcel, lane: list[Parcel]) -> int | None:
        """Begin a child, who knows from then on who watches it: up to which number of the lane; None: it was there.

        What can't begin is set aside: also as far as the lane is concerned.
        """
        watching = list(itertools.takewhile(_follows(parcel), lane[lane.index(parcel) :]))
        try:
            if await self._children.begin(sender.run, watching, awaited=sender.awaited):
                return watching[-1].number
        except CANT_BEGIN as error:
            _logger.warning("run %r can't begin run %r: %s", sender.run.run_id, parcel.target, error)
            for one in watching:  # who waits for its end does not wait for that of a run which only has its id
                if not await self._bounce(sender, one, error):
                    return one.number - 1
            return watching[-1].number
        return None

    async def _take_up(self, sender: _Sender, parcel: Parcel, tip: Tip) -> bool | None:
        """Take up a run that nobody holds for this, or else put it into its inbox; None: it ended meanwhile."""
        graph = self._graphs.get(tip.file.graph)
        if graph is None or parcel.target in self._lives.blocked or not self._lives.may_run(graph, parcel.target):
            return await self._drop_in(sender, parcel)
        if await self._overtakes(sender, parcel):
            return await self._drop_in(sender, parcel)
        request = Request(self._event(sender, parcel, graph))
        try:
            await self._lives.take_up(
                graph, parcel.target, context=None, reopen=None, awaited=sender.awaited, request=request
            )
        except EndedMeanwhile:
            return None
        except StoreError:
            raise
        except ActorflowError as error:
            if not isinstance(error, RunOwned):
                _logger.warning("run %r is not taken up for a message: %s", parcel.target, error)
            return await self._drop_in(sender, parcel)
        if request.taken:
            await request.done.wait()
        if isinstance(request.error, OutOfOrder | MailboxFull):
            return await self._drop_in(sender, parcel)
        if request.error is not None:
            raise request.error
        return None if request.seq is None else True

    async def _drop_in(self, sender: _Sender, parcel: Parcel) -> bool:
        """Keep it in the inbox of its run; whether that is enough.

        Who waits for an answer must know whether the run came to its question
        before it ended, so that this is looked at again until it has taken it.
        """
        await self._keep(sender, parcel)
        if parcel.kind == "down" or (parcel.ask is None and parcel.kind != "monitor"):
            return True
        return _is_taken(sender, parcel, await self._load(parcel.target))

    async def _keep(self, sender: _Sender, parcel: Parcel) -> None:
        """Put it into the inbox. What says nothing is for its number only, where what was sent first may stand."""
        kept = posted(sender.run, parcel, now=clock.now())
        try:
            await self._lives.in_store(lambda: self._lives.store.inbox.send(kept))
        except IdempotencyConflict:
            if not parcel.says_nothing:
                raise

    async def _carry_to_ended(self, sender: _Sender, parcel: Parcel, tip: Tip) -> bool:
        run = await self._load(parcel.target)
        if _is_taken(sender, parcel, run):
            return True  # before it ended; whatever it had to say to it, it says itself
        match parcel.kind:
            case "message":
                return await self._bounce(sender, parcel, RunEnded(parcel.target, run.status))
            case "monitor":
                return await self._tell_end(sender, parcel, run, tip)
            case "cancel":
                await self._fill(sender, parcel)
            case _:  # if it goes on later, it waits for this
                await self._keep(sender, parcel)
        return True

    async def _tell_end(self, sender: _Sender, parcel: Parcel, run: RunState, tip: Tip) -> bool:
        """What is to be watched is over already: the sender is told at once."""
        down = down_values(parcel.target, run.status, run.error)
        if is_wait(parcel.ask) and run.status == "finished":
            down["result"] = result_values(run, Form(tip.file.schema, tip.file.version, tip.file.fields))
        error = run.error or ErrorInfo("RunEnded", f"run {parcel.target!r} is {run.status}")
        bounced = Bounced(parcel.target, parcel.number, error, clock.now(), down)
        return await self._tell_back(sender, parcel, bounced)

    async def _bounce(self, sender: _Sender, parcel: Parcel, error: Exception) -> bool:
        """It can't be delivered, ever: let the sender record that; whether it has."""
        if parcel.kind not in ("message", "monitor", "spawn"):
            await self._fill(sender, parcel)
            return True
        return await self._tell_back(
            sender, parcel, Bounced(parcel.target, parcel.number, describe(error), clock.now())
        )

    async def _tell_back(self, sender: _Sender, parcel: Parcel, bounced: Bounced) -> bool:
        """Let the sender record what became of something, and only then fill its number; whether it has.

        A run that goes on meanwhile takes what is under the number, and then nobody would know of what was before.
        """
        if sender.ended is not None and parcel.kind == "message":
            _logger.warning("what run %r sent last stays in the inbox: %s", sender.run.run_id, bounced.error.message)
            await self._keep(sender, parcel)
            return True
        recorded = await self._record(sender, bounced)
        if recorded:
            await self._fill(sender, parcel)
        return recorded

    async def _fill(self, sender: _Sender, parcel: Parcel) -> None:
        """Keep something that says nothing under its number: if there is such a run later, its lane has no gap."""
        await self._keep(sender, Parcel(parcel.target, parcel.number, "reply"))

    async def _load(self, run_id: str) -> RunState:
        store = self._lives.store
        log, blobs = store.log(run_id), store.blobs(run_id)
        _, run = await self._lives.in_store(lambda: reading(log, lambda frames: replay(frames, Joiner(blobs))))
        return run

    def _event(self, sender: _Sender, parcel: Parcel, graph: Graph[Any]) -> Receiving:
        kept = posted(sender.run, parcel, now=clock.now())
        return received(kept, graph, now=clock.now(), limit=self._lives.limits.migration_timeout)


def _follows(spawned: Parcel) -> Callable[[Parcel], bool]:
    """What goes with the beginning of a run: this, and who watches it."""
    return lambda one: one is spawned or one.kind == "monitor"


def _is_taken(sender: _Sender, parcel: Parcel, run: RunState) -> bool:
    if run.status == DELETED:  # what it left in its inbox is passed, too
        return False
    mark = run.mail.marks.get(encode_id(sender.run.run_id), (1, 0))
    return lane_of(sender.run.life, parcel.number) <= mark
