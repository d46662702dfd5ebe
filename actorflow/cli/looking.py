"""Looking: the commands that read a store and change nothing: ``ls``, ``show``, ``history``, ``diff``, ``verify``."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.exits import Exit
from actorflow.cli.given import to_point
from actorflow.cli.output import remark, say, say_json, say_table
from actorflow.cli.store import json_option, store_option
from actorflow.cli.text import json_brief, quoted, visible

if TYPE_CHECKING:
    from actorflow import RunInfo, View
    from actorflow.cli.store import Where

_STATUSES = ("running", "waiting", "paused", "finished", "failed", "cancelled", "quarantined", "corrupt")


@click.command(cls=Command)
@click.option("--status", type=click.Choice(_STATUSES), help="Only runs in this status.")
@click.option("--graph", metavar="NAME", help="Only runs of the graph of this name.")
@click.option("--limit", type=click.IntRange(min=1), help="At most so many, the most recently changed first.")
@store_option
@json_option
@in_event_loop
async def ls(status: str | None, graph: str | None, limit: int | None, store: Where, *, as_json: bool) -> None:
    """List the runs of a store, the most recently changed first.

    An orphan is a run that could go on and that nobody carries on: its
    process has let go of it, or is gone. One that waits needs nobody.
    """
    async with store.look() as rt:
        found = await rt.runs(status=status, graph=graph, limit=limit)
    if as_json:
        say_json(
            {
                "id": info.id,
                "graph": info.graph,
                "status": info.status,
                "node": info.node,
                "commit": info.seq,
                "opening": info.opening,
                "updated": info.updated,
                "tags": info.tags,
                "error": info.error,
                "owned": info.owned,
            }
            for info in found
        )
        return
    if found:
        head = ("RUN", "GRAPH", "STATUS", "NODE", "COMMIT", "UPDATED")
        say_table(head, [(i.id, i.graph, _status(i), i.node or "-", str(i.seq), _ago(i.updated)) for i in found])
    remark(_summary(found, store))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--at", metavar="COMMIT", callback=to_point, help="As of this commit, or of record 1 in it: 12, 12.1.")
@click.option("--node", metavar="NAME", help="As of the last time this node finished.")
@store_option
@json_option
@in_event_loop
async def show(run_id: str, at: str | None, node: str | None, store: Where, *, as_json: bool) -> None:
    """Show a run and its state, as of now or of an earlier checkpoint, and where it failed."""
    async with store.look() as rt:
        run = rt.get(run_id)
        checkpoint = await run.at(at, node=node)
        newest = at is None and node is None
        status = await run.status() if newest else checkpoint.status  # as `ls` has it: a run as of now may wait
        mail = (len(await run.mailbox()), len(await run.dead_letters())) if newest and not as_json else (0, 0)
    if as_json:
        say_json([{**_facts(checkpoint), "status": status, "state": checkpoint.values}])
        return
    owner = f"process {checkpoint.owner.pid} on {checkpoint.owner.host}, epoch {checkpoint.epoch}"
    what = f"{checkpoint.kind}, node {checkpoint.node}" if checkpoint.node else checkpoint.kind
    rows = {
        "run": checkpoint.run_id,
        "schema": f"{checkpoint.schema} {_version(checkpoint)}",
        "status": status,
        "commit": f"{checkpoint.seq} ({what}), {checkpoint.size:,} bytes, {_when(checkpoint.time)}",
        "owner": f"{owner}{', let go' if checkpoint.kind == 'released' else ''}",
        "open": ", ".join(checkpoint.frontier),
        "tags": ", ".join(f"{key}={value}" for key, value in checkpoint.tags.items()),
        "error": _error(checkpoint),
        "mail": ", ".join(f"{count} {what}" for count, what in zip(mail, ("waiting", "dead"), strict=True) if count),
    }
    for name, text in rows.items():
        if text:
            say(f"{name:<7} {visible(text)}")
    say(json_brief(checkpoint.values))
    if checkpoint.error is not None:
        for line in checkpoint.error.traceback.splitlines():
            say(visible(line))


@click.command(cls=Command)
@click.argument("run_id", metavar="RUN")
@click.option("--node", metavar="NAME", help="Only of this node.")
@click.option("--kind", metavar="WORD", help="Only of this kind, as the column WHAT has it.")
@click.option("--status", type=click.Choice(_STATUSES[:-1]), help="Only while the run was in this status.")
@click.option("--before", type=click.IntRange(min=0), metavar="COMMIT", help="Only older ones than this commit.")
@click.option("--limit", type=click.IntRange(min=1), help="Only the newest so many.")
@store_option
@json_option
@in_event_loop
async def history(
    run_id: str,
    *,
    node: str | None,
    kind: str | None,
    status: str | None,
    before: int | None,
    limit: int | None,
    store: Where,
    as_json: bool,
) -> None:
    """Tell a run's history, a line for each node that finished and each other commit, the oldest first.

    Only what is asked for is read back from the newest commit on. All options hold at once.
    """
    told: list[tuple[View[Any], str]] = []
    newer: View[Any] | None = None
    async with store.look() as rt:
        async for view in rt.get(run_id).views(before=before):
            if newer is not None and _fits(newer, node, kind, status):
                told.append((newer, _what_changed(view, newer)))
            newer = view
            if len(told) == limit:
                break
        else:
            if newer is not None and _fits(newer, node, kind, status):
                told.append((newer, ""))
            if newer is not None and newer.parent is not None:
                remark(f"retention let go of what was before commit {newer.seq}")
    told.reverse()
    if as_json:
        say_json({**_facts(view), "note": note} for view, note in told)
        return
    say_table(
        ("COMMIT", "WHAT", "NODE", "TOOK", "BYTES", "WROTE", "PID", "NOTE"),
        [
            (
                str(view.seq),
                view.kind,
                view.node or "-",
                "-" if view.took is None else f"{view.took:.3f}s",
                f"{view.size:,}",
                ", ".join(view.writes) or "-",
                str(view.owner.pid),
                "; ".join(filter(None, (note, _error(view)))),
            )
            for view, note in told
        ],
    )


@click.command("diff", cls=Command)
@click.argument("run_id", metavar="RUN")
@click.argument("old", metavar="COMMIT", callback=to_point)
@click.argument("new", metavar="[COMMIT]", required=False, callback=to_point)
@store_option
@json_option
@in_event_loop
async def diff_(run_id: str, old: str, new: str | None, store: Where, *, as_json: bool) -> None:
    """Say what changed in a run's state from one commit to another, or to now."""
    async with store.look() as rt:
        changes = await rt.get(run_id).diff(old, new)
    if as_json:
        say_json(changes)
        return
    for change in changes:
        if change.added is not None:
            say(visible(f"{change.field}: {len(change.added):,} more"))
            say(json_brief(change.added))
        else:
            say(visible(f"{change.field}:"))
            for mark, value, there in (("-", change.old, change.was_there), ("+", change.new, change.is_there)):
                if there:
                    say("\n".join(f"{mark} {line}" for line in json_brief(value).split("\n")))
    remark(f"{len(changes)} field{'s' * (len(changes) != 1)} changed" if changes else "the states are the same")


@click.command(cls=Command)
@click.argument("run_id", metavar="[RUN]", required=False)
@click.option("--repair", is_flag=True, help="Put right what can be put right without giving anything up.")
@store_option
@json_option
@click.pass_context
@in_event_loop
async def verify(ctx: click.Context, run_id: str | None, store: Where, *, repair: bool, as_json: bool) -> None:
    """Read every byte of a run's files, or of a whole store, and say what is not as it should be.

    Exits with 4 if a run can't be read because of it. With --repair the index
    that leads to runs is put right from their commits; a commit is never
    touched, and a damaged one is left to ``actorflow repair``.
    """
    async with store.open() if repair else store.look() as rt:
        findings = await rt.verify(run_id, repair=repair)
    if as_json:
        say_json(findings)
    else:
        for finding in findings:
            say(visible(f"{'BROKEN ' if finding.broken else ''}{finding.path}: {finding.what}"))
            say(visible(f"  {'repaired' if finding.repaired else finding.remedy}"))
        remark(f"{len(findings)} finding{'s' * (len(findings) != 1)}" if findings else "everything is as it should be")
    if any(finding.broken for finding in findings):
        ctx.exit(Exit.CORRUPT)


def _facts(checkpoint: View[Any]) -> dict[str, Any]:
    """A checkpoint without its state."""
    return {
        "run": checkpoint.run_id,
        "commit": checkpoint.seq,
        "record": checkpoint.record,
        "kind": checkpoint.kind,
        "node": checkpoint.node,
        "status": checkpoint.status,
        "open": checkpoint.frontier,
        "wrote": list(checkpoint.writes),
        "took": checkpoint.took,
        "error": checkpoint.error
        and {
            "type": checkpoint.error.type,
            "message": checkpoint.error.message,
            "traceback": checkpoint.error.traceback,
        },
        "time": checkpoint.time,
        "epoch": checkpoint.epoch,
        "opening": checkpoint.opening,
        "host": checkpoint.owner.host,
        "pid": checkpoint.owner.pid,
        "schema": checkpoint.schema,
        "version": checkpoint.version,
        "bytes": checkpoint.size,
        "tags": checkpoint.tags,
    }


def _fits(view: View[Any], node: str | None, kind: str | None, status: str | None) -> bool:
    return node in (None, view.node) and kind in (None, view.kind) and status in (None, view.status)


def _what_changed(before: View[Any], after: View[Any]) -> str:
    """What a reader wants to know of the step between two checkpoints beside the node that ran."""
    notes: list[str] = []
    if after.epoch != before.epoch:
        notes.append(_how_taken_up(before, after))
    if after.version != before.version:
        notes.append(f"{_version(before)} -> {_version(after)}")
    if after.status != before.status:
        notes.append(after.status)
    return ", ".join(notes)


def _how_taken_up(before: View[Any], after: View[Any]) -> str:
    if after.opening != before.opening:
        return "reopened"
    if before.kind == "released":
        return "resumed"
    if (before.owner.host, before.owner.pid) == (after.owner.host, after.owner.pid):
        return "restarted after a crash in the same process"
    return f"resumed, process {before.owner.pid} had not let go"


def _error(checkpoint: View[Any]) -> str:
    return "" if checkpoint.error is None else f"{checkpoint.error.type}: {checkpoint.error.message}"


def _version(checkpoint: View[Any]) -> str:
    return "without version" if checkpoint.version is None else f"version {checkpoint.version}"


def _status(info: RunInfo) -> str:
    """The status, and whether nobody carries on what should be."""
    return f"{info.status} (orphan)" if info.status == "running" and info.owned is False else info.status


def _summary(found: list[RunInfo], store: Where) -> str:
    text = f"{len(found)} run{'s' * (len(found) != 1)} in {store}"
    odd = next((info for info in found if info.status in ("corrupt", "failed", "quarantined")), None)
    if odd is None:
        return text
    command = "verify" if odd.status == "corrupt" else "history"
    return f"{text}; see actorflow {command}{store.option} {quoted(odd.id)}"


def _ago(moment: float) -> str:
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit} ago"
    return f"{seconds}s ago"


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
