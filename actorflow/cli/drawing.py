"""Drawing: the command that makes a picture of a graph, and of how far a run of it has come: ``graph``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from actorflow.cli.command import Command, in_event_loop
from actorflow.cli.output import remark, say
from actorflow.cli.store import store_option
from actorflow.cli.target import target_argument
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from actorflow.cli.store import Where
    from actorflow.cli.target import Target

Format = Literal["text", "mermaid", "svg", "dot"]

_FORMATS: dict[str, Format] = {".mmd": "mermaid", ".mermaid": "mermaid", ".svg": "svg", ".dot": "dot", ".gv": "dot"}


@click.command(cls=Command)
@target_argument()
@click.option(
    "--format", type=click.Choice(["text", "mermaid", "svg", "dot"]), help="By default as the file is called."
)
@click.option("--folded", is_flag=True, help="Draw a graph inside another as one node.")
@click.option("--run", "run_id", metavar="RUN", help="Show how far this run has come.")
@click.option("-o", "--output", type=click.Path(dir_okay=False), metavar="FILE", help="Write it there.")
@store_option
@in_event_loop
async def graph(
    target: Target, format: Format | None, run_id: str | None, output: str | None, store: Where, *, folded: bool
) -> None:
    """Draw a graph: as lines, a Mermaid flowchart, an SVG image, or for Graphviz. Nothing of it is run.

    With --run, the nodes that are done, open, waiting, failed or skipped are
    marked; only then is a store looked at.
    """
    if format is None:
        format = "text" if output is None else _FORMATS.get(Path(output).suffix.lower(), "text")
    if run_id is None:
        picture = target.graph.draw(format, expand=not folded)
    else:
        async with store.look() as rt:
            rt.register(target.graph)
            picture = await rt.get(run_id).picture(format, expand=not folded)
    if output is None:
        say(picture.rstrip("\n"))
        return
    with click.open_file(output, "w", "utf-8", lazy=True) as file:  # whose errors name the file
        file.write(picture)
    remark(f"wrote {visible(output)}")
