"""Checking: the commands that look at a graph without running it: ``check`` and ``migrate``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.exits import Exit
from actorflow.cli.output import remark, say, say_json, say_table
from actorflow.cli.store import Where, json_option, options_option, store_option
from actorflow.cli.target import Target, target_argument
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow import Verdict


@click.command(cls=Command)
@target_argument()
@click.option("--against", "store", metavar="URL", help="Also ask of each run of the graph in this store.")
@options_option()
@json_option
@click.pass_context
@in_event_loop
async def check(
    ctx: click.Context,
    target: Target,
    store: str | None,
    storage_options: Mapping[str, Any] | None,
    *,
    as_json: bool,
) -> None:
    """Say what is wrong or doubtful about a graph; with --against, what it would do with the runs of a store.

    For each run: would it load, would its state migrate, and which nodes would
    a resume start. Ask before you deploy; nothing is changed. Exits with 2 if
    the graph can't run, with 5 if it could not go on with a run, and with 4 if
    a run can't be read.
    """
    findings = target.graph.check()
    if as_json:
        say_json(findings)
    else:
        for finding in findings:
            say(visible(str(finding)))
    if any(finding.level == "error" for finding in findings):
        ctx.exit(Exit.USAGE)
    if not as_json:
        remark(f"graph {target.graph.name!r} can run")
    if store is None:
        return
    await _ask(ctx, target, Where(store, storage_options), ended=True, as_json=as_json)


@click.command(cls=Command)
@target_argument()
@click.option(
    "--dry-run", is_flag=True, required=True, help="Only say what would happen: runs migrate when they go on."
)
@click.option("--all", "ended", is_flag=True, help="Also ask of runs that have ended, which a resume may reopen.")
@store_option
@json_option
@click.pass_context
@in_event_loop
async def migrate(
    ctx: click.Context, target: Target, store: Where, *, dry_run: bool, ended: bool, as_json: bool
) -> None:
    """Say which runs of a store this code could go on with, and which of them it would migrate.

    There is no need to migrate anything beforehand: a run does so when it
    next goes on, and its old files stay as they are. Exits with 5 if this code
    could not go on with a run, and with 4 if a run can't be read.
    """
    if not dry_run:
        raise click.UsageError(
            "runs migrate by themselves when they go on; say --dry-run to ask what that would do", ctx
        )
    await _ask(ctx, target, store, ended=ended, as_json=as_json)


async def _ask(ctx: click.Context, target: Target, store: Where, *, ended: bool, as_json: bool) -> None:
    """What the graph could do with the runs of a store."""
    async with store.look() as rt:
        verdicts = await rt.dry_run(target.graph, ended=ended)
    if as_json:
        say_json(verdicts)
    else:
        _say_verdicts(verdicts, store)
    kinds = {verdict.verdict for verdict in verdicts}
    ctx.exit(Exit.BLOCKED if "blocked" in kinds else Exit.CORRUPT if "corrupt" in kinds else Exit.OK)


def _say_verdicts(verdicts: list[Verdict], store: Where) -> None:
    if verdicts:
        say_table(
            ("RUN", "STATUS", "VERDICT", "WOULD START"),
            [(one.run, one.status, _verdict(one), one.reason or ", ".join(one.starts) or "-") for one in verdicts],
        )
    remark(f"{len(verdicts)} run{'s' * (len(verdicts) != 1)} of this graph in {store}")


def _verdict(verdict: Verdict) -> str:
    if verdict.migrates is None:
        return verdict.verdict
    before, after = ("no version" if version is None else f"v{version}" for version in verdict.migrates)
    return f"{verdict.verdict}, {before} -> {after}"
