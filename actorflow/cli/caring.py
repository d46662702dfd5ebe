"""Caring: the commands that move runs between stores, let a damaged one go on, and look a store over."""

from __future__ import annotations

import getpass
from typing import TYPE_CHECKING, Any

import click

from actorflow import doctor
from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.exits import Exit
from actorflow.cli.output import remark, say, say_json
from actorflow.cli.sealing import sealing
from actorflow.cli.store import Where, json_option, options_option, store_option
from actorflow.cli.text import quoted, visible

if TYPE_CHECKING:
    from collections.abc import Mapping

_HISTORY = click.option(
    "--history/--no-history", default=True, help="All commits, or only what is needed to go on: numbered from 0 again."
)
_MOVE = click.option("--move", is_flag=True, help="End the run where it was, once the copy is whole.")


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--to", required=True, metavar="URL", help="The store that it is copied into; made if it is not there.")
@options_option("--to-options", envvar=None)
@_HISTORY
@_MOVE
@store_option
@in_event_loop
async def export(
    run_id: str, to: str, to_options: Mapping[str, Any] | None, store: Where, *, history: bool, move: bool
) -> None:
    """Copy a run, as of its newest commit, into another store, where anybody can go on with it.

    A run that lives goes on where it is, too, unless it is moved: stop its
    process first. A copy that was cut off is finished by the same command.
    """
    async with store.open() if move else store.look() as rt:
        seq = await rt.export(run_id, to, history=history, move=move, storage_options=to_options, sealing=sealing())
    remark(f"run {visible(run_id)} is in {visible(to)}, up to commit {seq}")
    remark(f"  go on with it there: actorflow resume --store {quoted(to)} {quoted(run_id)} module:graph")


@click.command("import", cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--from", "source", required=True, metavar="URL", help="The store that it is copied from.")
@options_option("--from-options", envvar=None)
@_HISTORY
@_MOVE
@store_option
@in_event_loop
async def import_(
    run_id: str, source: str, from_options: Mapping[str, Any] | None, store: Where, *, history: bool, move: bool
) -> None:
    """Copy a run of another store into this one: export, from the other end."""
    there = Where(source, from_options)
    async with there.look():
        pass  # before this store is made
    async with store.make() as rt:
        seq = await rt.import_run(
            run_id, source, history=history, move=move, storage_options=from_options, sealing=sealing()
        )
    remark(f"run {visible(run_id)} is in {store}, up to commit {seq}")


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--to", metavar="URL", help="The archive; made if it is not there.  [default: archive/ in the store]")
@options_option("--to-options", envvar=None)
@store_option
@json_option
@in_event_loop
async def archive(
    run_id: str, to: str | None, to_options: Mapping[str, Any] | None, store: Where, *, as_json: bool
) -> None:
    """Take a run out of the store, whole, into an archive: a store for what is over.

    It need not have ended, but nobody may be running it. Its id is free for
    another run then. An archiving that was cut off is finished by the same command.
    """
    async with store.open() as rt:
        archived = await rt.archive(run_id, to, storage_options=to_options, by=who())
    if as_json:
        say_json([archived])
        return
    remark(f"run {visible(run_id)} is archived: {len(archived.checkpoints):,} commits")
    remark(f"  look at it there: actorflow show --store {quoted(archived.url)} {quoted(archived.archive_id)}")


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--skip", required=True, metavar="DIGEST", help="The damaged file, by its digest: verify shows it.")
@store_option
@in_event_loop
async def repair(run_id: str, skip: str, store: Where) -> None:
    """Let a damaged run go on from its last commit before the damage.

    What was committed after it is given up for good: a copy of the file from
    a backup is the better remedy. The damaged file stays as it is.
    """
    async with store.open() as rt:
        seq = await rt.repair(run_id, skip=skip, by=who())
    remark(f"run {visible(run_id)} can go on: commit {seq} says what was passed over")


@click.command("doctor", cls=Command)
@click.argument("url", metavar="URL")
@options_option()
@json_option
@click.pass_context
def doctor_(ctx: click.Context, url: str, storage_options: Mapping[str, Any] | None, *, as_json: bool) -> None:
    """Say whether a place can keep a store, how quick it is, and what is installed here to use it.

    Leaves nothing behind. Exits with 7 if no store can be kept there.
    """
    diagnosis = doctor(url, storage_options=storage_options)
    if as_json:
        say_json(diagnosis.checks)
    else:
        for check in diagnosis.checks:
            mark = "" if check.verdict == "good" else f"{check.verdict.upper()}: "
            say(visible(f"{check.name:<18}  {mark}{check.found}"))
            if check.remedy:
                say(visible(f"{'':<18}  {check.remedy}"))
        remark(f"{visible(url)} {'can' if diagnosis.safe else 'can not'} keep a store")
    if not diagnosis.safe:
        ctx.exit(Exit.STORE)


def who() -> str | None:
    """Who asks, for the history; a process without a user asks all the same."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
