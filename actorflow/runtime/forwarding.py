"""Forwarding: the messages that a run has accepted and not handled come to newer code in the types that it knows.

A message of a type that this code does not take at all stays as it is: what
becomes of it is for the run to decide.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from actorflow.engine.operations import thaw
from actorflow.runtime.conversion import Conversion, form_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.engine.mail import Letter
    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph


def convert_mail(run: RunState, graph: Graph[Any], *, time_limit: float | None) -> None:
    """Migrate what waits in the mailbox, what is being handled, and what timers are to bring.

    Args:
        run: as it was read; it is changed in place.
        graph: what the code declares.
        time_limit: seconds that the migration of one message may take; None: see `Conversion`.

    Raises:
        MigrationError: one can't be brought to the code's version.
    """
    ways: dict[str, tuple[str, Conversion] | None] = {}

    def way(key: str) -> tuple[str, Conversion] | None:
        """From a form of the run: to which, and how; None: it is the code's, or nothing of it."""
        if key not in ways:
            ways[key] = None
            saved = run.forms[key]
            schema = graph.plan.messages.get(saved.name)
            if schema is not None and (ours := form_of(schema)) != saved:
                new = run.form_key(ours)
                run.forms[new] = ours
                ways[key] = new, Conversion(schema, saved, graph.migrations, time_limit=time_limit)
        return ways[key]

    for letter in _letters(run):
        if (found := way(letter.form)) is not None:
            letter.form, letter.values = found[0], _plain(found[1], letter.values)
            run.renewed = True
    for name, timer in run.mail.timers.items():
        if (found := way(timer.form)) is not None:
            run.mail.timers[name] = replace(timer, form=found[0], values=_plain(found[1], timer.values))
            run.renewed = True


def forms_of_mail(run: RunState) -> set[str]:
    """The forms that something of the mail is in: what came, what was received by nodes, what is to be sent."""
    used = {letter.form for letter in _letters(run)} | {timer.form for timer in run.mail.timers.values()}
    used |= {dead.letter.form for dead in run.mail.dead} | {parcel.form for parcel in run.mail.outbox}
    for one in run.open.values():
        for answer in one.answers.values():
            match answer.value:
                case [str() as form, dict()]:
                    used.add(form)
                case _:
                    pass
    return used


def _letters(run: RunState) -> Iterator[Letter]:
    yield from run.mail.queue.values()
    yield from (one.letter for one in run.open.values() if one.letter is not None)


def _plain(conversion: Conversion, values: dict[str, Any]) -> dict[str, Any]:
    return {name: thaw(value) for name, value in conversion.values(values).items()}
