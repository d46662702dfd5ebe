"""Straightening: where in its row each vertex stands, so that most lines are straight and long ones bend twice at most.

The method is that of Brandes and Köpf: four times each vertex is aligned with
a median of its neighbours (above or below, from the left or from the right),
aligned vertices become blocks, blocks are pushed together, and the mean of the
two inner positions is taken.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.graph.layering import Layers


def straighten(layers: Layers, gap: Callable[[int, int], float]) -> list[float]:
    """The middle of each vertex, from left to right.

    Args:
        layers: what stands in which row, in order.
        gap: how far the middles of two neighbours in a row must be apart.
    """
    crossed = _crossed(layers)
    found: list[list[float]] = []
    for upward in (False, True):
        joined = layers.below if upward else layers.above
        rows = layers.rows[::-1] if upward else layers.rows
        for mirrored in (False, True):
            seen = [row[::-1] for row in rows] if mirrored else rows
            root = _aligned(seen, joined, crossed)
            places = _compacted(seen, root, gap)
            found.append([-place for place in places] if mirrored else places)
    _line_up(found)
    return [sum(sorted(four)[1:3]) / 2 for four in zip(*found, strict=True)]


def _crossed(layers: Layers) -> set[tuple[int, int]]:
    """Lines that cross one between two bends: those between bends are to be straight."""
    found: set[tuple[int, int]] = set()
    boxes, place = layers.boxes, [0] * len(layers.row_of)
    for upper, lower in pairwise(layers.rows):
        for index, vertex in enumerate(upper):
            place[vertex] = index
        scanned = left = 0
        for index, vertex in enumerate(lower):
            inner = next((one for one in layers.above[vertex] if vertex >= boxes and one >= boxes), None)
            if inner is None and index < len(lower) - 1:
                continue
            right = len(upper) if inner is None else place[inner]
            for one in lower[scanned : index + 1]:
                for other in layers.above[one]:
                    if not left <= place[other] <= right and not (one >= boxes and other >= boxes):
                        found |= {(other, one), (one, other)}
            scanned, left = index + 1, right
    return found


def _aligned(rows: list[list[int]], joined: list[list[int]], crossed: set[tuple[int, int]]) -> list[int]:
    """By vertex, the first one of its block."""
    root = list(range(len(joined)))
    place = [0] * len(joined)
    taken = [False] * len(joined)  # has one aligned below it
    for row in rows:
        last = -1
        for index, vertex in enumerate(row):
            place[vertex] = index
            others = joined[vertex]
            if len(others) > 1:
                others = sorted(others, key=place.__getitem__)
                others = others[(len(others) - 1) // 2 : len(others) // 2 + 1]
            for other in others:
                free = root[vertex] == vertex and not taken[other] and last < place[other]
                if free and (vertex, other) not in crossed:
                    root[vertex], taken[other], last = root[other], True, place[other]
    return root


def _compacted(rows: list[list[int]], root: list[int], gap: Callable[[int, int], float]) -> list[float]:
    """Each block as far to the left as its neighbours let it, and then back to the right as far as nothing is moved."""
    left: dict[int, dict[int, float]] = {}
    right: dict[int, dict[int, float]] = {}
    for row in rows:
        for one, other in pairwise(row):
            apart, its = gap(one, other), right.setdefault(root[one], {})
            if apart > its.get(root[other], 0.0):
                its[root[other]] = left.setdefault(root[other], {})[root[one]] = apart
    blocks = _in_order([vertex for row in rows for vertex in row if root[vertex] == vertex], left, right)
    place: dict[int, float] = {}
    for block in blocks:
        place[block] = max((place[one] + apart for one, apart in left.get(block, {}).items()), default=0.0)
    for block in reversed(blocks):
        room = [place[one] - apart for one, apart in right.get(block, {}).items()]
        if room:
            place[block] = max(place[block], min(room))
    return [place[block] for block in root]


def _in_order(blocks: list[int], left: dict[int, dict[int, float]], right: dict[int, dict[int, float]]) -> list[int]:
    """The blocks so that each comes after those to its left."""
    before = {block: len(left.get(block, ())) for block in blocks}
    ready = [block for block in blocks if not before[block]]
    for block in ready:
        for one in right.get(block, ()):
            before[one] -= 1
            if not before[one]:
                ready.append(one)
    return ready


def _line_up(found: list[list[float]]) -> None:
    """Move the four so that those made from the left share their left edge with the narrowest, the others the right."""
    narrowest = min(found, key=lambda places: max(places) - min(places))
    low, high = min(narrowest), max(narrowest)
    for index, places in enumerate(found):
        by = high - max(places) if index % 2 else low - min(places)
        places[:] = [place + by for place in places]
