"""Outline: a graph as lines for a terminal, one a node, each after those that lead to it.

``*`` marks an entry, ``on`` what messages lead to, ``→`` an edge, ``⇢`` what is decided when a node has
finished or failed, and ``↺`` a way back to a node further up. A graph inside a
node stands below it, behind a line.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.graph.routing import End, label
from actorflow.graph.sketch import order

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.progress import Progress
    from actorflow.graph.sketch import Box, Join, Sketch, Way


def draw_text(sketch: Sketch, progress: Progress | None = None) -> str:
    """The outline of a graph, and how far a run of it has come."""
    run = "" if progress is None else f" (run {progress.run_id}: {progress.status})"
    return "\n".join((f"{sketch.graph}: {_count(len(sketch.boxes))}{run}", *_lines(sketch, progress))) + "\n"


def _lines(sketch: Sketch, progress: Progress | None) -> Iterator[str]:
    names = order(sketch)
    rank = {name: index for index, name in enumerate(names)}
    boxes = {box.name: box for box in sketch.boxes}
    ways, joins = sketch.ways_of(), _by_leg(sketch)
    for source in names:
        box = boxes[source]
        said = _said(box, progress)
        yield f"{'*' if source in sketch.entries else ' '} {source}{f'  [{said}]' if said else ''}"
        if box.inside is not None:
            yield from (f"    │ {line}" for line in _lines(box.inside, progress))
        for target, arrow, remark in _arrows(ways[source], joins.get(source, []), source):
            back = isinstance(target, str) and rank[target] <= rank[source]
            yield f"    {'↺' if back else arrow} {label(target)}{f'  ({remark})' if remark else ''}"


def _count(nodes: int) -> str:
    return f"{nodes} node{'s' * (nodes != 1)}"


def _by_leg(sketch: Sketch) -> dict[str, list[Join]]:
    found: dict[str, list[Join]] = {}
    for join in sketch.joins:
        for leg in join.legs:
            found.setdefault(leg, []).append(join)
    return found


def _said(box: Box, progress: Progress | None) -> str:
    """What stands behind a node's name."""
    graph = f"graph {box.graph}" if box.graph and (box.graph != box.name or box.inside is None) else ""
    folded = f"{graph}: {_count(box.size)}" if box.graph and box.inside is None else graph
    return ", ".join(filter(None, (f"× {box.items}" if box.items else "", folded, *box.remarks, _state(box, progress))))


def _state(box: Box, progress: Progress | None) -> str:
    """How far a run has come in a node."""
    if progress is None:
        return ""
    tally = progress.tally(box.path)
    counts = {"done": tally.done, "open": tally.open, "waiting": tally.waiting, "failed": tally.failed}
    said = [word if count == 1 else f"{word} {count:,}×" for word, count in counts.items() if count]
    if tally.total:
        said.append(f"{tally.items:,}/{tally.total:,} items")
    return ", ".join(said) or (progress.mark(box.path) or "")


def _arrows(ways: list[Way], joins: list[Join], source: str) -> Iterator[tuple[str | End, str, str]]:
    """Target, arrow and remark for all that leaves a node."""
    for way in ways:
        if way.kind == "edge":
            yield from ((target, "→", "") for target in way.targets)
    for join in joins:
        others = ", ".join(leg for leg in join.legs if leg != source)
        yield join.target, "→", f"joins {others}" + ("" if join.needs == "all" else f": {join.needs}")
    for way in ways:
        if way.kind != "edge":
            said = f"if {way.label}" if way.kind == "branch" and way.label != "branch" else way.label
            yield from ((target, "⇢", said) for target in way.targets)
