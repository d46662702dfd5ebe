"""What is outside of a run, for the tests of steps: it counts what is done to it."""

from __future__ import annotations

from typing import Any

import pytest

from actorflow import Graph, RestartPolicy, Retry, Runtime
from actorflow.errors import RunFailed
from tests.runtime.graphs import Trail

NEVER = RestartPolicy(max_restarts=0)
SOON = RestartPolicy(backoff=0.0)
AGAIN = Retry(attempts=5, backoff=0.0)


class World:
    """What is outside: it counts what is done to it."""

    def __init__(self, *, fails: int = 0) -> None:
        self.done: list[Any] = []
        self.keys: list[str] = []
        self.fails = fails

    async def do(self, what: Any = "it", *, idempotency_key: str = "") -> Any:
        """Do something; it fails the first times."""
        self.done.append(what)
        self.keys.append(idempotency_key)
        if self.fails > 0:
            self.fails -= 1
            raise ConnectionError("no reply")
        return what

    def do_sync(self, what: Any) -> Any:
        """Likewise."""
        self.done.append(what)
        return what


def of(node: Any, **options: Any) -> Graph[Trail]:
    """A graph of one node."""
    graph = Graph("steps", Trail)
    graph.node(node, name="node", **options)
    return graph


async def cause_of(graph: Graph[Trail], world: Any = None, **how: Any) -> BaseException | None:
    """What the run failed by."""
    async with Runtime("memory://", restarts=NEVER) as rt:
        with pytest.raises(RunFailed) as caught:
            await rt.run(graph, context=world, **how)
    return caught.value.__cause__
