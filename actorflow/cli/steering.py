"""Steering: the commands by which somebody outside answers a run, changes it, and says where it goes on.

Each takes the run up for that, if nobody has it, and goes on with it until it
is over or waits again; with ``--leave`` for whoever looks after the store.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

import click
import msgspec

from actorflow.cli.caring import who
from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.contexts import context_for, context_option
from actorflow.cli.given import to_text
from actorflow.cli.going import DRAIN_ON, again, outcome, to_the_end
from actorflow.cli.output import remark, say, say_json, say_table
from actorflow.cli.store import json_option, store_option
from actorflow.cli.target import target_argument
from actorflow.cli.text import json_brief, visible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from actorflow import Interrupt, Run, Runtime
    from actorflow.cli.contexts import Source
    from actorflow.cli.store import Where
    from actorflow.cli.target import Target

F = TypeVar("F", bound="Callable[..., Any]")


def to_json(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
    """A value written as JSON, or as a file of it."""
    text = to_text(ctx, param, value)
    if text is None:
        return None
    try:
        return msgspec.json.decode(text)
    except (UnicodeError, msgspec.DecodeError) as error:
        raise click.BadParameter(f"{visible(str(error))}; a text needs quotes: '\"yes\"'", ctx, param) from error


def to_fields(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, Any]:
    """Fields with their values, as an object of JSON."""
    fields = to_json(ctx, param, value)
    if fields is None:
        return {}
    if not isinstance(fields, dict):
        raise click.BadParameter("give an object: '{\"field\": value}'", ctx, param)
    return cast("dict[str, Any]", fields)  # the keys of JSON are text


def steering(function: F) -> F:
    """The arguments and options of every command that changes a run, whose code it takes."""
    for decorate in (
        store_option,
        context_option,
        click.option("--by", metavar="NAME", default=who, help="Who does it, for the history; by default you."),
        click.option("--leave", is_flag=True, help="Don't go on with the run: leave it as soon as that is stored."),
        target_argument(envvar="ACTORFLOW_GRAPH"),
        click.argument("run_id", metavar="RUN"),
    ):
        function = decorate(function)
    return function


_as_node = click.option("--as-node", metavar="NODE", help="As if this node had finished with it: go on after it.")
_update = click.option(
    "--update", metavar="JSON|@FILE", callback=to_fields, help="Merge these fields in the same commit."
)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@store_option
@json_option
@in_event_loop
async def interrupts(run_id: str, store: Where, *, as_json: bool) -> None:
    """List the questions that a run waits with."""
    async with store.look() as rt:
        found = await rt.get(run_id).interrupts()
    if as_json:
        say_json(found)
    elif found:
        say_table(("ID", "NODE", "QUESTION", "PAYLOAD", "ANSWER"), [_row(one) for one in found])
    remark(f"{len(found)} open")


def _row(one: Interrupt) -> tuple[str, ...]:
    where = f"{one.scope}/{one.node}" if one.scope else one.node
    wanted = "anything" if one.kind == "ask" and one.schema is None else json_brief(one.schema)
    return (
        one.id,
        where if one.index is None else f"{where}[{one.index}]",
        one.question,
        "-" if one.payload is None else json_brief(one.payload),
        wanted if one.kind == "ask" else "nothing",
    )


@click.command(cls=Command)
@steering
@click.option("--value", metavar="JSON|@FILE", callback=to_json, help="The answer; none where none is asked for.")
@click.option("--to", metavar="QUESTION", help="Which question: its id, its text or its node, where that is enough.")
def answer(
    *,
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    by: str | None,
    value: Any,
    to: str | None,
    leave: bool,
) -> None:
    """Answer a question of a run, which goes on with that."""

    async def verb(run: Run[Any]) -> Run[Any]:
        remark(f"answered in commit {await run.answer(value, to, by=by)}")
        return run

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command(cls=Command)
@steering
@click.option("--values", metavar="JSON|@FILE", callback=to_fields, help="Fields and their values, merged as a node's.")
@_as_node
def update(
    *,
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    by: str | None,
    values: dict[str, Any],
    as_node: str | None,
    leave: bool,
) -> None:
    """Change the state of a run."""

    async def verb(run: Run[Any]) -> Run[Any]:
        remark(f"updated in commit {await run.update(values, as_node=as_node, by=by)}")
        return run

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command("input", cls=Command)
@steering
@click.option("--values", metavar="JSON|@FILE", callback=to_fields, help="Fields and their values, merged as a node's.")
@click.option(
    "--on-pending",
    type=click.Choice(["error", "queue", "discard"]),
    default="error",
    show_default=True,
    help="While the run still works: refuse it, let it wait for its turn, or end first what goes on.",
)
def input_(
    *,
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    by: str | None,
    values: dict[str, Any],
    on_pending: Literal["error", "queue", "discard"],
    leave: bool,
) -> None:
    """Give a run more input, as the next turn of a conversation."""

    async def verb(run: Run[Any]) -> Run[Any]:
        remark(f"given in commit {await run.input(values, on_pending=on_pending, by=by)}")
        return run

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@target_argument(envvar="ACTORFLOW_GRAPH")
@store_option
@in_event_loop
async def pause(run_id: str, target: Target, store: Where) -> None:
    """Pause a run that nobody has: nothing of it begins until it is unpaused."""
    async with store.open(drain="park") as rt:
        rt.register(target.graph)
        remark(f"paused in commit {await rt.get(run_id).pause(by=who())}")


@click.command(cls=Command)
@steering
def unpause(*, run_id: str, target: Target, store: Where, source: Source | None, by: str | None, leave: bool) -> None:
    """Let a paused run go on."""

    async def verb(run: Run[Any]) -> Run[Any]:
        remark(f"unpaused in commit {await run.unpause(by=by)}")
        return run

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command(cls=Command)
@steering
@click.option("--to", "at", metavar="COMMIT", required=True, help="A commit (12), a record in it (12.1), or a tag.")
@_update
@_as_node
@click.option("--keep-keys", is_flag=True, help="What runs again keeps its idempotency keys.")
def rewind(
    *,
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    by: str | None,
    at: str,
    update: dict[str, Any],
    as_node: str | None,
    leave: bool,
    keep_keys: bool,
) -> None:
    """Take a run back to how it was, and on from there. History stays."""

    async def verb(run: Run[Any]) -> Run[Any]:
        seq = await run.rewind(at, update=update or None, as_node=as_node, keep_keys=keep_keys, by=by)
        remark(f"back at {visible(at)}, in commit {seq}")
        return run

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command(cls=Command)
@steering
@click.option("--at", metavar="COMMIT", help="As it was then: 12, 12.1 or a tag; by default as it is now.")
@click.option("--id", "new_id", metavar="ID", help="The id of the new run.")
@_update
@_as_node
def fork(
    *,
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    by: str | None,
    at: str | None,
    new_id: str | None,
    update: dict[str, Any],
    as_node: str | None,
    leave: bool,
) -> None:
    """Begin a new run as another one is or was; its id goes to standard output with --leave."""

    async def verb(run: Run[Any]) -> Run[Any]:
        made = await run.fork(at, id=new_id, update=update or None, as_node=as_node, by=by)
        remark(f"run {visible(made.id)} begins")
        if leave:
            say(visible(made.id))
        return made

    _steer(run_id, target, store, source, verb, leave=leave)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("name")
@click.option("--at", metavar="COMMIT", type=click.IntRange(min=0), help="Which commit; by default the newest.")
@click.option("--remove", is_flag=True, help="Take the name away.")
@store_option
@in_event_loop
async def tag(run_id: str, name: str, at: int | None, store: Where, *, remove: bool) -> None:
    """Give a commit of a run a name, by which rewind and fork find it, and which gc keeps."""
    async with store.open() as rt:
        run = rt.get(run_id)
        try:
            seq = await (run.untag(name, by=who()) if remove else run.tag(name, at, by=who()))
        except ValueError as error:
            raise click.BadParameter(visible(str(error)), param_hint="NAME") from error
    remark(f"{'taken away' if remove else 'named'} in commit {seq}")


def _steer(
    run_id: str,
    target: Target,
    store: Where,
    source: Source | None,
    verb: Callable[[Run[Any]], Awaitable[Run[Any]]],
    *,
    leave: bool,
) -> None:
    """Do it, and go on with the run that comes of it, or leave that to others."""
    graph = target.graph

    async def work(rt: Runtime) -> Any:
        rt.register(graph, context=await context_for(graph, source))
        run = await verb(rt.get(run_id))
        return None if leave else await outcome(run)

    to_the_end(
        work,
        store.open(drain="park" if leave else "finish", drain_on=DRAIN_ON),
        lambda: again(run_id, target.text, store, source),
        silent=leave,
    )
