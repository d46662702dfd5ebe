"""Checks on the shape of a graph: what can't run at all, and what can starve or pair up wrongly."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actorflow.graph.routing import End

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from actorflow.graph.plan import Plan


Ways = list[tuple[str | End, ...]]


class Finding(Struct, frozen=True):
    """Something to say about a graph. With an error it can't run, with a warning it may not do what is meant."""

    level: Literal["error", "warning"]
    problem: str

    def __str__(self) -> str:
        return f"{self.level}: {self.problem}"


def problems_of_shape(plan: Plan, loose: Collection[str]) -> Iterator[str]:
    """Entries, nodes out of reach, routes into joins. To ``loose`` nodes leads something that is wrong already."""
    if not plan.nodes:
        yield "the graph has no nodes"
        return
    handlers = tuple(filter(plan.is_handler, plan.nodes))
    if plan.lifetime == "run" and len(handlers) == len(plan.nodes):
        yield (
            "the graph has only handlers of messages, so that a run would be over before any came; "
            'say Graph(..., lifetime="actor")'
        )
        return
    if not plan.entries and not loose and plan.lifetime == "run":
        yield "no entry: something leads to every node; mark the first one with entry=True"
    elif len(plan.entries) > 1 and not any(plan.nodes[name].entry for name in plan.entries):
        yield (
            f"several entries: nothing leads to {_listed(plan.entries)}; "
            "give all but one an after=, say in goto= or send= where a node returns a Goto or Send to, "
            "or mark those that start together with entry=True"
        )
    if plan.entries or loose or plan.lifetime == "actor":
        reached = _reach(plan, (*plan.entries, *loose, *handlers))
        for name, node in plan.nodes.items():
            if name not in reached and not plan.is_handler(name):
                start = _listed(plan.entries) or ("the entry" if plan.lifetime == "run" else "any handler")
                yield f"{node.place}: it can't be reached from {start}"
    for source in plan.nodes:
        for target in dict.fromkeys(plan.routes(source)):
            if target in plan.joins:
                yield (
                    f"node {source!r} routes to {target!r}, which is a join: it would wait for the other legs; "
                    "route to a node of its own in front of the join, and make that one the leg"
                )


def warnings_of(plan: Plan) -> Iterator[str]:
    """Actors without an end, joins that can starve, and joins whose tokens pair up in an order that nothing fixes."""
    if plan.lifetime == "actor" and not plan.handlers:
        yield (
            "lifetime='actor', and nothing handles messages: when its nodes are done a run waits until it is "
            "cancelled; declare a handler with on(), or leave lifetime= out"
        )
    if not plan.joins:
        return
    concurrent = _concurrent(plan)
    starving = _Starvation(plan, concurrent)
    for target, inlets in plan.joins.items():
        for inlet in inlets:
            for leg in inlet:
                if (decider := starving.decider(leg, inlet)) is not None:
                    how = "its own Goto" if decider == leg else f"what {decider!r} decides"
                    yield (
                        f"join {target!r} waits for {leg!r}, which {how} can leave out while another leg arrives: "
                        "the run would fail with JoinStarved"
                    )
                if leg in concurrent:
                    yield (
                        f"join {target!r} has a leg from {leg!r}, which can run several times side by side: "
                        "nothing fixes which of its tokens pairs with which of the other legs'"
                    )


class _Starvation:
    """Who can leave out a leg of a join while another one arrives.

    A decision (which target a branch names, whether a Goto is returned) leaves
    out a leg that is out of reach from where it leads and around the node that
    decides. Reach is taken wide for the leg and, with joins that wait for all
    of theirs, narrow for the other one. What two decisions together leave out
    is not seen, nor what is decided where several tokens may come: another one
    could decide otherwise. Of several warnings, one may follow from another.
    """

    def __init__(self, plan: Plan, concurrent: set[str]) -> None:
        self.plan = plan
        self.ways: list[tuple[str, set[str], set[str]]] = []  # who decides, what may still come, what does come
        crowded = _crowded(plan, concurrent)
        for name in plan.nodes:
            decisions = list(self._decisions(name))
            if len(decisions) < 2 or name in crowded:
                continue
            around = _reach(plan, plan.entries, without=name)
            for own, onto in decisions:
                legs = plan.legs.get(name, ()) if own else ()
                itself = {name} if own else set[str]()
                may = itself | around | _reach(plan, (*onto, *legs))
                does = _reach(plan, (*plan.entries, *onto), reached=itself, without=name, joins="all")
                self.ways.append((name, may, does))

    def _decisions(self, name: str) -> Iterator[tuple[bool, tuple[str | End, ...]]]:
        """For each way to decide: whether the node serves its own legs, and where it leads beside them."""
        edges, branches = self.plan.edges.get(name, ()), self.plan.branches.get(name, ())
        for branch in branches:
            others = [target for other in branches if other is not branch for target in other.targets]
            for target in branch.targets:
                yield True, (*edges, *others, target)
        for target in self.plan.nodes[name].goto:
            yield False, (target,)
        if not branches and (edges or name in self.plan.legs):
            yield True, edges

    def decider(self, leg: str, inlet: tuple[str, ...]) -> str | None:
        """The node that can leave out this leg, if there is one."""
        for name, may, does in self.ways:
            if leg not in may and not does.isdisjoint(inlet):
                return name
        return None


def _concurrent(plan: Plan) -> set[str]:
    """Nodes that can run several times, neither run after the other: a fork whose ways meet without a join."""
    met: set[str] = set()
    entries: Ways = [(name,) for name in plan.entries]
    for ways in (entries, *(list(_ways(plan, name)) for name in plan.nodes)):
        if len(ways) > 1:
            counts = Counter(name for way in ways for name in _reach(plan, way, joins="none"))
            met.update(name for name, count in counts.items() if count > 1)
    for handler in filter(plan.is_handler, plan.nodes):  # the next message may come before the last is through
        met |= _reach(plan, plan.nodes[handler].goto, joins="none")
    return met


def _crowded(plan: Plan, concurrent: set[str]) -> set[str]:
    """Nodes to which tokens can come again on their own: after ways that met, or beside a loop that goes on."""
    starts: list[str | End] = [*concurrent]
    for name in plan.nodes:
        ways: Ways = [*_ways(plan, name), *((target,) for target in plan.legs.get(name, ()))]
        if len(ways) > 1 and any(name in _reach(plan, way, joins="none") for way in ways):
            starts += itertools.chain.from_iterable(ways)
    return _reach(plan, starts)


def _ways(plan: Plan, name: str) -> Iterator[tuple[str | End, ...]]:
    """What takes a token each when the node has finished: an edge, or a branch, which leads to one of several."""
    yield from ((target,) for target in plan.edges.get(name, ()))
    yield from (branch.targets for branch in plan.branches.get(name, ()))


def _reach(
    plan: Plan,
    starts: Iterable[str | End],
    *,
    reached: Collection[str] = (),
    without: str | None = None,
    joins: Literal["any", "all", "none"] = "any",
) -> set[str]:
    """The nodes that tokens from ``starts`` can get to, those included, and what is ``reached`` already.

    They don't go through the node ``without``. A join is passed with ``any`` of
    its legs, with ``all`` legs of an inlet, or not at all.
    """
    found = set(reached)
    todo = list(starts)
    while todo:
        name = todo.pop()
        if isinstance(name, End) or name in found or name == without:
            continue
        found.add(name)
        todo.extend(plan.edges.get(name, ()))
        todo.extend(plan.routes(name))
        legs = plan.legs.get(name, ())
        if joins == "any":
            todo.extend(legs)
        elif joins == "all":
            todo.extend(target for target in legs if any(map(found.issuperset, plan.joins[target])))
    return found


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(repr, names))
