"""Locking: the commands that keep the schemas of a graph in a file, and check the code against it in CI."""

from __future__ import annotations

from pathlib import Path

import click

from actorflow import SchemaLock
from actorflow.cli.command import Command, Refusal
from actorflow.cli.exits import Exit
from actorflow.cli.output import remark, say
from actorflow.cli.target import Target, target_argument
from actorflow.cli.text import visible

DEFAULT = "schema.lock.json"

_file_option = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=DEFAULT,
    show_default=True,
    help="The lock: keep it with the code.",
)


@click.group()
def schema() -> None:
    """Keep the schemas of saved runs in a file beside the code, and check the code against it."""


@schema.command(cls=Command)
@target_argument()
@_file_option
@click.option("--replace", is_flag=True, help="Whatever was locked of this version: nothing was saved under it yet.")
def lock(target: Target, file: Path, *, replace: bool) -> None:
    """Write the schema of a graph, as it is now, into the lock; other versions stay in it.

    A version that is locked with other fields is refused: give the State a new
    one. Fields that were added with a default are taken in.
    """
    known = _read(file) if file.exists() else SchemaLock()
    file.write_bytes(known.add(target.graph, replace=replace).dump())
    remark(f"{visible(str(file))} holds the schema of graph {target.graph.name!r}")


@schema.command(cls=Command)
@target_argument()
@_file_option
@click.pass_context
def check(ctx: click.Context, target: Target, file: Path) -> None:
    """Say why runs that were saved could not go on with this code. For CI: exits with 5 if there is a reason.

    Fails if fields changed and the version did not, if there is no chain of
    migrations from a version that is locked, or if the lock is not up to date.
    """
    problems = _read(file).problems(target.graph)
    for problem in problems:
        say(visible(problem))
    if problems:
        ctx.exit(Exit.BLOCKED)
    remark(f"the schema of graph {target.graph.name!r} is as it is locked in {visible(str(file))}")


def _read(file: Path) -> SchemaLock:
    try:
        return SchemaLock.parse(file.read_bytes())
    except FileNotFoundError:
        message = f"there is no {visible(str(file))!r}"
        raise Refusal(message, Exit.NOT_FOUND, "actorflow schema lock module:graph, which makes one") from None
    except (OSError, ValueError) as error:
        raise click.BadParameter(visible(f"{file}: {error}"), param_hint="--file") from error
