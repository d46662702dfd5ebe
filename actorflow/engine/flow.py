"""Flow: an activation's work is merged, its tokens go on, and a scope comes to its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from msgspec import Struct

from actorflow.engine.fold import gathered
from actorflow.engine.keys import key_of
from actorflow.engine.merge import difference, merge_all, plain_writes
from actorflow.engine.operations import Extended, Put, tried
from actorflow.engine.records import (
    Ask,
    Asked,
    Closing,
    Finished,
    Gather,
    Handed,
    Merged,
    Open,
    Rebased,
    Replied,
)
from actorflow.engine.run import ROOT
from actorflow.engine.sizes import check_size
from actorflow.engine.tokens import ask_branches, completed, puts_and_opens
from actorflow.engine.updates import AS_OPERATION, keep
from actorflow.errors import BadUpdate, ConcurrentWrite
from actorflow.graph.routing import END, End, Goto, Reply, Send
from actorflow.graph.schema import kept
from actorflow.graph.state import State

if TYPE_CHECKING:
    from actorflow.engine.decision import Decision, Place
    from actorflow.engine.operations import Operation
    from actorflow.graph.node import Node

AFTER = "(after)"
"""The key of the question that `interrupt_after` asks; no question of a user's gets it."""


class Outcome(Struct, frozen=True):
    """What a node returned, taken apart."""

    update: Mapping[str, Any] | None
    goto: tuple[str | End, ...] | None = None  # replaces its edges and branches
    leaves: bool = False  # these are in the graph around
    sends: tuple[tuple[str, list[Any]], ...] = ()  # target and inputs
    reply: tuple[Any] | None = None  # to the message that is handled, as a plain value
    ends: bool = False  # a handler says that the run is over


def take_apart(place: Place, value: Any) -> Outcome:
    """What a node returned, as an update and (with `Goto`, `Send` or `END`) the targets that replace its edges.

    Raises:
        BadUpdate: it is none of what a node may return.
        UndeclaredTarget: it leads where it must not.
    """
    reply: tuple[Any] | None = None
    if isinstance(value, Reply):
        reply, value = _reply(place, value), value.update
    if value is None or value.__class__ is dict:  # what most nodes return
        return Outcome(value, reply=reply)
    plan, node = place.plan, place.node
    goto: tuple[str | End, ...] | None = None
    leaves = False
    sends: tuple[tuple[str, list[Any]], ...] = ()
    if isinstance(value, End):
        value, goto = None, plan.route(node.name, value, (END,))
    elif isinstance(value, Goto):
        leaves = value.parent
        goto = _around(place, value) if leaves else plan.route(node.name, value.targets, may_go_to(node))
        value = value.update
    elif isinstance(value, Send) or _is_sends(place, value):
        several = [value] if isinstance(value, Send) else cast("list[Send]", value)
        sends, goto = _sent(place, several), ()
        value = _one_update(place, several)
    if isinstance(value, State):
        if type(value) is not place.schema.state_type:
            wanted = place.schema.state_type.__name__
            raise BadUpdate(node.name, f"returned a {type(value).__name__}, not a {wanted} or an update")
        value = difference(place.schema, place.activation.base, value)
    if value is not None and not isinstance(value, Mapping):
        raise BadUpdate(
            node.name,
            f"returned {type(value).__name__}; a node returns None, a dict of fields, "
            f"a {place.schema.state_type.__name__}, Goto, Send or END",
        )
    ends = place.activation.letter is not None and goto is not None and END in goto
    return Outcome(cast("Mapping[str, Any] | None", value), goto, leaves, sends, reply, ends)


def _reply(place: Place, reply: Reply) -> tuple[Any]:
    if place.activation.letter is None:
        raise BadUpdate(place.node.name, "it returned a Reply, and handles no message; return the update")
    try:
        return (kept(reply.value, place.schema.codecs),)
    except Exception as error:
        raise BadUpdate(place.node.name, f"its reply can't be encoded: {error}") from error


def may_go_to(node: Node) -> tuple[str | End, ...]:
    """Where a Goto of a node, or out of the graph that it is, may lead: END goes without saying."""
    return tuple(dict.fromkeys((*node.goto, END)))


def _around(place: Place, goto: Goto) -> tuple[str | End, ...]:
    """The nodes of the graph around that a ``Goto(parent=True)`` means."""
    around = place.around
    if around is None:
        raise BadUpdate(place.node.name, "it goes to the graph around with Goto(parent=True), and there is none")
    if around.is_item:
        raise BadUpdate(place.node.name, "an item of a fan-out can't leave to the graph around it; let it finish")
    return around.plan.route(around.node.name, goto.targets, may_go_to(around.node))


def _is_sends(place: Place, value: Any) -> bool:
    if not isinstance(value, list | tuple):
        return False
    sends = cast("Sequence[object]", value)
    return all(isinstance(one, Send) for one in sends) and (bool(sends) or bool(place.node.send))


def _sent(place: Place, sends: Sequence[Send]) -> tuple[tuple[str, list[Any]], ...]:
    """The inputs for each target, in order, as plain values."""
    only = place.node.send[0] if len(place.node.send) == 1 else None
    # a fan-out of nothing goes on behind it, as that of a map does; of several targets nobody can say which
    by_target: dict[str, list[Any]] = {} if sends or only is None else {only: []}
    for send in sends:
        (target,) = place.plan.route(place.node.name, send.node, place.node.send)
        codecs = place.schema.codecs
        try:
            plain = kept(send.input, codecs)
        except Exception as error:
            raise BadUpdate(place.node.name, f"sends {target!r} what can't be encoded: {error}") from error
        by_target.setdefault(str(target), []).append(plain)
    return tuple(by_target.items())


def _one_update(place: Place, sends: Sequence[Send]) -> Any:
    updates = [send.update for send in sends if send.update is not None]
    if len(updates) > 1:
        raise BadUpdate(place.node.name, "several of its Sends have an update=; give one of them all of it")
    return updates[0] if updates else None


def deliver(
    decision: Decision,
    place: Place,
    outcome: Outcome,
    *,
    updates: Sequence[Mapping[str, Any]],
    took: float = 0.0,
    cached: bool = False,
    results: Mapping[str, tuple[str, list[Any]]] | None = None,
) -> None:
    """Merge the updates of an activation, and let its tokens go on.

    Args:
        decision: in which.
        place: the activation.
        outcome: where it leads.
        updates: merged one after the other, all or none.
        took: seconds.
        cached: the node was not called.
        results: for fields that take the results of its fan-out: the part, and the list; to be said briefly.

    Raises:
        BadUpdate, ReducerError, StateTooLarge: nothing was merged.
    """
    activation, scope = place.activation, place.scope
    operations = tuple(merge_all(place.schema, scope.values, updates, node=activation.node)) if updates else ()
    writes = plain_writes(operations)
    conflicts = writes & activation.unseen
    if conflicts and activation.letter is None:
        # never retried: which of the two fails is timing
        decision.fail(activation.id, ConcurrentWrite(activation.node, conflicts))
        return
    if conflicts or (writes & activation.turned and activation.id not in decision.run.fans):
        decision.note(Rebased(activation.id))
        decision.begin.append(activation.id)
        return
    check_size(decision, place, operations)
    handed = _handed(place, updates, operations) if scope.handed else ()
    operations, gathers = _brief(operations, results) if results else (operations, ())
    if outcome.reply is not None:
        decision.note(Replied(activation.id, outcome.reply[0]))
    if outcome.ends:
        decision.note(Closing())
    held = activation.node in place.plan.interrupt_after and AFTER not in activation.answers
    if held or outcome.leaves:  # whoever is asked, and what is handed up, see the update merged, so it is folded before
        goto = None if outcome.goto is None else tuple(END.value if one is END else str(one) for one in outcome.goto)
        decision.note(Merged(activation.id, operations, took, gathers, handed, goto, outcome.sends, outcome.leaves))
        operations, gathers, handed = (), (), ()
    if held:
        decision.note(Asked(activation.id, (Ask(AFTER, "after", f"after {activation.node}", asked=decision.now),)))
        return
    route(decision, place, outcome, operations=operations, took=took, gathers=gathers, handed=handed, cached=cached)


def route_merged(decision: Decision, place: Place) -> None:
    """Let the tokens of an activation go on whose update was merged before."""
    goto = place.activation.goto
    targets = None if goto is None else tuple(END if name == END.value else name for name in goto)
    route(decision, place, Outcome(None, targets, place.activation.leaves, place.activation.sends))


def _handed(
    place: Place, updates: Sequence[Mapping[str, Any]], operations: tuple[Operation, ...]
) -> tuple[Handed, ...]:
    """What is to be merged again outside, kept as the update it was."""
    found: list[Handed] = []
    for update in updates:
        found += keep(place.schema, update, place.scope.handed)
    for index, one in enumerate(found):
        same = [its for its in operations if its.field == one.field]
        alone = sum(other.field == one.field for other in found) == 1
        if alone and len(same) == 1 and type(same[0]) is Extended and not one.mark and same[0].items == one.value:
            found[index] = Handed(one.field, AS_OPERATION)
    return tuple(found)


def _brief(
    operations: tuple[Operation, ...], results: Mapping[str, tuple[str, list[Any]]]
) -> tuple[tuple[Operation, ...], tuple[Gather, ...]]:
    """The operations that must be said, and those that only put the results of a fan-out where they belong."""
    said: list[Operation] = []
    gathers: list[Gather] = []
    for operation in operations:
        part, whole = results.get(operation.field, ("", None))
        match operation:
            case Put(value=value) if whole is not None and value == whole:
                gathers.append(Gather(operation.field, part, extends=False))
            case Extended(items=items) if whole is not None and items == whole:
                gathers.append(Gather(operation.field, part, extends=True))
            case _:
                said.append(operation)
    return tuple(said), tuple(gathers)


def route(
    decision: Decision,
    place: Place,
    outcome: Outcome,
    *,
    operations: tuple[Operation, ...] = (),
    took: float = 0.0,
    gathers: tuple[Gather, ...] = (),
    handed: tuple[Handed, ...] = (),
    cached: bool = False,
) -> None:
    """Finish an activation: put its tokens, and open what they complete."""
    activation, plan, scope = place.activation, place.plan, place.scope
    if outcome.leaves:
        decision.leaving = (activation.scope, outcome.goto or ())
        return
    puts: tuple[tuple[str, str], ...] = ()
    opens: list[Open] = []
    node = activation.node
    if outcome.goto is not None:
        puts, opens = puts_and_opens(plan, activation.key, node, outcome.goto)
        for target, inputs in outcome.sends:
            opens.append(Open(target, key_of(activation.key, b"send", target.encode()), sent=inputs))
    elif not plan.is_leaf(node):
        try:
            targets = [*_branched(decision, place, operations, gathers), *plan.edges.get(node, ())]
        except Exception as error:  # noqa: BLE001 - the work is kept, and the run fails at its routing
            if not activation.merged:
                decision.note(Merged(activation.id, operations, took, gathers, handed))
            decision.fail(activation.id, error)
            return
        puts, opens = puts_and_opens(plan, activation.key, node, targets)
        for target in plan.legs.get(node, ()):
            if not plan.nodes[target].defer:
                opens += completed(plan, scope, target, put={node: activation.key})
            puts = (*puts, (target, node))
    parks = outcome.goto is None and activation.scope == ROOT and plan.is_leaf(node) and activation.letter is None
    path = activation.scope
    decision.note(
        Finished(
            activation.id,
            operations,
            puts=puts,
            opens=tuple(opens),
            parks=parks,
            took=took,
            gathers=gathers,
            handed=handed,
            cached=cached,
        )
    )
    decision.look.append(path)


def _branched(
    decision: Decision, place: Place, operations: tuple[Operation, ...], gathers: tuple[Gather, ...]
) -> list[str | End]:
    """Where its branches lead, which see merged what it is about to write."""
    plan, node, values = place.plan, place.activation.node, place.scope.values
    if node not in plan.branches:
        return []
    if gathers:
        operations += tuple(gathered(decision.run, place.activation, gathers))
    return ask_branches(plan, tried(operations, values) if operations else values, node)
