"""Demo: the command that shows a run being killed and going on, with real work on real files."""

from __future__ import annotations

import os
import secrets
import sysconfig
from pathlib import Path

import click

from actorflow.cli.command import Command, Refusal
from actorflow.cli.exits import Exit


@click.command(cls=Command)
@click.argument(
    "folder", metavar="[PATH]", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option("--seed", type=int, help="Kill at the points that belong to this number.")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".actorflow-demo"),
    show_default=True,
    help="Where the store and the log of the work are kept, also of earlier demos.",
)
@click.option(
    "--processes", type=click.IntRange(min=1), help="Worker processes that parse.  [default: as many as cores, up to 4]"
)
@click.option("--limit", type=click.IntRange(min=1), default=2000, show_default=True, help="Files surveyed at most.")
@click.pass_context
def demo(
    ctx: click.Context, folder: Path | None, *, seed: int | None, home: Path, processes: int | None, limit: int
) -> None:
    """Survey Python source in a process that is killed twice, and compare with a run that was not.

    PATH is any folder; without it, the standard library of this Python. The
    files are read and parsed, never run. Exits with 1 if the results differ.
    """
    from actorflow.demo.drive import Demo, Settings, WorkerFailed
    from actorflow.demo.screen import choose_screen

    root = (folder or Path(sysconfig.get_path("stdlib"))).resolve()
    try:
        str(root).encode()
    except UnicodeEncodeError as error:
        raise click.BadParameter("its name is no Unicode text, so no state can hold it", param_hint="PATH") from error
    settings = Settings(
        folder=root,
        home=home,
        seed=secrets.randbelow(10_000) if seed is None else seed,
        processes=processes or min(os.cpu_count() or 1, 4),
        limit=limit,
    )
    try:
        same = Demo(settings, choose_screen()).play()
    except WorkerFailed as error:
        raise Refusal(str(error), Exit.FAILED) from error
    ctx.exit(Exit.OK if same else Exit.FAILED)
