"""Output: lines, tables and JSON lines on standard output, remarks on standard error."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import click

from actorflow.cli.text import json_line, visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

STYLES = {
    "finished": "green",
    "running": "cyan",
    "running (orphan)": "yellow",
    "waiting": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "quarantined": "red",
    "blocked": "red",
    "corrupt": "bold red",
}


def say(text: str) -> None:
    """A line of the answer."""
    click.echo(text)


def remark(text: str) -> None:
    """A line about what happens, beside the answer."""
    click.echo(text, err=True)


def say_json(rows: Iterable[Any]) -> None:
    """One line of JSON for each row."""
    for row in rows:
        click.echo(json_line(row))


def say_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: coloured and fitted to the width of a terminal, else as plain aligned columns of whole values."""
    cells = [[visible(cell) for cell in row] for row in rows]
    if sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb":
        _say_rich_table(head, cells)
        return
    widths = [max(len(row[column]) for row in (list(head), *cells)) for column in range(len(head))]
    for row in (list(head), *cells):
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _say_rich_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*head, box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for row in rows:
        table.add_row(*(Text(cell, style=STYLES.get(cell, "")) for cell in row))
    Console().print(table)
