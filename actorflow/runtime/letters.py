"""Letters: what is sent to a run, as its sender has it, as a file of the inbox has it, and as the run is told of it.

Pure: between a `Message` object, the file that carries it, and the event that
a run decides about. A message that comes from elsewhere may be of an older
version than this code's: it is brought to that before the run is told of it.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct, msgpack

from actorflow.engine.events import Receiving
from actorflow.engine.keys import key_of
from actorflow.engine.mail import ParcelKind, lane_of
from actorflow.engine.posting import down_values
from actorflow.engine.records import ErrorInfo, Posted
from actorflow.engine.run import Form
from actorflow.errors import BadMessage, CorruptMessage, MigrationError, SchemaTooNew
from actorflow.graph.codec import NO_CODECS
from actorflow.graph.message import Message, problems_of_message
from actorflow.graph.schema import Schema, schema_of
from actorflow.runtime.conversion import Conversion, form_of
from actorflow.store.callers import caller_number
from actorflow.store.keys import caller_name, inbox_key
from actorflow.store.lanes import Mark, Marks
from actorflow.store.messages import Message as Kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.mail import Mail, Parcel
    from actorflow.engine.run import RunState
    from actorflow.graph.codec import Codecs
    from actorflow.graph.graph import Graph

NOTHING = ""
"""The type of what is no message: a reply, or word about how runs end."""


class Content(Struct, frozen=True, array_like=True):
    """The body of a file: what is said, whichever kind it is of."""

    values: Any = None
    ask: str | None = None  # the question of the sender that a reply answers
    graph: str | None = None  # of a child
    error: ErrorInfo | None = None


class Written(Struct, frozen=True):
    """A message as its sender wrote it: typed once, and plain."""

    schema: Schema
    values: dict[str, Any]
    message: Message

    @property
    def form(self) -> Form:
        """What is said of its type beside it."""
        return form_of(self.schema)

    @property
    def body(self) -> bytes:
        """What a file holds of it: the same bytes in every process, so that an id is known again by its content."""
        steady = self.schema.codecs.steady
        values = {name: msgspec.Raw(steady(getattr(self.message, name))) for name in self.values}
        return _encode(Content(values))


_encode = msgpack.Encoder().encode
# Made here and not at its first use, by two threads at once: msgspec would crash the process.
_decode = msgpack.Decoder(Content).decode


def write(run_id: str, msg: object, *, codecs: Codecs = NO_CODECS) -> Written:
    """A message, checked and made plain; its sender may go on with the object.

    Args:
        run_id: for whom, for the errors.
        msg: what somebody gave.
        codecs: of the graph of that run, if it is known here.

    Raises:
        BadMessage: it is none, or a field does not fit its type.
    """
    name = type(msg).__name__
    if (problem := _problem(msg if isinstance(msg, type) else type(msg))) is not None:
        raise BadMessage(run_id, name, (), problem)
    if not isinstance(msg, Message):
        raise BadMessage(run_id, repr(msg), (), f"it is the type; give a message of it, {msg}(...)")
    schema = schema_of(type(msg), codecs.registered)
    if schema.problems:
        raise BadMessage(run_id, name, (), "; ".join(schema.problems))
    values: dict[str, Any] = {}
    for field in schema.fields.values():
        try:
            values[field.name] = field.check(getattr(msg, field.name))
        except Exception as error:
            problem = f"field {field.name!r}: {error} (it is {field.type_text})"
            raise BadMessage(run_id, name, (), problem) from error
    return Written(schema, values, msg)


@lru_cache(maxsize=1024)
def _problem(given: type) -> str | None:
    return next(problems_of_message(given), None)


def told(
    run_id: str, written: Written, graph: Graph[Any], *, id: str | None, by: str | None, now: float, limit: float
) -> Receiving:
    """What its run is told in this process, where the type of the message may be older than that of the graph.

    Raises:
        BadCallerId: ``id`` can't be the id of a message.
        MigrationError: it can't be brought to the version of the graph.
    """
    kept = None if id is None else carried(run_id, written, id=id, by=by, now=now)
    form, values = written.form, written.values
    schema = graph.plan.messages.get(form.name)
    if schema is not None and schema is not written.schema:
        form, values = form_of(schema), current(schema, form, values, graph, limit=limit)
    return Receiving(
        id=os.urandom(16) if kept is None else key_of(b"caller", kept.letter.sender.encode()),
        form=form,
        values=values,
        now=now,
        caller=None if kept is None else kept.letter.sender,
        content=b"" if kept is None else kept.content,
        by=by,
        size=len(_encode(values)),
    )


def carried(run_id: str, written: Written, *, id: str, by: str | None, now: float) -> Kept:
    """The message of a caller, for a file of the inbox.

    Raises:
        BadCallerId: ``id`` can't be the id of a message.
    """
    caller_name(run_id, id)
    form = written.form
    return Kept(
        run_id=run_id,
        sender=None,
        generation=0,  # it is of no lane
        number=caller_number(now),
        caller=id,
        type=form.name,
        version=form.version,
        fields=form.fields,
        time=now,
        by=by,
        body=written.body,
    )


def posted(run: RunState, parcel: Parcel, *, now: float) -> Kept:
    """Something that a run sends to another one, for a file of the inbox: the same in every execution but for its time.

    Args:
        run: the sender.
        parcel: out of its outbox.
        now: seconds since the epoch.
    """
    form = run.forms[parcel.form] if parcel.form else Form(NOTHING, None, ())
    generation, number = lane_of(run.life, parcel.number)
    return Kept(
        run_id=parcel.target,
        sender=run.run_id,
        generation=generation,
        number=number,
        caller=None,
        kind=parcel.kind,
        type=form.name,
        version=form.version,
        fields=form.fields,
        time=now,
        body=_encode(Content(parcel.values, parcel.ask, parcel.graph, parcel.error)),
    )


def received(
    kept: Kept, graph: Graph[Any], *, now: float, present: Iterable[str] = (), limit: float | None
) -> Receiving:
    """What a run is told of a message that came from elsewhere; also of one that this code can't handle, and why.

    Args:
        kept: as it was read.
        graph: of the run.
        now: seconds since the epoch.
        present: names of callers whose files are still there.
        limit: seconds that a migration may take; None: see `Conversion`.

    Raises:
        SchemaTooNew: it is of a later version than this code: others can handle it.
    """
    letter = kept.letter
    unfit: Exception | None = None
    form = None if kept.type == NOTHING else Form(kept.type, kept.version, kept.fields)
    content = Content({})
    kind: ParcelKind = "message"
    try:
        content, kind = _decode(kept.body), msgspec.convert(kept.kind, ParcelKind)
    except msgspec.MsgspecError as error:
        unfit = CorruptMessage(inbox_key(letter), f"it does not say what a message says: {error}")
        form = form or Form("message", None, ())
    values = content.values
    if unfit is None and kind == "message" and form is not None and form.name in graph.plan.messages:
        schema = graph.plan.messages[form.name]
        try:
            form, values = form_of(schema), current(schema, form, values, graph, limit=limit)
        except SchemaTooNew:
            raise
        except MigrationError as error:
            unfit = error
    number, generation = letter.number.to_bytes(8, "big"), letter.generation.to_bytes(8, "big")
    sender = letter.sender.encode()
    return Receiving(
        id=key_of(b"caller", sender) if kept.sender is None else key_of(b"lane", sender, generation, number),
        kind=kind,
        form=form,
        values=values,
        now=now,
        sender=kept.sender,
        lane=None if kept.sender is None else (letter.sender, letter.generation, letter.number),
        caller=letter.sender if kept.sender is None else None,
        content=kept.content if kept.sender is None else b"",
        present=frozenset(present),
        ask=content.ask,
        error=content.error,
        by=kept.by,
        size=len(kept.body),
        kept=True,
        unfit=unfit,
    )


def answer_to_unread(run: RunState, kept: Kept) -> Posted | None:
    """What a run that is deleted says to who sent it this, which it never came to; None: nobody waits for that."""
    try:
        content, kind = _decode(kept.body), msgspec.convert(kept.kind, ParcelKind)
    except msgspec.MsgspecError:
        return None
    if kind == "monitor":
        values = {**down_values(run.run_id, run.status, None), "linked": bool(content.values)}
        return Posted(str(kept.sender), "down", values=values, ask=content.ask)
    if kind == "message" and content.ask is not None:
        error = ErrorInfo("RunEnded", f"run {run.run_id!r} is {run.status}, and did not come to this message")
        return Posted(str(kept.sender), "reply", ask=content.ask, error=error)
    return None


def current(schema: Schema, form: Form, values: Any, graph: Graph[Any], *, limit: float | None) -> dict[str, Any]:
    """The values of a message as this code's type has them.

    Raises:
        MigrationError: there is no way, or what came does not fit.
    """
    if form != form_of(schema):
        values = Conversion(schema, form, graph.migrations, time_limit=limit).values(values)
    try:
        return schema.dump(schema.load(values))
    except Exception as error:
        raise MigrationError(
            f"this is no {schema.name!r}: {error}", schema=schema.name, found=form.version, wanted=schema.version
        ) from error


def marks_of(mail: Mail) -> Marks:
    """The marks of a run, as the store reads them."""
    return Marks({sender: Mark(*mark) for sender, mark in mail.marks.items()})
