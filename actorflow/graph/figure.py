"""Figure: the parts that a sketch is drawn with, each with its size, and where they stand."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Literal

from msgspec import Struct

from actorflow.graph.layout import LOOP, Layout, lay_out
from actorflow.graph.routing import END, End, label
from actorflow.graph.sketch import Box, Sketch

if TYPE_CHECKING:
    from actorflow.graph.progress import Progress

PAD = 12.0
STACK = 5.0  # how far the sheets behind a fan-out stick out
HEAD = 28.0  # the head of a graph that is drawn expanded
LINE = 15.0  # a line of small print
BAR = 8.0  # what shows how many items are done
LONGEST = 44  # characters of a text that are shown

_NARROW = frozenset("iljtfrI.,:;'|!()[]/ -")
_WIDE = frozenset("mwMWQO@%&—…→")


class Part(Struct, frozen=True, kw_only=True):
    """Something that has its place in a row: a node, the start, the end, a join, or what is said on a way."""

    kind: Literal["box", "start", "end", "join", "branch", "label"]
    width: float
    height: float
    text: str = ""
    error: bool = False
    box: Box | None = None
    badge: str = ""
    loops: bool = False  # its way to itself runs beside it
    inside: Figure | None = None


class Line(Struct, frozen=True):
    """A way, or the half of one before or after what is said on it."""

    source: int
    target: int
    style: Literal["", "error"]
    tip: bool
    title: str


class Figure(Struct, frozen=True):
    """A graph, measured and placed."""

    sketch: Sketch
    parts: tuple[Part, ...]
    lines: tuple[Line, ...]
    layout: Layout


def figure(sketch: Sketch, progress: Progress | None) -> Figure:
    """Measure and place all that a sketch has."""
    loops = {way.source for way in sketch.ways if way.kind == "edge" and way.source in way.targets}
    parts = [Part(kind="start", width=12, height=12)] if sketch.entries else []
    at: dict[str | End, int] = {}
    for box in sketch.boxes:
        at[box.name] = len(parts)
        parts.append(_box(box, progress, loops=box.name in loops))
    if sketch.ends:
        at[END] = len(parts)
        parts.append(Part(kind="end", width=16, height=16))
    lines = [Line(0, at[name], "", tip=True, title=f"start → {name}") for name in sketch.entries]
    for source, ways in sketch.ways_of().items():
        for way in ways:
            style: Literal["", "error"] = "error" if way.kind == "error" else ""
            begin, said = at[source], f" ({way.label})" if way.label else ""
            if way.kind != "edge":
                begin = len(parts)
                parts.append(_said(way.label, "branch" if way.kind == "branch" else "label", error=bool(style)))
                lines.append(Line(at[source], begin, style, tip=False, title=f"{source}: {way.label}"))
            lines += [
                Line(begin, at[target], style, tip=True, title=f"{source} → {label(target)}{said}")
                for target in way.targets
            ]
    for join in sketch.joins:
        parts.append(Part(kind="join", width=measure(join.needs, 11) + 16, height=18, text=join.needs))
        here = len(parts) - 1
        lines += [Line(at[leg], here, "", tip=False, title=f"{leg} → {join.target}") for leg in join.legs]
        lines.append(Line(here, at[join.target], "", tip=True, title=f"{join.needs} of {', '.join(join.legs)}"))
    sizes = [(part.width, part.height) for part in parts]
    layout = lay_out(sizes, [(line.source, line.target, line.style) for line in lines])
    return Figure(sketch, tuple(parts), tuple(lines), layout)


def _box(box: Box, progress: Progress | None, *, loops: bool) -> Part:
    inside = None if box.inside is None else figure(box.inside, progress)
    tally = None if progress is None else progress.tally(box.path)
    badge = shown(f"× {box.items}") if box.items else ""
    if tally is not None and tally.total:
        badge = f"{tally.items:,} / {tally.total:,}"
    reserved = (
        badge if tally is None or not tally.total else f"{tally.total:,} / {tally.total:,}"
    )  # it grows as it runs
    head = measure(shown(box.name), 13) + (measure(reserved, 11) + 22 if badge else 0)
    print_ = [measure(line, 11) for line in small_print(box)]
    width = max(64.0, max((head, *print_)) + 2 * PAD)
    height = (
        (HEAD if inside is not None else 34.0) + LINE * len(print_) + (BAR if box.items and tally is not None else 0)
    )
    if inside is not None:
        width = max(width, inside.layout.width + 2 * PAD)
        height += inside.layout.height + PAD
    return Part(
        kind="box",
        width=round(width) + (2 * STACK if box.items else 0) + (2 * LOOP if loops else 0),
        height=round(height) + (STACK if box.items else 0),
        text=shown(box.name),
        box=box,
        badge=badge,
        loops=loops,
        inside=inside,
    )


def small_print(box: Box) -> list[str]:
    """The lines below a node's name."""
    lines: list[str] = []
    if box.graph and box.inside is None:
        count = f"{box.size:,} node{'s' * (box.size != 1)}"
        lines.append(f"{count} inside" if box.graph == box.name else f"{shown(f'graph {box.graph}')}: {count}")
    elif box.graph and box.graph != box.name:
        lines.append(shown(f"graph {box.graph}"))
    return [*lines, *map(shown, box.remarks)]


def _said(text: str, kind: Literal["branch", "label"], *, error: bool) -> Part:
    text = shown(text)
    width = measure(text, 11) + (24 if kind == "branch" else 6)
    return Part(kind=kind, width=round(width), height=20 if kind == "branch" else 15, text=text, error=error)


def shown(text: str) -> str:
    """A text as a picture has it: what can't be seen is replaced, and it is not too long."""
    if not text.isprintable():
        text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def measure(text: str, size: int) -> float:
    """How wide a text is at most, whatever font the reader has of those that the style sheet names."""
    return sum(map(_breadth, text)) * size


def _breadth(char: str) -> float:
    if char in _NARROW:
        return 0.40
    if char in _WIDE:
        return 0.98
    if char.isascii():
        return 0.72 if char.isupper() else 0.63
    return 1.05 if unicodedata.east_asian_width(char) in "WF" else 0.75
