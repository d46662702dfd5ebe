"""Exits: what each exit status means, which error leads to it, and the command that helps."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from actorflow import errors
from actorflow.cli.text import quoted, visible

if TYPE_CHECKING:
    from collections.abc import Mapping


class Exit(enum.IntEnum):
    """The exit status of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    CORRUPT = 4
    BLOCKED = 5
    OWNED = 6
    STORE = 7
    WAITING = 8
    INTERRUPTED = 130
    TERMINATED = 143


MEANINGS = {
    Exit.OK: "all is well",
    Exit.FAILED: "the run failed, was cancelled or did not answer; runs were left as they are; "
    "the results of the demo differ",
    Exit.USAGE: "wrong usage: options, input, run id, or a graph that can't run",
    Exit.NOT_FOUND: "no such run, checkpoint or store",
    Exit.CORRUPT: "a file is damaged, or the run is quarantined",
    Exit.BLOCKED: "this code can't go on with the run: no migration, newer schema, unknown node",
    Exit.OWNED: "the run is alive in another process",
    Exit.STORE: "the store can't be used: full, denied, unavailable, unsafe",
    Exit.WAITING: "the run waits for an answer, or is paused: nothing of it runs until somebody goes on with it",
    Exit.INTERRUPTED: "interrupted (Ctrl-C); runs can be resumed at once",
    Exit.TERMINATED: "ended by SIGTERM, after what ran just then; runs can be resumed at once",
}

# The first that fits decides: the special ones stand before their parents.
_BY_ERROR: tuple[tuple[type[Exception], Exit], ...] = (
    (errors.RunOwned, Exit.OWNED),
    (errors.RunWaiting, Exit.WAITING),
    (errors.NoSuchRun, Exit.NOT_FOUND),
    (errors.RunDeleted, Exit.NOT_FOUND),
    (errors.Quarantined, Exit.CORRUPT),
    (errors.CorruptCheckpoint, Exit.CORRUPT),
    (errors.Blocked, Exit.BLOCKED),
    (errors.ChildNotBegun, Exit.BLOCKED),
    (errors.MigrationError, Exit.BLOCKED),
    (errors.UnknownNode, Exit.BLOCKED),
    (errors.RunFailed, Exit.FAILED),
    (errors.RunCancelled, Exit.FAILED),
    (errors.AskFailed, Exit.FAILED),
    (errors.NoSuchStore, Exit.NOT_FOUND),
    (errors.BadStoreUrl, Exit.USAGE),
    (errors.StoreError, Exit.STORE),
    (errors.RunError, Exit.USAGE),  # RunExists, WrongGraph, BadRunId
    (errors.GraphError, Exit.USAGE),
    (errors.BadContext, Exit.USAGE),
    (errors.NodeError, Exit.USAGE),  # an input that is no State; a node's own failure comes as RunFailed
    (TimeoutError, Exit.FAILED),  # there was no reply in time
    (LookupError, Exit.NOT_FOUND),  # a checkpoint that the run does not have
)


_CONTEXT = "the same with --context module:name, a value or a function that makes one"


def exit_of(error: Exception) -> Exit:
    """The exit status that tells this error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), Exit.FAILED)


def is_expected(error: Exception) -> bool:
    """Whether an error is one that a command may end with, and no mistake in actorflow."""
    return any(isinstance(error, kind) for kind, _ in _BY_ERROR) or isinstance(error, errors.ActorflowError)


def remedy_for(error: Exception, given: Mapping[str, Any]) -> str | None:
    """The command that helps with an error, for the store, run and graph that the failing command was given."""
    store = "" if given.get("store") in (None, "./.actorflow") else f" --store {quoted(str(given['store']))}"
    graph = str(given.get("target") or "module:graph")
    run = quoted(error.run_id) if isinstance(error, errors.RunError) else quoted(str(given.get("run_id") or "RUN"))
    match error:
        case errors.RunCancelled():
            return f"actorflow resume {run} {graph}{store}"
        case errors.RunWaiting():
            return f"actorflow {'answer' if error.questions else 'unpause'} {run} {graph}{store}"
        case errors.RunFailed():
            return f"actorflow show {run}{store}"
        case errors.Quarantined():
            return f"actorflow history {run}{store}"
        case errors.NoSuchRun() | errors.BadRunId() | errors.RunDeleted():
            return f"actorflow ls{store}"
        case errors.StoreError():
            return _remedy_in_store(error, run if given.get("run_id") else "", store)
        case errors.Blocked() | errors.MigrationError() | errors.UnknownNode():
            return f"actorflow check {graph} --against {quoted(str(given.get('store') or './.actorflow'))}"
        case errors.GraphError() | errors.BadContext():
            return f"actorflow check {graph}" if isinstance(error, errors.GraphError) else _CONTEXT
        case errors.RunError():
            asked = isinstance(error, errors.NotWaiting | errors.BadAnswer | errors.AmbiguousTarget)
            failed = " --dead" if isinstance(error, errors.AskFailed) else ""
            return f"actorflow {'interrupts' if asked else 'mailbox' if failed else 'show'} {run}{failed}{store}"
        case errors.NodeError():
            return "actorflow run --help"
        case LookupError():
            return f"actorflow history {run}{store}"
        case _:
            return None


def _remedy_in_store(error: errors.StoreError, run: str, store: str) -> str | None:
    match error:
        case errors.MissingKey():
            return f"the same with key {visible(error.key_id)} in the variable ACTORFLOW_KEYS too, as id:base64"
        case errors.NotSealed():
            rekey = " ".join(filter(None, ("actorflow rekey", run)))
            why = "if this is from before there were keys (older history is told with that variable, too)"
            return f"ACTORFLOW_REQUIRE={error.found} {rekey}{store}, {why}"
        case errors.NoSuchStore():
            return "actorflow run module:graph, which makes one"
        case errors.CorruptCheckpoint():
            return f"actorflow verify{store}"
        case _:
            return None
