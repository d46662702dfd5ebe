"""Tokens: where an activation's go, which joins they complete, and where parked ones go on in a graph that grew."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from actorflow.engine.fold import ASKED
from actorflow.engine.merge import typed
from actorflow.engine.records import Offered, Open
from actorflow.errors import UnknownNode
from actorflow.graph.routing import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from actorflow.engine.run import RunState, Scope
    from actorflow.graph.plan import Plan
    from actorflow.graph.schema import Schema


def key_of(*parts: bytes) -> bytes:
    """A hash of what caused an activation; each part is framed, so that no two lists of parts look alike."""
    digest = hashlib.blake2b(digest_size=16, person=b"actorflow-key")
    for part in parts:
        digest.update(len(part).to_bytes(4, "big"))
        digest.update(part)
    return digest.digest()


def ask_branches(plan: Plan, schema: Schema, scope: Scope, node: str) -> list[str | End]:
    """Where the branches of a node lead from the state as it is now. Raises whatever they raise."""
    targets: list[str | End] = []
    for branch in plan.branches.get(node, ()):
        targets += plan.route(node, branch.fn(typed(schema, scope.values)), branch.targets)
    return targets


def keyed(cause: bytes, source: str, targets: Iterable[str | End]) -> Iterator[tuple[str, bytes]]:
    """The nodes among the targets, each with the key of the activation that it opens there."""
    for ordinal, target in enumerate(targets):
        if not isinstance(target, End):
            yield target, key_of(cause, source.encode(), target.encode(), ordinal.to_bytes(4, "big"))


def completed(plan: Plan, scope: Scope, target: str, *, put: Mapping[str, bytes]) -> Iterator[Open]:
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
            yield Open(target, key_of(*keys, b"join", target.encode()), takes=takes, parked=parked)


def starved(plan: Plan, run: RunState) -> dict[str, list[str]]:
    """The joins where tokens wait, and the legs that each of them lacks."""
    lacking: dict[str, list[str]] = {}
    for target, held in run.root.waiting.items():
        lacking[target] = [f"a leg from {leg!r} in the graph" for leg in held]  # unless one of its joins has it
        for inlet in plan.joins.get(target, ()):
            if any(leg in held for leg in inlet):
                lacking[target] = [leg for leg in inlet if leg not in held]
    return lacking


def offer(plan: Plan, schema: Schema, run: RunState) -> Offered:
    """Lets tokens parked at former leaves go on along edges that the graph has grown since."""
    scope = run.root
    opens: list[Open] = []
    routed: list[str] = []
    for leaf, token in scope.parked.items():
        targets: list[str | End] = [target for target in plan.edges.get(leaf, ()) if target not in token.offered]
        if plan.branches.get(leaf) and ASKED not in token.offered:
            targets += ask_branches(plan, schema, scope, leaf)
            routed.append(leaf)
        opens += [Open(target, key, parked=(leaf,)) for target, key in keyed(token.key, leaf, targets)]
    for target in plan.joins:
        opens += completed(plan, scope, target, put={})
    for target, legs in scope.waiting.items():
        for leg in legs:
            if target in plan.edges.get(leg, ()):  # a join that became a plain edge
                opens += [
                    Open(target, key_of(token.key, leg.encode(), target.encode()), takes=(leg,)) for token in legs[leg]
                ]
    return Offered(topology=plan.digest, opens=tuple(opens), routed=tuple(routed))


def growth(plan: Plan, schema: Schema, run: RunState) -> tuple[str, ...]:
    """The nodes that a run would go on to under this graph from its parked tokens."""
    if run.topology == plan.digest:
        return ()
    return tuple(opened.node for opened in offer(plan, schema, run).opens)


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
