"""Readers that are overtaken, however often, by merging and retention: they find what is there, and never damage."""

from __future__ import annotations

import pytest

from actorflow.errors import CorruptCheckpoint
from actorflow.store import object_chain
from actorflow.store.merging import merge
from tests.store.drafts import claiming, part
from tests.store.object_runs import UUID, Watched, grow, leave, log_of, merge_early, names_of

SNAPSHOTS = range(64, 513, 64)


@pytest.fixture(autouse=True)
def merged_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only after some hundred commits."""
    merge_early(monkeypatch)


def overtaken(bucket: Watched) -> list[int]:
    """What a reader of the whole history gets, who is overtaken by a merge after each of its listings."""
    grow(log_of(bucket), 512, merge=False).close()
    snapshots = iter(SNAPSHOTS)
    listed = False

    def merged_meanwhile(kind: str, key: str) -> None:
        nonlocal listed
        if kind == "list":
            listed = True
        elif kind == "get" and listed and (snapshot := next(snapshots, None)) is not None:
            listed = False
            bucket.before = lambda kind, key: None
            merge(log_of(bucket).chain, snapshot)
            bucket.before = merged_meanwhile

    bucket.before = merged_meanwhile
    return [frame.header.seq for frame in log_of(bucket).read(first=0)]


def test_a_reader_that_is_overtaken_again_and_again_tells_of_no_damage() -> None:
    """What it misses was merged each time, as a listing shows."""
    assert overtaken(Watched()) == list(range(513))


def test_planted_what_no_listing_shows_is_not_always_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: whatever is not listed any more is said to be missing. A run in good health is refused as damaged."""
    monkeypatch.setattr(
        object_chain.ObjectChain, "_is_gap", lambda self, key: key not in self.backend.list(self.prefix)
    )

    with pytest.raises(CorruptCheckpoint, match="missing"):
        overtaken(Watched())


def test_a_merged_file_that_is_missing_is_missing() -> None:
    """It was not let go of, so its absence is damage."""
    grow(log_of(bucket := Watched()), 200)
    span = names_of(bucket).spans[1]
    bucket.inner.delete([log_of(bucket).chain.key(span)])

    with pytest.raises(CorruptCheckpoint, match="missing"):
        log_of(bucket).read(first=0)


def test_a_tip_whose_number_came_free_is_not_taken_for_the_stray_there() -> None:
    """Somebody's claim came too late and has the number of the tip that a reader saw before: it reads what is there."""
    bucket = Watched()
    leave(grow(log_of(bucket), 10, merge=False))
    key = log_of(bucket).key(12)
    first = log_of(bucket).claim(claiming(part(UUID), b"the real one", snapshot=True), actor=b"actor-02")
    tip = log_of(bucket).tip()
    first.close()
    real = bucket.inner.get(key)
    bucket.inner.delete([key])
    log_of(bucket).claim(claiming(part(UUID), b"the stray", snapshot=True), actor=b"actor-03").close()
    stray = bucket.inner.get(key)
    bucket.inner.delete([key])
    bucket.inner.put_new(key, real)
    leave(grow(log_of(bucket), 100, snapshot_every=20, merge=False))
    log_of(bucket).let_go(100)
    bucket.inner.put_new(key, stray)

    frames = log_of(bucket).read(tip=tip)

    assert frames[0].header.seq == 100
