"""Developing: the command ``dev``, which goes on with the runs of a graph and takes each new version of its source."""

from __future__ import annotations

import os
import signal
import time
import traceback
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import click
from anyio import to_thread

from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.contexts import context_for, context_option
from actorflow.cli.fresh import folder_of, from_sources, replacing
from actorflow.cli.given import to_text
from actorflow.cli.going import input_of, show_warnings
from actorflow.cli.lines import Lines
from actorflow.cli.output import remark
from actorflow.cli.store import store_option
from actorflow.cli.target import NotThere, Target, find_target, target_argument
from actorflow.cli.text import visible
from actorflow.errors import ActorflowError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow import Graph, Runtime
    from actorflow.cli.contexts import Source
    from actorflow.cli.store import Where

STORE = "actorflow.json"
"""The file by which a folder is known to be a store."""


@click.command("dev", cls=Command)
@target_argument()
@click.option("--id", "run_id", metavar="ID", help="Begin a run of this id, or go on with it.")
@click.option(
    "--state", "given", callback=to_text, metavar="JSON|@FILE", help="Begin a run with this input, as `run` takes it."
)
@click.option(
    "--drain",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="At a change, nodes that still run after so long are cancelled, and run again with the new code.",
)
@store_option
@context_option
@in_event_loop
async def dev(
    *, target: Target, run_id: str | None, given: str | None, drain: float, store: Where, source: Source | None
) -> None:
    """Go on with the runs of a graph, and with the new code whenever its source changes.

    Watches the folder of the module. What does not import, does not check or
    can't go on with one of the runs is told, and all stay on the code before.
    Ctrl-C finishes what runs and lets go of the runs.
    """
    began = time.time()
    graph = target.graph
    state = None if given is None else input_of(graph, given)
    show_warnings()
    clients = await context_for(graph, source)
    async with store.develop(graph, Lines(), context=clients) as rt, anyio.create_task_group() as tasks:
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            await rt.recover()
            if run_id is not None or state is not None:
                await rt.spawn(graph, state, id=run_id, on_conflict="attach")
            tasks.start_soon(_follow, rt, target, source, began, drain)
            async for _ in signals:
                break
            tasks.cancel_scope.cancel()
        remark("what runs is finished, and the runs are let go of; Ctrl-C again to wait for nothing")


async def _follow(rt: Runtime, target: Target, source: Source | None, since: float, drain: float) -> None:
    """Reload again and again, whenever the source changes; never returns.

    Args:
        rt: where the runs live.
        target: as it was imported.
        source: of the context, if there is one.
        since: when that began, in seconds since 1970.
        drain: as `Runtime.reload` takes it.
    """
    from watchfiles import PythonFilter, awatch

    folder = folder_of(target.place)
    remark(f"watching {visible(str(folder))}")
    while True:
        folders = await to_thread.run_sync(_folders_of, folder)
        begun = False
        async for changes in awatch(
            *folders,
            recursive=False,
            watch_filter=PythonFilter(),
            debounce=200,
            rust_timeout=100,
            yield_on_timeout=True,
        ):
            changed = {path for _, name in changes if _is_source(path := Path(name))}
            if not begun:  # whatever came first says that they are watched by now
                begun = True
                changed |= await to_thread.run_sync(_younger, folders, since)
            if changed:
                since = time.time()
                target = await _reload(rt, target, source, changed, folder=folder, drain=drain)
                if await to_thread.run_sync(_folders_of, folder) != folders:
                    break


async def _reload(
    rt: Runtime, target: Target, source: Source | None, changed: Iterable[Path], *, folder: Path, drain: float
) -> Target:
    """Go on with the source as it is now; the target that goes on, which is the old one if this one can't."""
    what = visible(", ".join(sorted({path.name for path in changed})))
    try:
        with replacing(folder):
            with from_sources():
                # left behind if it never returns: Ctrl-C must not wait for that
                fresh = await to_thread.run_sync(partial(find_target, target.text), abandon_on_cancel=True)
                again = source and await to_thread.run_sync(source.again, abandon_on_cancel=True)
            _check_name(target.graph.name, fresh.graph.name)
            clients = again and await again.make(fresh.graph)
            done = await rt.reload(fresh.graph, drain=drain, context=clients)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's module raises
        remark(f"{what} changed, and all goes on with the code before: {_told(error, folder)}")
        return target
    runs = f"{len(done.runs):,} run{'s' * (len(done.runs) != 1)}"
    migrated = f", {len(done.changed):,} of them migrated or moved" if done.changed else ""
    remark(f"{what} changed: {runs} went on with the new code{migrated}")
    await _tell_blocked(rt, fresh.graph)
    return fresh


async def _tell_blocked(rt: Runtime, graph: Graph[Any]) -> None:
    """Name the runs that can't come back under this code from sleep or elsewhere: a reload asks those that live."""
    try:
        verdicts = await rt.dry_run(graph)
    except ActorflowError as error:
        remark(f"whether the runs that sleep can go on with it is not known: {visible(str(error))}")
        return
    for one in verdicts:
        if one.verdict == "blocked":
            remark(f"{visible(one.run)} is not here, and is blocked from now on: {visible(one.reason or '')}")


def _check_name(before: str, now: str) -> None:
    if now != before:
        raise NotThere(f"graph {before!r} is called {now!r} now, and its runs know it by its name")


def _told(error: BaseException, folder: Path) -> str:
    """An error and, if it is none of ours, where in the folder it was raised."""
    if isinstance(error, ActorflowError | NotThere):
        return "\n".join(map(visible, str(error).split("\n")))
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename).is_relative_to(folder)
    ]
    known = isinstance(error, SyntaxError) or not frames  # which says itself where it is
    where = "" if known else f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
    return visible(f"{type(error).__name__}: {error}{where}")


def _folders_of(folder: Path) -> set[Path]:
    """The folder and those in it where sources may be; not those of stores, which change all the time."""
    from watchfiles import DefaultFilter

    found: set[Path] = set()
    for path, inside, files in os.walk(folder):
        inside[:] = [name for name in inside if not name.startswith(".") and name not in DefaultFilter.ignore_dirs]
        if STORE in files:
            inside.clear()
        else:
            found.add(Path(path))
    return found


def _younger(folders: Iterable[Path], since: float) -> set[Path]:
    """The sources that were changed before anybody watched, and after they may have been imported."""
    found = [path for folder in folders for path in folder.glob("*.py") if _is_source(path)]
    return {path for path in found if path.lstat().st_mtime >= since}


def _is_source(path: Path) -> bool:
    return not path.name.startswith(".")  # by which editors call what they keep beside a file
