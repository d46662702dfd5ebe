"""Naming: what the nodes of a declaration are called, and which of them a reference means."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, cast

from actorflow.graph.node import problems_of_name
from actorflow.graph.routing import End, NodeHandle, label
from actorflow.graph.signature import identity, placed, site_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.graph.declaration import DeclaredNode
    from actorflow.graph.problems import Problems


class Names:
    """The nodes by their names, handlers of messages among them."""

    def __init__(self, nodes: Iterable[DeclaredNode], problems: Problems) -> None:
        self.declared: dict[str, DeclaredNode] = {}
        self._of: dict[tuple[int, int], list[str]] = defaultdict(list)  # by function: the nodes it is
        self._problems = problems
        for declared in nodes:
            self._add(declared)

    def _add(self, declared: DeclaredNode) -> None:
        fn, name, problems = declared.fn, declared.name, self._problems
        if name is None:
            name = getattr(fn, "__name__", "<lambda>")
        if name == "<lambda>":
            problems.note(placed("a node", site_of(fn)), ["its function has no name of its own; say name="])
            return
        place = placed(f"node {name!r}", declared.site or site_of(fn))
        problems.note(place, problems_of_name(name))
        if not isinstance(name, str):
            return
        if taken := [mark for mark in "/@" if mark in name]:
            problems.note(place, [f"{taken[0]!r} in a name stands for a way through graphs inside; say name="])
        if name in self.declared:
            other = self.declared[name]
            first = placed("first", other.site or site_of(other.fn))
            problems.note(place, [f"this name is declared twice, {first}; give one of them another with name="])
            return
        self.declared[name] = declared
        for reference in (fn, declared.handle):
            if reference is not None:
                self._of[identity(cast("Any", reference))].append(name)

    def place(self, name: str) -> str:
        """Where a node is declared, for messages."""
        declared = self.declared[name]
        return placed(f"node {name!r}", declared.site or site_of(declared.fn))

    def is_known(self, reference: object) -> bool:
        """Whether this is a function, or a handle, of a node."""
        return identity(cast("Any", reference)) in self._of

    def find(self, reference: object, place: str) -> str | None:
        """The node that is meant; after a note also the one that most likely is. No handler: nothing leads there."""
        name = self.named(reference, place)
        if name is not None and (type_ := self.declared[name].message) is not None:
            self._problems.note(
                place,
                [f"{name!r} handles {label(type_)}, so nothing else leads there; what it leads to, say as its goto="],
            )
            return None
        return name

    def named(self, reference: object, place: str) -> str | None:
        """The node or handler that is meant; after a note also the one that most likely is."""
        note = self._problems.note
        if isinstance(reference, str):
            if reference in self.declared:
                return reference
            import difflib  # only a mistake needs it

            near = difflib.get_close_matches(reference, self.declared, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            if reference.strip("_").lower() == "end":
                hint = "; the end is actorflow.END, for a branch in to=(..., END)"
            note(place, [f"there is no node {reference!r}{hint}"])
            return near[0] if near else None
        if not callable(reference) and not isinstance(reference, NodeHandle):
            note(place, [f"{reference!r} is no node; give a node's function or its name"])
            return None
        found = self._of.get(identity(reference), [])
        if not found:
            note(place, [f"{label(reference)} is no node of this graph; declare it with node()"])
        elif len(found) > 1:
            listed = ", ".join(map(repr, found))
            note(place, [f"{label(reference)} is {len(found)} nodes, {listed}; refer to one by its name"])
        return found[0] if found else None

    def targets(self, given: tuple[object, ...], place: str) -> tuple[str | End, ...]:
        """The targets of a branch or ``goto=``, each once."""
        found = [target if isinstance(target, End) else self.find(target, place) for target in given]
        known = [target for target in found if target is not None]
        twice = (target for target in dict.fromkeys(known) if known.count(target) > 1)
        self._problems.note(place, [f"{label(target)!r} is named twice" for target in twice])
        return tuple(dict.fromkeys(known))
