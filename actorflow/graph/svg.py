"""SVG: a graph as a picture of its own, light or dark as its reader likes it, with how far a run has come."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from actorflow.graph.figure import BAR, HEAD, LINE, PAD, STACK, figure, measure, small_print
from actorflow.graph.layout import LOOP
from actorflow.graph.palette import style_sheet

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.figure import Figure, Line, Part
    from actorflow.graph.layout import Route
    from actorflow.graph.progress import Mark, Progress, Tally
    from actorflow.graph.sketch import Box, Sketch

_MARGIN = 20.0
_LEGEND = 34.0
_TIP = 7.0

_SIGNS: dict[Mark, str] = {
    "done": "M-3,0L-1,2.5L3.2,-2.5",
    "open": "M-1.5,-2.8L2.6,0L-1.5,2.8Z",
    "waiting": "M-1.7,-2.6V2.6M1.7,-2.6V2.6",
    "failed": "M-2.4,-2.4L2.4,2.4M2.4,-2.4L-2.4,2.4",
    "skipped": "M-2.8,0H2.8",
}
"""What tells the marks from each other where colours don't."""


def draw_svg(sketch: Sketch, progress: Progress | None = None) -> str:
    """The picture, as the text of an SVG file that needs nothing else: no script, font or address.

    Each node is a group with an id that stays the same as the graph grows.
    """
    whole = figure(sketch, progress)
    body = list(_Drawing(sketch.graph, progress).figure(whole, _MARGIN, _MARGIN))
    width, height = whole.layout.width + 2 * _MARGIN, whole.layout.height + 2 * _MARGIN
    if progress is not None and (legend := _legend(sketch, progress)):
        below, wide = legend
        body.append(_group(below, _MARGIN, height - _MARGIN + 22))
        width, height = max(width, wide + 2 * _MARGIN), height + _LEGEND
    count = len(sketch.boxes)
    title = f"Graph {sketch.graph}: {count} node{'s' * (count != 1)}"
    title += "" if progress is None else f"; run {progress.run_id}: {progress.status}"
    size = f'width="{_n(width)}" height="{_n(height)}" viewBox="0 0 {_n(width)} {_n(height)}"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="actorflow" role="img" {size}>\n'
        f"<title>{_text(title)}</title>\n<style>{style_sheet()}</style>\n"
        f'<rect class="page" width="100%" height="100%" rx="8"/>\n' + "\n".join(body) + "\n</svg>\n"
    )


class _Drawing:
    """One picture as it is written."""

    def __init__(self, graph: str, progress: Progress | None) -> None:
        self._graph = graph
        self._progress = progress

    def figure(self, whole: Figure, left: float, top: float) -> Iterator[str]:
        """The lines and parts of a graph, the lines below."""
        for line, route in zip(whole.lines, whole.layout.routes, strict=True):
            yield _line(line, route, left, top)
        for part, (x, y) in zip(whole.parts, whole.layout.corners, strict=True):
            yield from self._part(part, left + x, top + y)

    def _part(self, part: Part, x: float, y: float) -> Iterator[str]:
        wide, high = part.width, part.height
        middle, centre = x + wide / 2, y + high / 2
        if part.box is not None:
            yield from self._box(part, part.box, x, y)
        elif part.kind == "start":
            yield f'<circle class="point" cx="{_n(middle)}" cy="{_n(centre)}" r="5"><title>start</title></circle>'
        elif part.kind == "end":
            at = f'cx="{_n(middle)}" cy="{_n(centre)}"'
            yield f'<g><title>END</title><circle class="ring" {at} r="7"/><circle class="point" {at} r="3.5"/></g>'
        elif part.kind == "join":
            yield _rect("join", x, y, (wide, high), 9)
            yield _said(part.text, middle, centre, "small on-join")
        elif part.kind == "branch":
            outline = (
                f"M{_n(x + 8)},{_n(y)}H{_n(x + wide - 8)}L{_n(x + wide)},{_n(centre)}L{_n(x + wide - 8)},{_n(y + high)}"
            )
            yield f'<path class="branch shape" d="{outline}H{_n(x + 8)}L{_n(x)},{_n(centre)}Z"/>'
            yield _said(part.text, middle, centre, "small")
        else:
            yield _said(part.text, middle, centre, f"small {'error' if part.error else 'muted'}")

    def _box(self, part: Part, box: Box, x: float, y: float) -> Iterator[str]:
        """A node: sheets behind a fan-out, its name, badge and small print, and what a run makes of it."""
        mark = None if self._progress is None else self._progress.mark(box.path)
        tally = None if self._progress is None else self._progress.tally(box.path)
        stacked = bool(box.items)
        x += LOOP * part.loops + STACK * stacked
        wide = part.width - 2 * LOOP * part.loops - 2 * STACK * stacked
        high = part.height - STACK * stacked
        kind = "box" if part.inside is None else "inside"
        yield (
            f'<g id="{_id(self._graph, *box.path)}" class="{mark or "plain"}"'
            f' data-node="{_text(box.name, quote=True)}">'
            f"<title>{_text(_title(box, mark, tally))}</title>"
        )
        if stacked:
            yield _rect(kind, x + STACK, y + STACK, (wide, high), 7)
        yield _rect(kind, x, y, (wide, high), 16 if box.handles else 7)
        if box.graph and part.inside is None:
            yield _rect(kind, x + 3, y + 3, (wide - 6, high - 6), 5)
        yield from self._words(part, box, x, y, wide)
        if tally is not None and tally.total:
            track = wide - 2 * PAD
            yield _rect("track", x + PAD, y + high - BAR - 1, (track, 4), 2)
            yield _rect("bar", x + PAD, y + high - BAR - 1, (track * tally.items / tally.total, 4), 2)
        if mark is not None:
            times = 0 if tally is None else tally.done
            yield from _sign(mark, x + 2, y, "" if times < 2 else f"{times}×" if times < 100 else "99+")
        yield "</g>"
        if part.inside is not None:
            head = HEAD + LINE * len(small_print(box))
            yield from self.figure(part.inside, x + (wide - part.inside.layout.width) / 2, y + head)

    def _words(self, part: Part, box: Box, x: float, y: float, wide: float) -> Iterator[str]:
        lines = small_print(box)
        name = y + (17 if part.inside is None else 15)
        if part.badge:
            badge = _width(part.badge)
            yield _said(part.text, x + PAD, name, "name head" if part.inside is not None else "name", start=True)
            yield _rect("badge", x + wide - PAD - badge, name - 9, (badge, 18), 9)
            yield _said(part.badge, x + wide - PAD - badge / 2, name, "small on-badge")
        else:
            yield _said(part.text, x + wide / 2, name, "name head" if part.inside is not None else "name")
        for index, line in enumerate(lines):
            yield _said(line, x + wide / 2, name + 16 + LINE * index, "small muted")


def _line(line: Line, route: Route, left: float, top: float) -> str:
    """A way: vertical through the rows, bent between them."""
    classes = f"{' back' * route.back}{' error' * bool(line.style)}"
    tip = line.tip and not route.joins
    if len(route.stops) == 1:
        return _looped(line, route, left, top, classes)
    stops = [(left + stop.x, top + stop.enter, top + stop.leave) for stop in route.stops]
    turned = -1 if route.back else 1
    x, enter, end = stops[-1]
    if tip:
        stop = end - turned * (_TIP - 1)
        stops[-1] = (x, min(enter, stop) if turned > 0 else max(enter, stop), stop)
    x, enter, y = stops[0]
    path = [f"M{_n(x)},{_n(enter)}"]
    for there, enter, leave in stops[1:]:
        if there != x:
            middle = (y + enter) / 2
            path.append(f"V{_n(y)}C{_n(x)},{_n(middle)} {_n(there)},{_n(middle)} {_n(there)},{_n(enter)}")
        x, y = there, leave
    path.append(f"V{_n(y)}")
    drawn = f'<path class="way{classes}" d="{"".join(path)}"/>'
    drawn += _tip(x, end, turned, classes) if tip else ""
    return f"<g><title>{_text(line.title)}</title>{drawn}</g>"


def _looped(line: Line, route: Route, left: float, top: float, classes: str) -> str:
    """A way from a node to itself, out of its side and back."""
    (stop,) = route.stops
    x, low, high = left + stop.x, top + stop.enter, top + stop.leave
    side = x - LOOP / 2
    path = f"M{_n(side)},{_n(low)}C{_n(x + 8)},{_n(low)} {_n(x + 8)},{_n(high)} {_n(side + _TIP)},{_n(high)}"
    point = f"M{_n(side)},{_n(high)}l{_n(_TIP)},-3.6v7.2z"
    return (
        f'<g><title>{_text(line.title)}</title><path class="way{classes}" d="{path}"/>'
        f'<path class="tip{classes}" d="{point}"/></g>'
    )


def _tip(x: float, y: float, turned: int, classes: str) -> str:
    return f'<path class="tip{classes}" d="M{_n(x)},{_n(y)}l-3.6,{_n(-turned * _TIP)}h7.2z"/>'


def _sign(mark: Mark, x: float, y: float, count: str = "") -> Iterator[str]:
    """What says by its form as well how far a run has come in a node."""
    if count:
        yield _rect("dot", x - 8, y - 8, (22 + 7.2 * len(count), 16), 8)
        yield f'<text class="small on-join" x="{_n(x + 9)}" y="{_n(y)}" dominant-baseline="central">{count}</text>'
    else:
        yield f'<circle class="dot" cx="{_n(x)}" cy="{_n(y)}" r="8"/>'
    yield f'<path class="sign" transform="translate({_n(x)},{_n(y)})" d="{_SIGNS[mark]}"/>'


def _legend(sketch: Sketch, progress: Progress) -> tuple[list[str], float] | None:
    """What the marks mean that the picture has, and how wide that is."""
    marks = set(_marks(sketch, progress))
    drawn: list[str] = []
    x = 8.0
    for mark in sorted(marks, key=[*_SIGNS].index):
        drawn += [f'<g class="{mark}">', *_sign(mark, x, 0), _said(mark, x + 14, 0, "small muted", start=True), "</g>"]
        x += 14 + _width(mark) + 10
    return (drawn, x) if drawn else None


def _marks(sketch: Sketch, progress: Progress) -> Iterator[Mark]:
    for box in sketch.boxes:
        if (mark := progress.mark(box.path)) is not None:
            yield mark
        if box.inside is not None:
            yield from _marks(box.inside, progress)


def _title(box: Box, mark: Mark | None, tally: Tally | None) -> str:
    """What a reader hears, or sees when pointing at a node: nothing cut short."""
    said = [f"{box.name} × {box.items}" if box.items else box.name]
    said += [f"graph {box.graph}"] if box.graph else []
    said += box.remarks
    if tally is not None:
        counts = {"done": tally.done, "open": tally.open, "waiting": tally.waiting, "failed": tally.failed}
        found = [f"{count:,} {word}" for word, count in counts.items() if count]
        said += found or ([mark] if mark is not None else [])
        said += [f"{tally.items:,} of {tally.total:,} items done"] if tally.total else []
    return ", ".join(said)


def _group(drawn: list[str], x: float, y: float) -> str:
    return f'<g transform="translate({_n(x)},{_n(y)})">' + "".join(drawn) + "</g>"


def _rect(name: str, x: float, y: float, size: tuple[float, float], radius: float) -> str:
    width, height = size
    return f'<rect class="{name}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" height="{_n(height)}" rx="{_n(radius)}"/>'


def _said(text: str, x: float, y: float, classes: str, *, start: bool = False) -> str:
    anchor = "start" if start else "middle"
    at = f'x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}" dominant-baseline="central"'
    return f'<text class="{classes}" {at}>{_text(text)}</text>'


def _width(badge: str) -> float:
    return measure(badge, 11) + 14


def _text(text: str, *, quote: bool = False) -> str:
    """A text as it stands in XML, which can't hold each character."""
    return escape("".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text), quote=quote)


def _id(*path: str) -> str:
    """The id of a node: its names, in the characters that an id may have. Two nodes never share one."""
    return "-".join(("actorflow", *map(_spelt, path)))


def _spelt(name: str) -> str:
    return "".join(
        char if char.isascii() and char.isalnum() else "__" if char == "_" else f"_{ord(char):x}_" for char in name
    )


def _n(number: float) -> str:
    """A number as short as it can be said."""
    return f"{number:.1f}".removesuffix(".0")
