"""Merging: the log of a bucket stays small by itself, off the commit path, and nothing of it is lost."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import CorruptCheckpoint, Fenced
from actorflow.store import merging
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.merging import MERGE_AT, Recent, merge
from actorflow.store.object_log import SNAPSHOT_EVERY
from tests.store.drafts import ACTOR, claiming, part
from tests.store.object_runs import UUID, Died, Watched, commit, grow, leave, log_of, merge_early, names_of

if TYPE_CHECKING:
    from actorflow.store.ownership import Ownership


@pytest.fixture
def bucket() -> Watched:
    """A bucket, empty."""
    return Watched()


@pytest.fixture(autouse=True)
def merged_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it is not said otherwise."""
    merge_early(monkeypatch)


def tidy(owned: Ownership) -> None:
    """Merge, as is due."""
    due = owned.tidying()
    assert due is not None
    due()


def bodies(bucket: Watched) -> list[bytes]:
    """The whole history of run r."""
    return [frame.body for frame in log_of(bucket).read(first=0)]


def test_a_commit_is_one_put_and_nothing_else(bucket: Watched) -> None:
    """Whatever else is due happens beside it."""
    owned = grow(log_of(bucket), 100)
    bucket.revive()

    for _ in range(100):
        commit(owned, snapshot=(owned.header.seq + 1) % SNAPSHOT_EVERY == 0)

    assert dict(bucket.calls) == {"put": 100}


def test_a_long_run_is_resumed_with_few_requests(bucket: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 commits: the tip, the claim and the state since the snapshot, each page of a listing counted."""
    monkeypatch.undo()
    leave(grow(log_of(bucket), 10_000 + 40))
    bucket.revive()
    log = log_of(bucket)

    tip = log.tip()
    frames = []
    log.claim(lambda tip: frames.extend(log.read(tip=tip)) or claiming(part(UUID))(tip), actor=ACTOR)

    assert tip is not None
    since = tip.header.seq - tip.header.snapshot
    assert [frame.header.seq for frame in frames] == list(range(tip.header.snapshot, tip.header.seq + 1))
    assert since < SNAPSHOT_EVERY
    assert bucket.calls["list"] <= 3
    assert bucket.calls["get"] <= 4 + since
    assert bucket.calls["put"] == 1
    assert len(bucket.inner.list("")) < 10_000 / MERGE_AT + MERGE_AT + SNAPSHOT_EVERY


def test_an_owner_merges_without_reading_back_what_it_put(bucket: Watched) -> None:
    """It reads the commit above, which the merge begins with."""
    owned = grow(log_of(bucket), 3 * SNAPSHOT_EVERY, merge=False)
    bucket.revive()

    tidy(owned)

    assert bucket.calls["get"] == 1
    assert names_of(bucket).spans == ((0, 3 * SNAPSHOT_EVERY - 1),)


def test_what_an_owner_did_not_keep_is_read_back(bucket: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it keeps is bounded by bytes."""
    monkeypatch.setattr(merging, "RECENT_BYTES", 20_000)
    owned = grow(log_of(bucket), 3 * SNAPSHOT_EVERY, merge=False)
    before = bodies(bucket)
    bucket.revive()

    tidy(owned)

    assert SNAPSHOT_EVERY < bucket.calls["get"] < 3 * SNAPSHOT_EVERY
    assert bodies(bucket) == before
    assert names_of(bucket).spans == ((0, 3 * SNAPSHOT_EVERY - 1),)


def test_what_was_kept_is_given_up_when_it_is_merged() -> None:
    """Then there is room for the next commits."""
    recent = Recent()
    half = bytes(merging.RECENT_BYTES // 2)
    for seq in range(3):
        recent.add(seq, half)

    assert recent.take(1).keys() == {0}
    recent.add(3, half)
    assert recent.take(9).keys() == {1, 3}


def test_planted_another_commit_under_the_number_is_not_merged(bucket: Watched) -> None:
    """Planted: bytes that are not those of the chain. The parent in their successor gives them away."""
    grow(log_of(bucket), 64, merge=False)
    chain = log_of(bucket).chain
    elsewhere = Watched()
    grow(log_of(elsewhere), 64, merge=False)
    foreign = {40: elsewhere.inner.get(chain.key(40))}

    with pytest.raises(CorruptCheckpoint, match="not built on it"):
        merge(chain, 64, recent=foreign)

    assert names_of(bucket).loose == tuple(range(65))


def test_a_claim_costs_few_requests(bucket: Watched) -> None:
    """Without the state: whose it is, the number, and the second listing."""
    grow(log_of(bucket), 10).close()
    bucket.revive()

    log_of(bucket).claim(claiming(part(UUID)), actor=ACTOR)

    assert bucket.calls["list"] <= 3
    assert bucket.calls["get"] <= 2
    assert bucket.calls["put"] == 1


def test_the_history_is_what_it_was(bucket: Watched) -> None:
    """Byte for byte the same commits, and claims are still there under their numbers, as is the newest."""
    first = grow(log_of(bucket), 70)
    first.close()
    grow(log_of(bucket), 200).close()
    plain = Watched()
    grow(log_of(plain), 70, merge=False).close()
    grow(log_of(plain), 200, merge=False).close()

    names = names_of(bucket)

    assert bodies(bucket) == bodies(plain)
    assert len(names.loose) < 100 < len(names_of(plain).loose)
    assert {0, 71, names_of(plain).loose[-1]} <= set(names.loose)
    assert [span[1] - span[0] + 1 for span in names.spans] == [64, 64, 64, 64]


def test_a_claim_after_a_release_needs_no_number(bucket: Watched) -> None:
    """There was no owner left to fence."""
    leave(grow(log_of(bucket), 20))
    leave(grow(log_of(bucket), 200))

    assert 22 not in names_of(bucket).loose
    assert 0 in names_of(bucket).loose


def test_a_stalled_owner_finds_its_number_taken_for_ever(bucket: Watched) -> None:
    """The claim that fenced it was merged, and still has its number (guarantee 3)."""
    stalled = grow(log_of(bucket, incarnation := MemoryIncarnation("memory://stalled")), 10)
    incarnation.close()
    grow(log_of(bucket), 200).close()
    stalled._incarnation = MemoryIncarnation("memory://woken")

    with pytest.raises(Fenced):
        commit(stalled)


def test_planted_a_freed_claim_lets_a_stalled_owner_back_in(bucket: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the claim's number freed. The commit of the fenced owner lands, and it would acknowledge it."""
    monkeypatch.setattr(merging, "freeable", lambda frame, releases: frame.header.seq > 0)
    stalled = grow(log_of(bucket, incarnation := MemoryIncarnation("memory://stalled")), 10)
    incarnation.close()
    grow(log_of(bucket), 200).close()
    stalled._incarnation = MemoryIncarnation("memory://woken")

    commit(stalled)

    assert b"11" not in bodies(bucket)[11:12]


def test_a_merger_may_die_at_any_call(bucket: Watched) -> None:
    """What it left is read as if nothing had happened, and finished by the next merge."""
    for nth in range(1, 1000):
        bucket = Watched()
        owned = grow(log_of(bucket), 64, merge=False)
        before = bodies(bucket)
        bucket.die_at(nth)
        try:
            merge(log_of(bucket).chain, 64)
        except Died:
            bucket.revive()
            assert bodies(bucket) == before
            commit(owned)
            merge(log_of(bucket).chain, 64)
        else:
            break
        assert bodies(bucket)[:-1] == before
        assert names_of(bucket).spans == ((0, 63),)
        assert names_of(bucket).loose[:2] == (0, 64)
    assert nth > 100


def test_two_mergers_do_no_harm(bucket: Watched) -> None:
    """The second finds the name taken, and frees only what the object there holds."""
    grow(log_of(bucket), 64, merge=False)
    before = bodies(bucket)
    waiting = [True]

    def other_first(kind: str, key: str) -> None:
        if kind == "put" and waiting:
            waiting.clear()
            merge(log_of(bucket).chain, 64)

    bucket.before = other_first
    merge(log_of(bucket).chain, 64)

    assert not waiting
    assert bodies(bucket) == before
    assert names_of(bucket).spans == ((0, 63),)


def test_what_another_object_under_the_name_holds_is_what_counts(bucket: Watched) -> None:
    """A damaged one holds nothing: then no number comes free."""
    grow(log_of(bucket), 64, merge=False)
    chain = log_of(bucket).chain
    bucket.inner.put_new(chain.key((0, 63)), b"something else")

    with pytest.raises(CorruptCheckpoint):
        merge(chain, 64)

    assert names_of(bucket).loose == tuple(range(65))


def test_what_came_under_the_name_after_the_listing_is_what_counts_too(bucket: Watched) -> None:
    """Who finds the name taken when it puts the merged file looks at what is there before any number comes free."""
    grow(log_of(bucket), 64, merge=False)
    chain = log_of(bucket).chain

    def faster(kind: str, key: str) -> None:
        if kind == "put":
            bucket.inner.put_new(key, b"something else")

    bucket.before = faster
    with pytest.raises(CorruptCheckpoint):
        merge(chain, 64)

    assert names_of(bucket).loose == tuple(range(65))


def test_a_reader_that_is_overtaken_reads_again(bucket: Watched) -> None:
    """It listed the loose names; when it reads them they are merged and gone."""
    owned = grow(log_of(bucket), 64, merge=False)
    before = bodies(bucket)
    waiting = [True]

    def merged_meanwhile(kind: str, key: str) -> None:
        if kind == "get" and waiting:
            waiting.clear()
            merge(log_of(bucket).chain, 64)

    bucket.before = merged_meanwhile

    assert bodies(bucket) == before
    assert owned.header.seq == 64


def test_a_stray_on_a_number_that_came_free_is_not_read(bucket: Watched) -> None:
    """The merged file says what the commit was; the claim that a stalled process put there is off the chain."""
    grow(log_of(bucket), 64, merge=False)
    before = bodies(bucket)
    chain = log_of(bucket).chain
    stray = bucket.inner.get(chain.key(0))
    merge(chain, 64)
    bucket.inner.put_new(chain.key(20), stray)

    assert bodies(bucket) == before


@pytest.mark.parametrize("at", [0, 40, 5000, -1])
def test_a_changed_byte_in_a_merged_file_is_noticed(bucket: Watched, at: int) -> None:
    """It is no reason to step over it (guarantee 7)."""
    grow(log_of(bucket), 64)
    key = log_of(bucket).chain.key((0, 63))
    data = bytearray(bucket.inner.get(key))
    data[at] ^= 1
    bucket.inner.delete([key])
    bucket.inner.put_new(key, bytes(data))

    with pytest.raises(CorruptCheckpoint):
        bodies(bucket)
    assert len(log_of(bucket).read()) == 1


@pytest.mark.parametrize("cut", [1, 200, 3000])
def test_a_merged_file_that_is_cut_is_noticed(bucket: Watched, cut: int) -> None:
    """Whether in the middle of a commit or between two."""
    grow(log_of(bucket), 64)
    key = log_of(bucket).chain.key((0, 63))
    data = bucket.inner.get(key)
    bucket.inner.delete([key])
    bucket.inner.put_new(key, data[:-cut])

    with pytest.raises(CorruptCheckpoint):
        bodies(bucket)


def test_a_missing_commit_is_missing(bucket: Watched) -> None:
    """It was not let go of, so its absence is damage."""
    grow(log_of(bucket), 20)
    bucket.inner.delete([log_of(bucket).key(7)])

    with pytest.raises(CorruptCheckpoint, match="missing"):
        bodies(bucket)


def test_merged_files_are_bounded(bucket: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """By bytes: then there are several for one merge."""
    monkeypatch.setattr(merging, "SPAN_BYTES", 5000)
    grow(log_of(bucket), 64)

    spans = names_of(bucket).spans

    assert len(spans) > 2
    assert all(len(bucket.inner.get(log_of(bucket).chain.key(span))) <= 5000 for span in spans)
    assert bodies(bucket)[1:] == [b"%d" % seq for seq in range(1, 65)]


def test_reading_goes_side_by_side(bucket: Watched) -> None:
    """A read takes tens of milliseconds on a bucket: eight at once, or this would wait for ever."""
    grow(log_of(bucket), 30)
    together = threading.Barrier(8)
    left = iter(range(8))

    def meet(kind: str, key: str) -> None:
        if kind == "get" and key != log_of(bucket).key(30) and next(left, None) is not None:
            together.wait(10)

    bucket.before = meet
    bucket.readers = 8

    assert len(log_of(bucket).read(first=0)) == 31
