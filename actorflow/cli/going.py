"""Going: the commands that run a graph, ``run`` and ``resume``."""

from __future__ import annotations

import logging
import sys
from signal import Signals
from typing import TYPE_CHECKING, Any, Literal

import anyio
import click
import msgspec

from actorflow.cli.command import Command, Refusal
from actorflow.cli.contexts import context_for, context_option
from actorflow.cli.exits import Exit
from actorflow.cli.given import to_text
from actorflow.cli.output import remark, say
from actorflow.cli.store import store_option
from actorflow.cli.target import Target, target_argument
from actorflow.cli.text import json_whole, quoted, visible
from actorflow.errors import RunExists

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from actorflow import Graph, Run, Runtime, State
    from actorflow.cli.contexts import Source
    from actorflow.cli.store import Where

DRAIN_ON: tuple[Signals, ...] = () if sys.platform == "win32" else (Signals.SIGTERM,)
"""At which signal a run that is carried by a command finishes what runs just now, and is let go of."""

GRAPH_TAG = "graph"
"""The tag under which ``run`` notes how its graph was named: to be shown, never to be imported."""


@click.command("run", cls=Command)
@target_argument()
@click.option("--id", "run_id", metavar="ID", help="The run's id; if there is such a run, it goes on.")
@click.option(
    "--state",
    "given",
    callback=to_text,
    metavar="JSON|@FILE",
    help="The input: fields as JSON, or @FILE (@- is stdin).",
)
@store_option
@context_option
@click.option(
    "--durability",
    type=click.Choice(["sync", "async", "exit"]),
    default="sync",
    show_default=True,
    help="When a successor may start: after the commit, while it is in flight, or regardless of it.",
)
def run(
    *,
    target: Target,
    run_id: str | None,
    given: str | None,
    store: Where,
    source: Source | None,
    durability: Literal["sync", "async", "exit"],
) -> None:
    """Run a graph to its end, and print its final state as JSON.

    Run it again with the same --id after a crash or Ctrl-C: it goes on. What
    has finished is not run again: its result is printed.
    """
    graph = target.graph
    state = None if given is None else input_of(graph, given)
    known = [] if run_id is None else [run_id]

    async def work(rt: Runtime) -> Any:
        rt.register(graph, context=await context_for(graph, source))
        try:
            run = await rt.spawn(graph, state, id=run_id, durability=durability, tags={GRAPH_TAG: target.text})
        except RunExists:
            if run_id is None:
                raise
            await _tell_where(rt, run_id)
            return await rt.run(graph, state, id=run_id)
        known.append(run.id)
        remark(f"run {visible(run.id)} begins")
        return await outcome(run)

    to_the_end(
        work, store.make(drain_on=DRAIN_ON), lambda: again(known[-1], target.text, store, source) if known else None
    )


@click.command("resume", cls=Command)
@click.argument("run_id", metavar="RUN")
@target_argument(required=False, envvar="ACTORFLOW_GRAPH")
@store_option
@context_option
def resume(run_id: str, target: Target | None, store: Where, source: Source | None) -> None:
    """Go on with a run, and print its final state as JSON.

    After a crash, Ctrl-C or a failure, out of quarantine, and under a graph
    that grew. The environment variable ACTORFLOW_GRAPH can name the graph. The
    store can't: it is never asked for code.
    """
    if target is None:
        anyio.run(_show_result, run_id, store)
        return
    graph = target.graph

    async def work(rt: Runtime) -> Any:
        rt.register(graph, context=await context_for(graph, source))
        await _tell_where(rt, run_id)
        return await outcome(await rt.resume(graph, run_id))

    to_the_end(work, store.open(drain_on=DRAIN_ON), lambda: again(run_id, target.text, store, source))


async def outcome(run: Run[Any]) -> Any:
    """How a run ends.

    Raises:
        RunWaiting: it waits for somebody, or is paused: then nothing would come of waiting for it.
        What `Run.result` raises.
    """
    status = await run.wait()
    if status in {"waiting", "paused"}:
        raise await run.waiting(status)
    return await run.result()


def to_the_end(
    work: Callable[[Runtime], Awaitable[Any]],
    opened: AbstractAsyncContextManager[Runtime],
    remedy: Callable[[], str | None],
    *,
    silent: bool = False,
) -> None:
    """Do the work in an open runtime and print what comes out; Ctrl-C lets go of the run and says how to go on.

    So does a SIGTERM at which the runtime drains, once what runs just now is committed.

    Args:
        work: what to do.
        opened: opens the runtime.
        remedy: the command that goes on after that.
        silent: nothing comes out.
    """

    async def main() -> Any:
        async with opened as rt:
            return await work(rt)

    show_warnings()
    try:
        state = anyio.run(main)
    except KeyboardInterrupt:
        message = "interrupted; what is committed is safe, and the run can be resumed at once"
        raise Refusal(message, Exit.INTERRUPTED, remedy()) from None
    except SystemExit:
        message = "ended by a signal; what ran is committed, and the run can be resumed at once"
        raise Refusal(message, Exit.TERMINATED, remedy()) from None
    if not silent:
        say(json_whole(state))


async def _tell_where(rt: Runtime, run_id: str) -> None:
    """Say from where a run goes on, and why it had stopped there."""
    checkpoint = await rt.get(run_id).at()
    if checkpoint.status == "running":
        owner = f"process {checkpoint.owner.pid} on {checkpoint.owner.host}"
        why = "it was let go" if checkpoint.kind == "released" else f"{owner} did not let go of it"
    else:
        why = f"status {checkpoint.status}"
    remark(visible(f"run {run_id} is at commit {checkpoint.seq}; {why}"))


async def _show_result(run_id: str, store: Where) -> None:
    """Without a graph: the result of a run that has finished; for any other run a graph is needed."""
    async with store.look() as rt:
        checkpoint = await rt.get(run_id).at()
    if checkpoint.status != "finished":
        named = checkpoint.tags.get(GRAPH_TAG, "module:graph")
        raise Refusal(
            f"run {visible(run_id)!r} is {checkpoint.status}; to go on with it, name its graph",
            Exit.USAGE,
            again(run_id, named, store, None),
        )
    say(json_whole(checkpoint.values))


def again(run_id: str, graph: str, store: Where, source: Source | None) -> str:
    """The command that goes on with a run."""
    return f"actorflow resume{store.option}{'' if source is None else source.option} {quoted(run_id)} {quoted(graph)}"


def input_of(graph: Graph[Any], given: str) -> State:
    """The input as the graph's State; a field that it does not have is an error, as in code."""
    state_type = graph.state_type
    try:
        fields = msgspec.json.decode(given)
        state: State = graph.schema.codecs.convert(fields, state_type)
    except (UnicodeError, msgspec.DecodeError) as error:
        raise click.BadParameter(visible(str(error)), param_hint="--state") from error
    if unknown := sorted(set(fields) - set(state_type.__struct_fields__)):
        known = ", ".join(state_type.__struct_fields__)
        raise click.BadParameter(
            visible(f"{state_type.__name__} has no {', '.join(unknown)}; its fields are {known}"), param_hint="--state"
        )
    return state


def show_warnings() -> None:
    """What the library logs (restarts, runs left alone) goes to standard error, a line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(levelname)s: %(message)s"))
    logger = logging.getLogger("actorflow")
    if not logger.handlers:
        logger.addHandler(handler)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
