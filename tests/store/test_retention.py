"""Retention: what is let go of, on both kinds of log, and everything that must never be."""

from __future__ import annotations

import shutil
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import pytest

from actorflow.errors import CorruptCheckpoint, Fenced
from actorflow.store import pruning
from actorflow.store.keys import checkpoint_name
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.retention import Retention, floor_of
from actorflow.store.store import open_store
from actorflow.store.stubs import encode_stub, is_stub, read_stub, stub_of
from actorflow.store.verify import verify_run
from tests.store.children import run
from tests.store.drafts import ACTOR, claiming, draft, part
from tests.store.object_runs import UUID, Died, Watched, commit, grow, leave, log_of, names_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.store.log import RunLog, Tip
    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store


@pytest.fixture
def bucket() -> Watched:
    """A bucket, empty."""
    return Watched()


def filled(store: Store, commits: int, *, snapshot_every: int = 10, run_id: str = "r") -> Ownership:
    """A run in that store, with snapshots at all multiples of some number; its owner."""
    owned = store.log(run_id).claim(claiming(part(store, run_id)), actor=ACTOR)
    for _ in range(commits):
        seq = owned.header.seq + 1
        snapshot = seq % snapshot_every == 0
        owned.commit(draft("commit", owned.header.epoch, part(store, run_id), b"%d" % seq, snapshot=snapshot))
    return owned


def seqs(log: RunLog, first: int = 0) -> list[int]:
    """The numbers that can be read."""
    return [frame.header.seq for frame in log.read(first=first)]


def tip_of_run(log: RunLog) -> Tip:
    """The newest commit of a run that is there."""
    tip = log.tip()
    assert tip is not None
    return tip


# -- the policy -------------------------------------------------------------------------


@pytest.fixture(params=["memory://", ""], ids=["objects", "files"])
def any_store(request: pytest.FixtureRequest, store_url: str) -> Iterator[Store]:
    """A store with each kind of log."""
    store = open_store(request.param or store_url)
    yield store
    store.close()


@pytest.mark.parametrize(
    ("policy", "floor"),
    [
        (Retention(), 0),
        (Retention(last=1), 30),
        (Retention(last=5), 30),
        (Retention(last=6), 30),
        (Retention(last=7), 20),
        (Retention(last=26), 10),
        (Retention(last=27), 0),
        (Retention(last=1000), 0),
        (Retention(age=1000), 0),
        (Retention(age=0), 30),
        (Retention(last=1, age=1000), 0),
    ],
)
def test_what_is_kept_begins_with_a_snapshot(any_store: Store, policy: Retention, floor: int) -> None:
    """The newest one at or below every commit that the policy keeps; runs of 36 commits, a snapshot at each ten."""
    filled(any_store, 35).close()
    log = any_store.log("r")
    tip = tip_of_run(log)

    assert floor_of(policy, tip, log.snapshots(tip), now=time.time() + 1) == floor


@pytest.mark.parametrize("wrong", [{"last": 0}, {"last": -3}, {"age": -1}, {"ended": -0.1}])
def test_a_policy_that_makes_no_sense_is_refused(wrong: Any) -> None:
    """By name, when it is made."""
    with pytest.raises(ValueError, match=rf"Retention\({next(iter(wrong))}="):
        Retention(**wrong)


def test_runs_with_certain_tags_are_left_alone(any_store: Store) -> None:
    """All of the tags must be there."""
    filled(any_store, 1).close()
    header = msgspec.structs.replace(tip_of_run(any_store.log("r")).header, tags={"keep": "yes", "team": "a"})

    assert Retention(last=1, tagged={"keep": "yes"}).spares(header)
    assert not Retention(last=1, tagged={"keep": "yes", "team": "b"}).spares(header)
    assert not Retention(last=1).spares(header)


# -- both kinds of log ------------------------------------------------------------------


def test_after_letting_go_the_rest_is_what_it_was(any_store: Store) -> None:
    """History begins with the oldest commit kept, the run goes on, and nothing is wrong with it."""
    filled(any_store, 35).close()
    log = any_store.log("r")
    before = log.read(first=0)

    freed = log.let_go(20)

    assert freed.floor == 20
    assert freed.files > 0
    assert [frame.digest for frame in log.read(first=0)] == [frame.digest for frame in before[20:]]
    assert seqs(log, first=5)[0] == 20
    assert seqs(log, first=33) == [33, 34, 35]
    assert verify_run(log) == []
    filled(any_store, 3).close()
    assert seqs(log) == list(range(20, 40))


def test_letting_go_twice_is_letting_go_once(any_store: Store) -> None:
    """Also of less than before: what is gone stays gone."""
    filled(any_store, 35).close()
    log = any_store.log("r")
    log.let_go(20)

    assert log.let_go(20).files == 0
    assert log.let_go(10).floor == 20
    assert seqs(log)[0] == 20
    assert log.let_go(30).floor == 30
    assert seqs(log)[0] == 30
    assert [snapshot.seq for snapshot in log.snapshots(tip_of_run(log))] == [30]


def test_a_dry_run_says_the_same_and_does_nothing(any_store: Store) -> None:
    """Every key and every byte stays."""
    filled(any_store, 35).close()
    log = any_store.log("r")
    before = {key: any_store.backend.get(key) for key in any_store.backend.list("runs/")}

    said = log.let_go(20, dry_run=True)

    assert {key: any_store.backend.get(key) for key in any_store.backend.list("runs/")} == before
    assert log.let_go(20) == said


def test_a_live_owner_is_not_disturbed(any_store: Store) -> None:
    """It needs no claim: the owner goes on as if nothing had happened."""
    owned = filled(any_store, 35)

    any_store.log("r").let_go(30)
    for _ in range(10):
        owned.commit(draft("commit", 1, part(any_store), b"on"))

    assert seqs(any_store.log("r")) == list(range(30, 46))
    owned.close()


def test_a_hashed_id_is_still_found(any_store: Store) -> None:
    """Although the file that said it is a stub."""
    long = "x" * 300
    filled(any_store, 35, run_id=long).close()
    any_store.log(long).let_go(30)

    assert [any_store.run_id(name) for name in any_store.run_ids()] == [long]


# -- the object log -----------------------------------------------------------------------


def test_numbers_come_free_but_not_those_of_claims(bucket: Watched) -> None:
    """Nor the newest, nor any from the floor on; merged files below it go as a whole."""
    grow(log_of(bucket), 70).close()
    grow(log_of(bucket), 200).close()
    log = log_of(bucket)
    tip = tip_of_run(log)

    log.let_go(tip.header.snapshot)

    names = names_of(bucket)
    assert names.loose == (0, 71, *range(tip.header.snapshot, tip.header.seq + 1))
    assert names.spans == ()
    assert names.floors == (tip.header.snapshot,)


def test_what_is_let_go_of_goes_in_bulk() -> None:
    """A thousand keys are one request to a bucket, if they are named together."""

    class Bulk(Watched):
        sizes: ClassVar[list[int]] = []

        def delete(self, keys: Iterable[str]) -> None:
            names = [*keys]
            self.sizes.append(len(names))
            self.inner.delete(names)

    bucket = Bulk()
    grow(log_of(bucket), 100, merge=False).close()
    log = log_of(bucket)
    bucket.sizes.clear()

    freed = log.let_go(tip_of_run(log).header.snapshot)

    assert freed.files > 50
    assert bucket.sizes == [freed.files]


def test_a_stalled_owner_does_not_get_back_in(bucket: Watched) -> None:
    """Its number is the claim's that fenced it, and that is never freed (guarantee 3)."""
    stalled = grow(log_of(bucket, gone := MemoryIncarnation("memory://gone")), 10, merge=False)
    gone.close()
    grow(log_of(bucket), 60, snapshot_every=20, merge=False).close()
    log_of(bucket).let_go(60)
    stalled._incarnation = MemoryIncarnation("memory://woken")

    with pytest.raises(Fenced):
        commit(stalled)


def test_planted_a_freed_claim_lets_it_back_in(bucket: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: retention frees claims' numbers, too. The stalled owner's commit succeeds, and is in no history."""
    monkeypatch.setattr(pruning, "freeable", lambda frame, releases: frame.header.seq > 0)
    stalled = grow(log_of(bucket, gone := MemoryIncarnation("memory://gone")), 10, merge=False)
    gone.close()
    grow(log_of(bucket), 60, snapshot_every=20, merge=False).close()
    log_of(bucket).let_go(60)
    stalled._incarnation = MemoryIncarnation("memory://woken")

    commit(stalled)

    assert 11 not in seqs(log_of(bucket))


def test_a_claimer_that_stalled_starts_over(bucket: Watched) -> None:
    """Between its reading and its put the run went on and its number came free: its claim is a stray."""
    leave(grow(log_of(bucket), 10, merge=False))

    def much_later(tip: Tip | None) -> Any:
        if tip is not None and tip.header.seq == 11:
            leave(grow(log_of(bucket, MemoryIncarnation("memory://other")), 60, snapshot_every=20, merge=False))
            log_of(bucket).let_go(60)
        return claiming(part(UUID))(tip)

    owned = log_of(bucket).claim(much_later, actor=ACTOR)

    assert owned.header.seq == 74
    assert seqs(log_of(bucket)) == list(range(60, 75))


def test_retention_may_die_at_any_call(bucket: Watched) -> None:
    """What is kept is readable after each, and the next one finishes the work."""
    for nth in range(1, 1000):
        bucket = Watched()
        grow(log_of(bucket), 30, snapshot_every=10, merge=False).close()
        bucket.die_at(nth)
        try:
            log_of(bucket).let_go(20)
        except Died:
            bucket.revive()
            assert seqs(log_of(bucket)) in (list(range(31)), list(range(20, 31)))
            log_of(bucket).let_go(20)
        else:
            break
        assert seqs(log_of(bucket)) == list(range(20, 31))
        assert names_of(bucket).loose == (0, *range(20, 31))
    assert nth > 30


def test_planted_deleting_before_the_floor_makes_what_is_gone_look_damaged(
    bucket: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: no floor. Nobody can tell the deleted commits from lost ones, and the history is refused."""
    grow(log_of(bucket), 30, snapshot_every=10, merge=False).close()
    monkeypatch.setattr(pruning, "floor_name", lambda seq: "nothing")

    log_of(bucket).let_go(20)

    with pytest.raises(CorruptCheckpoint, match="missing"):
        seqs(log_of(bucket))


def test_of_two_at_once_the_one_that_keeps_less_counts(bucket: Watched) -> None:
    """The first stalls before each of its calls in turn, and the other runs meanwhile."""
    for nth in range(1, 100):
        bucket = Watched()
        grow(log_of(bucket), 30, snapshot_every=10, merge=False).close()
        calls = iter(range(1, 100))

        def other(kind: str, key: str, bucket: Watched = bucket, nth: int = nth, calls: Any = calls) -> None:
            if next(calls) == nth:
                bucket.revive()
                log_of(bucket).let_go(30)

        bucket.before = other
        log_of(bucket).let_go(20)
        if next(calls) <= nth:
            break
        assert seqs(log_of(bucket)) == [30]
        assert names_of(bucket).loose == (0, 30)
    assert nth > 30


def test_what_can_not_be_read_is_not_deleted(bucket: Watched) -> None:
    """Nobody knows what it was: perhaps a claim."""
    grow(log_of(bucket), 30, snapshot_every=10, merge=False).close()
    key = log_of(bucket).key(7)
    bucket.inner.delete([key])
    bucket.inner.put_new(key, b"damaged")

    log_of(bucket).let_go(20)

    assert names_of(bucket).loose == (0, 7, *range(20, 31))


# -- the append log -----------------------------------------------------------------------


def files(store: Store) -> list[bytes]:
    """The files of run r."""
    return [path.read_bytes() for path in sorted((Path(store.url) / "runs/r/log").iterdir())]


def test_files_become_stubs_and_no_name_goes(store: Store) -> None:
    """A stub has the first and the last header, the digest of the last commit, and nothing of its state."""
    filled(store, 35).close()
    before, frames = files(store), store.log("r").read(first=0)

    store.log("r").let_go(30)

    after = files(store)
    assert [is_stub(data) for data in after] == [True, True, True, False]
    assert after[-1] == before[-1]
    stub = read_stub(after[1], "x", first=10)
    assert (stub.first, stub.last, stub.digest) == (frames[10].header, frames[19].header, frames[19].digest)
    assert b"body" not in after[0]


def test_only_what_counts_of_a_file_goes_into_its_stub(store: Store) -> None:
    """A claim's file begins with a copy of the commit before it, which is no part of what is let go of there."""
    filled(store, 15).close()
    filled(store, 20).close()
    frames = store.log("r").read(first=0)

    store.log("r").let_go(30)

    assert [
        read_stub(data, "x", first=first).last for data, first in zip(files(store), (0, 10, 16, 20), strict=False)
    ] == [frames[seq].header for seq in (9, 15, 19, 29)]
    assert verify_run(store.log("r")) == []


@pytest.mark.parametrize("at", [0, 9, 100, -1])
def test_a_damaged_stub_is_noticed_when_it_is_needed(store: Store, at: int) -> None:
    """By whoever reads back to it; the rest of the run is as good as before (guarantee 7)."""
    filled(store, 35).close()
    store.log("r").let_go(30)
    path = Path(store.url) / "runs/r/log" / checkpoint_name(20)
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)

    with pytest.raises(CorruptCheckpoint):
        seqs(store.log("r"))
    assert len(verify_run(store.log("r"))) > 0
    assert seqs(store.log("r"), first=30) == list(range(30, 36))


def test_a_stub_of_something_else_is_noticed(store: Store) -> None:
    """The commit after it was built on another one, or it is of another place."""
    filled(store, 35).close()
    other = filled(store, 35, run_id="other")
    other.close()
    frames = store.log("r").read(first=0)
    store.log("r").let_go(30)
    path = Path(store.url) / "runs/r/log" / checkpoint_name(20)
    right = path.read_bytes()
    wrong = [
        encode_stub(msgspec.structs.replace(stub_of(frames[20:30]), digest=frames[3].digest)),
        encode_stub(stub_of(frames[20:29])),
        encode_stub(stub_of(frames[10:20])),
        encode_stub(stub_of(store.log("other").read(first=0)[20:30])),
    ]

    for data in wrong:
        path.write_bytes(data)
        with pytest.raises(CorruptCheckpoint):
            seqs(store.log("r"))
    path.write_bytes(right)
    assert seqs(store.log("r"))[0] == 30


def test_a_damaged_file_is_not_replaced(store: Store) -> None:
    """What is in it nobody knows; those before it are let go of."""
    filled(store, 35).close()
    path = Path(store.url) / "runs/r/log" / checkpoint_name(10)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    with pytest.raises(CorruptCheckpoint):
        store.log("r").let_go(30)

    assert path.read_bytes() == data
    assert seqs(store.log("r"), first=20)[0] == 20


PRUNE = """
store = open_store(url)
store.log("r").let_go(30)
"""


@pytest.mark.parametrize("point", ["prune.before_stub", "replace.before_rename", "prune.after_stub"])
@pytest.mark.parametrize("nth", [1, 2])
def test_a_kill_between_two_files_costs_nothing(store_url: str, point: str, nth: int) -> None:
    """The history stays without a gap, whatever was reached; the next one finishes the work."""
    store = open_store(store_url)
    filled(store, 35).close()
    store.close()

    status, _ = run(PRUNE, store_url, ACTORFLOW_CRASH=f"{point}:{nth}")

    assert status == -signal.SIGKILL
    store = open_store(store_url)
    kept = seqs(store.log("r"))
    assert kept == list(range(kept[0], 36))
    assert kept[0] % 10 == 0
    assert store.log("r").let_go(30).floor == 30
    assert [str(path) for path in Path(store_url).rglob(".tmp-*")] == []
    store.close()


def test_a_kill_between_two_files_leaves_no_history_that_does_not_begin(store_url: str) -> None:
    """A claim begins a file, and no snapshot: what it leads on from may be let go of before it is."""
    store = open_store(store_url)
    for _ in range(2):
        owned = filled(store, 5, snapshot_every=100)
        owned.commit(draft("release", owned.header.epoch, part(store), b""))
        owned.close()
    filled(store, 20).close()
    store.close()

    run(PRUNE.replace("30", "20"), store_url, ACTORFLOW_CRASH="prune.after_stub:1")

    store = open_store(store_url)
    assert [is_stub(data) for data in files(store)[:2]] == [True, False]
    oldest = store.log("r").read(first=0)[0].header
    assert oldest.seq == oldest.snapshot
    store.close()


def test_a_reader_of_yesterday_refuses_a_stub(store: Store) -> None:
    """To code that knows frames only, it is no frame: nothing is misread."""
    from actorflow.store.framing import read_frames

    filled(store, 35).close()
    store.log("r").let_go(30)

    with pytest.raises(CorruptCheckpoint):
        read_frames(files(store)[0], "x", first=0)


def test_files_brought_back_from_a_backup_are_read_again(store: Store) -> None:
    """A stub in front of a restored file only says where the history begins by now."""
    filled(store, 35).close()
    log = Path(store.url) / "runs/r/log"
    backup = log.parent / "backup"
    shutil.copytree(log, backup)
    store.log("r").let_go(30)

    shutil.copy(backup / checkpoint_name(20), log / checkpoint_name(20))

    assert seqs(store.log("r")) == list(range(20, 36))
