"""Given: callbacks that read what is written on the command line: a text or a file of it, durations, commits, tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from actorflow.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_POINT = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def to_text(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The text itself, or for ``@FILE`` what is in the file; ``@-`` is standard input."""
    if value is None or not value.startswith("@"):
        return value
    try:
        with click.open_file(value[1:], encoding="utf-8") as file:
            return str(file.read())
    except (OSError, UnicodeError) as error:
        raise click.BadParameter(visible(str(error)), ctx, param) from error


def to_seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A number and its unit, as seconds."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{visible(value)!r} is no duration like 90s, 15m, 12h or 30d", ctx, param)
    return int(match[1]) * _SECONDS[match[2]]


def to_point(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """A commit, or a record in it, as `Run.at` takes it."""
    if value is not None and _POINT.fullmatch(value) is None:
        raise click.BadParameter(f"{visible(value)!r} is no commit like 12, or record of it like 12.1", ctx, param)
    return value


def to_tags(ctx: click.Context, param: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Pairs of a tag and its value; no run could have two values for one tag."""
    tags: dict[str, str] = {}
    for pair in values:
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{visible(pair)!r} is no tag: write key=value", ctx, param)
        if tags.setdefault(key, value) != value:
            raise click.BadParameter(f"tag {visible(key)!r} is given two values, and no run has both", ctx, param)
    return tags
