"""Steering: what somebody outside changes about a run: its state, where it goes on, whether it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.keys import key_of, run_key
from actorflow.engine.merge import merge
from actorflow.engine.operations import apply, thaw
from actorflow.engine.records import InputGiven, InputQueued, Open, Paused, Rebased, Tagged, Unpaused, Updated
from actorflow.engine.run import ROOT, Activation
from actorflow.engine.tokens import ask_branches, completed, puts_and_opens
from actorflow.engine.updates import keep, restore
from actorflow.errors import AmbiguousTarget, InputPending, NoSuchTarget, NotPaused

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from actorflow.engine.decision import Decision
    from actorflow.engine.events import Inputting, Pausing, Tagging, Updating
    from actorflow.engine.operations import Operation
    from actorflow.graph.plan import Plan


def update(decision: Decision, event: Updating) -> None:
    """Merge an update from outside; with a node, go on as if that one had finished with it.

    Raises:
        BadUpdate, ReducerError: the update does not fit the state.
        NoSuchTarget, AmbiguousTarget: which node, or which activation of it.
        NotPaused: the run goes on by itself, so that nobody can say where it is.
    """
    if event.node is None:
        operations = _merged(decision, ROOT, event.values)
        decision.note(Updated(operations, event.by))
        _rebase(decision, ROOT, operations, idle=event.idle)
        return
    run = decision.run
    if not event.idle and run.standing not in ("waiting", "paused"):
        raise NotPaused(run.run_id, run.standing)
    path, node, closed = _target(decision, event.node)
    plan, scope = decision.plan_of(path), run.scopes[path]
    operations = _merged(decision, path, event.values)
    handed = keep(plan.schema, event.values, scope.handed) if scope.handed else ()
    # asked before anything is noted: what a branch raises refuses the whole
    merged = apply(operations, {name: thaw(value) for name, value in scope.values.items()})
    targets = [*ask_branches(plan, merged, node), *plan.edges.get(node, ())]
    if operations:
        decision.note(Updated(operations, event.by, path, handed=handed))
        _rebase(decision, path, operations, idle=event.idle, but=closed)
    # as if it had finished, with a key of its own if it was not open
    key = key_of(_seed(decision), b"update", run.next_id.to_bytes(8, "big")) if closed is None else closed.key
    puts, opens = puts_and_opens(plan, key, node, targets)
    for target in plan.legs.get(node, ()):
        if not plan.nodes[target].defer:
            opens += completed(plan, scope, target, put={node: key})
        puts = (*puts, (target, node))
    decision.note(
        Updated(
            by=event.by,
            scope=path,
            node=node,
            closes=None if closed is None else closed.id,
            withdraws=closed is None,
            puts=puts,
            opens=tuple(opens),
            key=key,
            parks=path == ROOT and plan.is_leaf(node),
        )
    )
    decision.look.append(path)


def _merged(decision: Decision, path: str, values: Mapping[str, Any]) -> tuple[Operation, ...]:
    plan = decision.plan_of(path)
    return tuple(merge(plan.schema, decision.run.scopes[path].values, values, node=None))


def _rebase(
    decision: Decision, path: str, operations: tuple[Operation, ...], *, idle: bool, but: Activation | None = None
) -> None:
    """Activations that wait see what was written; those that run are put back only if they overwrite it."""
    run = decision.run
    for activation in list(run.open_in(path)):
        begun = run.owns(activation) or activation.merged or activation.fan is not None
        if operations and activation is not but and not begun and (idle or activation.asks):
            decision.note(Rebased(activation.id))


def _seed(decision: Decision) -> bytes:
    run = decision.run
    return run_key(run.run_id, run.life)


def _target(decision: Decision, text: str) -> tuple[str, str, Activation | None]:
    """The scope, the node in it, and its open activation, that are meant by ``path/node`` or ``path/node@key``.

    Raises:
        NoSuchTarget, AmbiguousTarget
    """
    run = decision.run
    where, _, key = text.partition("@")
    path, _, node = where.rpartition("/")
    found: Plan | None = decision.plan_of(path) if path in run.scopes and _is_open(decision, path) else None
    if found is None or node not in found.nodes:
        raise NoSuchTarget(run.run_id, text, sorted(decision.plan.nodes))
    open_ = [one for one in run.open_in(path) if one.node == node and one.fan is None]
    if key:
        open_ = [one for one in open_ if one.key.hex().startswith(key)]
        if not open_:
            raise NoSuchTarget(run.run_id, text, sorted(decision.plan.nodes))
    if len(open_) > 1:
        raise AmbiguousTarget(run.run_id, "activation", [f"{where}@{one.key.hex()[:8]}" for one in open_])
    return path, node, open_[0] if open_ else None


def _is_open(decision: Decision, path: str) -> bool:
    return path == ROOT or decision.run.scopes[path].owner is not None


def give_input(decision: Decision, event: Inputting) -> None:
    """Merge more input, and open the entry again.

    Raises:
        BadUpdate, ReducerError: it does not fit the state.
        InputPending: the run still works on what it was given before, and ``on_pending`` is "error".
    """
    run = decision.run
    operations = _merged(decision, ROOT, event.values)  # tried also if it is only queued
    if run.open and event.on_pending == "error":
        raise InputPending(run.run_id, run.standing)
    if run.open and event.on_pending == "queue":
        decision.note(InputQueued(keep(decision.plan.schema, event.values), event.by))
        return
    _give(decision, operations, by=event.by, discards=event.on_pending == "discard", queued=False)


def queued_input(decision: Decision) -> None:
    """Take the oldest input that waits, now that nothing else goes on."""
    kept, by = decision.run.queue[0]
    values = {one.field: restore(one) for one in kept}
    try:
        operations = _merged(decision, ROOT, values)
    except Exception as error:  # noqa: BLE001 - a reducer of the user's: it fitted the state when it was given
        decision.fail(None, error)
        return
    _give(decision, operations, by=by, discards=False, queued=True)


def _give(
    decision: Decision, operations: tuple[Operation, ...], *, by: str | None, discards: bool, queued: bool
) -> None:
    run, plan = decision.run, decision.plan
    seed = key_of(_seed(decision), b"input", (run.inputs + 1).to_bytes(8, "big"))
    opens = tuple(Open(node, key_of(seed, b"entry", node.encode())) for node in plan.entries)
    if run.paused and not queued:
        decision.note(Unpaused(by))
    decision.note(InputGiven(operations, opens, discards, by, queued))


def pause(decision: Decision, event: Pausing) -> None:
    """Begin nothing new, or go on. What runs is not interrupted. Asking twice is no error."""
    run = decision.run
    if event.on and not run.paused:
        decision.note(Paused(event.by))
    elif not event.on and run.paused:
        decision.note(Unpaused(event.by))
        decision.begin.extend(run.open)


def tag(decision: Decision, event: Tagging) -> None:
    """Name a commit, or take the name away."""
    decision.note(Tagged(event.name, event.seq, event.by))
