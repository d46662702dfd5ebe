"""Deletion: whoever dies in the middle of it, somebody finishes it, and it never reaches into the id's next life."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.engine.records import Body, encode_body
from actorflow.engine.spawn import spawn
from actorflow.errors import NoSuchRun, RunDeleted, RunExists, RunOwned
from actorflow.runtime.claiming import Adopted, creating_run, end_unowned
from actorflow.runtime.deletion import delete_run, tombstone_of
from actorflow.runtime.recovery import orphans
from actorflow.store.backend import whole
from actorflow.store.deletion import clear_away, is_tombstone
from actorflow.store.keys import Letter, dead_key, inbox_key, log_prefix
from actorflow.store.store import open_store
from actorflow.store.verify import verify_run
from tests.runtime.graphs import Trail, chain
from tests.store.children import run
from tests.store.drafts import draft
from tests.store.object_runs import Died, Watched, WatchedStore, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow import Graph
    from actorflow.store.log import Tip
    from actorflow.store.store import Store

GRAPH: Graph[Trail] = chain("first", "last")
LETTER = Letter("r", "sender", 1, 1)
DIGEST = "0" * 64


@pytest.fixture(params=["memory://", ""], ids=["objects", "files"])
def any_store(request: pytest.FixtureRequest, store_url: str) -> Iterator[Store]:
    """A store with each kind of log."""
    store = open_store(request.param or store_url)
    yield store
    store.close()


def begin(store: Store, *, reuse: bool = False, n: int = 7) -> Adopted:
    """A life of run r; owned."""
    tombstone = tombstone_of(store, "r") if reuse else None
    life = 1 if tombstone is None else tombstone.tip.file.life + 1
    decision = spawn(GRAPH.plan, Trail(n=n), run_id="r", life=life)
    return whole(creating_run(store, GRAPH, "r", decision, {"team": "a"}, tombstone=tombstone))


def litter(store: Store, *, epoch: int) -> list[str]:
    """A message, a dead letter, a summary and a large value of run r, of that epoch; their keys."""
    letter = LETTER._replace(number=epoch)
    keys = [inbox_key(letter), dead_key(letter), f"runs/r/blobs/{DIGEST}.{epoch}.1"]
    for key in keys:
        store.backend.put_new(key, b"secret")
    return keys


def end(store: Store, *, reuse: bool = False) -> list[str]:
    """A run that ended, with all that belongs to one; the keys of its litter."""
    adopted = begin(store, reuse=reuse)
    keys = litter(store, epoch=adopted.ownership.header.epoch)
    adopted.ownership.close()
    end_unowned(store, "r", "cancelled", None)
    return keys


def tip_of_run(store: Store) -> Tip:
    """The newest commit of run r."""
    tip = store.log("r").tip()
    assert tip is not None
    return tip


def test_what_is_left_is_claims_and_the_tombstone(any_store: Store) -> None:
    """No message, no large value, no summary, no marker, and of the log nothing that can be read but the tombstone."""
    litter_keys = end(any_store)

    delete_run(any_store, "r", by="me")

    left = any_store.backend.list("")
    assert not set(litter_keys) & set(left)
    assert [key for key in left if key.startswith(("active/", "ended/", "inbox/", "dead/"))] == []
    assert [frame.header.status for frame in any_store.log("r").read(first=0)] == ["deleted"]
    assert is_tombstone(tip_of_run(any_store).header)
    assert tip_of_run(any_store).header.tags == {}
    assert verify_run(any_store.log("r")) == []


def test_on_local_disk_nothing_of_its_data_is_left(store: Store) -> None:
    """Not in a stub, and not in the copy with which the claim's file began."""
    adopted = begin(store, n=123_456_789)
    adopted.ownership.close()

    delete_run(store, "r", by=None)

    assert all((123_456_789).to_bytes(4) not in store.backend.get(key) for key in store.backend.list(log_prefix("r")))


def test_openings_epochs_and_numbers_go_on_in_the_next_life(any_store: Store) -> None:
    """They never go back, so that nothing late is taken for a part of it."""
    end(any_store)
    delete_run(any_store, "r", by=None)
    tombstone = tip_of_run(any_store)

    adopted = begin(any_store, reuse=True)

    header = adopted.ownership.header
    assert (header.seq, header.epoch, header.opening) == (
        tombstone.header.seq + 1,
        tombstone.header.epoch + 1,
        tombstone.header.opening + 1,
    )
    assert (adopted.run.life, adopted.run.epoch, adopted.run.opening) == (2, header.epoch, header.opening)
    assert adopted.ownership.file.life == 2
    assert [frame.header.seq for frame in any_store.log("r").read(first=0)] == [header.seq]
    assert any_store.markers.active() == [("r", header.opening)]
    adopted.ownership.close()


def test_marks_outlive_the_run(any_store: Store) -> None:
    """A message that comes back after the deletion was taken in the life before (guarantee 5)."""
    adopted = begin(any_store)
    adopted.ownership.commit(draft("commit", 1, adopted.file, encode_body(Body(())), marks=b"marks"))
    adopted.ownership.close()
    delete_run(any_store, "r", by=None)
    assert tip_of_run(any_store).header.marks == b"marks"

    adopted = begin(any_store, reuse=True)

    assert adopted.ownership.header.marks == b"marks"
    adopted.ownership.close()


def test_the_numbers_of_a_deletion_never_come_free() -> None:
    """Neither the tombstone's nor its claim's, also if that was made on top of a release, and in later lives."""
    bucket = Watched()
    store = WatchedStore(bucket)
    end(store)
    delete_run(store, "r", by=None)
    tombstone = tip_of_run(store).header.seq
    end(store, reuse=True)

    store.log("r").let_go(tip_of_run(store).header.snapshot)

    assert {tombstone - 1, tombstone} <= set(names_of(bucket).loose)
    store.close()


def test_a_deleted_id_is_taken_unless_asked_for(any_store: Store) -> None:
    """And an id that is alive can't be used again."""
    end(any_store)
    with pytest.raises(RunExists):
        begin(any_store, reuse=True)
    delete_run(any_store, "r", by=None)

    with pytest.raises(RunDeleted):
        begin(any_store)
    with pytest.raises(RunDeleted):
        end_unowned(any_store, "r", "cancelled", None)


def test_deleting_again_is_no_error_and_another_id_is(any_store: Store) -> None:
    """It would finish a deletion that was cut off."""
    end(any_store)
    delete_run(any_store, "r", by=None)
    before = any_store.backend.list("")

    delete_run(any_store, "r", by=None)

    assert any_store.backend.list("") == before
    with pytest.raises(NoSuchRun):
        delete_run(any_store, "q", by=None)


def test_a_run_that_somebody_owns_is_not_deleted(any_store: Store) -> None:
    """Nothing is written, not even a marker."""
    adopted = begin(any_store)
    before = any_store.backend.list("")

    with pytest.raises(RunOwned):
        delete_run(any_store, "r", by=None)

    assert any_store.backend.list("") == before
    adopted.ownership.close()


def test_lives_may_follow_each_other(any_store: Store) -> None:
    """Each is deleted like the first."""
    for life in range(1, 5):
        end(any_store, reuse=life > 1)
        assert tip_of_run(any_store).file.life == life
        delete_run(any_store, "r", by=None)

    assert [key for key in any_store.backend.list("") if "blobs" in key or "inbox" in key] == []
    assert verify_run(any_store.log("r")) == []


@pytest.mark.parametrize("by_scan", [True, False])
def test_a_deleter_may_die_at_any_call(*, by_scan: bool) -> None:
    """The run is as it was, or deleted: the scan finishes what a dead deleter began, and so does whoever deletes it."""
    cut_off = 0
    for nth in range(1, 1000):
        bucket = Watched()
        store = WatchedStore(bucket)
        keys = end(store)
        bucket.die_at(nth)
        try:
            delete_run(store, "r", by=None)
        except Died:
            store.close()
            bucket.revive()
        else:
            break
        store = WatchedStore(bucket)
        if tip_of_run(store).header.status == "deleted":
            cut_off += 1
            assert store.markers.active() != [] or not set(keys) & set(bucket.inner.list(""))
            if by_scan:
                assert orphans(store, (), anywhere=True, known={}) == []
            else:
                delete_run(store, "r", by=None)
            assert is_tombstone(tip_of_run(store).header)
            assert not set(keys) & set(bucket.inner.list(""))
            assert store.markers.active() == []
        else:
            assert tip_of_run(store).header.status == "cancelled"
            assert orphans(store, (), anywhere=True, known={}) == []
            delete_run(store, "r", by=None)
        store.close()
    assert nth > 20
    assert cut_off > 10


@pytest.mark.parametrize("nth", range(1, 60))
def test_a_deleter_that_stalls_does_not_reach_into_the_next_life(nth: int) -> None:
    """Before each of its calls in turn, another finishes the deletion, and the id's next life begins and ends."""
    bucket = Watched()
    store = WatchedStore(bucket)
    end(store)
    delete_run(store, "r", by=None)
    left = iter(range(1, nth))
    after: list[str] = []

    def next_life(kind: str, key: str) -> None:
        if not after and next(left, None) is None:
            after.append("")
            bucket.before = lambda kind, key: None
            other = WatchedStore(bucket)
            keys = end(other, reuse=True)
            after[:] = [key for key in bucket.inner.list("") if key in keys or key.startswith(("active", "ended"))]
            after.extend(key for key in bucket.inner.list(log_prefix("r")) if key not in before)
            other.close()

    before = set(bucket.inner.list(log_prefix("r")))
    bucket.before = next_life
    clear_away(store, "r")

    if after:
        assert set(after) <= set(bucket.inner.list(""))
        assert len(after) > 5
        assert tip_of_run(store).header.status == "cancelled"
        assert verify_run(store.log("r")) == []


def test_planted_looking_before_listing_reaches_into_the_next_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: first the tombstone is seen, then what is there is listed. A dead letter of the next life is lost."""
    bucket = Watched()
    store = WatchedStore(bucket)
    end(store)
    delete_run(store, "r", by=None)
    seen = tip_of_run(store)
    other = WatchedStore(bucket)
    keys = end(other, reuse=True)
    log = store.log("r")
    monkeypatch.setattr(log, "tip", lambda: seen)
    monkeypatch.setattr(store, "log", lambda run_id: log)

    clear_away(store, "r")

    assert keys[1] not in bucket.inner.list("")
    assert keys[0] in bucket.inner.list(""), "no mark has passed it"
    assert keys[2] in bucket.inner.list("")


DELETE = """
from actorflow.runtime.deletion import delete_run
store = open_store(url)
say("deleting")
delete_run(store, "r", by=None)
"""

POINTS: list[tuple[str, int]] = [
    ("marker.before", 1),
    ("marker.after", 1),
    ("claim.before_link", 1),
    ("claim.after_link", 1),
    ("rollover.before_link", 1),
    ("rollover.after_link", 1),
    ("delete.before_clearing", 1),
    ("delete.after_letters", 1),
    ("delete.after_blobs", 1),
    ("prune.after_stub", 1),
    ("delete.after_log", 1),
    ("delete.after_markers", 1),
]


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_a_killed_deleter_is_followed_by_anybody(store_url: str, point: str, nth: int) -> None:
    """SIGKILL exactly there, on local disk; the next process finishes the deletion, and the id may be used again."""
    store = open_store(store_url)
    keys = end(store)
    store.close()

    status, _ = run(DELETE, store_url, ACTORFLOW_CRASH=f"{point}:{nth}")

    assert status == -signal.SIGKILL
    store = open_store(store_url)
    orphans(store, (), anywhere=True, known={})
    if tip_of_run(store).header.status != "deleted":
        delete_run(store, "r", by=None)
    assert is_tombstone(tip_of_run(store).header)
    assert not set(keys) & set(store.backend.list(""))
    assert [key for key in store.backend.list("active/") if not key.endswith(".2")] == []
    begin(store, reuse=True).ownership.close()
    assert verify_run(store.log("r")) == []
    store.close()


def test_of_two_deleters_at_once_both_succeed() -> None:
    """The second begins before each call of the first in turn; it may be told that the other owns the run."""
    for nth in range(1, 1000):
        bucket = Watched()
        store = WatchedStore(bucket)
        keys = end(store)
        left: Any = iter(range(1, nth))
        ran: list[str] = []

        def other(kind: str, key: str, bucket: Watched = bucket, left: Any = left, ran: list[str] = ran) -> None:
            if not ran and next(left, None) is None:
                ran.append("other")
                bucket.before = lambda kind, key: None
                second = WatchedStore(bucket)
                try:
                    delete_run(second, "r", by=None)
                except RunOwned:
                    ran.append("owned")
                second.close()

        bucket.before = other
        delete_run(store, "r", by=None)
        if not ran:
            break
        assert is_tombstone(tip_of_run(store).header)
        assert not set(keys) & set(bucket.inner.list(""))
        assert store.markers.active() == []
        store.close()
    assert nth > 20
