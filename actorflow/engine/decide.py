"""decide: a run and an event make the records to commit and the commands to carry out.

Pure: no I/O, no clock, no randomness but what the event brings. Each record is
folded as it is made, so a decision sees its own consequences: a finish opens a
join, an empty scope ends the run. Commands are released by the commit of the
records they came with; the sweep for what should be running is level-triggered
and repeated by every claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct, field

from actorflow.engine.events import Command, Crash, Event, GaveUp, Raised, Retry, Returned, Start, Stop, Sweep
from actorflow.engine.fold import fold
from actorflow.engine.merge import difference, merge, plain_writes, typed
from actorflow.engine.policy import PERMANENT
from actorflow.engine.records import Attempted, Ended, Failed, Finished, Merged, Open, Record, describe
from actorflow.engine.run import ROOT, Activation, RunState
from actorflow.engine.tokens import ask_branches, completed, keyed, offer, starved
from actorflow.errors import (
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    TooManyActivations,
)
from actorflow.graph.routing import END, End, Goto
from actorflow.graph.state import State

if TYPE_CHECKING:
    from actorflow.engine.operations import Operation
    from actorflow.graph.plan import Plan
    from actorflow.graph.schema import Schema

RECORD_BACKOFF_OVER = 1.0
"""Seconds: a retry that waits at least this long is worth a record."""


class Decision(Struct):
    """What an event leads to. ``cause`` is the live exception of a run that failed, for the one who waits."""

    run: RunState
    records: list[Record] = field(default_factory=list[Record])
    commands: list[Command] = field(default_factory=list[Command])
    cause: BaseException | None = None

    def note(self, record: Record) -> None:
        """Fold a record and keep it for the commit."""
        self.run = fold(self.run, record)
        self.records.append(record)


def decide(plan: Plan, schema: Schema, run: RunState, event: Event) -> Decision:
    """What an event leads to. The run passed in is spent; its successor is in the decision.

    An event about an activation that is not open any more, or about a run
    that has ended, leads to nothing.
    """
    decision = Decision(run)
    if run.ended:
        return decision
    match event:
        case Returned(id=id_) if id_ in run.open:
            _returned(plan, schema, decision, event)
        case Raised(id=id_) if id_ in run.open:
            _raised(plan, schema, decision, event)
        case Sweep():
            _sweep(plan, schema, decision)
        case GaveUp(key=key, error=error):
            found = next((one.id for one in run.open.values() if one.key == key), None)
            _fail(decision, found, error)
        case Stop(status=status, by=by):
            decision.note(Ended(status, by))
        case _:
            pass
    return decision


def _returned(plan: Plan, schema: Schema, decision: Decision, event: Returned) -> None:
    run = decision.run
    activation = run.open[event.id]
    scope = run.scopes[activation.scope]
    try:
        update, goto = _parts(plan, schema, activation, event.value)
        operations = tuple(merge(schema, scope.values, update, node=activation.node)) if update else ()
    except Exception as error:  # noqa: BLE001 - the user's objects may raise anything; nothing was merged
        _raised(plan, schema, decision, Raised(event.id, error, event.attempt, event.now, event.chance))
        return
    if conflicts := plain_writes(operations) & activation.unseen:
        # never retried: which of the two fails is timing
        _fail(decision, activation.id, ConcurrentWrite(activation.node, conflicts))
        return
    if goto is None and plan.branches.get(activation.node):
        # branches see the update merged, so it is folded before they are asked
        decision.note(Merged(activation.id, operations, event.took))
        operations = ()
    _route(plan, schema, decision, activation, goto=goto, operations=operations, took=event.took)


def _raised(plan: Plan, schema: Schema, decision: Decision, event: Raised) -> None:
    run = decision.run
    activation = run.open[event.id]
    retry = plan.nodes[activation.node].retry
    if retry is None:
        if isinstance(event.error, PERMANENT):
            _fail(decision, event.id, event.error)
        else:
            decision.commands.append(Crash(event.id, event.error))
        return
    try:
        again = event.attempt < retry.attempts and retry.applies(event.error, typed(schema, activation.base))
    except Exception as error:  # noqa: BLE001 - a user's `on=` that raises retries nothing
        event.error.add_note(f"Retry(on=) raised {error!r}")
        again = False
    if not again:
        _fail(decision, event.id, event.error)
        return
    delay = retry.delay(event.attempt, event.chance)
    if delay >= RECORD_BACKOFF_OVER:
        decision.note(Attempted(event.id, event.attempt, event.now + delay, describe(event.error)))
    decision.commands.append(Retry(event.id, event.attempt + 1, delay))


def _parts(
    plan: Plan, schema: Schema, activation: Activation, value: Any
) -> tuple[Mapping[str, Any] | None, tuple[str | End, ...] | None]:
    """What a node returned, as an update and (with `Goto` or `END`) the targets that replace its edges."""
    goto: tuple[str | End, ...] | None = None
    if isinstance(value, End):
        value, goto = None, plan.route(activation.node, value, (END,))
    elif isinstance(value, Goto):
        goto = plan.route(activation.node, value.targets, plan.nodes[activation.node].goto)
        value = value.update
    if isinstance(value, State):
        if type(value) is not schema.state_type:
            raise BadUpdate(
                activation.node, f"returned a {type(value).__name__}, not a {schema.state_type.__name__} or an update"
            )
        value = difference(schema, activation.base, value)
    if value is not None and not isinstance(value, Mapping):
        raise BadUpdate(
            activation.node,
            f"returned {type(value).__name__}; a node returns None, a dict of fields, "
            f"a {schema.state_type.__name__}, Goto or END",
        )
    return cast("Mapping[str, Any] | None", value), goto


def _route(
    plan: Plan,
    schema: Schema,
    decision: Decision,
    activation: Activation,
    *,
    goto: tuple[str | End, ...] | None,
    operations: tuple[Operation, ...] = (),
    took: float = 0.0,
) -> None:
    """Finish an activation: put its tokens, open what they complete, and see whether the run ended."""
    run, node = decision.run, activation.node
    scope = run.scopes[activation.scope]
    targets: list[str | End] = []
    puts: list[tuple[str, str]] = []
    opens: list[Open] = []
    if goto is not None:
        targets += goto
    else:
        try:
            targets += ask_branches(plan, schema, scope, node)
        except Exception as error:  # noqa: BLE001 - the work is kept, and the run fails at its routing
            _fail(decision, activation.id, error)
            return
        targets += plan.edges.get(node, ())
        for target in plan.legs.get(node, ()):
            puts.append((target, node))
            opens += completed(plan, scope, target, put={node: activation.key})
    opens += [Open(target, key) for target, key in keyed(activation.key, node, targets)]
    first = run.next_id
    parks = goto is None and activation.scope == ROOT and plan.is_leaf(node)
    decision.note(Finished(activation.id, operations, puts=tuple(puts), opens=tuple(opens), parks=parks, took=took))
    _opened(plan, decision, first)


def _opened(plan: Plan, decision: Decision, first: int) -> None:
    """After a record that may have opened activations: start them, or see that the run is over."""
    run = decision.run
    if run.activations > plan.max_activations:
        _fail(decision, None, TooManyActivations(plan.max_activations))
        return
    decision.commands += [Start(id_) for id_ in range(first, run.next_id)]
    if not run.open:
        _quiet(plan, decision)


def _quiet(plan: Plan, decision: Decision) -> None:
    """Nothing is open: the run is over, unless a join holds some of its legs."""
    if lacking := starved(plan, decision.run):
        _fail(decision, None, JoinStarved(lacking))
    else:
        decision.note(Ended("finished"))


def _sweep(plan: Plan, schema: Schema, decision: Decision) -> None:
    run = decision.run
    if run.topology != plan.digest:
        try:
            decision.note(offer(plan, schema, run))
        except Exception as error:  # noqa: BLE001 - a branch of a grown leaf raised: the run fails there
            _fail(decision, None, error)
            return
    for activation in [one for one in run.open.values() if one.merged]:
        _route(plan, schema, decision, activation, goto=None)
        if decision.run.ended:
            return
    if run.activations > plan.max_activations:
        _fail(decision, None, TooManyActivations(plan.max_activations))
    elif not run.open:
        _quiet(plan, decision)
    decision.commands = [] if decision.run.ended else [Start(id_) for id_ in run.open]


def _fail(decision: Decision, id_: int | None, error: BaseException) -> None:
    decision.note(Failed(id_, describe(error)))
    decision.commands.clear()
    decision.cause = error
