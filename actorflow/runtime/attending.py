"""Attending: what others ask of a live run, from when they do until they are told what became of it."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Self

from anyio import Event
from msgspec import Struct, field
from msgspec.structs import replace

from actorflow.engine.decide import decide
from actorflow.engine.events import Asking, Receiving, Recorded, Updating
from actorflow.engine.mail import Said
from actorflow.errors import AttemptOver, CommitUnknown, MailboxFull
from actorflow.runtime.flights import Flights

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision
    from actorflow.engine.run import RunState
    from actorflow.graph.plan import Plan
    from actorflow.runtime.attempt import Caller
    from actorflow.runtime.observers import Observers
    from actorflow.runtime.writer import Writer


class Request(Struct, eq=False):
    """Something that somebody asks of a live run, and what became of it."""

    event: Asking | Recorded | None  # None: only that the run was taken up, and what it was taken up with is committed
    reply: bool = False  # it is done when the message is replied to, and not already when it is accepted
    done: Event = field(default_factory=Event)
    error: Exception | None = None  # it was refused, or the store failed
    seq: int | None = None  # of the commit that holds it; None without an error: the actor left before
    taken: bool = False  # by an actor
    said: Said | None = None  # the reply, if it is for one; None without an error: the actor left before
    accepted: bool = False  # decided, and not refused
    patient: bool = False  # if the mailbox is full it waits for room, and is not refused


class Attending(Flights):
    """The part of an actor that does what is asked of it, in that order, and says so when it is kept."""

    __slots__ = ("_accepted", "_askers", "_holds", "_left", "_lingered", "_plan", "_requests", "_row", "writer")

    def __init__(
        self,
        run: RunState,
        plan: Plan,
        *,
        caller: Caller,
        observers: Observers,
        writer: Writer,
        request: Request | None,
    ) -> None:
        """Begin with what the run was taken up for, if it was for something."""
        super().__init__(run, caller, observers)
        self.writer = writer
        self._plan = plan
        self._requests: list[Request] = [] if request is None else [request]
        if request is not None:
            request.taken = True
        self._accepted: list[Request] = []  # decided, and not committed yet
        self._askers: dict[bytes, list[Request]] = {}  # by message: those who wait for the reply
        self._row: list[Request] = []  # those that wait for room in the mailbox
        self._holds = 0  # how many are about to ask something
        self._left = False  # nobody takes requests any more
        self._lingered = False  # nobody wanted anything of it for as long as it was to stay

    @abstractmethod
    def _take(self, decision: Decision) -> None:
        """Make a decision the run's."""

    @abstractmethod
    def _stir(self) -> None:
        """Let the loop look again."""

    async def ask(self, request: Request) -> None:
        """Do what somebody asks; back when it is committed, or refused, or the actor left before it came to it."""
        if self.put(request):
            try:
                await request.done.wait()
            finally:
                self.withdraw(request)

    def put(self, request: Request) -> bool:
        """Let this be done after all that was asked before; whether the actor will see to it."""
        if self._left:
            return False
        request.taken = True
        self._requests.append(request)
        self._lingered = False
        self._look_up()
        return True

    def withdraw(self, request: Request) -> None:
        """Nobody waits for a request any more: for room, for the actor to come to it, or for the reply."""
        for row in (self._row, self._requests):
            if request.patient and not request.accepted and request in row:
                row.remove(request)
        if request.reply and request.accepted and isinstance(event := request.event, Receiving):
            askers = self._askers.get(event.id, [])
            if request in askers:
                askers.remove(request)
            if not askers:
                self._askers.pop(event.id, None)

    @property
    def left(self) -> bool:
        """Whether it takes no requests any more."""
        return self._left

    def hold(self) -> Self:
        """Don't let it rest until `drop`: somebody is about to ask something."""
        self._holds += 1
        return self

    def drop(self) -> None:
        """End a `hold`."""
        self._holds -= 1
        self._stir()

    def _answer_requests(self) -> None:
        """Do what was asked for, in the order in which it was; what is refused changes nothing."""
        while self._requests and not self.run.ended:  # what one of them ended, the next one must find so
            request = self._requests.pop(0)
            if (request.patient and self._row) or not self._answer(request):
                self._row.append(request)

    def _let_in(self) -> None:
        """Do what waited for room in the mailbox, in its order, as far as there is room now."""
        most = self._plan.mailbox.messages
        while self._row and len(self.run.mail.queue) < most and not self.run.ended and self._answer(self._row[0]):
            del self._row[0]

    def _answer(self, request: Request) -> bool:
        """Do what was asked for, unless it is to wait for room."""
        event = request.event
        if isinstance(event, Updating):
            event = replace(event, idle=not self._flying and not self._events)
        if event is None and request.patient and len(self.run.mail.queue) >= self._plan.mailbox.messages:
            return False
        try:
            if event is not None:
                self._take(decide(self._plan, self.run, event))
        except Exception as error:  # noqa: BLE001 - whoever asks gets it: a reducer of the user's may raise anything
            if request.patient and isinstance(error, MailboxFull):
                return False
            request.error = error
            request.done.set()
        else:
            request.accepted = True
            if request.reply and isinstance(event, Receiving):
                self._askers.setdefault(event.id, []).append(request)
            else:
                self._accepted.append(request)
        return True

    def _acknowledge(self) -> None:
        """Tell those whose requests are committed now."""
        accepted, self._accepted = self._accepted, []
        seq = self.header.seq
        for request in accepted:
            request.seq = seq
            request.done.set()

    def _turn_away(self) -> None:
        """Leave what was asked for to the next actor of the run, or say that nobody knows what came of it."""
        self._left = True
        for request in self._accepted:
            request.error = self.writer.failure or CommitUnknown(
                self.writer.ownership.path, "its run was left meanwhile"
            )
        requests = [*self._accepted, *self._requests, *self._row]
        self._accepted, self._requests, self._row = [], [], []
        for request in requests:
            request.done.set()

    def inherit(self, before: Attending) -> None:
        """Tell those who wait for replies what the actor before did not tell them."""
        for request in before.take_askers():
            if isinstance(request.event, Receiving):
                request.event = replace(request.event, again=True)
                self._requests.append(request)

    def dismiss(self) -> None:
        """There is no next actor here: those who wait for replies must look elsewhere."""
        for request in self.take_askers():
            request.done.set()

    def take_askers(self) -> list[Request]:
        """Those who wait for replies, and from now on don't wait for this actor's."""
        askers, self._askers = self._askers, {}
        return [request for requests in askers.values() for request in requests]

    async def _record(self, event: Recorded) -> None:
        """Commit what an attempt wants recorded while it goes on; back when it is durable.

        Raises:
            AttemptOver: the activation is not open any more, or this actor left before it came to it.
            StoreError: it could not be committed.
        """
        request = Request(event)
        await self.ask(request)
        if request.error is not None:
            raise request.error
        if request.seq is None:
            raise AttemptOver(None, "what it did")
