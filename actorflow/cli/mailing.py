"""Mailing: the commands by which a run is sent a message, and by which one sees what waits for it and what is dead."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
import msgspec

from actorflow.cli.caring import who
from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.contexts import context_for, context_option
from actorflow.cli.given import to_seconds
from actorflow.cli.output import remark, say, say_json, say_table
from actorflow.cli.steering import to_fields
from actorflow.cli.store import json_option, store_option
from actorflow.cli.target import target_argument
from actorflow.cli.text import json_line, visible

if TYPE_CHECKING:
    from actorflow import Letter, Message
    from actorflow.cli.contexts import Source
    from actorflow.cli.store import Where
    from actorflow.cli.target import Target


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("type_name", metavar="TYPE")
@target_argument(envvar="ACTORFLOW_GRAPH")
@click.option("--values", metavar="JSON|@FILE", callback=to_fields, help="The fields of the message.")
@click.option("--id", "message_id", metavar="ID", help="Names the message: sent again under it, it counts once.")
@click.option("--ask", is_flag=True, help="Wait for the reply, and print it as JSON.")
@click.option("--timeout", metavar="DURATION", callback=to_seconds, help="How long to wait for room, or the reply.")
@click.option("--by", metavar="NAME", default=who, help="Who does it, for the history; by default you.")
@click.option("--leave", is_flag=True, help="Don't let the run go on here: leave the message to whoever serves it.")
@store_option
@context_option
@in_event_loop
async def send(
    *,
    run_id: str,
    type_name: str,
    target: Target,
    store: Where,
    source: Source | None,
    values: dict[str, Any],
    message_id: str | None,
    ask: bool,
    timeout: int | None,  # noqa: ASYNC109 - the library waits
    by: str | None,
    leave: bool,
) -> None:
    """Send a run a message. Whoever has the run takes it; a run that nobody has goes on here until it waits again.

    A graph that declares context= has handlers which need clients: without
    --context, its runs are left to whoever serves the store.
    """
    message = _message(target, type_name, values)
    async with store.open(drain="finish") as rt:
        if not leave:
            rt.register(target.graph, context=await context_for(target.graph, source))
        run = rt.get(run_id)
        if ask:
            say_json([await run.ask(message, id=message_id, by=by, timeout=timeout)])
        else:
            await run.send(message, id=message_id, by=by, timeout=timeout)
            remark("kept")


def _message(target: Target, type_name: str, values: dict[str, Any]) -> Message:
    schema = target.graph.plan.messages.get(type_name)
    if schema is None:
        known = ", ".join(sorted(target.graph.plan.messages)) or "none"
        raise click.BadParameter(
            f"{visible(type_name)!r} is no message of {target}; it takes {known}", param_hint="TYPE"
        )
    try:
        message: Message = schema.codecs.convert(values, schema.state_type)
    except msgspec.ValidationError as error:
        raise click.BadParameter(visible(str(error)), param_hint="--values") from error
    return message


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--dead", is_flag=True, help="Those that nobody handled, or will handle, and why.")
@store_option
@json_option
@in_event_loop
async def mailbox(run_id: str, store: Where, *, dead: bool, as_json: bool) -> None:
    """List the messages that wait for a run, or its dead letters."""
    async with store.look() as rt:
        run = rt.get(run_id)
        letters = [] if dead else await run.mailbox()
        dead_letters = await run.dead_letters() if dead else []
    if as_json:
        say_json(_plain(one) for one in (*letters, *dead_letters))
        return
    if letters:
        say_table(("TYPE", "VALUES", "FROM", "AT"), [_row(one) for one in letters])
    if dead_letters:
        rows = [(*_row(one), one.reason, one.error) for one in dead_letters]
        say_table(("TYPE", "VALUES", "FROM", "AT", "REASON", "ERROR"), rows)
    if not (letters or dead_letters):
        say("nothing")


def _row(letter: Letter) -> tuple[str, ...]:
    at = datetime.fromtimestamp(letter.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    return (letter.type, json_line(letter.values), letter.sender or letter.by or "-", at)


def _plain(letter: Letter) -> dict[str, Any]:
    return {name: getattr(letter, name) for name in letter.__struct_fields__ if name != "message"}
