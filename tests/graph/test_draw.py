"""Pictures: the same graph is always the same text, and hostile names stay inside their labels."""

from __future__ import annotations

import re
from typing import Any, Literal

import pytest

from actorflow.errors import GraphError
from actorflow.graph.graph import Graph
from actorflow.graph.progress import Progress, Tally
from actorflow.graph.routing import END, End
from actorflow.graph.state import State


class Paper(State):
    """The state of this graph."""

    score: int = 0


def paper() -> Graph[Paper]:
    """A fork, a join, a branch, a loop, a goto, an edge to END."""
    graph = Graph("paper", Paper)
    for name, after in [("plan", None), ("search", "plan"), ("browse", "plan"), ("merge", ("search", "browse"))]:
        graph.node(lambda state: None, name=name, after=after)
    graph.node(lambda state: None, name="review", after="merge", goto="apologise")
    graph.node(lambda state: None, name="revise")
    graph.node(lambda state: None, name="publish")
    graph.node(lambda state: None, name="apologise")
    graph.edge("revise", "review")
    graph.edge("publish", END)

    @graph.branch(after="review")
    def verdict(state: Paper) -> Literal["publish", "revise"] | End:
        return END

    return graph


def test_the_text_shows_every_way_and_marks_those_back() -> None:
    """A list in the order of the flow."""
    assert paper().draw("text") == (
        "paper: 8 nodes\n"
        "* plan\n"
        "    → search\n"
        "    → browse\n"
        "  search\n"
        "    → merge  (joins browse)\n"
        "  browse\n"
        "    → merge  (joins search)\n"
        "  merge\n"
        "    → review\n"
        "  review\n"
        "    ⇢ publish  (if verdict)\n"
        "    ⇢ revise  (if verdict)\n"
        "    ⇢ END  (if verdict)\n"
        "    ⇢ apologise  (goto)\n"
        "  publish\n"
        "    → END\n"
        "  revise\n"
        "    ↺ review\n"
        "  apologise\n"
    )


def test_mermaid_shows_every_way() -> None:
    """A flowchart that Mermaid draws as it is."""
    assert paper().draw() == (
        "flowchart TD\n"
        '    start(["start"])\n'
        '    n0["plan"]\n'
        '    n1["search"]\n'
        '    n2["browse"]\n'
        '    n3["merge"]\n'
        '    n4["review"]\n'
        '    n5["revise"]\n'
        '    n6["publish"]\n'
        '    n7["apologise"]\n'
        '    finish(["END"])\n'
        "    start --> n0\n"
        "    n0 --> n1\n"
        "    n0 --> n2\n"
        "    n3 --> n4\n"
        '    n4 -. "verdict" .-> n6\n'
        '    n4 -. "verdict" .-> n5\n'
        '    n4 -. "verdict" .-> finish\n'
        '    n4 -. "goto" .-> n7\n'
        "    n5 --> n4\n"
        "    n6 --> finish\n"
        '    n3_join0{{"all"}}\n'
        "    n1 --- n3_join0\n"
        "    n2 --- n3_join0\n"
        "    n3_join0 --> n3\n"
    )


def test_entries_that_lead_to_each_other_are_drawn_once() -> None:
    """Each node stands where it is first reached."""
    graph = Graph("two", Paper)
    graph.node(lambda state: None, name="b", entry=True)
    graph.node(lambda state: None, name="a", entry=True)
    graph.edge("a", "b")

    assert graph.draw("text") == "two: 2 nodes\n* a\n    → b\n* b\n"


def test_a_single_node_is_drawn_without_an_end() -> None:
    """END is in the picture only where something leads to it."""
    graph = Graph("one", Paper)
    graph.node(lambda state: None, name="only")

    assert graph.draw("text") == "one: 1 node\n* only\n"
    assert graph.draw() == 'flowchart TD\n    start(["start"])\n    n0["only"]\n    start --> n0\n'


@pytest.mark.parametrize(
    "name", ['say "hi"]', "<script>alert(1)<script>", "`md`", "a#b;c&d", "end", "x --> y", "back\\slash", "ノード"]
)
def test_a_hostile_name_stays_inside_its_label(name: str) -> None:
    """Nothing in a name is read as Mermaid or HTML."""
    graph = Graph("g", Paper)
    graph.node(lambda state: None, name=name)
    line = graph.draw().splitlines()[2]

    found = re.fullmatch(r'    n0\["([^"<>`\\&]*)"\]', line)

    assert found is not None
    assert re.sub(r"#(\w+);", lambda entity: NAMES.get(entity[1]) or chr(int(entity[1])), found[1]) == name


NAMES = {"quot": '"', "lt": "<", "gt": ">", "amp": "&"}


def test_a_graph_with_mistakes_is_not_drawn() -> None:
    """A picture of something that can't run would look sound."""
    graph = paper()
    graph.edge("plan", "nowhere")

    with pytest.raises(GraphError, match="nowhere"):
        graph.draw()


def test_an_unknown_format_is_refused() -> None:
    """The message lists those that are known."""
    graph: Any = paper()

    with pytest.raises(ValueError, match="'mermaid', 'text', 'svg', 'dot'"):
        graph.draw("png")


def rich() -> Graph[Paper]:
    """A fan-out, a graph inside, a join of any, a send, a handler, a deferred node."""
    inner, graph = Graph("inner", Paper), Graph("rich", Paper)
    inner.node(lambda state: None, name="a")
    graph.node(lambda state: None, name="load", on_error="sorry")
    graph.map(lambda item: None, name="each", over=3, after="load")
    graph.subgraph(inner, after="load")
    graph.node(lambda state: None, name="first", after=("each", "inner"), join="any", send="take")
    graph.node(lambda text: None, name="take", takes=str)
    graph.node(lambda state: None, name="sorry")
    graph.node(lambda state: None, name="last", after="load", defer=True)
    return graph


def test_the_text_shows_all_that_a_graph_can_have() -> None:
    """What is inside a node stands behind a line; remarks stand behind names."""
    assert rich().draw("text") == (
        "rich: 7 nodes\n"
        "* load\n"
        "    → each\n"
        "    → inner\n"
        "    → last\n"
        "    ⇢ sorry  (on error)\n"
        "  each  [× 3]\n"
        "    → first  (joins inner: any)\n"
        "  inner\n"
        "    │ * a\n"
        "    → first  (joins each: any)\n"
        "  first\n"
        "    ⇢ take  (send)\n"
        "  take  [× sent]\n"
        "  last  [deferred]\n"
        "  sorry\n"
    )


def test_mermaid_shows_all_that_a_graph_can_have() -> None:
    """A fan-out has double sides, a graph inside is a box around its nodes; what a run did is a class."""
    progress = Progress(run_id="r", status="running", nodes={("each",): Tally(open=1, items=1, total=3)})

    drawn = rich().draw("mermaid", run=progress)

    for line in (
        '    n1[["each × 3<br/>1 of 3 items"]]',
        '    subgraph n2["inner"]',
        '    n2_0["a"]',
        '    n3_join0{{"any"}}',
        '    n3 -. "send" .-> n4',
        '    n0 -. "on error" .-> n5',
        '    n6["last<br/>deferred"]',
        "    class n1 open",
    ):
        assert line in drawn.splitlines()
    assert drawn.count("    subgraph ") == drawn.count("    end\n") == 1


def test_dot_shows_all_that_a_graph_can_have() -> None:
    """A graph inside is a cluster; an arrow to it ends at its border."""
    drawn = rich().draw("dot")

    for line in (
        'digraph "rich" {',
        '    "node each" [label="each × 3", peripheries=2];',
        '    subgraph "cluster inner" {',
        '        "node inner/a" [label="a"];',
        '    "node load" -> "point inner/start" [lhead="cluster inner"];',
        '    "join 0" [shape=hexagon, label="any", fontsize=10, height=0.2];',
        '    "node first" -> "node take" [label="send", style=dashed];',
        '    "node load" -> "node sorry" [label="on error", style=dashed];',
    ):
        assert line in drawn.splitlines()
    assert drawn.count("{") == drawn.count("}")


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "a -> b; }", "end\\", "ノード", "<b>"])
def test_a_hostile_name_stays_inside_its_string_in_dot(name: str) -> None:
    """Nothing in a name ends its string or is an escape."""
    graph = Graph(name, Paper)
    graph.node(lambda state: None, name=name)

    strings = re.findall(r'"((?:[^"\\]|\\.)*)"', graph.draw("dot"))

    assert strings[0].replace('\\"', '"').replace("\\\\", "\\") == name
    assert f"node {strings[0]}" in strings


def test_a_picture_of_a_run_says_what_was_done_in_every_format() -> None:
    """The word, or the colour, is there with the run and is not without."""
    progress = Progress(run_id="r", status="failed", nodes={("load",): Tally(failed=1)})

    for format, said in (("text", "[failed]"), ("mermaid", "class n0 failed"), ("dot", "#ffebe9"), ("svg", '"failed"')):
        drawer: Any = format

        assert said in rich().draw(drawer, run=progress)
        assert said not in rich().draw(drawer)
