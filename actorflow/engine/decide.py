"""decide: a run and an event make the records to commit and the commands to carry out.

Pure: no I/O, no clock, no randomness but what the event brings. Each record is
folded as it is made, so a decision sees its own consequences: a finish opens a
join, an empty scope ends the run. Commands are released by the commit of the
records they came with; the sweep for what should be running is level-triggered
and repeated by every claim.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec
from msgspec import Struct, field, msgpack

from actorflow.engine.fold import ASKED, begin, fold
from actorflow.engine.merge import difference, merge, plain_writes, typed
from actorflow.engine.policy import PERMANENT
from actorflow.engine.records import (
    Attempted,
    Ended,
    ErrorInfo,
    Failed,
    Finished,
    Merged,
    Offered,
    Open,
    Record,
    Spawned,
    Status,
)
from actorflow.engine.run import ROOT, Activation, RunState, Scope
from actorflow.errors import (
    BadUpdate,
    ConcurrentWrite,
    JoinStarved,
    TooManyActivations,
    UnknownNode,
)
from actorflow.graph.routing import END, End, Goto
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.engine.operations import Operation, Values
    from actorflow.graph.plan import Plan
    from actorflow.graph.schema import Schema

RECORD_BACKOFF_OVER = 1.0
"""Seconds: a retry that waits at least this long is worth a record."""

_MESSAGE_LIMIT = 4_000  # characters kept of what an exception says
_TRACEBACK_LIMIT = 8_000  # characters kept of a traceback: the innermost frames


# -- events -----------------------------------------------------------------------


class Returned(Struct, frozen=True):
    """An attempt returned this."""

    id: int
    value: Any
    took: float = 0.0  # seconds
    attempt: int = 1
    now: float = 0.0  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter


class Raised(Struct, frozen=True):
    """The ``attempt``-th attempt raised (the first is 1)."""

    id: int
    error: Exception
    attempt: int
    now: float  # seconds since the epoch
    chance: float = 0.0  # in [0, 1), for jitter


class Sweep(Struct, frozen=True):
    """A run was loaded: start what is open, and decide what is due but not recorded yet."""


class GaveUp(Struct, frozen=True):
    """The supervisor does not restart the run again after this error of the activation with this key."""

    key: bytes | None
    error: BaseException


class Stop(Struct, frozen=True):
    """Somebody ends the run in this status."""

    status: Status
    by: str | None = None


Event = Returned | Raised | Sweep | GaveUp | Stop


# -- commands ---------------------------------------------------------------------


class Start(Struct, frozen=True):
    """Run this activation."""

    id: int


class Retry(Struct, frozen=True):
    """Run this activation again after ``delay`` seconds, as its ``attempt``-th attempt."""

    id: int
    attempt: int
    delay: float


class Crash(Struct, frozen=True):
    """Let the actor crash: leave its tasks and let the supervisor restart it from its last file."""

    id: int
    error: Exception


Command = Start | Retry | Crash


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


# -- the core ---------------------------------------------------------------------


def spawn(
    plan: Plan,
    schema: Schema,
    state: State,
    *,
    run_id: str,
    life: int = 1,
    durability: Literal["sync", "async", "exit"] = "sync",
) -> Decision:
    """The decision that begins a run.

    Raises:
        BadUpdate: the state can't be encoded, or has a value of the wrong type.
    """
    values = checked_input(schema, state)
    seed = _key(b"run", run_id.encode(), life.to_bytes(8, "big"))
    record = Spawned(
        run_id=run_id,
        life=life,
        graph=plan.graph,
        topology=plan.digest,
        durability=durability,
        digest=input_digest(schema, values),
        values=values,
        opens=tuple(Open(node, _key(seed, b"entry", node.encode())) for node in plan.entries),
    )
    run = begin(record)
    return Decision(run, [record], [Start(id_) for id_ in run.open])


def checked_input(schema: Schema, state: State) -> Values:
    """The plain values of an input.

    Raises:
        BadUpdate: it is no State of this graph, or a field does not fit.
    """
    if type(state) is not schema.state_type:
        raise BadUpdate("spawn", f"the input is a {type(state).__name__}, not a {schema.state_type.__name__}")
    values: Values = {}
    for name, its in schema.fields.items():
        try:
            values[name] = its.check(getattr(state, name))
        except Exception as error:
            raise BadUpdate("spawn", f"{error} (the field is {its.type_text})", field=name) from error
    return values


def input_digest(schema: Schema, values: Values) -> bytes:
    """What `run` compares, so that an id is not taken for a run of another input.

    The order of a dict does not count, nor that of a set, which is another in each process.
    """
    state: Any = typed(schema, values)
    try:
        state = msgspec.to_builtins(state, order="deterministic")
    except TypeError:  # keys or elements that can't be compared with each other stay as they are
        state = values
    return hashlib.blake2b(msgpack.encode(state), digest_size=16).digest()


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
            targets += _ask_branches(plan, schema, scope, node)
        except Exception as error:  # noqa: BLE001 - the work is kept, and the run fails at its routing
            _fail(decision, activation.id, error)
            return
        targets += plan.edges.get(node, ())
        for target in plan.legs.get(node, ()):
            puts.append((target, node))
            opens += _complete(plan, scope, target, put={node: activation.key})
    opens += [Open(target, key) for target, key in _keys(activation.key, node, targets)]
    first = run.next_id
    parks = goto is None and activation.scope == ROOT and plan.is_leaf(node)
    decision.note(Finished(activation.id, operations, puts=tuple(puts), opens=tuple(opens), parks=parks, took=took))
    _opened(plan, decision, first)


def _ask_branches(plan: Plan, schema: Schema, scope: Scope, node: str) -> list[str | End]:
    targets: list[str | End] = []
    for branch in plan.branches.get(node, ()):
        targets += plan.route(node, branch.fn(typed(schema, scope.values)), branch.targets)
    return targets


def _keys(cause: bytes, source: str, targets: Iterable[str | End]) -> Iterator[tuple[str, bytes]]:
    """The nodes among the targets, each with the key of the activation that it opens there."""
    for ordinal, target in enumerate(targets):
        if not isinstance(target, End):
            yield target, _key(cause, source.encode(), target.encode(), ordinal.to_bytes(4, "big"))


def _complete(plan: Plan, scope: Scope, target: str, *, put: Mapping[str, bytes]) -> Iterator[Open]:
    """The activations of a join whose tokens are all there, one of each leg, oldest first.

    A token waits there, or is ``put`` there now (leg: key), or was parked when its leg was still a leaf.
    """
    waiting = scope.waiting.get(target, {})
    for inlet in plan.joins[target]:
        parked = tuple(leg for leg in inlet if leg in scope.parked and target not in scope.parked[leg].offered)
        takes = tuple(leg for leg in inlet if leg not in parked)
        rounds = min((len(waiting.get(leg, ())) + (leg in put) for leg in takes), default=1)
        for at in range(min(rounds, 1) if parked else rounds):
            keys = [
                scope.parked[leg].key
                if leg in parked
                else waiting[leg][at].key
                if at < len(waiting.get(leg, ()))
                else put[leg]
                for leg in inlet
            ]
            yield Open(target, _key(*keys, b"join", target.encode()), takes=takes, parked=parked)


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
    starved: dict[str, list[str]] = {}
    for target, held in decision.run.root.waiting.items():
        starved[target] = [f"a leg from {leg!r} in the graph" for leg in held]  # unless one of its joins has it
        for inlet in plan.joins.get(target, ()):
            if any(leg in held for leg in inlet):
                starved[target] = [leg for leg in inlet if leg not in held]
    if starved:
        _fail(decision, None, JoinStarved(starved))
    else:
        decision.note(Ended("finished"))


def _sweep(plan: Plan, schema: Schema, decision: Decision) -> None:
    run = decision.run
    if run.topology != plan.digest:
        try:
            decision.note(_offer(plan, schema, run))
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


def _offer(plan: Plan, schema: Schema, run: RunState) -> Offered:
    """Lets tokens parked at former leaves go on along edges that the graph has grown since."""
    scope = run.root
    opens: list[Open] = []
    routed: list[str] = []
    for leaf, token in scope.parked.items():
        targets: list[str | End] = [target for target in plan.edges.get(leaf, ()) if target not in token.offered]
        if plan.branches.get(leaf) and ASKED not in token.offered:
            targets += _ask_branches(plan, schema, scope, leaf)
            routed.append(leaf)
        opens += [Open(target, key, parked=(leaf,)) for target, key in _keys(token.key, leaf, targets)]
    for target in plan.joins:
        opens += _complete(plan, scope, target, put={})
    for target, legs in scope.waiting.items():
        for leg in legs:
            if target in plan.edges.get(leg, ()):  # a join that became a plain edge
                opens += [
                    Open(target, _key(token.key, leg.encode(), target.encode()), takes=(leg,)) for token in legs[leg]
                ]
    return Offered(topology=plan.digest, opens=tuple(opens), routed=tuple(routed))


def growth(plan: Plan, schema: Schema, run: RunState) -> tuple[str, ...]:
    """The nodes that a run would go on to under this graph from its parked tokens."""
    if run.topology == plan.digest:
        return ()
    return tuple(opened.node for opened in _offer(plan, schema, run).opens)


def check_nodes(plan: Plan, run: RunState) -> None:
    """Refuse a run whose open activations this graph does not know.

    Raises:
        UnknownNode: naming the first one.
    """
    for activation in run.open.values():
        if activation.node not in plan.nodes:
            raise UnknownNode(activation.node, plan.graph)
    for target in run.root.waiting:
        if target not in plan.nodes:
            raise UnknownNode(target, plan.graph)


def _fail(decision: Decision, id_: int | None, error: BaseException) -> None:
    decision.note(Failed(id_, describe(error)))
    decision.commands.clear()
    decision.cause = error


def describe(error: BaseException) -> ErrorInfo:
    """An exception as text that can be kept."""
    text = "".join(traceback.format_exception(error))
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's exception that can't even be shown
        message = f"(its text could not be read: {type(broken).__name__})"
    return ErrorInfo(type(error).__name__, _clean(message[:_MESSAGE_LIMIT]), _clean(text[-_TRACEBACK_LIMIT:]))


def _clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _key(*parts: bytes) -> bytes:
    """A hash of what caused an activation; each part is framed, so that no two lists of parts look alike."""
    digest = hashlib.blake2b(digest_size=16, person=b"actorflow-key")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def activation_input(schema: Schema, activation: Activation) -> State:
    """What a node sees: its base, in a copy of its own."""
    return typed(schema, activation.base)


__all__ = [
    "Command",
    "Crash",
    "Decision",
    "Event",
    "GaveUp",
    "Raised",
    "Retry",
    "Returned",
    "Start",
    "Stop",
    "Sweep",
    "activation_input",
    "check_nodes",
    "checked_input",
    "decide",
    "describe",
    "growth",
    "input_digest",
    "spawn",
]
