"""DOT: a graph in the language of Graphviz, with graphs inside as clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.graph.palette import LIGHT
from actorflow.graph.routing import End

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.progress import Progress
    from actorflow.graph.sketch import Box, Sketch


def draw_dot(sketch: Sketch, progress: Progress | None = None) -> str:
    """A digraph: joins as hexagons, handlers as thick arrows, what is decided at run time as dotted ones."""
    lines = [
        f"digraph {_quoted(sketch.graph)} {{",
        "    compound=true;",
        '    node [shape=box, style="rounded,filled", fillcolor=white, fontname="Helvetica"];',
        '    edge [fontname="Helvetica", fontsize=10];',
        *(f"    {line}" for line in _lines(sketch, progress)),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _lines(sketch: Sketch, progress: Progress | None) -> Iterator[str]:
    boxes = {box.name: box for box in sketch.boxes}
    start, finish = _id((*sketch.path, "start"), "point"), _id((*sketch.path, "end"), "point")
    if sketch.entries:
        yield f'{start} [shape=circle, label="", width=0.15, fillcolor=black];'
    for box in sketch.boxes:
        yield from _box(box, progress)
    if sketch.ends:
        yield f'{finish} [shape=doublecircle, label="", width=0.12, fillcolor=black];'

    def arrow(source: str, target: str | End, *options: str) -> str:
        """An arrow; one to or from a cluster is drawn to a point inside, and clipped."""
        its = list(options)
        from_, to = boxes[source], None if isinstance(target, End) else boxes[target]
        its += [f"ltail={_cluster(from_)}"] if from_.inside is not None else []
        its += [f"lhead={_cluster(to)}"] if to is not None and to.inside is not None else []
        return f"{_tail_of(from_)} -> {finish if to is None else _end_of(to)} [{', '.join(its)}];"

    for name in sketch.entries:
        head = f"lhead={_cluster(boxes[name])}" if boxes[name].inside is not None else ""
        yield f"{start} -> {_end_of(boxes[name])} [{head}];"
    for way in sketch.ways:
        said = [] if way.kind == "edge" else [f"label={_quoted(way.label)}", "style=dashed"]
        yield from (arrow(way.source, target, *said) for target in way.targets)
    for index, one in enumerate(sketch.joins):
        join = _id((*sketch.path, str(index)), "join")
        yield f"{join} [shape=hexagon, label={_quoted(one.needs)}, fontsize=10, height=0.2];"
        for leg in one.legs:
            inside = boxes[leg].inside is not None
            its = ["dir=none", *([f"ltail={_cluster(boxes[leg])}"] if inside else [])]
            yield f"{_tail_of(boxes[leg])} -> {join} [{', '.join(its)}];"
        target = boxes[one.target]
        head = f"lhead={_cluster(target)}" if target.inside is not None else ""
        yield f"{join} -> {_end_of(target)} [{head}];"


def _box(box: Box, progress: Progress | None) -> Iterator[str]:
    tally = None if progress is None else progress.tally(box.path)
    mark = None if progress is None else progress.mark(box.path)
    said = [f"{box.name} × {box.items}" if box.items else box.name]
    said += [f"graph {box.graph}"] if box.graph and (box.graph != box.name or box.inside is None) else []
    said += [", ".join(box.remarks)] if box.remarks else []
    said += [f"{tally.items:,} of {tally.total:,} items"] if tally is not None and tally.total else []
    its = [f"label={_quoted(chr(10).join(said))}"]
    if mark is not None:
        fill, stroke, text = LIGHT.marks[mark]
        its += [f'fillcolor="{fill}"', f'color="{stroke}"', f'fontcolor="{text}"']
    if box.inside is None:
        its += ["peripheries=2"] if box.items or box.graph else []
        its += ["shape=cds"] if box.handles else []
        yield f"{_end_of(box)} [{', '.join(its)}];"
        return
    yield f"subgraph {_cluster(box)} {{"
    yield '    style="rounded,filled"; fillcolor=white; fontname="Helvetica";'
    yield f"    {'; '.join(its)};"
    yield from (f"    {line}" for line in _lines(box.inside, progress))
    yield "}"


def _tail_of(box: Box) -> str:
    """What an arrow from a box begins at: of a cluster, something that is far down in it."""
    if box.inside is None:
        return _end_of(box)
    return _id((*box.path, "end"), "point") if box.inside.ends else _tail_of(box.inside.boxes[-1])


def _end_of(box: Box) -> str:
    """What an arrow to a box is drawn to: of a cluster, the point where it starts."""
    return _id(box.path, "node") if box.inside is None else _id((*box.path, "start"), "point")


def _cluster(box: Box) -> str:
    return _id(box.path, "cluster")  # Graphviz knows clusters by how their names begin


def _id(path: tuple[str, ...], kind: str) -> str:
    """A name of which no other kind has the same; a slash in a name is no slash between names."""
    return _quoted(f"{kind} " + "/".join(name.replace("~", "~0").replace("/", "~1") for name in path))


def _quoted(text: str) -> str:
    r"""A string as DOT takes it: ``\`` begins an escape of its own there, also in what is no label."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
