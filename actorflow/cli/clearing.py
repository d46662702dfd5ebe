"""Clearing: the commands that let go of what is old, delete a run, and write runs anew under another key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import anyio
import click

from actorflow import Retention
from actorflow.cli.caring import who
from actorflow.cli.command import Command, Refusal, in_event_loop
from actorflow.cli.exits import Exit
from actorflow.cli.given import to_seconds, to_tags
from actorflow.cli.output import remark, say_json, say_table
from actorflow.cli.store import json_option, store_option
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from actorflow import Collected, Rekeyed
    from actorflow.cli.store import Where


@click.command(cls=Command)
@click.option("--last", type=click.IntRange(min=1), metavar="N", help="Keep at least the last N commits of each run.")
@click.option(
    "--age", callback=to_seconds, metavar="TIME", help="Keep all commits that are younger: 90s, 15m, 12h, 30d."
)
@click.option("--ended", callback=to_seconds, metavar="TIME", help="Delete runs that ended this long ago, as a whole.")
@click.option(
    "--spare",
    callback=to_tags,
    multiple=True,
    metavar="KEY=VALUE",
    help="Leave runs that have all of these tags as they are.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done.")
@store_option
@json_option
@click.pass_context
@in_event_loop
async def gc(
    ctx: click.Context,
    last: int | None,
    age: int | None,
    ended: int | None,
    *,
    spare: dict[str, str],
    store: Where,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let go of old commits, and of runs that ended long ago. Safe at any time, whoever runs them meanwhile.

    With both --last and --age, what either of them keeps is kept. Exits with 1
    if a run was left as it is because it can't be read.
    """
    if last is None and age is None and ended is None:
        raise click.UsageError("say what may go, by --last, --age or --ended: without them everything is kept", ctx)
    policy = Retention(last=last, age=age, ended=ended, tagged=spare)
    async with store.look() if dry_run else store.open() as rt:
        collected = await rt.gc(policy, dry_run=dry_run)
    if as_json:
        say_json([collected])
    else:
        _say_collected(collected, would="would be " if dry_run else "")
    if collected.failed:
        ctx.exit(Exit.FAILED)


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--yes", is_flag=True, help="Don't ask.")
@store_option
@click.pass_context
def delete(ctx: click.Context, run_id: str, store: Where, *, yes: bool) -> None:
    """Delete a run for good: its state, history, large values and messages. Its id stays taken.

    Asks first on a terminal, and needs --yes elsewhere. A deletion that was cut
    off is finished by the same command.
    """
    if yes or _is_sure(ctx, run_id, store):  # asked outside the event loop, which would keep Ctrl-C for itself
        anyio.run(_delete, run_id, store)
    else:
        remark("nothing was deleted")


@click.command(cls=Command)
@click.argument("run_id", metavar="[RUN]", required=False)
@store_option
@json_option
@click.pass_context
@in_event_loop
async def rekey(ctx: click.Context, run_id: str | None, store: Where, *, as_json: bool) -> None:
    """Write a run, or each run that needs it, anew under the first of the keys in ACTORFLOW_KEYS.

    Older commits stay under the key they were written with until gc lets go of
    them. Exits with 1 if a run was left as it is: ask again for those later.
    """
    async with store.open() as rt:
        rekeyed = await rt.rekey(run_id)
    if as_json:
        say_json([rekeyed])
    else:
        _say_rekeyed(rekeyed)
    if rekeyed.left:
        ctx.exit(Exit.FAILED)


async def _delete(run_id: str, store: Where) -> None:
    async with store.open() as rt:
        await rt.delete(run_id, by=who())
    remark(f"run {visible(run_id)} is deleted from {store}")


def _is_sure(ctx: click.Context, run_id: str, store: Where) -> bool:
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to be asked: say --yes to delete a run for good", ctx)
    try:
        return click.confirm(f"Delete run {visible(run_id)} from {store} for good?", err=True)
    except click.Abort:
        raise Refusal("interrupted; nothing was deleted", Exit.INTERRUPTED) from None


def _say_collected(collected: Collected, *, would: str) -> None:
    rows = [(run_id, f"{would}deleted") for run_id in collected.deleted]
    rows += [(run_id, f"{_many(files, 'file')} {would}let go of") for run_id, files in collected.trimmed.items()]
    rows += [(run_id, f"left as it is: {why}") for run_id, why in collected.failed.items()]
    if rows:
        say_table(("RUN", "WHAT"), rows)
    remark(
        f"{_many(collected.looked, 'run')} looked at: {len(collected.deleted)} {would}deleted, "
        f"{_many(collected.files, 'file')} and {_many(collected.blobs, 'large value')} {would}let go of, "
        f"{_many(collected.cached, 'cached result')} {would}deleted, "
        f"{len(collected.failed)} left as they are"
    )


def _say_rekeyed(rekeyed: Rekeyed) -> None:
    rows = [(run_id, "written anew") for run_id in rekeyed.done]
    rows += [(run_id, f"left as it is: {why}") for run_id, why in rekeyed.left.items()]
    if rows:
        say_table(("RUN", "WHAT"), rows)
    done, fresh, left = len(rekeyed.done), len(rekeyed.fresh), len(rekeyed.left)
    remark(f"{_many(done, 'run')} written anew, {fresh} needed nothing, {left} left as they are")


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'s' * (count != 1)}"
