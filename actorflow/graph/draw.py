"""Pictures of a graph, made without running it: a Mermaid flowchart, and lines for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.graph.routing import END, End, label

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.graph.plan import Plan

_ENTITIES = {"#": "#35;", '"': "#quot;", "&": "#amp;", "<": "#lt;", ">": "#gt;", "`": "#96;", "\\": "#92;"}
_ESCAPES = str.maketrans(_ENTITIES)


def draw_mermaid(plan: Plan) -> str:
    """A flowchart: nodes as boxes, joins as ``all``, what is decided at run time as dashed arrows."""
    ids: dict[str | End, str] = {name: f"n{index}" for index, name in enumerate(plan.nodes)}
    ids[END] = "finish"
    lines = ["flowchart TD", '    start(["start"])']
    lines += [f"    {ids[name]}[{_quoted(name)}]" for name in plan.nodes]
    if any(END in plan.successors(name) for name in plan.nodes):
        lines.append('    finish(["END"])')
    lines += [f"    start --> {ids[name]}" for name in plan.entries]
    for source in plan.nodes:
        lines += [f"    {ids[source]} --> {ids[target]}" for target in plan.edges.get(source, ())]
        for branch in plan.branches.get(source, ()):
            lines += [
                f"    {ids[source]} -. {_quoted(label(branch.fn))} .-> {ids[target]}" for target in branch.targets
            ]
        lines += [f'    {ids[source]} -. "goto" .-> {ids[target]}' for target in plan.nodes[source].goto]
    for target, inlets in plan.joins.items():
        for index, inlet in enumerate(inlets):
            join = f"{ids[target]}_join{index}"
            lines.append(f'    {join}{{{{"all"}}}}')
            lines += [f"    {ids[leg]} --- {join}" for leg in inlet]
            lines.append(f"    {join} --> {ids[target]}")
    return "\n".join(lines) + "\n"


def draw_text(plan: Plan) -> str:
    """One line a node, each after those that lead to it, and under it where it leads.

    ``*`` marks an entry, ``→`` an edge, ``⇢`` what a branch or a Goto decides,
    and ``↺`` a way back to a node further up.
    """
    order = _order(plan)
    rank = {name: index for index, name in enumerate(order)}
    count = len(plan.nodes)
    lines = [f"{plan.graph}: {count} node{'s' * (count != 1)}"]
    for source in order:
        lines.append(f"{'*' if source in plan.entries else ' '} {source}")
        for target, arrow, remark in _ways(plan, source):
            back = isinstance(target, str) and rank[target] <= rank[source]
            lines.append(f"    {'↺' if back else arrow} {label(target)}{f'  ({remark})' if remark else ''}")
    return "\n".join(lines) + "\n"


def _ways(plan: Plan, source: str) -> Iterator[tuple[str | End, str, str]]:
    """Target, arrow and remark for all that leaves a node."""
    for target in plan.edges.get(source, ()):
        yield target, "→", ""
    for target in plan.legs.get(source, ()):
        for inlet in plan.joins[target]:
            if source in inlet:
                yield target, "→", f"joins {', '.join(leg for leg in inlet if leg != source)}"
    for branch in plan.branches.get(source, ()):
        for target in branch.targets:
            yield target, "⇢", f"if {label(branch.fn)}"
    for target in plan.nodes[source].goto:
        yield target, "⇢", "goto"


def _order(plan: Plan) -> list[str]:
    """The nodes so that only ways back lead up: reverse postorder from the entries, siblings as declared."""
    finished: list[str] = []
    seen: set[str | End] = {END}
    for entry in reversed(plan.entries):
        if entry in seen:
            continue
        seen.add(entry)
        stack = [(entry, reversed(plan.successors(entry)))]
        while stack:
            name, rest = stack[-1]
            following = next((target for target in rest if target not in seen), None)
            if isinstance(following, str):
                seen.add(following)
                stack.append((following, reversed(plan.successors(following))))
            else:
                finished.append(name)
                stack.pop()
    return finished[::-1]


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
