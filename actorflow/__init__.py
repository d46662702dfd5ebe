"""actorflow: graphs that survive. Kill it at any moment; run it again; it goes on.

Four rooms, and data flows one way through them:

    graph/     declare   State, reducers, Graph: what users write          pure
    engine/    decide    records, fold, decide: what happens next          pure
    store/     keep      frames, logs, claims: bytes that are safe         blocking
    runtime/   act       actors, supervisor, Runtime: carries it out       anyio

    faces (cli, demo) -> runtime -> (store, engine) -> graph -> errors

Errors are in `actorflow.errors`, as one tree.
"""

from __future__ import annotations

from actorflow.engine.policy import RestartPolicy
from actorflow.errors import ActorflowError
from actorflow.graph.check import Finding
from actorflow.graph.context import Context
from actorflow.graph.graph import Graph
from actorflow.graph.migrate import Migration, migrate
from actorflow.graph.reducers import Overwrite, Remove, append, bounded, dedupe, extend, merge, merge_by
from actorflow.graph.retry import Retry
from actorflow.graph.routing import END, End, Goto
from actorflow.graph.state import State, Update
from actorflow.runtime.checkpoint import Checkpoint
from actorflow.runtime.listing import RunInfo
from actorflow.runtime.run import Run
from actorflow.runtime.runtime import Runtime
from actorflow.runtime.script import run

__all__ = [
    "END",
    "ActorflowError",
    "Checkpoint",
    "Context",
    "End",
    "Finding",
    "Goto",
    "Graph",
    "Migration",
    "Overwrite",
    "Remove",
    "RestartPolicy",
    "Retry",
    "Run",
    "RunInfo",
    "Runtime",
    "State",
    "Update",
    "append",
    "bounded",
    "dedupe",
    "extend",
    "merge",
    "merge_by",
    "migrate",
    "run",
]
