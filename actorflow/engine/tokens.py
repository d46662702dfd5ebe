"""Tokens: where an activation's go, which joins they complete, and where parked ones go on in a graph that grew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.engine.decision import depth_of
from actorflow.engine.fold import ASKED
from actorflow.engine.keys import key_of
from actorflow.engine.merge import typed
from actorflow.engine.records import Offered, Open
from actorflow.engine.run import ROOT
from actorflow.errors import UnknownNode
from actorflow.graph.routing import END, End

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from actorflow.engine.operations import Values
    from actorflow.engine.run import RunState, Scope
    from actorflow.graph.plan import Plan


def ask_branches(plan: Plan, values: Values, node: str) -> list[str | End]:
    """Where the branches of a node lead from these values. Raises whatever they raise."""
    targets: list[str | End] = []
    for branch in plan.branches.get(node, ()):
        targets += plan.route(node, branch.fn(typed(plan.schema, values)), branch.targets)
    return targets


def puts_and_opens(
    plan: Plan, cause: bytes, source: str, targets: Iterable[str | End]
) -> tuple[tuple[tuple[str, str], ...], list[Open]]:
    """What tokens for these targets lead to: they open each, or wait in front of one that is deferred."""
    puts: list[tuple[str, str]] = []
    opens: list[Open] = []
    for ordinal, target in enumerate(targets):
        if isinstance(target, End):
            continue
        if plan.nodes[target].defer:
            puts.append((target, source))
        else:
            opens.append(Open(target, key_of(cause, source.encode(), target.encode(), ordinal.to_bytes(4, "big"))))
    return tuple(puts), opens


def completed(plan: Plan, scope: Scope, target: str, *, put: Mapping[str, bytes]) -> Iterator[Open]:
    """The activations of a join whose tokens are there, one of each leg that it needs, oldest first.

    A token waits there, or is ``put`` there now (leg: key), or was parked when its leg was still a leaf.
    """
    waiting = scope.waiting.get(target, {})
    late = scope.late.get(target, {})
    need = plan.nodes[target].join
    for inlet in plan.joins[target]:
        if len(waiting) + len(put) < min(need or len(inlet), len(inlet)) and not scope.parked:
            continue  # seen without looking at each leg: a wide join would cost the square of its width
        there = {leg: [token.key for token in waiting.get(leg, ())] for leg in inlet}
        for leg in inlet:
            if leg in put and not late.get(leg):
                there[leg].append(put[leg])
        if need is not None and need < len(inlet):
            while len(first := [leg for leg in inlet if there[leg]][:need]) == need:
                keys = [there[leg].pop(0) for leg in first]
                others = tuple(leg for leg in inlet if leg not in first)
                for leg in others:  # of this round, too, if they are there already
                    del there[leg][:1]
                yield Open(target, key_of(*keys, b"join", target.encode()), takes=tuple(first), late=others)
            continue
        parked = tuple(leg for leg in inlet if leg in scope.parked and target not in scope.parked[leg].offered)
        takes = tuple(leg for leg in inlet if leg not in parked)
        rounds = min((len(there[leg]) for leg in takes), default=1)
        for at in range(min(rounds, 1) if parked else rounds):
            keys = [scope.parked[leg].key if leg in parked else there[leg][at] for leg in inlet]
            yield Open(target, key_of(*keys, b"join", target.encode()), takes=takes, parked=parked)


def deferred(plan: Plan, scope: Scope) -> Iterator[Open]:
    """The deferred nodes in front of which tokens wait, each with all of them."""
    for target, legs in scope.waiting.items():
        if plan.nodes[target].defer:
            takes = tuple(leg for leg, tokens in legs.items() for _ in tokens)
            keys = sorted(token.key for tokens in legs.values() for token in tokens)  # whoever came first
            yield Open(target, key_of(*keys, b"defer", target.encode()), takes=takes)


def mended(plan: Plan, scope: Scope) -> Iterator[Open]:
    """What opens in a scope where nothing goes on: joins that are complete under this code, and were not before."""
    for target in scope.waiting:
        if target in plan.joins and not plan.nodes[target].defer:
            yield from completed(plan, scope, target, put={})


def starved(plan: Plan, scope: Scope) -> dict[str, list[str]]:
    """The joins where tokens wait, and the legs that each of them lacks."""
    lacking: dict[str, list[str]] = {}
    for target, held in scope.waiting.items():
        lacking[target] = [f"a leg from {leg!r} in the graph" for leg in held]  # unless one of its joins has it
        for inlet in plan.joins.get(target, ()):
            if any(leg in held for leg in inlet):
                lacking[target] = [leg for leg in inlet if leg not in held]
    return lacking


def offer(plan: Plan, run: RunState) -> Offered:
    """Lets tokens parked at former leaves go on along edges that the graph has grown since."""
    scope = run.root
    opens: list[Open] = []
    puts: list[tuple[str, str]] = []
    routed: list[str] = []
    for leaf, token in scope.parked.items():
        targets: list[str | End] = [target for target in plan.edges.get(leaf, ()) if target not in token.offered]
        if plan.branches.get(leaf) and ASKED not in token.offered:
            targets += ask_branches(plan, scope.values, leaf)
            routed.append(leaf)
        held, opened = puts_and_opens(plan, token.key, leaf, targets)
        joins = (target for target in plan.legs.get(leaf, ()) if plan.nodes[target].defer)
        puts += [*held, *((target, leaf) for target in joins if target not in token.offered)]
        opens += [Open(one.node, one.key, parked=(leaf,)) for one in opened]
    for target in plan.joins:
        if not plan.nodes[target].defer:
            opens += completed(plan, scope, target, put={})
    for target, legs in scope.waiting.items():
        for leg in legs:
            if target in plan.edges.get(leg, ()) and not plan.is_held(target):  # a join that became a plain edge
                opens += [
                    Open(target, key_of(token.key, leg.encode(), target.encode()), takes=(leg,)) for token in legs[leg]
                ]
    return Offered(topology=plan.digest, opens=tuple(opens), routed=tuple(routed), puts=tuple(puts))


def growth(plan: Plan, run: RunState) -> tuple[str, ...]:
    """The nodes that a run would go on to under this graph from its parked tokens."""
    if run.topology == plan.digest:
        return ()
    offered = offer(plan, run)
    return tuple(dict.fromkeys((*(one.node for one in offered.opens), *(target for target, _ in offered.puts))))


def check_nodes(plan: Plan, run: RunState) -> None:
    """Refuse a run whose open activations, or waiting tokens, this graph does not know, in any of its scopes.

    Raises:
        UnknownNode: naming the first one.
    """
    plans: dict[str, Plan] = {ROOT: plan}
    for scope in _outer_first(run):
        if scope.owner is not None:
            owner = run.open[scope.owner]
            around = plans[owner.scope]
            inner = around.nodes[owner.node].inner
            if inner is None:
                raise UnknownNode(owner.node, around.graph, is_graph=False)
            plans[scope.path] = inner.plan
        elif scope.path != ROOT:
            continue  # kept for the next visit: nothing is open in it
        known = plans[scope.path]
        for name in (*(one.node for one in run.open_in(scope.path)), *scope.waiting):
            if name not in known.nodes:
                raise UnknownNode(name, known.graph)
        for one in run.open_in(scope.path):
            node = known.nodes[one.node]
            if one.id in run.fans and one.sent is None and node.fan is None:
                raise UnknownNode(one.node, known.graph, is_graph=False)
            ahead = plans[run.open[scope.owner].scope] if one.leaves and scope.owner is not None else known
            for name in (*(one.goto or ()), *(target for target, _ in one.sends)):
                if name not in ahead.nodes and name != END.value:
                    raise UnknownNode(name, ahead.graph)


def _outer_first(run: RunState) -> list[Scope]:
    return sorted(run.scopes.values(), key=lambda scope: depth_of(run, scope.path))
