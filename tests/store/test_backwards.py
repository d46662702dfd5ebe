"""A chain told backwards, piece by piece: from any kind of log, to where retention let go, or to damage."""

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


def numbers(log: RunLog) -> list[int]:
    """The numbers of all commits, newest first."""
    return [frame.header.seq for frames in log.backwards() for frame in reversed(frames)]


def test_the_files_of_a_local_log_are_told_newest_first(store: Store) -> None:
    """Each is read when it is asked for, and is ascending in itself."""
    log = grown(store, snapshots=(3, 6))

    assert [[frame.header.seq for frame in frames] for frames in log.backwards()] == [[6, 7], [3, 4, 5], [0, 1, 2]]
    assert [*log.stubs()] == []


def test_a_local_log_ends_at_its_stubs_and_these_are_told_apart(store: Store) -> None:
    """What is left of a file is who wrote its first and its last commit."""
    log = grown(store, snapshots=(3, 6))
    log.let_go(6)

    assert numbers(log) == [7, 6]
    assert [(stub.first.seq, stub.last.seq) for stub in log.stubs()] == [(3, 5), (0, 2)]


def test_damage_is_met_after_all_that_is_newer(store: Store, store_url: str) -> None:
    """What is newer than a damaged file was whole, and is handed out before."""
    log = grown(store, snapshots=(3, 6))
    file = Path(store_url, "runs/r/log", checkpoint_name(3))
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)

    told = log.backwards()

    assert [frame.header.seq for frame in next(told)] == [6, 7]
    with pytest.raises(CorruptCheckpoint, match=checkpoint_name(3)):
        next(told)


def test_a_first_file_that_is_gone_is_damage(store: Store, store_url: str) -> None:
    """Where nothing was let go of, the history begins with commit 0."""
    log = grown(store, snapshots=(3,))
    Path(store_url, "runs/r/log", checkpoint_name(0)).unlink()

    with pytest.raises(CorruptCheckpoint, match="commit 0 is missing"):
        numbers(log)


@pytest.mark.parametrize("merge", [True, False])
def test_objects_are_told_newest_first_whether_they_were_merged_or_not(*, merge: bool) -> None:
    """Many at once, and none twice, although merged ones may lie there under their own numbers, too."""
    bucket = Watched()
    grow(log_of(bucket), 200, merge=merge)

    assert numbers(log_of(bucket)) == [*range(200, -1, -1)]


def test_objects_are_told_to_the_floor() -> None:
    """Retention moves it, also while they are told."""
    bucket = Watched()
    log = log_of(bucket)
    grow(log, 300)

    told = log.backwards()
    newest = [frame.header.seq for frame in next(told)]
    log.let_go(128)
    rest = [frame.header.seq for frames in told for frame in reversed(frames)]

    assert newest == [300]
    assert rest == [*range(299, 127, -1)]


def test_an_object_that_is_missing_is_damage() -> None:
    """Nobody let go of it: what is newer is told, and then it is named."""
    bucket = Watched()
    log = log_of(bucket)
    grow(log, 10, merge=False)
    bucket.inner.delete([log.key(4)])

    told = log.backwards()

    assert [frame.header.seq for frame in next(told)] == [10]
    with pytest.raises(CorruptCheckpoint, match=f"{checkpoint_name(4)}.*missing"):
        next(told)
