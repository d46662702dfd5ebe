"""Layering: which box stands in which row, which ways lead back up, and in what order a row is.

The method is Sugiyama's. Ways back are those that a depth-first search finds,
in the order of declaration; without them a box stands below all that lead to
it. A way over several rows has a bend in each of those between; ways of one
kind to the same target share theirs, so a thousand ways to the end are one
line. Rows are then ordered by barycenters, and the order with the fewest
crossings is kept.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from itertools import pairwise

from msgspec import Struct

_WORK = 400_000  # vertices that may be looked at to get rid of crossings: bounds the time for large graphs
_SWEEPS = 24


class Span(Struct):
    """A way as its layout sees it: from the upper vertex to the lower one, bend by bend."""

    vertices: list[int]  # from its source to its target, or to the bend where it joins another way
    back: bool


class Layers(Struct):
    """Boxes and bends in rows. A vertex below ``boxes`` is that box, one above is a bend."""

    boxes: int
    rows: list[list[int]]
    row_of: list[int]
    above: list[list[int]]  # by vertex: what it is joined to in the row above
    below: list[list[int]]
    spans: list[Span]  # one for each way, in their order


def layers_of(count: int, ways: list[tuple[int, int, str]]) -> Layers:
    """Boxes and ways, in rows.

    Args:
        count: how many boxes there are; 0 is where all begins.
        ways: source, target and kind; those from a box to itself are left out by the caller.
    """
    back = _ways_back(count, ways)
    down = [
        (target, source) if is_back else (source, target)
        for (source, target, _), is_back in zip(ways, back, strict=True)
    ]
    row_of = _rows(count, down)
    layers = Layers(count, [], row_of, [[] for _ in range(count)], [[] for _ in range(count)], [])
    _bend(layers, ways, back)
    layers.rows = [[] for _ in range(max(row_of, default=0) + 1)]
    for vertex in _first_order(layers):
        layers.rows[row_of[vertex]].append(vertex)
    _uncross(layers)
    return layers


def _ways_back(count: int, ways: list[tuple[int, int, str]]) -> list[bool]:
    """Which ways close a loop: those that lead to a box from which the search is still on its way."""
    leaving: list[list[int]] = [[] for _ in range(count)]
    for index, (source, _, _) in enumerate(ways):
        leaving[source].append(index)
    back = [False] * len(ways)
    state = [0] * count  # 1: on the way, 2: left behind
    for first in range(count):
        if state[first]:
            continue
        state[first] = 1
        stack = [(first, iter(leaving[first]))]
        while stack:
            box, rest = stack[-1]
            for index in rest:
                target = ways[index][1]
                if state[target] == 1:
                    back[index] = True
                elif not state[target]:
                    state[target] = 1
                    stack.append((target, iter(leaving[target])))
                    break
            else:
                state[box] = 2
                stack.pop()
    return back


def _rows(count: int, down: list[tuple[int, int]]) -> list[int]:
    """Each box one row below the lowest of those that lead to it."""
    following: list[list[int]] = [[] for _ in range(count)]
    before = [0] * count
    for upper, lower in down:
        following[upper].append(lower)
        before[lower] += 1
    row_of = [0] * count
    ready = [box for box in range(count) if not before[box]]
    for box in ready:
        for lower in following[box]:
            row_of[lower] = max(row_of[lower], row_of[box] + 1)
            before[lower] -= 1
            if not before[lower]:
                ready.append(lower)
    return row_of


def _bend(layers: Layers, ways: list[tuple[int, int, str]], back: list[bool]) -> None:
    """Give each way its bends. The longest way of a kind to a target makes them, the others join it."""
    row_of = layers.row_of
    spans: list[Span | None] = [None] * len(ways)
    bends: dict[tuple[int, str, bool], dict[int, int]] = {}  # by target and kind: by row
    far = sorted(range(len(ways)), key=lambda way: (-abs(row_of[ways[way][0]] - row_of[ways[way][1]]), way))
    for way in far:
        source, target, kind = ways[way]
        shared = bends.setdefault((target, kind, back[way]), {})
        step = -1 if back[way] else 1
        vertices = [source]
        for row in range(row_of[source] + step, row_of[target], step):
            joins = row in shared
            if not joins:
                shared[row] = len(row_of)
                row_of.append(row)
                layers.above.append([])
                layers.below.append([])
            vertices.append(shared[row])
            if joins:
                break
        else:
            vertices.append(target)
        spans[way] = Span(vertices, back[way])
        for one, other in pairwise(vertices):
            upper, lower = (one, other) if step > 0 else (other, one)
            layers.below[upper].append(lower)
            layers.above[lower].append(upper)
    layers.spans = [span for span in spans if span is not None]


def _first_order(layers: Layers) -> list[int]:
    """The vertices as a depth-first search meets them, so that what belongs together begins side by side."""
    seen = [False] * len(layers.row_of)
    met: list[int] = []
    for first in range(len(seen)):
        if seen[first] or layers.above[first]:
            continue
        stack = [first]
        while stack:
            vertex = stack.pop()
            if not seen[vertex]:
                seen[vertex] = True
                met.append(vertex)
                stack += [lower for lower in reversed(layers.below[vertex]) if not seen[lower]]
    return met


# -- crossings ----------------------------------------------------------------------


def _uncross(layers: Layers) -> None:
    best, fewest = layers.rows, crossings(layers)
    sweeps = max(2, min(_SWEEPS, _WORK // (len(layers.row_of) + 1)))
    place = [0] * len(layers.row_of)
    unchanged = 0
    for sweep in range(sweeps):
        if not fewest or unchanged == 6:
            break
        _sweep(layers, place, upward=bool(sweep % 2), ties_turned=sweep % 4 > 1)
        found = crossings(layers)
        unchanged += 1
        if found < fewest:
            best, fewest, unchanged = layers.rows, found, 0
    layers.rows = best


def _sweep(layers: Layers, place: list[int], *, upward: bool, ties_turned: bool) -> None:
    """Order each row by where that what it is joined to stands in the row before."""
    joined = layers.below if upward else layers.above
    rows = layers.rows[::-1] if upward else layers.rows
    ordered = [rows[0]]
    _put(place, rows[0])
    for row in rows[1:]:
        _put(place, row)
        wanted = {vertex: _mean(place, joined[vertex], place[vertex]) for vertex in row}
        turned = row[::-1] if ties_turned else row
        ordered.append(sorted(turned, key=wanted.__getitem__))
        _put(place, ordered[-1])
    layers.rows = ordered[::-1] if upward else ordered


def _put(place: list[int], row: list[int]) -> None:
    for index, vertex in enumerate(row):
        place[vertex] = index


def _mean(place: list[int], joined: list[int], otherwise: float) -> float:
    if len(joined) == 1:  # as of each bend
        return place[joined[0]]
    return sum([place[other] for other in joined]) / len(joined) if joined else otherwise


def crossings(layers: Layers) -> int:
    """How often lines cross between one row and the next."""
    place = [0] * len(layers.row_of)
    for row in layers.rows:
        _put(place, row)
    found = 0
    for row in layers.rows:
        ends: list[int] = []
        for vertex in row:
            ahead = [place[lower] for lower in layers.below[vertex]]
            for lower in ahead:
                found += len(ends) - bisect_right(ends, lower)
            for lower in ahead:
                insort(ends, lower)
    return found
