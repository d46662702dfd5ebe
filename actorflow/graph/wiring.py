"""Wiring: what leads from one node to the next, read from the edges and branches of a declaration."""

from __future__ import annotations

import itertools
from collections import defaultdict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from actorflow.graph.node import problems_of_parameters
from actorflow.graph.plan import Branch
from actorflow.graph.routing import END, End, as_tuple, label, targets_in
from actorflow.graph.signature import identity, is_async, is_generator, placed, resolve, signature_of, site_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from actorflow.graph.declaration import DeclaredBranch, DeclaredEdge
    from actorflow.graph.naming import Names
    from actorflow.graph.node import Node
    from actorflow.graph.problems import Problems
    from actorflow.graph.state import State


class Wiring:
    """Edges, joins and branches, by the names of nodes."""

    def __init__(self, names: Names, problems: Problems) -> None:
        self._names = names
        self._problems = problems
        self._edges: dict[str, list[str | End]] = defaultdict(list)
        self._joins: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        self._branches: dict[str, list[Branch]] = defaultdict(list)
        self._inward: dict[str | End, dict[str, str]] = defaultdict(dict)  # target: source: the edge that says so
        self.loose: set[str] = set()  # what something unknown leads to; not to be reported as unreachable as well

    def read_edges(self, edges: Iterable[DeclaredEdge]) -> None:
        """Take in those that ``after=`` says, and then these."""
        for name, declared in self._names.declared.items():
            if declared.after is not None:
                self._read_edge(as_tuple(declared.after), name, declared.site or site_of(declared.fn))
        for edge in edges:
            self._read_edge(as_tuple(edge.source), edge.target, edge.site)

    def _read_edge(self, sources: tuple[object, ...], onto: object, site: str) -> None:
        note, names = self._problems.note, self._names
        arrow = f"edge {', '.join(map(label, sources)) or '()'} -> {label(onto)}"
        place = placed(arrow, site)
        if not sources:
            note(place, ["it names no node to come from"])
        if END in sources:
            note(place, ["nothing comes after END"])
        if onto is END and len(sources) > 1:
            note(place, ["END joins nothing; draw an edge from each node"])
            return
        target = onto if isinstance(onto, End) else names.find(onto, place)
        known = [names.find(source, place) for source in sources if source is not END]
        legs = [source for source in known if source is not None]
        if target is None:
            return
        if isinstance(target, str) and len(legs) < len(sources):
            self.loose.add(target)
        if len(sources) > 1 and target in legs:
            note(place, ["a join can't wait for itself"])
        for source in legs:
            if source in self._inward[target]:
                first = self._inward[target][source]
                note(place, [f"{source!r} leads there already: {first}; a leg belongs to one join or edge"])
            self._inward[target][source] = place
        if len(sources) == 1:
            for source in legs:
                self._edges[source].append(target)
        elif isinstance(target, str) and legs:
            self._joins[target].append(tuple(legs))

    def read_branches(self, branches: Iterable[DeclaredBranch], state_type: type[State] | None) -> None:
        """Take these in.

        Args:
            branches: as they were declared.
            state_type: what they take; None: the graph has none that could be.
        """
        for branch in branches:
            self._read_branch(branch, state_type)

    def _read_branch(self, branch: DeclaredBranch, state_type: type[State] | None) -> None:
        note, fn = self._problems.note, branch.fn
        place = placed(f"branch {label(fn)!r}", site_of(fn))
        if is_async(fn) or is_generator(fn):
            note(place, ["a branch must be a plain sync function; do what it awaits in a node before it"])
        if state_type is not None:
            note(place, problems_of_parameters(fn, state_type, ("state",)))
        after: object = branch.source
        source = None
        if isinstance(after, list | tuple | End):
            note(place, ["after= must be one node: a branch is asked when that node has finished"])
        else:
            source = self._names.find(after, place)
        targets = self._names.targets(self._declared_targets(branch, place), place)
        if source is None:
            self.loose.update(target for target in targets if isinstance(target, str))
        elif any(identity(other.fn) == identity(fn) for other in self._branches[source]):
            note(place, [f"it is declared twice after {source!r}"])
        else:
            self._branches[source].append(Branch(source, fn, targets))

    def _declared_targets(self, branch: DeclaredBranch, place: str) -> tuple[object, ...]:
        given: tuple[object, ...] | None
        if branch.to is None:
            signature = signature_of(branch.fn)
            given = targets_in(resolve(signature.return_annotation, branch.fn)) if signature else None
        else:
            given = as_tuple(branch.to)
        if not given:
            self._problems.note(
                place, ['its targets are not known; annotate it -> Literal["a", "b"], or say to=(a, b)']
            )
        return given or ()

    # -- what came of it ----------------------------------------------------------

    @property
    def edges(self) -> Mapping[str, tuple[str | End, ...]]:
        """By the node that they come from, where each leads."""
        return _frozen(self._edges)

    @property
    def joins(self) -> Mapping[str, tuple[tuple[str, ...], ...]]:
        """By the node that they open, the legs of each inlet."""
        return _frozen(self._joins)

    @property
    def legs(self) -> Mapping[str, tuple[str, ...]]:
        """By the node that they come from, the joins of which it is a leg."""
        legs: dict[str, list[str]] = defaultdict(list)
        for target, inlets in self._joins.items():
            for source in dict.fromkeys(source for inlet in inlets for source in inlet):
                legs[source].append(target)
        return _frozen(legs)

    @property
    def branches(self) -> Mapping[str, tuple[Branch, ...]]:
        """By the node after which they are asked."""
        return _frozen(self._branches)

    def leads_to(self, name: str) -> bool:
        """Whether an edge or a branch does."""
        decided = (branch.targets for branches in self._branches.values() for branch in branches)
        return name in self._inward or any(name in targets for targets in decided)

    def entries(self, nodes: Mapping[str, Node]) -> tuple[str, ...]:
        """The nodes marked as entry, else those that nothing leads to, else those that only they themselves lead to."""
        if marked := tuple(name for name, node in nodes.items() if node.entry):
            return marked
        before: dict[str | End, set[str]] = {target: set(sources) for target, sources in self._inward.items()}
        for source, node in nodes.items():
            handler = () if node.on_error is None or node.on_error.node is None else (node.on_error.node,)
            routes = (node.goto, node.send, handler, *(branch.targets for branch in self._branches.get(source, ())))
            for target in itertools.chain.from_iterable(routes):
                before.setdefault(target, set()).add(source)
        ahead = [name for name, node in nodes.items() if node.message is None and name not in self.loose]
        return tuple(name for name in ahead if name not in before) or tuple(
            name for name in ahead if before[name] == {name}
        )


def _frozen(found: dict[str, list[Any]]) -> MappingProxyType[str, tuple[Any, ...]]:
    return MappingProxyType({name: tuple(items) for name, items in found.items() if items})
