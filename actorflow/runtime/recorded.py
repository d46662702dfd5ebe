"""Recorded: what a single record says to those who watch: of its activation, of what is written, of waits that end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from actorflow.engine.fold import gathered
from actorflow.engine.records import (
    Answered,
    Asked,
    Attempted,
    Entered,
    Failed,
    Fanned,
    Finished,
    Forked,
    Handling,
    ItemDone,
    ItemFailed,
    Rebased,
    Record,
    Rewound,
    Taken,
    Updated,
)
from actorflow.engine.run import ROOT

if TYPE_CHECKING:
    from actorflow.engine.operations import Operation
    from actorflow.engine.records import ErrorInfo
    from actorflow.engine.run import Activation, RunState

NAMES = {kind: str(kind.__struct_config__.tag) for kind in get_args(Record)}
"""What each kind of record is called, here and in files."""

# Which records say what. Sets, since each record is looked up in all of them, and most say little.
WENT_BACK = frozenset({Rewound, Forked})  # to another state, with what was open then
OF_NODES = frozenset({Finished, ItemDone, ItemFailed, Failed, Handling, Attempted, Rebased, Asked})
OF_FANS = frozenset({Fanned, ItemDone, ItemFailed})
ENDING = frozenset({Answered, Taken})  # a wait
ELSEWHERE = frozenset({Entered, Updated})  # they write to a scope that they name


def handled(record: Finished) -> ErrorInfo | None:
    """The error with which an activation ended, if a node goes on with that."""
    for opened in record.opens:
        if opened.error is not None:
            return opened.error
    return None


def became(record: Record) -> dict[str, Any] | None:
    """What became of the activation that a record is about, as a `NodeEvent` says it; None: nothing to speak of."""
    match record:
        case Finished():
            return {"kind": "failed", "error": handled(record), "handled": True}
        case ItemDone():
            return {"kind": "finished", "took": record.took, "result": record.result}
        case ItemFailed(error=error) | Failed(error=error):
            return {"kind": "failed", "error": error}
        case Handling(error=error):
            return {"kind": "failed", "error": error, "handled": True}
        case Attempted():
            return {"kind": "retrying", "attempt": record.attempt, "error": record.error, "due": record.due}
        case Rebased():
            return {"kind": "retrying"}
        case Asked():
            return {"kind": "waiting"}
        case _:
            return None


def ending(run: RunState | None, subject: Activation | None, record: Record) -> dict[str, Any] | None:
    """What ends a wait of an activation, as a `WaitEvent` says it; None if nobody waited."""
    if run is None or subject is None:
        return None
    if isinstance(record, Answered) and (ask := subject.asks.get(record.key)) is not None:
        kind = "expired" if record.expired else "answered"
        facts = {"kind": kind, "wait": ask.kind, "key": ask.key, "question": ask.question}
        return {**facts, "value": record.value, "by": record.by}
    if isinstance(record, Taken) and record.key in subject.until:  # else it was there before anybody waited
        letter = run.mail.queue[record.message]
        question = run.forms[letter.form].name
        facts = {"kind": "answered", "wait": "receive", "key": record.key, "question": question}
        return {**facts, "value": letter.values, "by": letter.by}
    return None


def written(run: RunState | None, subject: Activation | None, record: Record) -> tuple[Operation, ...]:
    """What a record writes, with what it does not say again."""
    operations: tuple[Operation, ...] = getattr(record, "operations", ())
    if run is not None and subject is not None and (gathers := getattr(record, "gathers", ())):
        operations += tuple(gathered(run, subject, gathers))
    return operations


def path_of(record: Record) -> str:
    """The path of the scope that a record writes to, where it is not that of its activation."""
    match record:
        case Entered(path=path) | Updated(scope=path):
            return path
        case _:
            return ROOT
