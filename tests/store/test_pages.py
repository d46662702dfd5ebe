"""A chain told forwards, page by page: from any kind of log, beside retention and merging, or to damage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import CorruptCheckpoint
from actorflow.store.keys import checkpoint_name
from actorflow.store.store import open_store
from tests.store.drafts import ACTOR, claiming, draft, part
from tests.store.object_runs import Watched, grow, log_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.log import RunLog
    from actorflow.store.store import Store


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An open store on local disk."""
    store = open_store(store_url)
    yield store
    store.close()


def grown(store: Store, *, snapshots: tuple[int, ...]) -> RunLog:
    """Run r with eight commits, of which these are snapshots: each begins a file."""
    log = store.log("r")
    owned = log.claim(claiming(part(store)), actor=ACTOR)
    for seq in range(1, 8):
        owned.commit(draft("commit", 1, part(store), b"%d" % seq, snapshot=seq in snapshots))
    owned.close()
    return log


def pages(log: RunLog, first: int = 0) -> list[list[int]]:
    """The numbers of all commits, page by page."""
    told: list[list[int]] = []
    while page := log.page(first):
        told.append([frame.header.seq for frame in page])
        first = told[-1][-1] + 1
    return told


def test_a_page_of_a_local_log_is_a_file_and_begins_where_it_is_asked_to(store: Store) -> None:
    """No commit twice, none left out."""
    log = grown(store, snapshots=(3, 6))

    assert pages(log) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert pages(log, 4) == [[4, 5], [6, 7]]
    assert pages(log, 8) == []


def test_a_claim_made_again_is_in_its_own_page(store: Store) -> None:
    """The copy of the commit before it, with which its file begins, is not told twice."""
    grown(store, snapshots=(3,))
    store.log("r").claim(claiming(part(store)), actor=ACTOR).close()

    assert pages(store.log("r")) == [[0, 1, 2], [3, 4, 5, 6, 7], [8]]


def test_pages_begin_with_the_oldest_commit_that_is_kept(store: Store) -> None:
    """Retention let go of two files."""
    log = grown(store, snapshots=(3, 6))
    log.let_go(6)

    assert pages(log) == [[6, 7]]


def test_nothing_is_told_that_the_commit_after_it_does_not_prove(store: Store, store_url: str) -> None:
    """The pages before a damaged file are told, but for the one that it would have proved."""
    log = grown(store, snapshots=(2, 4, 6))
    path = Path(store_url, "runs", "r", "log", checkpoint_name(6))
    data = bytearray(path.read_bytes())
    data[-40] ^= 1
    path.write_bytes(data)

    assert [frame.header.seq for frame in log.page(2)] == [2, 3]
    for first in (4, 6):
        with pytest.raises(CorruptCheckpoint):
            log.page(first)


def test_a_run_that_is_not_there_has_no_page(store: Store) -> None:
    """And nothing is made by looking."""
    assert store.log("nobody").page(0) == []


def test_an_object_log_is_told_in_pages_whatever_was_merged() -> None:
    """Pages of at most 64 objects, in order, through merged files and loose ones."""
    watched = Watched()
    log = log_of(watched)
    grow(log, 200)

    told = pages(log)

    assert [seq for page in told for seq in page] == list(range(told[-1][-1] + 1))
    assert len(told) > 1
