"""Sketch: what every picture of a graph shows, whatever it is drawn with: boxes, those inside them, and ways.

The drawers (`outline`, `mermaid`, `dot`, `svg`) read nothing else of a graph,
so that none of them shows less than the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actorflow.graph.fan import AT_ONCE
from actorflow.graph.inner import MAX_DEPTH
from actorflow.graph.progress import Path
from actorflow.graph.routing import END, End, label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.fan import Fan
    from actorflow.graph.node import Handler, Node
    from actorflow.graph.plan import Plan

MAX_BOXES = 2_000
"""Graphs inside are drawn folded once a picture has so many boxes: nobody reads more, and graphs inside multiply."""


class Join(Struct, frozen=True):
    """What waits in front of a node: a group of legs that open it together."""

    target: str
    legs: tuple[str, ...]
    needs: str  # "all", "any" or "2 of 3"


class Way(Struct, frozen=True):
    """What leads from a node to others because it is said so when it has finished, or by an edge."""

    source: str
    kind: Literal["edge", "branch", "goto", "send", "error"]
    label: str  # empty for an edge
    targets: tuple[str | End, ...]


class Box(Struct, frozen=True):
    """A node."""

    name: str
    path: Path
    items: str  # of a fan-out: what it is over; else empty
    remarks: tuple[str, ...]
    graph: str  # the graph inside; else empty
    size: int  # how many nodes that has
    inside: Sketch | None  # that graph, if it is drawn expanded
    handles: bool  # messages lead to it, and nothing that is drawn


class Sketch(Struct, frozen=True):
    """A graph, as it is to be drawn."""

    graph: str
    path: Path  # of the box that it is inside of
    entries: tuple[str, ...]
    boxes: tuple[Box, ...]  # in the order of declaration
    ways: tuple[Way, ...]  # by source, in the order of declaration
    joins: tuple[Join, ...]

    @property
    def ends(self) -> bool:
        """Whether anything leads to END."""
        return any(END in way.targets for way in self.ways)

    def ways_of(self) -> dict[str, list[Way]]:
        """The ways by the node that they leave."""
        found: dict[str, list[Way]] = {box.name: [] for box in self.boxes}
        for way in self.ways:
            found[way.source].append(way)
        return found


def sketch(plan: Plan, *, expand: bool) -> Sketch:
    """What a picture of the graph shows.

    Args:
        plan: the graph.
        expand: draw graphs inside in full, except those that contain themselves.
    """
    return _Sketcher().sketch(plan, (), (plan,), expand=expand)


class _Sketcher:
    """Counts the boxes of one picture."""

    def __init__(self) -> None:
        self.boxes = 0

    def sketch(self, plan: Plan, path: Path, around: tuple[Plan, ...], *, expand: bool) -> Sketch:
        self.boxes += len(plan.nodes)
        sent = {target for node in plan.nodes.values() for target in node.send}
        return Sketch(
            graph=plan.graph,
            path=path,
            entries=plan.entries,
            boxes=tuple(
                self._box(plan, node, path, around, sent=name in sent, expand=expand)
                for name, node in plan.nodes.items()
            ),
            ways=tuple(way for name in plan.nodes for way in _ways(plan, name)),
            joins=tuple(
                Join(target, inlet, _needs(plan.nodes[target].join, len(inlet)))
                for target, inlets in plan.joins.items()
                for inlet in inlets
            ),
        )

    def _box(self, plan: Plan, node: Node, path: Path, around: tuple[Plan, ...], *, sent: bool, expand: bool) -> Box:
        path = (*path, node.name)
        inner = None if node.inner is None else node.inner.plan
        inside = None
        if inner is not None and expand and inner not in around and len(around) < MAX_DEPTH:
            has_room = self.boxes + len(inner.nodes) <= MAX_BOXES
            inside = self.sketch(inner, path, (*around, inner), expand=True) if has_room else None
        return Box(
            name=node.name,
            path=path,
            items="sent" if sent else "" if node.fan is None else _items(node.fan),
            remarks=tuple(_remarks(plan, node)),
            graph="" if inner is None else inner.graph,
            size=0 if inner is None else len(inner.nodes),
            inside=inside,
            handles=node.message is not None,
        )


def _items(fan: Fan) -> str:
    return _called(fan.over) if callable(fan.over) else str(fan.over)


def _called(function: object) -> str:
    """A function as it is named in a picture."""
    name = label(function)
    return "a function" if name == "<lambda>" else f"{name}()"


def _remarks(plan: Plan, node: Node) -> Iterator[str]:
    fan, inner, handler = node.fan, node.inner, node.on_error
    if node.message is not None:
        yield f"on {node.message}"
    limit = node.limit if fan is None else fan.limit
    if callable(limit):
        yield f"at most {_called(limit)} at a time"
    elif limit != AT_ONCE:
        yield f"at most {limit:,} at a time"
    if fan is not None and fan.on_error == "collect":
        yield "errors collected"
    if inner is not None and inner.kept:
        yield "state kept"
    if node.defer:
        yield "deferred"
    if node.isolated is not None:
        yield "own process"
    if node.name in plan.interrupt_before:
        yield "asks before"
    if node.name in plan.interrupt_after:
        yield "asks after"
    if handler is not None and handler.fn is not None:
        yield f"{_on_error(handler)}: {_called(handler.fn)}"


def _ways(plan: Plan, source: str) -> Iterator[Way]:
    if edges := plan.edges.get(source, ()):
        yield Way(source, "edge", "", edges)
    for branch in plan.branches.get(source, ()):
        name = label(branch.fn)
        yield Way(source, "branch", "branch" if name == "<lambda>" else name, branch.targets)
    node = plan.nodes[source]
    if node.goto:
        yield Way(source, "goto", "goto", node.goto)
    if node.send:
        yield Way(source, "send", "send", node.send)
    if (handler := node.on_error) is not None and handler.node is not None:
        yield Way(source, "error", _on_error(handler), (handler.node,))


def _on_error(handler: Handler) -> str:
    """When a handler takes over."""
    if handler.catch == (Exception,):
        return "on error"
    return f"on {' or '.join(kind.__name__ for kind in handler.catch)}"


def _needs(join: int | None, legs: int) -> str:
    return "all" if join is None else "any" if join == 1 else f"{join} of {legs}"


def order(sketch: Sketch) -> list[str]:
    """The nodes so that only ways back lead up: reverse postorder, handlers before entries, siblings as declared."""
    following: dict[str, list[str]] = {box.name: [] for box in sketch.boxes}
    for way in sketch.ways:
        if way.kind == "edge":
            following[way.source] += (target for target in way.targets if isinstance(target, str))
    for join in sketch.joins:
        for leg in join.legs:
            following[leg].append(join.target)
    for way in sketch.ways:
        if way.kind != "edge":
            following[way.source] += (target for target in way.targets if isinstance(target, str))
    finished: list[str] = []
    seen: set[str] = set()
    handlers = [box.name for box in sketch.boxes if box.handles]
    for entry in (*reversed(sketch.entries), *reversed(handlers), *following):  # at last whatever nothing leads to
        if entry in seen:
            continue
        seen.add(entry)
        stack = [(entry, reversed(following[entry]))]
        while stack:
            name, rest = stack[-1]
            target = next((target for target in rest if target not in seen), None)
            if target is None:
                finished.append(name)
                stack.pop()
            else:
                seen.add(target)
                stack.append((target, reversed(following[target])))
    return finished[::-1]
