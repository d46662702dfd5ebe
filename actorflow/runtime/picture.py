"""Picture: how far a run has come in each node, told from its history. Needs no claim, and nobody notices."""

from __future__ import annotations

import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field
from msgspec.structs import replace

from actorflow.engine.records import Failed, Finished, Rewound, Spawned, Updated
from actorflow.engine.run import ROOT, RunState
from actorflow.errors import CheckpointGone, CorruptCheckpoint, RunError
from actorflow.graph.progress import NOTHING, Progress
from actorflow.runtime.history import stretches, unless_gone
from actorflow.runtime.replay import steps

if TYPE_CHECKING:
    from actorflow.engine.run import Activation
    from actorflow.graph.graph import Graph
    from actorflow.graph.plan import Plan
    from actorflow.graph.progress import Path, Tally
    from actorflow.runtime.history import Graphs
    from actorflow.runtime.large import Joiner
    from actorflow.runtime.replay import Step
    from actorflow.store.frames import Frame
    from actorflow.store.store import Store

_OWN = re.compile(r"(\[\d+\])?(#\d+)?(/|$)")
"""What follows the name of a node in the path of a scope: the index of an item, and what tells two apart."""

_ATTEMPTS = 20

Place = tuple[str, str]
"""The path of a scope, and the name of a node in it, as the history has them."""


class _Story(Struct):
    """What a history says of a run, told from its newest commit back."""

    run: RunState  # as of the newest commit
    graph: str
    failed_by: int | None = None  # the activation that the run failed by last
    done: Counter[Place] = field(default_factory=Counter[Place])
    failed: Counter[Place] = field(default_factory=Counter[Place])  # and another node took over
    whole: bool = False  # it begins with the spawn
    until: tuple[int, float] | None = None  # the commit and record to which the run went back

    def add(self, seq: int, step: Step) -> None:
        """Take in the record before those that were added."""
        record, at = step.record, (seq, step.number)
        self.whole = isinstance(record, Spawned)
        if self.until is not None and at > self.until:
            return  # a rewind has taken it back
        match record:
            case Rewound(seq=back, record=index):
                self.until = (back, float("inf") if index is None else index)
            case Failed(id=id_) if self.failed_by is None:
                self.failed_by = id_
            case Finished(opens=opens) if step.node is not None:
                handled = any(opened.error is not None for opened in opens)
                (self.failed if handled else self.done)[step.scope, step.node] += 1
            case Updated(node=str(node), scope=scope):
                self.done[scope, node] += 1
            case _:
                pass


def find_progress(store: Store, run_id: str, graphs: Graphs) -> tuple[Progress, Graph[Any]]:
    """How far a run has come, and the graph that it is a run of. Blocking.

    What a rewind took back does not count. What retention let go of is not
    known, nor what a fork did before it was one: then nothing is skipped.

    Raises:
        NoSuchRun, RunDeleted, CorruptCheckpoint
        RunError: its graph is not registered here.
    """
    story = _read(store, run_id)
    graph = graphs(story.graph)
    if graph is None:
        raise RunError(run_id, f"the graph of run {run_id!r}, {story.graph!r}, is not registered here; register it")
    return _progress(story, graph), graph


def _read(store: Store, run_id: str) -> _Story:
    newest = -1
    for _ in range(_ATTEMPTS):
        story: _Story | None = None
        for stretch in stretches(store, run_id):
            told = unless_gone(store, run_id, stretch, partial(_told, stretch))
            if told is None:
                break
            run, records = told
            if story is None:
                newest = stretch[-1].header.seq
                story = _Story(run, stretch[0].file.graph)
            for seq, step in reversed(records):
                story.add(seq, step)
        if story is not None:
            return story
    raise CheckpointGone(run_id, newest, newest + 1)


def _told(frames: list[Frame], joiner: Joiner) -> tuple[RunState, list[tuple[int, Step]]]:
    """The run as of the last of these commits, and the records in them."""
    run: RunState | None = None
    records: list[tuple[int, Step]] = []
    for frame, run, step in steps(frames, joiner):  # noqa: B007 - the last one counts
        records.append((frame.header.seq, step))
    if run is None:
        raise CorruptCheckpoint(frames[0].path, "none of these commits holds a record")
    return run, records


def _progress(story: _Story, graph: Graph[Any]) -> Progress:
    run, plan = story.run, graph.plan
    nodes: dict[Path, Tally] = {}

    def tally(place: Place) -> tuple[Path, Tally] | None:
        """Where the node is in the graph, and what is known of it; None: there is no such node any more."""
        scope, node = place
        around = scopes_in(plan, scope)
        if around is None:
            return None
        moved = graph.moves.get(node, node) if scope == ROOT else node
        path = (*around, str(moved))
        return path, nodes.get(path, NOTHING)

    for place, count in story.done.items():
        if found := tally(place):
            nodes[found[0]] = replace(found[1], done=found[1].done + count)
    for place, count in story.failed.items():
        if found := tally(place):
            nodes[found[0]] = replace(found[1], failed=found[1].failed + count)
    failed = _with_owners(run, story.failed_by) if run.status == "failed" else set[int]()
    busy = _busy(run)
    for activation in run.open.values() if run.status not in ("finished", "cancelled") else ():
        found = tally((activation.scope, activation.node))
        if found is None or activation.fan is not None:  # an item is told of by the owner of its fan-out
            continue
        path, its = found
        if activation.id in failed:
            its = replace(its, failed=its.failed + 1)
        elif activation.id in busy:
            its = replace(its, open=its.open + 1)
        else:
            its = replace(its, waiting=its.waiting + 1)
        if (fan := run.fans.get(activation.id)) is not None:
            its = replace(its, items=its.items + fan.done, total=its.total + fan.total)
        nodes[path] = its
    over = story.whole and run.status in ("finished", "cancelled")
    return Progress(run_id=run.run_id, status=run.standing, nodes=nodes, over=over)


def _with_owners(run: RunState, activation: int | None) -> set[int]:
    """An activation and those whose items or scopes it is in."""
    found: set[int] = set()
    one: Activation | None = None if activation is None else run.open.get(activation)
    while one is not None:
        found.add(one.id)
        one = run.owner_of(one)
    return found


def _busy(run: RunState) -> set[int]:
    """The activations that go on, or in which something does; the others wait for answers."""
    found: set[int] = set()
    for activation in run.open.values():
        if not activation.asks and not (run.owns(activation) and not activation.queued):
            found |= _with_owners(run, activation.id)
    return found


def scopes_in(plan: Plan, path: str) -> Path | None:
    """The nodes that a scope is inside of, from its path; None if the graph has no such scope any more."""
    if not path:
        return ()
    for name, node in plan.nodes.items():
        if node.inner is None or not path.startswith(name):
            continue
        rest = path[len(name) :]
        own = _OWN.match(rest)
        deeper = None if own is None else scopes_in(node.inner.plan, rest[own.end() :])
        if deeper is not None:
            return (name, *deeper)
    return None
