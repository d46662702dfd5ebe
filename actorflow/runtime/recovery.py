"""Recovery: taking up the runs that nobody looks after. Level-triggered: it remembers nothing of the last look."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from actorflow.errors import RunOwned
from actorflow.runtime.claiming import EndedMeanwhile
from actorflow.runtime.listing import orphans

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.graph.graph import Graph
    from actorflow.runtime.life import Life
    from actorflow.runtime.lives import Lives

_logger = logging.getLogger("actorflow.runtime")


async def recover(lives: Lives, graphs: Mapping[str, Graph[Any]], *, anywhere: bool, awaited: bool) -> list[Life]:
    """Take up every orphaned run of these graphs; those that were.

    Args:
        lives: what lives here already, and where the new lives go.
        graphs: by name.
        anywhere: also runs last owned by another machine.
        awaited: somebody asks: leaving the runtime waits for the runs, and those
            that this process was found unable to run are tried again.
    """
    found: list[Life] = []
    busy = {*lives, *(() if awaited else lives.blocked)}
    for run_id, graph_name in await lives.in_store(lambda: orphans(lives.store, busy, anywhere=anywhere)):
        graph = graphs.get(graph_name)
        if graph is None or run_id in lives or lives.leaving:
            continue
        try:
            life = await lives.take_up(graph, run_id, context=None, reopen=None, awaited=awaited)
        except (RunOwned, EndedMeanwhile):
            continue  # somebody else was faster
        except Exception as error:  # noqa: BLE001 - one bad run never stops the others (guarantee 8)
            _logger.warning("run %r is not recovered: %r", run_id, error)
            continue
        _logger.info("run %r is taken up: its owner is gone", run_id)
        found.append(life)
    return found
