"""The append log: what it does when writes, syncs and owners fail in the worst moment."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import stat
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import CommitUnknown, CorruptCheckpoint, Fenced, RunOwned, StoreFull, StoreUnavailable
from actorflow.store.append_log import AppendLog
from actorflow.store.append_ownership import AppendOwnership
from actorflow.store.chain import FileChain
from actorflow.store.keys import checkpoint_name
from actorflow.store.liveness import LocalIncarnation
from actorflow.store.local import LocalBackend
from actorflow.store.machine import machine_id
from actorflow.store.store import LocalStore, open_store
from actorflow.store.verify import verify_run
from tests.store.children import Child, run
from tests.store.drafts import ACTOR, claiming, draft, part
from tests.store.log_contract import LogContract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip
    from actorflow.store.ownership import Ownership
    from actorflow.store.store import Store


def folder(store: Store, run_id: str = "r") -> Path:
    """Where the log of that run lies."""
    return Path(store.url) / "runs" / run_id / "log"


def names(store: Store) -> list[str]:
    """The files there."""
    return sorted(path.name for path in folder(store).iterdir())


def numbers(store: Store, first: int | None = 0) -> list[int]:
    """The numbers of the chain of run r."""
    return [frame.header.seq for frame in store.log("r").read(first=first)]


def three_files(store: Store) -> list[Frame]:
    """A run of 0, 1, 2 | 3 (snapshot), 4 | copy of 4, 5 (claim), 6: all left unowned."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    for seq in range(1, 5):
        owned.commit(draft("commit", 1, part(store), b"%d" % seq, snapshot=seq == 3))
    owned.close()
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 2, part(store), b"6"))
    owned.close()
    assert names(store) == [checkpoint_name(seq) for seq in (0, 3, 5)]
    return store.log("r").read(first=0)


class TestAppendLog(LogContract):
    """The contract of logs, on local disk."""


# -- recovery ---------------------------------------------------------------------------


def test_an_opening_later_reads_the_same(store_url: str) -> None:
    """Nothing is kept in the process."""
    store = open_store(store_url)
    frames = three_files(store)
    store.close()

    again = open_store(store_url)

    assert again.uuid == store.uuid
    assert [frame.digest for frame in again.log("r").read(first=0)] == [frame.digest for frame in frames]
    again.close()


def test_a_tail_torn_anywhere_costs_only_itself(store: Store) -> None:
    """Cut at each byte of the last frame, the run goes on after the frame before it (guarantee 1)."""
    three_files(store)
    newest = folder(store) / checkpoint_name(5)
    data = newest.read_bytes()
    last = store.log("r").read()[-1]
    backup = folder(store).parent / "backup"
    shutil.copytree(folder(store), backup)
    for size in range(last.offset, len(data)):
        newest.write_bytes(data[:size])
        assert numbers(store) == [0, 1, 2, 3, 4, 5]
        if size % 40 == 0 or size in (last.offset, len(data) - 1):
            owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
            owned.commit(draft("commit", 3, part(store), b"7"))
            owned.close()
            assert numbers(store) == [0, 1, 2, 3, 4, 5, 6, 7]
            assert [f.what.startswith("torn tail") for f in verify_run(store.log("r"))] == [True] * (size > last.offset)
            shutil.rmtree(folder(store))
            shutil.copytree(backup, folder(store))


def test_damage_quarantines_and_nothing_is_written_after_it(store: Store) -> None:
    """A flipped bit in an acknowledged frame is no reason to step back (guarantee 7)."""
    frames = three_files(store)
    newest = folder(store) / checkpoint_name(5)
    data = bytearray(newest.read_bytes())
    data[frames[-1].offset + 60] ^= 4
    newest.write_bytes(data)

    with pytest.raises(CorruptCheckpoint, match="damaged"):
        store.log("r").tip()
    with pytest.raises(CorruptCheckpoint):
        store.log("r").claim(claiming(part(store)), actor=ACTOR)

    assert newest.read_bytes() == data
    assert names(store) == [checkpoint_name(seq) for seq in (0, 3, 5)]
    assert [finding.broken for finding in verify_run(store.log("r"))] == [True]


@pytest.mark.parametrize("lost", [0, 3])
def test_a_missing_file_is_noticed_when_it_is_needed(store: Store, lost: int) -> None:
    """History can't be read over a gap; what lies after it can."""
    three_files(store)
    (folder(store) / checkpoint_name(lost)).unlink()

    with pytest.raises(CorruptCheckpoint):
        numbers(store)
    if lost == 0:
        assert numbers(store, None) == [3, 4, 5, 6]
    tip = store.log("r").tip()
    assert tip is not None
    assert tip.header.seq == 6


def test_files_that_change_places_are_noticed(store: Store) -> None:
    """Within one run as between two runs."""
    three_files(store)
    here = folder(store)
    (here / checkpoint_name(0)).rename(here / "x")
    (here / checkpoint_name(3)).rename(here / checkpoint_name(0))
    (here / "x").rename(here / checkpoint_name(3))

    with pytest.raises(CorruptCheckpoint, match="named"):
        numbers(store)


def test_a_copy_stands_in_for_what_the_dead_owner_never_synced(store: Store) -> None:
    """The frame a claim was built on may be lost with the power: the claim brought it along."""
    frames = three_files(store)
    before = folder(store) / checkpoint_name(3)
    data = before.read_bytes()
    last = frames[4].offset
    zeros = data[: last + 100] + bytes(len(data) - last - 100)

    for broken in (data[:last], data[: last + 20], data[: last + 100], zeros):
        before.write_bytes(broken)
        again = store.log("r").read(first=0)
        assert [(frame.header, frame.body, frame.file) for frame in again] == [
            (frame.header, frame.body, frame.file) for frame in frames
        ]
    assert "damaged" in verify_run(store.log("r"))[0].what
    before.write_bytes(data[: last - 1])
    with pytest.raises(CorruptCheckpoint):
        numbers(store)


def test_a_snapshot_starts_a_new_file(store: Store) -> None:
    """So that recovery opens few: here one, whatever came before."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    for seq in range(1, 100):
        owned.commit(draft("commit", 1, part(store), snapshot=seq % 33 == 0))

    assert names(store) == [checkpoint_name(seq) for seq in (0, 33, 66, 99)]
    for old in (0, 33, 66):
        (folder(store) / checkpoint_name(old)).unlink()
    assert [frame.header.seq for frame in owned.load()] == [99]


def test_who_has_just_read_the_newest_commit_is_spared_a_listing(store: Store) -> None:
    """If its file holds the newest snapshot as well. Once retention has let go of that file, all is as without."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    for seq in range(1, 5):
        owned.commit(draft("commit", 1, part(store), snapshot=seq == 3))
    log = store.log("r")
    tip = log.tip()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FileChain, "firsts", lambda self: pytest.fail("listed"))
        seen = log.read(tip=tip)

    owned.commit(draft("commit", 1, part(store), snapshot=True))
    log.let_go(5)

    assert [frame.header.seq for frame in seen] == [3, 4]
    assert [frame.header.seq for frame in log.read(tip=tip)] == [5]


@pytest.mark.parametrize("limit", [1, 9])  # the owner opens the file for each commit, or has it open
def test_an_owner_never_appends_to_a_file_that_took_the_place_of_its_own(store_url: str, limit: int) -> None:
    """Restored from a copy, or led elsewhere by a link: what the owner knows of it is the inode."""
    store = open_store(store_url, max_open_files=limit)
    owned, other = (store.log(run).claim(claiming(part(store, run)), actor=ACTOR) for run in ("r", "s"))
    log = folder(store)
    data = (log / checkpoint_name(0)).read_bytes()
    elsewhere = log.with_name("elsewhere")
    log.rename(elsewhere)
    log.mkdir()
    (log / checkpoint_name(0)).write_bytes(data)
    other.commit(draft("commit", 1, part(store, "s")))

    if limit == 1:
        with pytest.raises(CorruptCheckpoint, match="another file has taken its place"):
            owned.commit(draft("commit", 1, part(store)))
        assert (log / checkpoint_name(0)).read_bytes() == data
        (log / checkpoint_name(0)).unlink()
        log.rmdir()
        log.symlink_to(elsewhere)  # the way may lead through a link, but only to the very file
    assert owned.commit(draft("commit", 1, part(store))).seq == 1
    assert len((elsewhere / checkpoint_name(0)).read_bytes()) > len(data)


def test_an_owner_never_appends_to_a_file_that_was_deleted_under_it(store: Store) -> None:
    """Its open descriptor takes and syncs whatever is written, and nobody would ever read it."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store), b"kept"))
    shutil.rmtree(folder(store).parent)

    with pytest.raises(CorruptCheckpoint, match="deleted under its owner"):
        owned.commit(draft("commit", 1, part(store), b"into the void"))


def test_open_files_are_bounded(store_url: str) -> None:
    """However many runs are being written."""
    store = open_store(store_url, max_open_files=3)
    assert isinstance(store, LocalStore)
    owners = [store.log(f"r{n}").claim(claiming(part(store, f"r{n}")), actor=ACTOR) for n in range(8)]
    for turn in range(3):
        for number, owned in enumerate(owners):
            assert owned.commit(draft("commit", 1, part(store, f"r{number}"))).seq == turn + 1
            assert store.open_files <= 3

    owners[7].close()
    assert store.open_files == 2
    store.close()
    assert store.open_files == 0


# -- writes and syncs that fail -----------------------------------------------------------


class FaultyBackend(LocalBackend):
    """Fails as it is told to, once for each entry."""

    cut_after: int | None = None  # bytes of the next write that still get through
    bad_syncs: int = 0
    bad_fsyncs: int = 0
    synced: list[str]

    def write(self, fd: int, data: bytes) -> None:
        """Write a part and run out of space."""
        if self.cut_after is not None:
            os.write(fd, data[: self.cut_after])
            self.cut_after = None
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(fd, data)

    def fdatasync(self, fd: int) -> None:
        """Fail to sync."""
        if self.bad_syncs:
            self.bad_syncs -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().fdatasync(fd)

    def fsync(self, fd: int) -> None:
        """Fail to sync."""
        if self.bad_fsyncs:
            self.bad_fsyncs -= 1
            raise OSError(errno.EIO, "Input/output error")
        super().fsync(fd)


def faulty(store: Store) -> FaultyBackend:
    """Make the store's backend fail on demand."""
    store.backend.__class__ = FaultyBackend
    assert isinstance(store.backend, FaultyBackend)
    return store.backend


@pytest.mark.parametrize("cut", [0, 1, 27, 28, 200])
def test_a_short_write_is_cut_back_and_may_be_tried_again(store: Store, cut: int) -> None:
    """The disk is full: nothing was committed, nothing is lost, and with room the owner goes on."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store), b"1"))
    size = (folder(store) / checkpoint_name(0)).stat().st_size
    backend.cut_after = cut

    with pytest.raises(StoreFull):
        owned.commit(draft("commit", 1, part(store), b"x" * 300))

    assert (folder(store) / checkpoint_name(0)).stat().st_size == size
    assert owned.commit(draft("commit", 1, part(store), b"2")).seq == 2
    assert [frame.body for frame in owned.load()] == [b"claim", b"1", b"2"]


def test_without_the_cut_the_next_commit_would_be_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: an owner that appends behind a torn write acknowledges what nobody can read."""
    monkeypatch.setattr(AppendOwnership, "_cut", lambda self, fd: setattr(self, "_ragged", False))
    monkeypatch.setattr(AppendOwnership, "_find_end", lambda self, fd: None)
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    backend.cut_after = 100
    with pytest.raises(StoreFull):
        owned.commit(draft("commit", 1, part(store), b"x" * 300))

    owned.commit(draft("commit", 1, part(store), b"acknowledged"))

    assert [frame.body for frame in owned.load()] == [b"claim"]


def test_a_real_full_disk_is_survived(store_url: str) -> None:
    """A file size limit of the kernel cuts a real write, in a process of its own."""
    status, lines = run(
        """
        import resource
        store = open_store(url)
        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        done = 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        try:
            while True:
                owned.commit(draft("commit", 1, part(store), b"x" * 777))
                done += 1
        except StoreFull:
            say(done, len(owned.load()) - 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        say(owned.commit(draft("commit", 1, part(store), b"y")).seq - done, len(owned.load()) - done)
        """,
        store_url,
    )

    done = int(lines[0].split()[0])
    assert status == 0
    assert done > 10
    assert lines == [f"{done} {done}", "1 2"]


def test_a_commit_whose_sync_failed_is_made_durable_in_a_new_file(store: Store) -> None:
    """What a failed sync left in the old file is no evidence, even if it is garbage."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store), b"1"))
    size = (folder(store) / checkpoint_name(0)).stat().st_size
    backend.bad_syncs = 1

    assert owned.commit(draft("commit", 1, part(store), b"2")).seq == 2
    owned.commit(draft("commit", 1, part(store), b"3"))

    assert names(store) == [checkpoint_name(seq) for seq in (0, 2)]
    first = folder(store) / checkpoint_name(0)
    whole = first.read_bytes()
    for lost in (whole, whole[:size], whole[:size] + b"garbage" * 40, whole[:size] + bytes(len(whole) - size)):
        first.write_bytes(lost)
        assert [frame.body for frame in store.log("r").read(first=0)] == [b"claim", b"1", b"2", b"3"]


def test_a_commit_that_can_not_be_made_durable_is_unknown_not_failed(store: Store) -> None:
    """Sync and second file both failed: nobody may say that it did not happen. The next claim settles it."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    backend.bad_syncs = backend.bad_fsyncs = 1

    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, part(store), b"1"))
    with pytest.raises(CommitUnknown, match="claim the run anew"):
        owned.commit(draft("commit", 1, part(store), b"other"))
    owned.close()
    again = store.log("r").claim(claiming(part(store)), actor=ACTOR)

    assert [frame.body for frame in again.load()] == [b"claim", b"1", b"claim"]


def test_a_release_whose_sync_failed_is_not_written_twice(store: Store) -> None:
    """Somebody may have seen it and claimed: a second version of it would fork the chain."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    backend.bad_syncs = 1

    with pytest.raises(CommitUnknown):
        owned.commit(draft("release", 1, part(store)))

    assert names(store) == [checkpoint_name(0)]


def test_a_snapshot_that_did_not_fit_may_be_tried_again(store: Store) -> None:
    """A new file that could not be written has no name: the old one goes on."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    backend.cut_after = 10
    with pytest.raises(StoreFull):
        owned.commit(draft("commit", 1, part(store), b"1", snapshot=True))

    owned.commit(draft("commit", 1, part(store), b"1"))

    assert names(store) == [checkpoint_name(0)]
    assert [frame.body for frame in owned.load()] == [b"claim", b"1"]


@pytest.mark.parametrize("kind", ["claim", "snapshot"])
def test_a_file_whose_name_may_not_be_durable_is_unknown(store: Store, kind: str) -> None:
    """Linked, but the folder's sync failed: it is there, and whether it stays is unclear."""
    backend = faulty(store)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)

    class FolderFails(FaultyBackend):
        def fsync(self, fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode) and any(folder(store).glob("*1.ckpt")):
                raise OSError(errno.EIO, "Input/output error")
            super().fsync(fd)

    backend.__class__ = FolderFails
    if kind == "claim":
        owned.close()
        with pytest.raises(CommitUnknown, match="not made durable"):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)
    else:
        with pytest.raises(CommitUnknown):
            owned.commit(draft("commit", 1, part(store), snapshot=True))
        owned.close()
    backend.__class__ = FaultyBackend

    assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.seq == 2
    assert numbers(store) == [0, 1, 2]


def test_a_claim_on_what_can_not_be_synced_is_not_made(store: Store) -> None:
    """It would be more durable than what it is built on."""
    backend = faulty(store)
    store.log("r").claim(claiming(part(store)), actor=ACTOR).close()
    backend.bad_syncs = 1

    with pytest.raises(StoreUnavailable):
        store.log("r").claim(claiming(part(store)), actor=ACTOR)

    assert numbers(store) == [0]
    assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.seq == 1


def test_an_interrupted_commit_is_unknown(store: Store) -> None:
    """Ctrl-C in the middle of a write: this owner does not guess what is on the disk."""

    class Interrupted(FaultyBackend):
        def fdatasync(self, fd: int) -> None:
            raise KeyboardInterrupt

    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    store.backend.__class__ = Interrupted
    with pytest.raises(KeyboardInterrupt):
        owned.commit(draft("commit", 1, part(store), b"1"))
    store.backend.__class__ = LocalBackend

    with pytest.raises(CommitUnknown):
        owned.commit(draft("commit", 1, part(store), b"2"))
    owned.close()
    store.log("r").claim(claiming(part(store)), actor=ACTOR)
    assert [frame.body for frame in store.log("r").read()] == [b"claim", b"1", b"claim"]


def test_a_file_that_somebody_else_touched_is_not_appended_to(store: Store) -> None:
    """An owner knows where its file ends."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    with (folder(store) / checkpoint_name(0)).open("ab") as file:
        file.write(b"?")

    with pytest.raises(CorruptCheckpoint, match="does not end"):
        owned.commit(draft("commit", 1, part(store)))


def test_a_number_that_is_taken_fences(store: Store) -> None:
    """A new file that is there already was made by somebody who claimed."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    (folder(store) / checkpoint_name(1)).write_bytes(b"somebody's")

    with pytest.raises(Fenced):
        owned.commit(draft("commit", 1, part(store), snapshot=True))
    with pytest.raises(Fenced):
        owned.commit(draft("commit", 1, part(store)))


# -- owners -------------------------------------------------------------------------------

HOLDER = """
store = open_store(url)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
owned.commit(draft("commit", owned.header.epoch, part(store), b"kept"))
say("held", os.getpid())
sys.stdin.readline()
"""


def test_a_killed_owner_is_followed_at_once(store_url: str) -> None:
    """SIGKILL frees its lock: no lease to wait for."""
    with Child(HOLDER, store_url) as child:
        assert child.line().startswith("held")
        store = open_store(store_url)
        with pytest.raises(RunOwned, match=f"process {child.pid} "):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)

        child.signal(signal.SIGKILL)

        owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
        assert [frame.body for frame in owned.load()] == [b"claim", b"kept", b"claim"]
        store.close()


def test_a_stopped_owner_is_alive(store_url: str) -> None:
    """SIGSTOP is no death: it may go on any moment, and then commits as before (guarantee 3)."""
    code = (
        HOLDER
        + """
say(owned.commit(draft("commit", 1, part(store), b"later")).seq)
sys.stdin.readline()
"""
    )
    with Child(code, store_url) as child:
        child.line()
        child.signal(signal.SIGSTOP)
        store = open_store(store_url)
        with pytest.raises(RunOwned):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)
        child.signal(signal.SIGCONT)
        child.go()

        assert child.line() == "2"
        with pytest.raises(RunOwned):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)
        store.close()


def test_a_released_run_is_claimed_while_its_last_owner_lives(store_url: str) -> None:
    """Leaving in order needs no death."""
    code = """
    store = open_store(url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("release", 1, part(store), status="waiting"))
    owned.close()
    say("released")
    sys.stdin.readline()
    """
    with Child(code, store_url) as child:
        child.line()
        store = open_store(store_url)

        assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.epoch == 2
        store.close()


def test_another_store_of_this_process_is_another_owner(store: Store) -> None:
    """Two runtimes in one process don't share runs: the lock tells, not the process id."""
    other = open_store(store.url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)

    with pytest.raises(RunOwned):
        other.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.close()
    with pytest.raises(RunOwned):
        other.log("r").claim(claiming(part(store)), actor=ACTOR)
    store.close()

    assert other.log("r").claim(claiming(part(store)), actor=ACTOR).header.epoch == 2
    other.close()


def test_of_racing_processes_one_becomes_the_owner(store_url: str) -> None:
    """In each of 12 rounds, and nobody builds on a chain that another one continued."""
    code = """
    store = open_store(url)
    say("ready")
    sys.stdin.readline()
    won = 0
    for turn in range(12):
        try:
            owned = store.log(f"r{turn}").claim(claiming(part(store, f"r{turn}")), actor=ACTOR)
        except RunOwned:
            say("lost")
        else:
            owned.commit(draft("commit", 1, part(store, f"r{turn}")))
            say("won")
        sys.stdin.readline()
    """
    children = [Child(code, store_url) for _ in range(4)]
    try:
        assert [child.line() for child in children] == ["ready"] * 4
        for _ in range(12):
            for child in children:
                child.go()
            assert sorted(child.line() for child in children) == ["lost", "lost", "lost", "won"]
        for child in children:
            child.go()
            assert child.wait() == 0
    finally:
        for child in children:
            child.__exit__(None, None, None)
    store = open_store(store_url)
    assert all([f.header.seq for f in store.log(f"r{turn}").read()] == [0, 1] for turn in range(12))
    store.close()


def test_a_run_is_not_claimed_while_a_commit_of_it_is_being_written(store: Store) -> None:
    """An actor that was given up on may still sit in a system call: its run and the lock are held until then."""
    with late_commit(store) as owned:
        owned.close()
        with pytest.raises(RunOwned):
            store.log("r").claim(claiming(part(store)), actor=ACTOR)
        store.close()
        other = open_store(store.url)
        with pytest.raises(RunOwned):
            other.log("r").claim(claiming(part(store)), actor=ACTOR)

    again = other.log("r").claim(claiming(part(store)), actor=ACTOR)
    assert [frame.body for frame in again.load()] == [b"claim", b"late", b"claim"]
    other.close()


def test_a_lock_released_too_early_would_lose_that_commit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: another claims while the append is on its way, and what is acknowledged then is on no chain."""
    monkeypatch.setattr(LocalIncarnation, "working", lambda self: nullcontext())
    with late_commit(store) as owned:
        store.close()
        other = open_store(store.url)
        other.log("r").claim(claiming(part(store)), actor=ACTOR)

    assert owned.header.seq == 1
    assert [frame.body for frame in other.log("r").read()] == [b"claim", b"claim"]
    other.close()


@contextmanager
def late_commit(store: Store) -> Iterator[Ownership]:
    """In this block a commit of run r is on its way; it is written, synced and acknowledged at the end."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(LocalBackend):
        def write(self, fd: int, data: bytes) -> None:
            entered.set()
            assert go_on.wait(30)
            os.write(fd, data)

    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    store.backend.__class__ = Slow
    writer = threading.Thread(target=lambda: owned.commit(draft("commit", 1, part(store), b"late")))
    writer.start()
    try:
        assert entered.wait(30)
        store.backend.__class__ = LocalBackend
        yield owned
    finally:
        go_on.set()
        writer.join()


LAST_WORDS = (
    HOLDER
    + """
owned.commit(draft("commit", 1, part(store), b"last words"))
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def test_what_was_read_before_the_owner_was_gone_does_not_count(store_url: str) -> None:
    """The owner commits between the first look and its death: the claim follows that commit, not the one seen."""
    with Child(LAST_WORDS, store_url) as child:
        child.line()
        store = open_store(store_url)
        log = store.log("r")
        assert isinstance(log, AppendLog)
        is_owned, first = log.is_owned, []

        def dies_now(header: object) -> bool | None:
            if not first:
                first.append(header)
                child.go()
                child.wait()
            return is_owned(header)  # type: ignore[arg-type]

        log.is_owned = dies_now  # type: ignore[method-assign]
        owned = log.claim(claiming(part(store)), actor=ACTOR)

        assert [frame.body for frame in owned.load()] == [b"claim", b"kept", b"last words", b"claim"]
        store.close()


def test_what_was_read_before_another_found_the_owner_gone_does_not_count(store_url: str) -> None:
    """Who is gone is remembered, for all its runs: but as of the moment before a run of it was read."""
    with Child(LAST_WORDS, store_url) as child:
        child.line()
        store = open_store(store_url)
        log = store.log("r")
        tip, seen = log.tip, []

        def reads_slowly() -> Tip | None:
            found = tip()
            if found is not None and not seen:
                seen.append(found)
                child.go()
                child.wait()
                assert store.incarnation.is_dead(found.header.owner, "another run")
            return found

        log.tip = reads_slowly  # type: ignore[method-assign]
        owned = log.claim(claiming(part(store)), actor=ACTOR)

        assert [frame.body for frame in owned.load()] == [b"claim", b"kept", b"last words", b"claim"]
        store.close()


def test_reading_before_the_lock_check_would_lose_a_commit(store: Store) -> None:
    """Planted: a claim on what was read too early, and an acknowledged commit is on no chain any more."""
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    early = store.log("r").tip()
    assert early is not None
    owned.commit(draft("commit", 1, part(store), b"last words"))
    owned.close()
    log = store.log("r")
    assert isinstance(log, AppendLog)
    log._unowned_tip = lambda: early  # type: ignore[method-assign]

    log.claim(claiming(part(store)), actor=ACTOR)

    assert [frame.body for frame in store.log("r").read(first=0)] == [b"claim", b"claim"]


def test_temporary_files_of_the_dead_are_cleared_by_the_next_claim(store_url: str) -> None:
    """Those of the living, of another machine, and strangers' files, are left alone."""
    status, _ = run(HOLDER.replace("sys.stdin", "0 and sys.stdin"), store_url)
    assert status == 0
    status, _ = run(HOLDER, store_url, ACTORFLOW_CRASH="claim.before_link:1")
    assert status == -signal.SIGKILL
    store = open_store(store_url)
    assert isinstance(store.backend, LocalBackend)
    root, living, elsewhere = Path(store.url), f".tmp-{store.backend.mark}-99", f".tmp-{'0' * 16}-{'1' * 16}-0"
    for name in (living, elsewhere, f".tmp-{machine_id()}-{'1' * 16}-0", "notes.txt"):
        (root / name).write_bytes(b"")

    store.log("r").claim(claiming(part(store)), actor=ACTOR)

    left = {path.name for path in root.iterdir() if path.is_file()}
    assert left == {"actorflow.json", "notes.txt", living, elsewhere}
    store.close()


def test_temporary_files_of_who_died_later_are_cleared_by_the_next_claim_of_its_runs(store_url: str) -> None:
    """Once for each of the dead: it leaves no more."""
    with Child(HOLDER, store_url) as child:
        child.line()
        store = open_store(store_url)
        store.log("s").claim(claiming(part(store, "s")), actor=ACTOR)
        tip = store.log("r").tip()
        assert tip is not None
        litter = Path(store.url) / f".tmp-{machine_id()}-{tip.header.owner.incarnation}-7"
        litter.write_bytes(b"")
        child.signal(signal.SIGKILL)
        child.wait()

        store.log("r").claim(claiming(part(store)), actor=ACTOR)

        assert not litter.exists()
        store.close()
