"""Contexts: what nodes read as ``ctx.context``, as the command line names it: ``--context module:factory``."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from actorflow.cli.target import find_object, imported
from actorflow.cli.text import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow import Graph

F = TypeVar("F", bound="Callable[..., Any]")


@dataclass(frozen=True)
class Source:
    """Where a context comes from, and how that was named."""

    text: str
    found: Any

    @property
    def option(self) -> str:
        """``--context TEXT`` as it is typed, after a space."""
        return f" --context {self.text}"

    def again(self) -> Source:
        """What is there under this name now that its module was imported anew.

        Raises:
            What its module raises.
        """
        return Source(self.text, find_object(self.text))

    async def make(self, graph: Graph[Any]) -> Any:
        """What was named, or what comes out of it if it is a function or a class, and not what the graph wants itself.

        Raises:
            What the function raises.
        """
        if not callable(self.found) or (inspect.isclass(graph.context_type) and _is_one(self.found, graph)):
            return self.found
        made = self.found()
        return await made if inspect.isawaitable(made) else made


async def context_for(graph: Graph[Any], source: Source | None) -> Any:
    """The context of a command's runs; None if none was named.

    Raises:
        BadParameter: it could not be made.
    """
    if source is None:
        return None
    try:
        return await source.make(graph)
    except Exception as error:
        context = click.get_current_context(silent=True)
        if context is not None and context.find_root().params.get("traceback"):
            traceback.print_exc()
        message = visible(f"{source.text!r} raised {type(error).__name__}: {error}")
        raise click.BadParameter(message, param_hint="--context") from error


def context_option(function: F) -> F:
    """The option ``--context``; the command gets a `Source` or None."""
    return click.option(
        "--context",
        "source",
        metavar="MODULE:NAME",
        callback=_to_source,
        envvar="ACTORFLOW_CONTEXT",
        show_envvar=True,
        help="What nodes read as ctx.context: a value, or what a function without arguments returns, async or not.",
    )(function)


def _to_source(ctx: click.Context, param: click.Parameter, value: str | None) -> Source | None:
    return None if value is None else Source(value, imported(ctx, param, value, find_object))


def _is_one(found: object, graph: Graph[Any]) -> bool:
    try:
        return isinstance(found, graph.context_type or ())
    except TypeError:  # nobody can tell
        return False
