"""Drawing: one graph, four pictures of it, all made without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from actorflow.graph.sketch import sketch

if TYPE_CHECKING:
    from actorflow.graph.plan import Plan
    from actorflow.graph.progress import Progress

Format = Literal["mermaid", "text", "svg", "dot"]


def draw(plan: Plan, format: Format, *, expand: bool, run: Progress | None) -> str:
    """A picture of the graph: see `Graph.draw`."""
    whole = sketch(plan, expand=expand)
    # The drawers are loaded when they are asked for: a program that declares a graph seldom draws it.
    match format:
        case "mermaid":
            from actorflow.graph.mermaid import draw_mermaid

            return draw_mermaid(whole, run)
        case "text":
            from actorflow.graph.outline import draw_text

            return draw_text(whole, run)
        case "svg":
            from actorflow.graph.svg import draw_svg

            return draw_svg(whole, run)
        case "dot":
            from actorflow.graph.dot import draw_dot

            return draw_dot(whole, run)
        case _:
            raise ValueError(f"format={format!r}: draw() knows {', '.join(map(repr, get_args(Format)))}")
