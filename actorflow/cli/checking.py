"""Checking: the commands that look at a graph without running it: ``graph`` and ``check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.exits import Exit
from actorflow.cli.output import remark, say, say_json, say_table
from actorflow.cli.store import json_option, looking_at
from actorflow.cli.target import Target, target_argument
from actorflow.cli.text import visible
from actorflow.errors import Blocked, CorruptCheckpoint

if TYPE_CHECKING:
    from actorflow import Graph, RunInfo, Runtime, State


@click.command(cls=Command)
@target_argument()
@click.option("--format", type=click.Choice(["text", "mermaid"]), default="text", show_default=True)
def graph(target: Target, format: Literal["text", "mermaid"]) -> None:
    """Draw a graph, as lines or as a Mermaid flowchart. Nothing of it is run."""
    say(target.graph.draw(format).rstrip("\n"))


@dataclass(frozen=True)
class Verdict:
    """What this code could do with one run."""

    run: str
    status: str
    verdict: Literal["ready", "over", "blocked", "corrupt"]
    starts: tuple[str, ...] = ()
    reason: str | None = None


@click.command(cls=Command)
@target_argument()
@click.option("--against", "store", metavar="URL", help="Also ask of each run of the graph in this store.")
@json_option
@click.pass_context
@in_event_loop
async def check(ctx: click.Context, target: Target, store: str | None, *, as_json: bool) -> None:
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
    async with looking_at(store) as rt:
        verdicts = [
            await _judge(rt, target.graph, info)
            for info in await rt.runs()
            if info.graph == target.graph.name or info.status == "corrupt"
        ]
    if as_json:
        say_json(verdicts)
    else:
        _say_verdicts(verdicts, store)
    kinds = {verdict.verdict for verdict in verdicts}
    ctx.exit(Exit.BLOCKED if "blocked" in kinds else Exit.CORRUPT if "corrupt" in kinds else Exit.OK)


async def _judge(rt: Runtime, graph: Graph[State], info: RunInfo) -> Verdict:
    try:
        starts = await rt.preview(graph, info.id)
    except Blocked as error:
        return Verdict(info.id, info.status, "blocked", reason=error.reason)
    except CorruptCheckpoint as error:
        return Verdict(info.id, info.status, "corrupt", reason=str(error))
    return Verdict(info.id, info.status, "ready" if starts else "over", starts)


def _say_verdicts(verdicts: list[Verdict], store: str) -> None:
    if verdicts:
        say_table(
            ("RUN", "STATUS", "VERDICT", "WOULD START"),
            [(one.run, one.status, one.verdict, one.reason or ", ".join(one.starts) or "-") for one in verdicts],
        )
    remark(f"{len(verdicts)} run{'s' * (len(verdicts) != 1)} of this graph in {visible(store)}")
