"""Progress: how far a run has come in each node of its graph, as a picture shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Path = tuple[str, ...]
"""A node by the names of the nodes that it is inside of, the outermost first, and its own."""

Mark = Literal["done", "open", "waiting", "failed", "skipped"]
"""What a picture says of a node."""


class Tally(Struct, frozen=True, kw_only=True):
    """How often a node was done, and what goes on in it; that of all visits and items of the graph that it is in."""

    done: int = 0
    open: int = 0
    waiting: int = 0  # for an answer, itself or all that goes on inside
    failed: int = 0
    items: int = 0  # of the fan-outs that are open: how many are done
    total: int = 0  # how many there are

    @property
    def mark(self) -> Mark | None:
        """What matters most of it; None: nothing was there yet."""
        for mark in ("failed", "open", "waiting", "done"):
            if getattr(self, mark):
                return mark
        return None


NOTHING = Tally()


class Progress(Struct, frozen=True, kw_only=True):
    """How far a run has come: what `Run.progress` returns, and ``graph.svg(run=...)`` takes.

    Example:
        >>> from actorflow.graph.progress import Progress, Tally
        >>> progress = Progress(run_id="r", status="waiting", nodes={("review",): Tally(done=2, waiting=1)})
        >>> progress.mark(("review",)), progress.mark(("publish",))
        ('waiting', None)
    """

    run_id: str
    status: str
    nodes: Mapping[Path, Tally]
    over: bool = False  # nothing more will come, and all that was is known: what was not reached was skipped

    def tally(self, path: Path) -> Tally:
        """What is known of a node."""
        return self.nodes.get(path, NOTHING)

    def mark(self, path: Path) -> Mark | None:
        """What a picture says of a node; None: it was not reached yet."""
        return self.tally(path).mark or ("skipped" if self.over else None)
