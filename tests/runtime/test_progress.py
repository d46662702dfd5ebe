"""Progress: what a commit holds tells whether a run that process after process dies with gets on all the same."""

from __future__ import annotations

import pytest

from actorflow.engine.records import (
    Attempted,
    Began,
    ErrorInfo,
    Finished,
    Intended,
    ItemDone,
    ItemFailed,
    Merged,
    Record,
    Stepped,
)
from actorflow.runtime.large import Splitter
from actorflow.runtime.pending import Pending
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import open_store

FAILED = ErrorInfo("LookupError", "nothing there")


def progressed(record: Record) -> bool:
    """Whether a commit with this record says so."""
    blobs = open_store(MemoryBackend()).blobs("x")
    pending = Pending(large=Splitter(blobs, epoch=1, known={}), snapshot=None)
    pending.add([record])
    return pending.seal().progressed


@pytest.mark.parametrize(
    "record",
    [Finished(1), Merged(1), ItemDone(1, "result"), ItemFailed(1, FAILED), Stepped(1, b"key", "pay", None)],
    ids=lambda record: type(record).__name__,
)
def test_work_that_is_not_done_again_is_progress(record: Record) -> None:
    """A map of many items, or a node of many steps, is in no crash loop while each process does some of them.

    Planted: only what finishes an activation counts.
    """
    assert progressed(record)


@pytest.mark.parametrize(
    "record",
    [Began(1, 0.0), Attempted(1, 2, 0.0, FAILED), Intended(1, b"key", "pay", None, 0.0)],
    ids=lambda record: type(record).__name__,
)
def test_what_is_only_begun_is_none(record: Record) -> None:
    """Else a node that kills each process would never be set aside."""
    assert not progressed(record)
