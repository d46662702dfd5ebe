"""Layout: where the boxes of a picture stand and how the ways between them run. Sizes in, coordinates out; no I/O.

The same boxes and ways always give the same layout, and no line runs through
a box: in the rows lines are vertical and have room of their own, and they
bend only between the rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.graph.layering import layers_of
from actorflow.graph.straightening import straighten

if TYPE_CHECKING:
    from actorflow.graph.layering import Layers

BETWEEN_ROWS = 30.0  # at least: lines that reach far to the side have more room to bend
BETWEEN_BOXES = 28.0
BETWEEN_LINES = 16.0
BETWEEN_PORTS = 16.0  # at most: where lines touch a box
LOOP = 22.0
"""What a box that leads to itself is wider by, on both sides: the room for that way."""


class Stop(Struct, frozen=True):
    """A vertical piece of a way, through a row or beside a box. Between two stops it bends."""

    x: float
    enter: float
    leave: float


class Route(Struct, frozen=True):
    """How a way runs, from its source to its target."""

    stops: tuple[Stop, ...]
    back: bool  # it leads up: it closes a loop
    joins: bool  # it ends where another way to the same target runs


class Layout(Struct, frozen=True):
    """Boxes by their upper left corners, and routes, both in the order in which they were given."""

    width: float
    height: float
    corners: tuple[tuple[float, float], ...]
    routes: tuple[Route, ...]


def lay_out(sizes: list[tuple[float, float]], ways: list[tuple[int, int, str]]) -> Layout:
    """Place boxes in rows, from top to bottom.

    Args:
        sizes: width and height of each box; the first is where all begins.
        ways: source, target and kind of each. Those of one kind to the same target may share a line.
    """
    between = [way for way in ways if way[0] != way[1]]
    layers = layers_of(len(sizes), between)
    widths = [width for width, _ in sizes] + [0.0] * (len(layers.row_of) - len(sizes))

    def gap(one: int, other: int) -> float:
        lines = (one >= layers.boxes) + (other >= layers.boxes)
        room = BETWEEN_LINES if lines == 2 else BETWEEN_BOXES * (0.75 if lines else 1)
        return (widths[one] + widths[other]) / 2 + room

    middles = straighten(layers, gap)
    left = min(middle - width / 2 for middle, width in zip(middles, widths, strict=True))
    middles = [round(middle - left, 1) for middle in middles]
    bands = _bands(layers, sizes, middles)
    corners = [
        (middle - width / 2, sum(bands[row]) / 2 - height / 2)
        for middle, (width, height), row in zip(middles, sizes, layers.row_of, strict=False)  # without the bends
    ]
    routes = iter(_routes(layers, sizes, middles, bands, corners))
    every = tuple(
        next(routes) if source != target else _loop(sizes[source], corners[source]) for source, target, _ in ways
    )
    right = max(middle + width / 2 for middle, width in zip(middles, widths, strict=True))
    return Layout(right, bands[-1][1], tuple(corners), every)


def _bands(layers: Layers, sizes: list[tuple[float, float]], middles: list[float]) -> list[tuple[float, float]]:
    """Top and bottom of each row."""
    bands: list[tuple[float, float]] = []
    top = 0.0
    for row in layers.rows:
        height = max((sizes[vertex][1] for vertex in row if vertex < layers.boxes), default=0.0)
        bands.append((top, top + height))
        reach = max((abs(middles[one] - middles[other]) for one in row for other in layers.below[one]), default=0.0)
        top += height + BETWEEN_ROWS + min(reach * 0.05, 40.0)
    return bands


def _routes(
    layers: Layers,
    sizes: list[tuple[float, float]],
    middles: list[float],
    bands: list[tuple[float, float]],
    corners: list[tuple[float, float]],
) -> list[Route]:
    ports = _ports(layers, sizes, middles)
    routes: list[Route] = []
    for index, span in enumerate(layers.spans):
        stops: list[Stop] = []
        last = len(span.vertices) - 1
        for at, vertex in enumerate(span.vertices):
            top, bottom = bands[layers.row_of[vertex]][:: -1 if span.back else 1]  # in the direction of the way
            if vertex >= layers.boxes:
                stops.append(Stop(middles[vertex], top, top if at == last else bottom))
                continue
            upper = corners[vertex][1]
            lower = upper + sizes[vertex][1]
            near, far = (lower, upper) if span.back else (upper, lower)
            stops.append(Stop(ports[index, at == 0], *((far, bottom) if at == 0 else (top, near))))
        routes.append(Route(tuple(stops), span.back, span.vertices[-1] >= layers.boxes))
    return routes


def _ports(layers: Layers, sizes: list[tuple[float, float]], middles: list[float]) -> dict[tuple[int, bool], float]:
    """Where each way touches its source (True) and its target (False): side by side, in the order of where it goes."""
    sides: dict[tuple[int, bool], list[tuple[float, int, bool]]] = {}  # by box and side (True: the lower one)
    for index, span in enumerate(layers.spans):
        ends = [(span.vertices[0], span.vertices[1], True), (span.vertices[-1], span.vertices[-2], False)]
        for box, other, is_source in ends:
            if box < layers.boxes:
                sides.setdefault((box, is_source != span.back), []).append((middles[other], index, is_source))
    ports: dict[tuple[int, bool], float] = {}
    for (box, _), ends_here in sides.items():
        ends_here.sort()
        room = max(sizes[box][0] - 20, 0.0)
        apart = min(BETWEEN_PORTS, room / max(len(ends_here) - 1, 1))
        first = middles[box] - apart * (len(ends_here) - 1) / 2
        for at, (_, index, is_source) in enumerate(ends_here):
            ports[index, is_source] = first + at * apart
    return ports


def _loop(size: tuple[float, float], corner: tuple[float, float]) -> Route:
    """A way from a box to itself, in the room beside it."""
    x = corner[0] + size[0] - LOOP / 2
    middle = corner[1] + size[1] / 2
    reach = min(8.0, size[1] / 2)
    return Route((Stop(x, middle + reach, middle - reach),), back=True, joins=False)
