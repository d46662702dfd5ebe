"""Mermaid: a graph as a flowchart in the language that GitHub and notebooks draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.graph.palette import LIGHT
from actorflow.graph.routing import END, End

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.progress import Mark, Progress
    from actorflow.graph.sketch import Box, Sketch

_ENTITIES = {"#": "#35;", '"': "#quot;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;"}
_ESCAPES = str.maketrans(_ENTITIES)


def draw_mermaid(sketch: Sketch, progress: Progress | None = None) -> str:
    """A flowchart: joins as hexagons, handlers as flags, what is decided at run time dotted, graphs inside as boxes."""
    marks: dict[str, Mark] = {}
    lines = ["flowchart TD", *_lines(sketch, progress, "", marks)]
    for mark in dict.fromkeys(marks.values()):
        fill, stroke, text = LIGHT.marks[mark]
        lines.append(f"    classDef {mark} fill:{fill},stroke:{stroke},color:{text}")
        lines.append(f"    class {','.join(id_ for id_, its in marks.items() if its == mark)} {mark}")
    return "\n".join(lines) + "\n"


def _lines(sketch: Sketch, progress: Progress | None, outer: str, marks: dict[str, Mark]) -> Iterator[str]:
    prefix = f"{outer}_" if outer else ""
    start, finish = (f"{prefix}start", f"{prefix}finish")
    ids: dict[str | End, str] = {
        box.name: f"{outer or 'n'}{'_' * bool(outer)}{i}" for i, box in enumerate(sketch.boxes)
    }
    ids[END] = finish
    if sketch.entries:
        yield f'    {start}(["start"])'
    for box in sketch.boxes:
        id_ = ids[box.name]
        if progress is not None and (mark := progress.mark(box.path)) is not None:
            marks[id_] = mark
        yield from _box(box, id_, progress, marks)
    if sketch.ends:
        yield f'    {finish}(["END"])'
    yield from (f"    {start} --> {ids[name]}" for name in sketch.entries)
    for way in sketch.ways:
        arrow = "-->" if way.kind == "edge" else f"-. {_quoted(way.label)} .->"
        yield from (f"    {ids[way.source]} {arrow} {ids[target]}" for target in way.targets)
    seen: dict[str, int] = {}
    for one in sketch.joins:
        index = seen[one.target] = seen.get(one.target, -1) + 1
        join = f"{ids[one.target]}_join{index}"
        yield f"    {join}{{{{{_quoted(one.needs)}}}}}"
        yield from (f"    {ids[leg]} --- {join}" for leg in one.legs)
        yield f"    {join} --> {ids[one.target]}"


def _box(box: Box, id_: str, progress: Progress | None, marks: dict[str, Mark]) -> Iterator[str]:
    tally = None if progress is None else progress.tally(box.path)
    said = [f"{box.name} × {box.items}" if box.items else box.name]
    said += [f"graph {box.graph}"] if box.graph and (box.graph != box.name or box.inside is None) else []
    said += [", ".join(box.remarks)] if box.remarks else []
    said += [f"{tally.items:,} of {tally.total:,} items"] if tally is not None and tally.total else []
    text = '"' + "<br/>".join(line.translate(_ESCAPES) for line in said) + '"'
    if box.inside is not None:
        yield f"    subgraph {id_}[{text}]"
        yield from _lines(box.inside, progress, id_, marks)
        yield "    end"
    elif box.items or box.graph:
        yield f"    {id_}[[{text}]]"
    elif box.handles:
        yield f"    {id_}>{text}]"
    else:
        yield f"    {id_}[{text}]"


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
