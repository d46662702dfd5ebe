"""SVG pictures: all of a graph is in them, names stay text, and what a run did is told by more than colour."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorflow.graph.graph import Graph
from actorflow.graph.progress import Progress, Tally
from actorflow.graph.routing import END, Send
from actorflow.graph.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

SVG = "{http://www.w3.org/2000/svg}"


class Paper(State):
    """The state of these graphs."""

    pages: list[str] = []
    sizes: list[int] = []


def nothing(state: Paper) -> None:
    """A node."""


def everything() -> Graph[Paper]:
    """A graph with all that a graph can have."""
    deep, inner = Graph("deep", Paper), Graph("inner", Paper)
    deep.node(nothing, name="think")
    inner.node(nothing, name="read")
    inner.subgraph(deep, after="read")
    graph = Graph("all", Paper, interrupt_before="publish")

    def measure(page: str) -> int:
        return len(page)

    def note(text: str) -> None:
        """A node that is sent to."""

    graph.node(nothing, name="load", entry=True, on_error="sorry", catch=OSError)
    graph.map(measure, over="pages", into="sizes", after="load", limit=3, on_error="collect")
    graph.subgraph(inner, after="load", lifetime="run")
    graph.node(nothing, name="gather", after=("measure", "inner"), join="any", goto=("publish", END))
    graph.node(lambda state: Send("note", "x"), name="share", after="gather", send="note")
    graph.node(note, takes=str)
    graph.node(nothing, name="publish", after="note")
    graph.node(nothing, name="sorry")
    graph.node(nothing, name="tidy", after="load", defer=True)

    @graph.branch(after="publish", to=("load", END))
    def verdict(state: Paper) -> Any:
        return END

    return graph


def parse(svg: str) -> ET.Element:
    """The picture, as XML."""
    return ET.fromstring(svg)


def titles(svg: str) -> list[str]:
    """What is said of each node and way."""
    return [str(found.text) for found in parse(svg).iter(f"{SVG}title")]


def nodes(svg: str) -> dict[str, ET.Element]:
    """The groups of nodes, by their ids."""
    return {found.attrib["id"]: found for found in parse(svg).iter(f"{SVG}g") if "id" in found.attrib}


def texts(svg: str) -> list[str]:
    """What is written in the picture."""
    return [str(found.text) for found in parse(svg).iter(f"{SVG}text")]


def frames(svg: str) -> dict[str, tuple[float, float, float, float]]:
    """By node: left, top, right and bottom of its box, sheets behind it left out."""
    found = {}
    for id_, group in nodes(svg).items():
        boxes = [one for one in group.iter(f"{SVG}rect") if one.attrib["class"] in {"box", "inside"}]
        x, y, wide, high = (min(float(one.attrib[name]) for one in boxes[:1]) for name in ("x", "y", "width", "height"))
        found[id_] = (x, y, x + wide, y + high)
    return found


def test_everything_is_in_the_picture() -> None:
    """Nodes of all depths, what is said on ways, joins, badges and small print."""
    svg = everything().svg()

    assert set(nodes(svg)) == {
        *(f"actorflow-all-{name}" for name in ("load", "measure", "inner", "gather", "share", "note", "publish")),
        *("actorflow-all-sorry", "actorflow-all-tidy"),
        *("actorflow-all-inner-read", "actorflow-all-inner-deep", "actorflow-all-inner-deep-think"),
    }
    written = texts(svg)
    for text in ("× pages", "× sent", "any", "goto", "send", "on OSError", "verdict", "deferred", "asks before"):
        assert text in written
    assert {"at most 3 at a time", "errors collected", "state kept"} <= set(written)


def test_each_way_is_in_the_picture() -> None:
    """An edge, a leg, a branch, a goto, a send, a handler and the end: each is a line with a title."""
    said = titles(everything().svg())

    for way in (
        *("start → load", "load → tidy", "measure → gather", "any of measure, inner", "gather → publish (goto)"),
        *("gather → END (goto)", "share → note (send)", "load → sorry (on OSError)", "publish → load (verdict)"),
        *("start → read", "read → deep", "start → think"),
    ):
        assert way in said


def test_only_loops_are_dashed() -> None:
    """A way back is drawn otherwise than all others."""
    svg = parse(everything().svg())

    back = [
        str(group.findtext(f"{SVG}title"))
        for group in svg.iter(f"{SVG}g")
        for path in group.findall(f"{SVG}path")
        if "back" in path.attrib["class"].split() and "way" in path.attrib["class"].split()
    ]

    assert back == ["publish → load (verdict)"]


def test_graphs_inside_are_folded_if_that_is_wanted() -> None:
    """One node then, that says how many it stands for."""
    svg = everything().svg(expand=False)

    assert "actorflow-all-inner" in nodes(svg)
    assert "actorflow-all-inner-read" not in nodes(svg)
    assert "2 nodes inside" in texts(svg)


def test_a_graph_that_contains_itself_is_drawn_once() -> None:
    """Expanded at the first level, folded at the second, in every format."""
    graph = Graph("tree", Paper)
    graph.node(nothing, name="leaf", entry=True)
    graph.subgraph(graph, name="again", after="leaf")

    assert set(nodes(graph.svg())) == {"actorflow-tree-leaf", "actorflow-tree-again"}
    assert graph.draw("text") == "tree: 2 nodes\n* leaf\n    → again\n  again  [graph tree: 2 nodes]\n"
    assert graph.draw("mermaid").count("leaf") == graph.draw("dot").count('"leaf"') == 1


def test_graphs_that_multiply_inside_are_folded_in_the_end() -> None:
    """Twelve levels of three graphs each would be half a million boxes; what is drawn is bounded."""
    graph = Graph("g0", Paper)
    graph.node(nothing, name="leaf")
    for level in range(1, 13):
        outer = Graph(f"g{level}", Paper)
        outer.node(nothing, name="first", entry=True)
        for index in range(3):
            outer.subgraph(graph, name=f"s{index}", after="first")
        graph = outer

    svg = graph.svg()

    assert 500 < svg.count("data-node=") <= 2_000


@pytest.mark.parametrize("name", ['say "hi"', "<b>&amp;<b>", "]]>", "'", "a\\b", "x" * 100, "ノード", "a|b#c[1]"])
def test_a_hostile_name_stays_text(name: str) -> None:
    """It is neither markup nor an end of one; a long one is cut short in the picture, but not in its title."""
    graph = Graph(name, Paper)
    graph.node(nothing, name=name)
    svg = graph.svg(run=Progress(run_id=name, status=name, nodes={(name,): Tally(done=1)}))

    (node,) = nodes(svg).values()

    assert node.attrib["data-node"] == name
    assert node.findtext(f"{SVG}title") == f"{name}, 1 done"
    assert titles(svg)[0] == f"Graph {name}: 1 node; run {name}: {name}"
    assert texts(svg)[0] == (name if len(name) < 45 else "x" * 43 + "…")


def test_what_xml_cannot_hold_is_replaced() -> None:
    """The name of a function, or a run's id, may have any character."""
    graph = Graph("g", Paper)
    graph.node(nothing, name="a")

    def way(state: Paper) -> Any:
        return END

    way.__name__ = "zero\x00\ud800"
    graph.branch(way, after="a", to=END)

    svg = graph.svg(run=Progress(run_id="\x01", status="running", nodes={}))

    assert "zero��" in texts(svg)
    assert "\x01" not in svg


def test_ids_are_never_shared() -> None:
    """Names that differ only in what an id can't have, and nodes inside, are told apart; so are names with dashes."""
    inner = Graph("inner", Paper)
    names = ["a b", "a_b", "a__b", "a_20_b", "a-b", "A-B", "a", "a|b", "inner-a"]
    for name in names:
        inner.node(nothing, name=name, entry=True)
    graph = Graph("g", Paper)
    for name in names:
        graph.node(nothing, name=name, entry=True)
    graph.subgraph(inner, after="a")

    found = [found.attrib["id"] for found in parse(graph.svg()).iter(f"{SVG}g") if "id" in found.attrib]

    assert len(found) == len(set(found)) == 2 * len(names) + 1


PROGRESS = Progress(
    run_id="r",
    status="failed",
    nodes={
        ("load",): Tally(done=3),
        ("measure",): Tally(open=1, items=37, total=120),
        ("inner",): Tally(failed=1),
        ("inner", "read"): Tally(done=1, failed=1),
        ("gather",): Tally(waiting=1, done=2),
    },
)


def test_a_run_is_told_by_more_than_colour() -> None:
    """Each node has its class, a sign, and a title that says the numbers; a legend says what the signs mean."""
    svg = everything().svg(run=PROGRESS)
    found = nodes(svg)

    assert found["actorflow-all-load"].attrib["class"] == "done"
    assert found["actorflow-all-measure"].attrib["class"] == "open"
    assert found["actorflow-all-inner-read"].attrib["class"] == "failed"
    assert found["actorflow-all-gather"].attrib["class"] == "waiting"
    assert found["actorflow-all-publish"].attrib["class"] == "plain"
    for name, said in (
        ("load", "3 done"),
        ("measure", "1 open, 37 of 120 items done"),
        ("gather", "2 done, 1 waiting"),
    ):
        assert str(found[f"actorflow-all-{name}"].findtext(f"{SVG}title")).endswith(said)
        assert found[f"actorflow-all-{name}"].find(f"{SVG}path[@class='sign']") is not None
    assert found["actorflow-all-publish"].find(f"{SVG}path[@class='sign']") is None
    assert {"done", "open", "waiting", "failed", "3×", "37 / 120"} <= set(texts(svg))
    assert "skipped" not in texts(svg)


def test_what_a_finished_run_never_came_to_was_skipped() -> None:
    """While a run goes on the same node is merely not reached yet."""
    graph = everything()
    nodes_ = {("load",): Tally(done=1)}

    over = graph.svg(run=Progress(run_id="r", status="finished", nodes=nodes_, over=True))
    running = graph.svg(run=Progress(run_id="r", status="running", nodes=nodes_))

    assert nodes(over)["actorflow-all-tidy"].attrib["class"] == "skipped"
    assert nodes(running)["actorflow-all-tidy"].attrib["class"] == "plain"


def test_boxes_stay_where_they_are_while_a_run_goes_on() -> None:
    """A dashboard that draws it again and again does not jump."""
    graph = everything()

    first, later = (
        graph.svg(
            run=Progress(run_id="r", status="running", nodes={("measure",): Tally(open=1, items=items, total=120)})
        )
        for items in (0, 119)
    )

    assert frames(first) == frames(later)


def test_a_picture_has_light_and_dark_colours_and_loads_nothing() -> None:
    """One style sheet with both, no script, and no address but the name of the format."""
    svg = everything().svg(run=PROGRESS)

    assert "@media (prefers-color-scheme:dark){" in svg
    assert re.findall(r"(?:https?:)?//[^\s\"'<]+", svg) == ["http://www.w3.org/2000/svg"]
    assert not re.search(r"<script|<image|<use|@import|url\(|href=", svg)


def test_a_picture_is_the_same_in_every_process() -> None:
    """Nothing depends on the order of a set. Planted: a legend in such an order differs between these processes."""
    code = "from tests.graph.test_svg import *; print(everything().svg(run=PROGRESS))"
    children = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        )
        for seed in ("1", "2", "3")
    ]

    assert len({child.stdout for child in children}) == 1


@st.composite
def graphs(draw: Callable[..., Any]) -> Graph[Paper]:
    """Any graph: edges, joins, branches, gotos, fan-outs, graphs inside, loops."""
    graph = Graph("g", Paper)
    names = [f"n{index}" for index in range(draw(st.integers(1, 8)))]
    after: dict[str, Any] = {names[0]: None}
    for index, name in enumerate(names[1:], 1):
        legs = draw(st.lists(st.sampled_from(names[:index]), min_size=1, max_size=3, unique=True))
        after[name] = legs[0] if len(legs) == 1 else tuple(legs)
    routes = st.sampled_from([*(name for name in names if not isinstance(after[name], tuple)), END])
    for name in names:
        kind = draw(st.sampled_from(["node", "node", "map", "graph"]))
        if kind == "map":
            graph.map(nothing, name=name, over=3, after=after[name], entry=name == "n0")
        elif kind == "graph":
            inner = Graph(f"inner {name}", Paper)
            inner.node(nothing, name="a")
            inner.node(nothing, name="b", after="a")
            graph.subgraph(inner, name=name, after=after[name], entry=name == "n0")
        else:
            goto = tuple(draw(st.lists(routes, max_size=2, unique=True)))
            graph.node(nothing, name=name, after=after[name], entry=name == "n0", goto=goto)
    for source in draw(st.lists(st.sampled_from(names), max_size=3, unique=True)):
        targets = draw(st.lists(routes, min_size=1, max_size=3, unique=True))
        graph.branch(lambda state: END, after=source, to=tuple(targets))
    return graph


@settings(max_examples=40, deadline=None)
@given(graphs(), st.booleans())
def test_of_any_graph_the_picture_is_sound(graph: Graph[Paper], expand: bool) -> None:
    """Valid XML, a box for each node inside the picture, none on another one beside it, and a line for each way."""
    svg = graph.svg(expand=expand)
    root = parse(svg)
    _, _, wide, high = map(float, root.attrib["viewBox"].split())
    found = frames(svg)
    plan = graph.plan

    assert {f"actorflow-g-{name}" for name in plan.nodes} <= set(found)
    for left, top, right, bottom in found.values():
        assert 0 <= left < right <= wide
        assert 0 <= top < bottom <= high
    for (one, a), (other, b) in itertools.combinations(found.items(), 2):
        apart = a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]
        assert apart or other.startswith(f"{one}-") or one.startswith(f"{other}-")
    said = titles(svg)
    for source in plan.nodes:
        for target in plan.successors(source):
            assert any(
                title == way or title.startswith(f"{way} (") for title in said for way in [f"{source} → {target}"]
            )
    assert graph.svg(expand=expand) == svg


def test_a_graph_of_a_thousand_nodes_is_drawn_in_time() -> None:
    """Less than two seconds of CPU, with ways back and to the end from everywhere."""
    import time

    graph = Graph("large", Paper)
    for index in range(1_000):
        after = None if not index else f"n{(index * 7_919) % index}"
        goto = (f"n{index // 2}", END) if index % 9 == 8 else ()
        graph.node(nothing, name=f"n{index}", after=after, entry=not index, goto=goto)
    plan = graph.plan

    begun = time.process_time()
    svg = graph.svg()

    assert time.process_time() - begun < 2
    assert len(nodes(svg)) == len(plan.nodes)


def test_a_notebook_gets_a_picture_and_text() -> None:
    """The mime types of images, of Mermaid, and of plain text for terminals."""
    shown = everything()._repr_mimebundle_(include=None, exclude=None)

    assert set(shown) == {"image/svg+xml", "text/vnd.mermaid", "text/plain"}
    assert shown["image/svg+xml"] == everything().svg()


def test_a_notebook_gets_the_name_of_a_graph_that_can_not_run() -> None:
    """A cell that ends with a graph under construction raises nothing, also if it is one inside that has no entry."""
    inner, graph = Graph("inner", Paper), Graph("g", Paper)
    graph.subgraph(inner)

    shown = graph._repr_mimebundle_()

    assert shown == {"text/plain": "<Graph 'g' over Paper: 1 node>"}
