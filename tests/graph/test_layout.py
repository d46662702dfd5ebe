"""Layouts: of any graph, no box lies on another, no line runs through a box, and each leads where it should."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.graph import layering
from actorflow.graph.layering import crossings, layers_of
from actorflow.graph.layout import BETWEEN_LINES, LOOP, Layout, Route, lay_out

if TYPE_CHECKING:
    from collections.abc import Callable

Sizes = list[tuple[float, float]]
Ways = list[tuple[int, int, str]]


@st.composite
def pictures(draw: Callable[..., Any]) -> tuple[Sizes, Ways]:
    """Boxes of all sizes and ways between any two of them, also twice, and from a box to itself."""
    count = draw(st.integers(1, 12))
    box = st.integers(0, count - 1)
    sizes = draw(st.lists(st.tuples(st.integers(10, 300), st.integers(10, 200)), min_size=count, max_size=count))
    ways = draw(st.lists(st.tuples(box, box, st.sampled_from(["", "", "error"])), max_size=30))
    return [(float(width + 2 * LOOP), float(height)) for width, height in sizes], ways


def overlaps(sizes: Sizes, layout: Layout) -> list[tuple[int, int]]:
    """Pairs of boxes of which one lies on the other."""
    found = []
    placed = list(enumerate(zip(layout.corners, sizes, strict=True)))
    for (one, ((x, y), (wide, high))), (other, ((x2, y2), (wide2, high2))) in itertools.combinations(placed, 2):
        if x < x2 + wide2 and x2 < x + wide and y < y2 + high2 and y2 < y + high:
            found.append((one, other))
    return found


def runs_through(sizes: Sizes, layout: Layout) -> list[tuple[int, int]]:
    """Ways with a box that a vertical piece of theirs runs through."""
    found = []
    for index, route in enumerate(layout.routes):
        for stop in route.stops if len(route.stops) > 1 else ():
            top, bottom = sorted((stop.enter, stop.leave))
            for box, ((x, y), (wide, high)) in enumerate(zip(layout.corners, sizes, strict=True)):
                if x < stop.x < x + wide and max(top, y) < min(bottom, y + high) - 1e-6:
                    found.append((index, box))
    return found


def touches(route: Route, at: int, corner: tuple[float, float], size: tuple[float, float]) -> bool:
    """Whether a way begins (0) or ends (-1) at the upper or lower side of this box."""
    stop = route.stops[at]
    y = stop.enter if at == 0 else stop.leave
    return corner[0] <= stop.x <= corner[0] + size[0] and min(abs(y - corner[1]), abs(y - corner[1] - size[1])) < 1e-6


def lost(sizes: Sizes, ways: Ways, layout: Layout) -> list[int]:
    """Ways that don't lead from their source to their target, or to a line of their kind that does."""
    found = []
    for index, (source, target, kind) in enumerate(ways):
        route = layout.routes[index]
        if source == target:
            continue
        fine = touches(route, 0, layout.corners[source], sizes[source])
        if route.joins:
            end = route.stops[-1]
            fine = fine and any(
                other != index
                and (ways[other][1], ways[other][2], its.back) == (target, kind, route.back)
                and any((stop.x, stop.enter) == (end.x, end.enter) for stop in its.stops[1:])
                for other, its in enumerate(layout.routes)
            )
        else:
            fine = fine and touches(route, -1, layout.corners[target], sizes[target])
        if not fine:
            found.append(index)
    return found


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_of_any_graph_the_layout_is_sound(picture: tuple[Sizes, Ways]) -> None:
    """No box on another, no line through a box, each way from source to target, all inside, and always the same."""
    sizes, ways = picture

    layout = lay_out(sizes, ways)

    assert overlaps(sizes, layout) == []
    assert runs_through(sizes, layout) == []
    assert lost(sizes, ways, layout) == []
    for (x, y), (wide, high) in zip(layout.corners, sizes, strict=True):
        assert -1e-6 <= x <= layout.width - wide + 1e-6
        assert -1e-6 <= y <= layout.height - high + 1e-6
    for stop in (stop for route in layout.routes for stop in route.stops):
        assert -1e-6 <= stop.x <= layout.width + 1e-6
        assert -1e-6 <= min(stop.enter, stop.leave) <= max(stop.enter, stop.leave) <= layout.height + 1e-6
    assert lay_out(list(sizes), list(ways)) == layout


@settings(max_examples=150, deadline=None)
@given(pictures())
def test_only_ways_that_close_a_loop_lead_back(picture: tuple[Sizes, Ways]) -> None:
    """Without them there is no loop, and each of them ends where its source can be reached from."""
    sizes, ways = picture
    routes = lay_out(sizes, ways).routes
    following: dict[int, set[int]] = {}
    for (source, target, _), route in zip(ways, routes, strict=True):
        if not route.back:
            following.setdefault(source, set()).add(target)

    reach = {box: reached(following, box) for box in range(len(sizes))}

    assert all(box not in found for box, found in reach.items())
    assert all(
        source == target or source in reach[target]
        for (source, target, _), route in zip(ways, routes, strict=True)
        if route.back
    )


def reached(following: dict[int, set[int]], start: int) -> set[int]:
    """The boxes that one leads to, itself only along a loop."""
    found: set[int] = set()
    todo = [start]
    while todo:
        for target in following.get(todo.pop(), ()):
            if target not in found:
                found.add(target)
                todo.append(target)
    return found


def test_the_checks_can_fail() -> None:
    """Planted: boxes on each other, a line through a box, and one that leads nowhere are found."""
    sizes, ways = [(80.0, 30.0)] * 3, [(0, 1, ""), (1, 2, ""), (0, 2, "")]
    layout = lay_out(sizes, ways)
    x, y = layout.corners[1]
    on_each_other = Layout(layout.width, layout.height, (layout.corners[0], (x, y), (x + 70, y + 20)), layout.routes)
    through = Layout(
        layout.width,
        layout.height,
        (layout.corners[0], (layout.routes[2].stops[1].x - 9, y), layout.corners[2]),
        layout.routes,
    )
    nowhere = Layout(layout.width, layout.height, layout.corners, (layout.routes[1], *layout.routes[1:]))

    assert overlaps(sizes, layout) == runs_through(sizes, layout) == lost(sizes, ways, layout) == []
    assert (1, 2) in overlaps(sizes, on_each_other)
    assert (2, 1) in runs_through(sizes, through)
    assert lost(sizes, ways, nowhere) == [0]


def test_a_chain_is_a_straight_line() -> None:
    """Boxes of one width after each other stand below each other, and no line bends."""
    layout = lay_out([(80.0, 30.0)] * 5, [(index, index + 1, "") for index in range(4)])

    assert len({x for x, _ in layout.corners}) == 1
    assert len({stop.x for route in layout.routes for stop in route.stops}) == 1


def test_what_forks_stands_in_the_middle_above() -> None:
    """Two branches lie left and right of where they part and join, as they were declared."""
    layout = lay_out([(80.0, 30.0)] * 4, [(0, 1, ""), (0, 2, ""), (1, 3, ""), (2, 3, "")])

    (top, _), (left, _), (right, _), (bottom, _) = layout.corners
    assert left < top == bottom < right
    assert top - left == pytest.approx(right - top)


def test_crossings_are_taken_out() -> None:
    """A grid whose lines cross when it is drawn as declared has none in the end."""
    ways = [(0, 1, ""), (0, 2, ""), (0, 3, ""), (1, 6, ""), (2, 5, ""), (3, 4, "")]

    assert crossings(layers_of(7, ways)) == 0


def test_fewer_crossings_than_without_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: without sweeps the same dense graph has more of them, so the count can tell."""
    ways = [(0, box, "") for box in range(1, 8)]
    ways += [(box, 8 + (box * 5) % 7, "") for box in range(1, 8)] + [
        (box, 8 + (box * 3) % 7, "") for box in range(1, 8)
    ]
    found = crossings(layers_of(15, ways))

    monkeypatch.setattr(layering, "_uncross", lambda layers: None)

    assert found < crossings(layers_of(15, ways))


def test_a_thousand_ways_to_one_box_share_a_line() -> None:
    """From each of a thousand boxes to the end: as many bends as there are rows, not half a million."""
    count = 1_000
    ways = [(box, box + 1, "") for box in range(count - 2)] + [(box, count - 1, "") for box in range(count - 1)]

    layers = layers_of(count, ways)
    layout = lay_out([(80.0, 30.0)] * count, ways)

    assert len(layers.row_of) < 2 * count
    assert sum(len(route.stops) for route in layout.routes) < 6 * count
    assert sum(route.joins for route in layout.routes) >= count - 5
    assert layout.width < 80 + 4 * BETWEEN_LINES


def test_a_large_graph_is_laid_out_in_time() -> None:
    """A thousand boxes, each led to from one of those before, and a hundred ways back: less than two seconds of CPU."""
    ways = [((box * 7_919) % box, box, "") for box in range(1, 1_000)]
    ways += [(box * 9 + 90, box * 4, "") for box in range(100)]

    begun = time.process_time()
    layout = lay_out([(80.0, 30.0)] * 1_000, ways)

    assert time.process_time() - begun < 2
    assert len(layout.routes) == len(ways)
