"""fold: a run and a record make the run after it. Reads no graph and calls no user code.

The run passed in is spent: containers of it are changed in place, because
copying them for each record would double its cost. Only `Values` are never
changed (see operations.py), so bases stay what they were.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.merge import plain_writes
from actorflow.engine.operations import apply
from actorflow.engine.records import (
    Attempted,
    Claimed,
    Ended,
    Failed,
    Finished,
    Imported,
    Merged,
    Offered,
    Open,
    Record,
    Released,
    Repaired,
    Spawned,
)
from actorflow.engine.run import NOTHING, ROOT, Activation, RunState, Scope, Token, Unseen

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.engine.operations import Operation

ASKED = "?"
"""Stands among a parked token's offered targets once the branches of its leaf have been asked."""


def begin(record: Spawned) -> RunState:
    """The run that a spawn makes."""
    run = RunState(
        run_id=record.run_id,
        life=record.life,
        graph=record.graph,
        topology=record.topology,
        durability=record.durability,
        digest=record.digest,
        scopes={ROOT: Scope(path=ROOT, values=record.values)},
    )
    _open(run, ROOT, record.opens, NOTHING)
    return run


def fold(run: RunState, record: Record) -> RunState:
    """The run after the record. The run passed in is spent."""
    match record:
        case Finished():
            _finish(run, record)
        case Merged(id=id_, operations=operations):
            activation = run.open[id_]
            _write(run, activation, operations)
            activation.merged = True
        case Attempted(id=id_, attempt=attempt, due=due):
            run.open[id_].attempt = attempt
            run.open[id_].due = due
        case Claimed(epoch=epoch, opening=opening):
            run.epoch = epoch
            if opening > run.opening:
                _reopen(run, opening)
        case Offered():
            _offer(run, record)
        case Failed(id=id_, error=error):
            run.status = "failed"
            run.error = error
            run.failed_in = run.open[id_].node if id_ is not None else None
        case Ended(status=status):
            run.status = status
        case Released() | Imported() | Repaired():
            pass
        case Spawned():
            return begin(record)
    return run


def _finish(run: RunState, record: Finished) -> None:
    activation = run.open[record.id]
    _write(run, activation, record.operations)
    del run.open[record.id]
    scope = run.scopes[activation.scope]
    for target, leg in record.puts:
        legs = scope.waiting.setdefault(target, {})
        legs.setdefault(leg, []).append(Token(activation.key, activation.unseen))
    if record.parks:
        scope.parked[activation.node] = Token(activation.key, activation.unseen)
    _open(run, activation.scope, record.opens, activation.unseen)
    run.last_node = activation.node


def _write(run: RunState, activation: Activation, operations: tuple[Operation, ...]) -> None:
    scope = run.scopes[activation.scope]
    scope.values = apply(operations, scope.values)
    writes = plain_writes(operations)
    if writes:
        for other in run.open_in(scope.path):
            if other is not activation:
                other.unseen |= writes
        for token in run.tokens_in(scope.path):
            token.unseen |= writes


def _open(run: RunState, path: str, opens: Iterable[Open], inherited: Unseen) -> None:
    scope = run.scopes[path]
    for opened in opens:
        taken = [_take(scope, opened.node, leg) for leg in opened.takes]
        for leaf in opened.parked:  # it stays, for whatever the graph grows next
            scope.parked[leaf].offered |= {opened.node}
            taken.append(scope.parked[leaf])
        unseen = taken[0].unseen if taken else inherited
        for token in taken[1:]:
            unseen &= token.unseen
        run.open[run.next_id] = Activation(
            id=run.next_id, key=opened.key, node=opened.node, scope=path, base=scope.values, unseen=unseen
        )
        run.next_id += 1
        run.activations += 1


def _take(scope: Scope, target: str, leg: str) -> Token:
    legs = scope.waiting[target]
    token = legs[leg].pop(0)
    if not legs[leg]:
        del legs[leg]
    if not legs:
        del scope.waiting[target]
    return token


def _offer(run: RunState, record: Offered) -> None:
    run.topology = record.topology
    _open(run, ROOT, record.opens, NOTHING)
    for leaf in record.routed:
        run.root.parked[leaf].offered |= {ASKED}


def _reopen(run: RunState, opening: int) -> None:
    run.opening = opening
    run.status = "running"
    run.error = None
    run.failed_in = None
    run.activations = 0
    for activation in run.open.values():
        activation.attempt = 0
        activation.due = None
