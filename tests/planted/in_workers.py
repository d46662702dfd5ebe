"""Bugs in worker processes: one that is dead is used, one that could be is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.runtime.workers.process import WorkerProcess
from tests.planted.registry import found_by

if TYPE_CHECKING:
    import pytest


@found_by("runtime/test_isolate.py::test_a_process_that_died_while_it_was_idle_is_replaced")
def an_idle_worker_is_used_though_it_died(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks before a node is handed to it, and the node fails for what is not its doing."""
    patch.setattr(WorkerProcess, "is_fit", lambda self: not self._busy)


@found_by("runtime/test_isolate.py::test_sync_and_async_nodes_run_in_another_process")
def each_call_has_a_process_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """It takes hundreds of times as long, and nothing else tells."""
    patch.setattr(WorkerProcess, "is_fit", lambda _: False)
