"""Command: how every command ends: one line that says what is wrong, the command that helps, and an exit status."""

from __future__ import annotations

import functools
import re
import traceback
from typing import TYPE_CHECKING, Any, ParamSpec

import anyio
import click

from actorflow.cli.exits import Exit, exit_of, is_expected, remedy_for
from actorflow.cli.text import visible
from actorflow.errors import GraphError, RunFailed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")

_CALLS = re.compile(
    r"; (use |find out why, then )?(spawn|resume|history|answer|unpause|input|interrupts|pause)\(.*|; give context=.*",
    re.DOTALL,
)
"""The remedy in code that messages of the library end with: here it is a command instead."""


class Refusal(click.ClickException):
    """An error as the user sees it."""

    def __init__(self, message: str, status: Exit, remedy: str | None = None) -> None:
        super().__init__(message)
        self.exit_code = int(status)  # type: ignore[misc] # click reads it from the instance
        self.remedy = remedy

    def show(self, file: Any = None) -> None:
        """Print it to standard error."""
        click.echo(f"error: {self.message}", file=file, err=True)
        if self.remedy is not None:
            click.echo(f"  try: {self.remedy}", file=file, err=True)


class Command(click.Command):
    """A command whose errors are told, not traced."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call it; turn what it raises into a `Refusal`."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:  # who reads the output, say `head`, has had enough: click leaves in silence
            raise
        except KeyboardInterrupt:
            raise Refusal("interrupted", Exit.INTERRUPTED) from None
        except Exception as error:
            traced = bool(ctx.find_root().params.get("traceback"))
            if traced:
                traceback.print_exc()
            raise _refusal(error, ctx, traced=traced) from error


def _refusal(error: Exception, ctx: click.Context, *, traced: bool) -> Refusal:
    remedy = remedy_for(error, ctx.params)
    if not is_expected(error):
        message = f"{type(error).__name__}: {error}"
        remedy = None if traced else "actorflow --traceback ..., which shows where it comes from"
        return Refusal(visible(message), exit_of(error), remedy)
    message = _CALLS.sub("", str(error))
    if isinstance(error, RunFailed) and error.__cause__ is not None:
        message += f" ({type(error.__cause__).__name__})"
    lines = message.split("\n") if isinstance(error, GraphError) else [message]  # which has a line for each problem
    return Refusal("\n".join(map(visible, lines)), exit_of(error), remedy)


def in_event_loop(function: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """An async function as the plain one that click calls."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> None:
        anyio.run(functools.partial(function, *args, **kwargs))

    return call
