"""Listening: a runtime hears of messages from elsewhere, from when something here could want one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from actorflow.runtime.arrivals import Arrivals
from actorflow.runtime.waking import Waking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import TaskGroup

    from actorflow.graph.graph import Graph
    from actorflow.runtime.lives import Lives
    from actorflow.runtime.waking import Letters


async def listen(
    lives: Lives,
    graphs: Mapping[str, Graph[Any]],
    tasks: TaskGroup,
    *,
    takes_up: bool,
    anywhere: bool,
    poll: tuple[float, float],
) -> None:
    """Let runs that live here take what came for them, and take up those that nobody has; never returns.

    Args:
        lives: the runs that live here.
        graphs: those that are registered, by name.
        tasks: of the runtime.
        takes_up: whether runs that nobody has are taken up by themselves.
        anywhere: also those last owned by another machine.
        poll: seconds between two listings, the shortest and the longest, where nothing can be watched.
    """
    await lives.wanting.wait()  # a store that nobody sends to is not watched, and not listed again and again
    arrivals = Arrivals(lives, graphs, tasks, anywhere=anywhere)

    def notify(letters: Letters) -> None:
        others = lives.intake.notify(letters)
        if takes_up:
            arrivals.notify(others)

    await Waking(lives.store, notify, in_store=lives.in_store, poll=poll).listen()
