"""Validation: a rule of the user's own that every commit must pass before anything of it is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from actorflow.engine.records import Status
from actorflow.errors import CommitRefused
from actorflow.graph.state import State


class Commit(Struct, frozen=True):
    """What is about to be committed to a run. The input of a new run is commit 0."""

    run_id: str
    graph: str
    seq: int
    status: Status
    node: str | None  # the last one that finished
    tags: Mapping[str, str]
    state: State  # a copy


Validate = Callable[[Commit], object]
"""Raises to refuse a commit. Called on the event loop: brief, and without I/O."""


def pass_or_refuse(validate: Validate, commit: Commit, *, path: str) -> None:
    """Let the rule look at a commit.

    Raises:
        CommitRefused: it raised; ``__cause__`` is what.
    """
    try:
        validate(commit)
    except Exception as error:
        raise CommitRefused(path, commit.run_id, commit.seq, error) from error
