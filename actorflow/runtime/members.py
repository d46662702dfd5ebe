"""Members: the children of a supervisor as it knows them, and how several of them are restarted together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from msgspec import Struct

from actorflow.engine.supervision import Reason, RestartType
from actorflow.runtime.life import Life
from actorflow.runtime.recall import Recall

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Child(Struct, eq=False):
    """A run as its supervisor knows it: also while it sleeps, or is between two lives."""

    run_id: str
    restart: RestartType
    context: Any = None
    life: Life | None = None  # while it lives here
    ended: Reason | None = None  # it ended, and is to be opened again


Batch = list[tuple[Child, Recall | None]]


def recalled(children: list[Child]) -> Batch:
    """Note in each that it is to be stopped and started again, unless another restart does that just now.

    One that sleeps, or whose life is about to be over, has nothing to stop.
    """
    batch: Batch = []
    for child in children:
        recall = None
        if child.life is not None and child.life.recalled is None and child.life.lasts:
            recall = child.life.recalled = Recall()
        batch.append((child, recall))
    return batch


async def restart_together(batch: Batch, delay: float, open_again: Callable[[Child], Awaitable[None]]) -> None:
    """Stop children in the reverse order of their starts, wait, and start them again in that order.

    Args:
        batch: who, in the order of their starts.
        delay: seconds between the two.
        open_again: for those that ended.
    """
    for child, recall in reversed(batch):
        if recall is not None and child.life is not None:
            child.life.pull()
            await recall.stopped.wait()
    await anyio.sleep(delay)
    for child, recall in batch:
        if recall is not None:
            recall.turn.set()
            await recall.back.wait()
        elif child.ended is not None:
            await open_again(child)
