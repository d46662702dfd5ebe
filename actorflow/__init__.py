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

from typing import TYPE_CHECKING

from actorflow.errors import ActorflowError

if TYPE_CHECKING:
    from actorflow.engine.policy import RestartPolicy
    from actorflow.graph.cache import Cache
    from actorflow.graph.check import Finding
    from actorflow.graph.codec import Codec
    from actorflow.graph.context import Context
    from actorflow.graph.effects import Done, Intent, NotDone, Unknown
    from actorflow.graph.fan import ItemError
    from actorflow.graph.graph import Graph
    from actorflow.graph.lock import SchemaLock
    from actorflow.graph.message import Down, Envelope, Mailbox, Message
    from actorflow.graph.middleware import Middleware, degrade, timing
    from actorflow.graph.migrate import Migration, migrate
    from actorflow.graph.progress import Progress
    from actorflow.graph.reducers import Overwrite, Remove, append, bounded, dedupe, extend, merge, merge_by
    from actorflow.graph.retry import Retry
    from actorflow.graph.routing import END, End, Goto, Reply, Send
    from actorflow.graph.state import State, Update
    from actorflow.graph.timeouts import Timeout
    from actorflow.runtime.archive import Archived
    from actorflow.runtime.boxes import DeadLetter, Letter
    from actorflow.runtime.care import Collected
    from actorflow.runtime.checkpoint import Checkpoint
    from actorflow.runtime.difference import Change, diff
    from actorflow.runtime.dryrun import Verdict
    from actorflow.runtime.events import (
        CommitEvent,
        DataEvent,
        DroppedEvent,
        Event,
        HookEvent,
        NodeEvent,
        Offset,
        ProgressEvent,
        UpdateEvent,
        ValuesEvent,
        WaitEvent,
    )
    from actorflow.runtime.listing import RunInfo
    from actorflow.runtime.overview import OpenMap, Overview
    from actorflow.runtime.rekeying import Rekeyed
    from actorflow.runtime.reload import Reloaded
    from actorflow.runtime.run import Run
    from actorflow.runtime.runtime import Runtime
    from actorflow.runtime.scheduling import Schedule
    from actorflow.runtime.script import run
    from actorflow.runtime.stats import RunStats, SupervisorStats
    from actorflow.runtime.steered import Interrupt
    from actorflow.runtime.stream import EventStream
    from actorflow.runtime.supervisor import Supervisor
    from actorflow.runtime.validation import Commit
    from actorflow.runtime.view import View
    from actorflow.store.backend import Backend
    from actorflow.store.doctor import Diagnosis, doctor
    from actorflow.store.keyring import Keyring
    from actorflow.store.observing import LoggingBackend, MetricsBackend
    from actorflow.store.retention import Retention
    from actorflow.store.sealing import Sealing
    from actorflow.store.wrappers import RetryingBackend, WrappedBackend
else:
    # A name's module is imported when the name is first asked for, so that a file which declares a graph
    # does not load the store and the runtime. Type checkers and readers see the imports above.
    _HOME = {
        "Archived": "runtime.archive",
        "Backend": "store.backend",
        "Cache": "graph.cache",
        "Change": "runtime.difference",
        "Checkpoint": "runtime.checkpoint",
        "Codec": "graph.codec",
        "Collected": "runtime.care",
        "Commit": "runtime.validation",
        "CommitEvent": "runtime.events",
        "Context": "graph.context",
        "DataEvent": "runtime.events",
        "DeadLetter": "runtime.boxes",
        "Diagnosis": "store.doctor",
        "Done": "graph.effects",
        "Down": "graph.message",
        "DroppedEvent": "runtime.events",
        "END": "graph.routing",
        "End": "graph.routing",
        "Envelope": "graph.message",
        "Event": "runtime.events",
        "EventStream": "runtime.stream",
        "Finding": "graph.check",
        "Goto": "graph.routing",
        "Graph": "graph.graph",
        "HookEvent": "runtime.events",
        "Intent": "graph.effects",
        "Interrupt": "runtime.steered",
        "ItemError": "graph.fan",
        "Keyring": "store.keyring",
        "Letter": "runtime.boxes",
        "LoggingBackend": "store.observing",
        "Mailbox": "graph.message",
        "Message": "graph.message",
        "MetricsBackend": "store.observing",
        "Middleware": "graph.middleware",
        "Migration": "graph.migrate",
        "NodeEvent": "runtime.events",
        "NotDone": "graph.effects",
        "Offset": "runtime.events",
        "OpenMap": "runtime.overview",
        "Overview": "runtime.overview",
        "Overwrite": "graph.reducers",
        "Progress": "graph.progress",
        "ProgressEvent": "runtime.events",
        "Rekeyed": "runtime.rekeying",
        "Reloaded": "runtime.reload",
        "Remove": "graph.reducers",
        "Reply": "graph.routing",
        "RestartPolicy": "engine.policy",
        "Retention": "store.retention",
        "Retry": "graph.retry",
        "RetryingBackend": "store.wrappers",
        "Run": "runtime.run",
        "RunInfo": "runtime.listing",
        "RunStats": "runtime.stats",
        "Runtime": "runtime.runtime",
        "SchemaLock": "graph.lock",
        "Sealing": "store.sealing",
        "Send": "graph.routing",
        "Schedule": "runtime.scheduling",
        "State": "graph.state",
        "Supervisor": "runtime.supervisor",
        "SupervisorStats": "runtime.stats",
        "Timeout": "graph.timeouts",
        "Unknown": "graph.effects",
        "Update": "graph.state",
        "UpdateEvent": "runtime.events",
        "ValuesEvent": "runtime.events",
        "Verdict": "runtime.dryrun",
        "View": "runtime.view",
        "WaitEvent": "runtime.events",
        "WrappedBackend": "store.wrappers",
        "append": "graph.reducers",
        "bounded": "graph.reducers",
        "dedupe": "graph.reducers",
        "degrade": "graph.middleware",
        "diff": "runtime.difference",
        "doctor": "store.doctor",
        "extend": "graph.reducers",
        "merge": "graph.reducers",
        "merge_by": "graph.reducers",
        "migrate": "graph.migrate",
        "run": "runtime.script",
        "timing": "graph.middleware",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module

        value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


__all__ = [
    "END",
    "ActorflowError",
    "Archived",
    "Backend",
    "Cache",
    "Change",
    "Checkpoint",
    "Codec",
    "Collected",
    "Commit",
    "CommitEvent",
    "Context",
    "DataEvent",
    "DeadLetter",
    "Diagnosis",
    "Done",
    "Down",
    "DroppedEvent",
    "End",
    "Envelope",
    "Event",
    "EventStream",
    "Finding",
    "Goto",
    "Graph",
    "HookEvent",
    "Intent",
    "Interrupt",
    "ItemError",
    "Keyring",
    "Letter",
    "LoggingBackend",
    "Mailbox",
    "Message",
    "MetricsBackend",
    "Middleware",
    "Migration",
    "NodeEvent",
    "NotDone",
    "Offset",
    "OpenMap",
    "Overview",
    "Overwrite",
    "Progress",
    "ProgressEvent",
    "Rekeyed",
    "Reloaded",
    "Remove",
    "Reply",
    "RestartPolicy",
    "Retention",
    "Retry",
    "RetryingBackend",
    "Run",
    "RunInfo",
    "RunStats",
    "Runtime",
    "Schedule",
    "SchemaLock",
    "Sealing",
    "Send",
    "State",
    "Supervisor",
    "SupervisorStats",
    "Timeout",
    "Unknown",
    "Update",
    "UpdateEvent",
    "ValuesEvent",
    "Verdict",
    "View",
    "WaitEvent",
    "WrappedBackend",
    "append",
    "bounded",
    "dedupe",
    "degrade",
    "diff",
    "doctor",
    "extend",
    "merge",
    "merge_by",
    "migrate",
    "run",
    "timing",
]
