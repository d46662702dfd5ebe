"""Sending: a message reaches the actor of its run, or waits in the inbox for the process that has it."""

from __future__ import annotations

import math
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from msgspec.structs import replace

from actorflow.engine.decision import Decision
from actorflow.engine.records import ENDED
from actorflow.engine.supervision import reason_of
from actorflow.engine.turns import try_to_receive
from actorflow.errors import (
    AskFailed,
    Blocked,
    IdempotencyConflict,
    MailboxFull,
    NoContext,
    RunEnded,
    RunOwned,
    UnknownGraph,
)
from actorflow.graph.codec import NO_CODECS
from actorflow.graph.message import Mailbox
from actorflow.runtime import clock
from actorflow.runtime.attending import Request
from actorflow.runtime.letters import Written, carried, told, write
from actorflow.runtime.steering import Steering, next_actor
from actorflow.store.backend import Missing
from actorflow.store.keys import caller_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow.engine.events import Receiving
    from actorflow.engine.mail import Said
    from actorflow.graph.graph import Graph
    from actorflow.runtime.abroad import Sight
    from actorflow.runtime.actor import Actor
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives
    from actorflow.store.keys import Letter
    from actorflow.store.messages import Message as Kept

_POLL = (0.02, 1.0)  # seconds: the first and the longest pause between two looks at a run that lives elsewhere

_ELSEWHERE = (UnknownGraph, RunOwned, Blocked, NoContext)
"""Why a run can't be taken up by this process: another one may have it, or come to have it."""


class Sending(Steering):
    """The part of a runtime that sends messages to runs, wherever they are."""

    async def send(
        self,
        run_id: str,
        msg: object,
        *,
        id: str | None,
        by: str | None,
        timeout: float | None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any,
    ) -> None:
        """Keep a message for a run; back when that is durable. See `Run.send`."""
        lives = self._writable()
        note = _Note(run_id, msg, id=id, by=by, limit=self._limits.migration_timeout)
        deadline = _deadline(timeout)
        while True:
            try:
                request = await self._hand_in(lives, note, reply=False, deadline=deadline, context=context)
            except _ELSEWHERE:
                await self._drop_in(lives, note, deadline)
                return
            if request is not None and request.seq is not None:
                return

    async def ask_for_reply(
        self,
        run_id: str,
        msg: object,
        *,
        id: str | None,
        by: str | None,
        timeout: float | None,  # noqa: ASYNC109 - who stops waiting changes nothing
        context: Any,
    ) -> Said:
        """What a run replies to a message. See `Run.ask`."""
        note = _Note(run_id, msg, id=id, by=by, limit=self._limits.migration_timeout)
        deadline = _deadline(timeout)
        if timeout is None:
            return await self._reply(self._writable(), note, deadline, context)
        with anyio.move_on_at(deadline):
            return await self._reply(self._writable(), note, deadline, context)
        raise TimeoutError(f"run {run_id!r} did not reply within {timeout:g} s; ask with an id= to ask again later")

    async def _reply(self, lives: Lives, note: _Note, deadline: float, context: Any) -> Said:
        while True:
            try:
                request = await self._hand_in(lives, note, reply=True, deadline=deadline, context=context)
            except _ELSEWHERE as error:
                if note.again:  # sent once more it would be another message
                    lost = "another process has the run now, and its reply is lost here; ask with an id= to ask again"
                    raise AskFailed(note.run_id, lost) from error
                kept = await self._drop_in(lives, note, deadline)
                return await self._replied_elsewhere(lives, kept)
            except RunEnded as ended:  # what it replied before that is known
                said = await self._said(lives, note.kept) if note.id is not None else None
                if said is not None:
                    return said
                if note.again:
                    raise AskFailed(note.run_id, f"it is {ended.status}") from ended
                raise
            if request is not None:
                if request.said is not None:
                    return request.said
                note.again = note.again or (request.accepted and note.id is None)

    async def _hand_in(
        self, lives: Lives, note: _Note, *, reply: bool, deadline: float, context: Any
    ) -> Request | None:
        """Hand a message to the actor of its run, which is taken up for it; what came of it.

        None: there was no actor that would come to it, but there may be another one.

        Raises:
            What it is refused with.
            UnknownGraph, RunOwned, Blocked, NoContext: the run is not for this process.
        """
        life = lives.get(note.run_id)
        if life is not None and not life.done.is_set():
            patient = deadline == math.inf or deadline > anyio.current_time()
            request = Request(note.event(life.graph), reply, patient=patient)
            await _admitted(life.actor, request, deadline)
            if request.error is not None:
                raise request.error
            if request.seq is None and request.said is None:
                await next_actor(life)
                _check_goes_on(life)
            return request
        observers = lives.observers(note.run_id)
        seq = observers.seq
        note.sight = sight = await lives.look(note.run_id)
        tip, graph = sight.tip, self._graph_for(sight.tip)
        event = note.event(graph)
        if sight.owned:
            if _may_be_refused(graph, event) and (run := await lives.abroad.view(note.run_id)) is not None:
                note.sight = None  # by now it may be over
                try_to_receive(Decision(graph.plan, run, now=event.now), replace(event, bounded=False))
            owner = tip.header.owner
            raise RunOwned(note.run_id, owner.host, owner.pid)
        note.sight = None
        request = Request(event, reply)
        try:
            taken = await self._take_up_for(lives, note.run_id, request, event, context)
        except MailboxFull:
            if tip.header.status == "paused" or anyio.current_time() >= deadline:
                await self._until_room(note.run_id, deadline, partial(observers.newer, seq))
            else:
                await lives.take_up(graph, note.run_id, context=context, reopen=None)
            return None
        if request.taken:
            await request.done.wait()
        if isinstance(request.error, MailboxFull):
            return None
        if request.error is not None:
            raise request.error
        if taken is not None and request.seq is None and request.said is None:
            _check_goes_on(taken)
        return request

    async def _until_room(self, run_id: str, deadline: float, goes_on: Callable[[], Awaitable[None]]) -> None:
        """Wait a little for a run to go on that takes nothing, because it is full and stands still.

        Raises:
            MailboxFull: not in time.
        """
        if anyio.current_time() >= deadline:
            _, run = await self.load(run_id)
            raise MailboxFull(run_id, len(run.mail.queue), run.mail.size)
        pause = min(_POLL[1], deadline - anyio.current_time())
        await clock.rest(pause, until=goes_on)

    # -- where somebody else has the run -----------------------------------------------

    async def _drop_in(self, lives: Lives, note: _Note, deadline: float) -> Kept:
        """Keep a message in the inbox of its run.

        Raises:
            RunEnded: it is over.
            MailboxFull: so much waits there, and nobody took it in time.
        """
        kept, pause = note.kept, _POLL[0]
        sight, note.sight = note.sight, None
        while True:
            sight = sight or await lives.look(note.run_id)
            if sight.tip.header.status in ENDED:
                raise RunEnded(note.run_id, sight.tip.header.status)
            graph = self._graphs.get(sight.tip.file.graph)
            bound = (Mailbox() if graph is None else graph.plan.mailbox).messages
            waiting = await lives.abroad.put(kept, bound=bound, named=note.id is not None)
            if waiting is None:
                return kept
            if anyio.current_time() >= deadline:
                raise MailboxFull(note.run_id, waiting, 0)
            await anyio.sleep(min(pause, deadline - anyio.current_time()))
            pause, sight = min(pause * 2, _POLL[1]), None

    async def _replied_elsewhere(self, lives: Lives, kept: Kept) -> Said:
        """Look at the run again and again until its newest commit holds the reply.

        Raises:
            AskFailed: it ended, or set the message aside, without one.
        """
        run_id, pause, seq = kept.run_id, _POLL[0], -1
        observers = lives.observers(run_id)
        while True:
            here = observers.seq
            tip = (await lives.look(run_id)).tip
            if tip.header.seq != seq:
                seq, pause = tip.header.seq, _POLL[0]
                if (said := await self._said(lives, kept)) is not None:
                    return said
                if tip.header.status in ENDED:
                    raise AskFailed(run_id, f"it is {tip.header.status}, and did not come to this message")
            if (reason := await lives.in_store(partial(_set_aside, lives, kept.letter))) is not None:
                raise AskFailed(run_id, reason)
            await clock.rest(_POLL[0])  # however often it commits, if it lives here now
            await clock.rest(pause, until=partial(observers.newer, here))
            pause = min(pause * 2, _POLL[1])

    async def _said(self, lives: Lives, kept: Kept) -> Said | None:
        """What the run has replied to a message with an id, as of its newest commit."""
        run = await lives.abroad.run(kept.run_id)
        seen = None if run is None else run.mail.seen.get(kept.letter.sender)
        if seen is None:
            return None
        if seen.content != kept.content:
            raise IdempotencyConflict(kept.run_id, f"id {kept.caller!r}")
        return seen.said


class _Note:
    """One message on its way, wherever that leads; it stays the same message."""

    def __init__(self, run_id: str, msg: object, *, id: str | None, by: str | None, limit: float) -> None:
        if id is not None:
            caller_name(run_id, id)  # refused before anything is looked at
        self.run_id = run_id
        self.id = id
        self.again = False  # it was accepted, and its reply is lost
        self.sight: Sight | None = None  # of its run, just now
        self._msg = msg
        self._by = by
        self._limit = limit
        self._graph: Graph[Any] | None = None
        self._event: Receiving | None = None
        self._kept: Kept | None = None

    def event(self, graph: Graph[Any]) -> Receiving:
        """What the actor of its run is told, under this graph."""
        if self._event is None or self._graph is not graph:
            event = told(
                self.run_id, self._written(graph), graph, id=self.id, by=self._by, now=clock.now(), limit=self._limit
            )
            self._event = event if self._event is None else replace(event, id=self._event.id)
            self._graph = graph
        if self.again != self._event.again:
            self._event = replace(self._event, again=self.again)
        return self._event

    @property
    def kept(self) -> Kept:
        """What the inbox keeps. Without an id of its caller's it gets one, so that it is taken once."""
        if self._kept is None:
            id_ = secrets.token_hex(16) if self.id is None else self.id
            self._kept = carried(self.run_id, self._written(self._graph), id=id_, by=self._by, now=clock.now())
        return self._kept

    def _written(self, graph: Graph[Any] | None) -> Written:
        return write(self.run_id, self._msg, codecs=NO_CODECS if graph is None else graph.plan.schema.codecs)


def _admitted(actor: Actor, request: Request, deadline: float) -> Awaitable[None]:
    """See what comes of a message: it is let into the mailbox when there is room, in the order of asking.

    Raises:
        MailboxFull: there was none in time.
    """
    if request.reply or deadline == math.inf or not request.patient:  # who asks has a scope of his own that ends
        return actor.ask(request)
    return _admitted_in_time(actor, request, deadline)


async def _admitted_in_time(actor: Actor, request: Request, deadline: float) -> None:
    with anyio.move_on_at(deadline):
        await actor.ask(request)
        return
    if request.accepted or request.done.is_set():  # a commit is in flight that holds it, or it is over
        await request.done.wait()
        return
    mail = actor.run.mail
    raise MailboxFull(actor.run.run_id, len(mail.queue), mail.size)


def _may_be_refused(graph: Graph[Any], event: Receiving) -> bool:
    """Whether the run as it is now may have a reason to refuse a message, so that it is worth reading it for that."""
    node = None if event.form is None else graph.plan.handlers.get(event.form.name)
    validated = node is not None and graph.plan.nodes[node].validate is not None
    known = event.form is not None and event.form.name in graph.plan.messages
    return validated or not known or event.caller is not None


def _check_goes_on(life: Life) -> None:
    """Refuse to take a run up again and again that this process can't go on with, say because of this very message."""
    if life.error is not None and reason_of(life.error) == "incompatible":
        raise life.error


def _deadline(timeout: float | None) -> float:
    return math.inf if timeout is None else anyio.current_time() + timeout


def _set_aside(lives: Lives, letter: Letter) -> str | None:
    """Why a message is a dead letter of the store; None: it is none."""
    try:
        dead = lives.store.inbox.dead_letters.read(letter)
    except Missing:
        return None
    return f"its message is set aside ({dead.reason}): {dead.detail}"
