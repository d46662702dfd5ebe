"""The plugin for pytest: fixtures for those who test graphs. pytest loads it by itself wherever actorflow is installed.

Each fixture loads what it is made of when a test first asks for it; a project
whose tests ask for none pays for none.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from actorflow.runtime.runtime import Runtime
    from actorflow.testing.clock import VirtualClock
    from actorflow.testing.faulty import FaultyBackend


@pytest.fixture
def actorflow_store(tmp_path: Path) -> str:
    """The folder of a store that is not there yet: this test's own, on the local disk."""
    return str(tmp_path / "actorflow")


@pytest.fixture
def actorflow_runtime(actorflow_store: str) -> Callable[..., Runtime]:
    """Makes runtimes on that store.

    They are entered as usual, ``async with actorflow_runtime() as rt``; one after another,
    to see what the next process finds. It takes what `actorflow.Runtime` takes beside
    the store, and its default is ``debug=True``: a node that changes its state in place is told.
    """
    from actorflow.runtime.runtime import Runtime

    return partial(Runtime, actorflow_store, debug=True)


@pytest.fixture
async def actorflow_clock() -> AsyncIterator[VirtualClock]:
    """A `VirtualClock` in use: time jumps to whatever is due next. For tests that anyio runs."""
    from actorflow.testing.clock import VirtualClock

    async with VirtualClock() as clock:
        yield clock


@pytest.fixture
def actorflow_faulty() -> Callable[..., FaultyBackend]:
    """Makes backends that fail: ``actorflow_faulty("full", nth=4)``.

    It takes what `FaultyBackend` takes after the backend that works, which is an empty
    one in memory, the same for all that a test makes: their ``inner``.
    """
    from actorflow.store.memory import MemoryBackend
    from actorflow.testing.faulty import FaultyBackend

    return partial(FaultyBackend, MemoryBackend())
