"""Boxes: what waits for a run to handle it, and what nobody will handle, as its newest commit and the store have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct, msgpack

from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED
from actorflow.engine.run import Form
from actorflow.errors import ActorflowError
from actorflow.runtime.letters import Content, current
from actorflow.store.backend import Missing
from actorflow.store.keys import inbox_key
from actorflow.store.messages import read_message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.mail import Letter as Accepted
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.graph.state import State
    from actorflow.store.keys import Letter as Name
    from actorflow.store.messages import Message as Kept
    from actorflow.store.store import Store


class Letter(Struct, frozen=True, kw_only=True):
    """A message that was sent to a run and waits to be handled."""

    type: str  # the name of its type
    values: dict[str, Any]  # plain, as they were saved
    message: Any  # typed, for `Run.send`; None where its type is not known here, or it does not fit that
    sender: str | None  # the run that sent it; None: nobody's
    by: str | None
    at: float  # seconds since 1970, when it was accepted


class DeadLetter(Letter, frozen=True, kw_only=True):
    """A message that nobody handled, or will handle, and why. `Run.send` of its ``message`` tries once more."""

    reason: str  # failed, poison, unknown, ended, undeliverable; damaged, conflict, older generation
    error: str  # what was raised, or what is wrong with it
    died: float  # seconds since 1970, when it was set aside


_decode = msgpack.Decoder(Content).decode  # made here and not at its first use, by two threads at once


class Boxes:
    """What a run was sent, read for people. Blocks where it asks the store."""

    def __init__(self, store: Store, run: RunState, graph: Graph[Any] | None, *, time_limit: float) -> None:
        """Look at a run.

        Args:
            store: where it is.
            run: as of its newest commit.
            graph: of the run, if it is known here.
            time_limit: seconds that the migration of a message may take.
        """
        self._store = store
        self._run = run
        self._graph = graph
        self._time_limit = time_limit

    def waiting(self) -> list[Letter]:
        """What waits, in the order in which it came: first what the run has accepted."""
        accepted = [Letter(**self._accepted(one)) for one in self._run.mail.queue.values()]
        return accepted if self._run.ended else accepted + [Letter(**self._kept(one)) for one in self._undelivered()]

    def dead(self) -> list[DeadLetter]:
        """What is set aside, the oldest first."""
        found = [
            DeadLetter(
                **self._accepted(one.letter),
                reason=one.reason,
                error="" if one.error is None else f"{one.error.type}: {one.error.message}",
                died=one.at,
            )
            for one in self._run.mail.dead
        ]
        found += [self._set_aside(name) for name in self._store.inbox.dead_letters.list(self._run.run_id)]
        if self._run.status in ENDED:
            late = f"run {self._run.run_id!r} is {self._run.status}, and did not come to this message"
            for one in self._undelivered():
                found.append(DeadLetter(**self._kept(one), reason="ended", error=late, died=one.time))
        return sorted(found, key=lambda one: one.died)

    def _undelivered(self) -> Iterator[Kept]:
        """What is in the inbox. Taken before, it was handled: such a file is on its way out."""
        mail, inbox = self._run.mail, self._store.inbox
        for name in sorted(inbox.letters(self._run.run_id), key=lambda name: name.number):
            mark = mail.marks.get(name.sender, (1, 0))
            taken = name.sender in mail.seen if name.from_caller else (name.generation, name.number) <= mark
            kept = None if taken else self._read(name)
            if kept is not None and kept.kind == "message":
                yield kept

    def _read(self, name: Name) -> Kept | None:
        try:
            return self._opened(self._store.backend.get(inbox_key(name)), name)
        except (Missing, ActorflowError):  # taken meanwhile; or its run will say what is wrong with it
            return None

    def _opened(self, data: bytes, name: Name) -> Kept:
        store = self._store
        return read_message(data, inbox_key(name), letter=name, store=store.uuid, sealing=store.sealing)

    def _set_aside(self, name: Name) -> DeadLetter:
        dead = self._store.inbox.dead_letters.read(name)
        try:
            facts: dict[str, Any] = self._kept(self._opened(dead.message, name))
        except ActorflowError:
            sender = None if name.from_caller else name.sender
            facts = {"type": "", "values": {}, "message": None, "sender": sender, "by": None, "at": dead.time}
        return DeadLetter(**facts, reason=dead.reason, error=dead.detail, died=dead.time)

    def _accepted(self, letter: Accepted) -> dict[str, Any]:
        form = self._run.forms[letter.form]
        values = {name: thaw(value) for name, value in letter.values.items()}
        return self._facts(form, values, sender=letter.sender, by=letter.by, at=letter.at)

    def _kept(self, kept: Kept) -> dict[str, Any]:
        form = Form(kept.type, kept.version, kept.fields)
        values: dict[str, Any] = _decode(kept.body).values
        return self._facts(form, values, sender=kept.sender, by=kept.by, at=kept.time)

    def _facts(self, form: Form, values: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"type": form.name, "values": values, "message": self._typed(form, values), **more}

    def _typed(self, form: Form, values: dict[str, Any]) -> State | None:
        graph = self._graph
        schema = None if graph is None else graph.plan.messages.get(form.name)
        if graph is None or schema is None:
            return None
        try:
            return schema.load(current(schema, form, values, graph, limit=self._time_limit))
        except ActorflowError:
            return None
