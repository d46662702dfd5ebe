"""Liveness: who lives is known at once, and no fork, stop or cleaner makes it wrong."""

from __future__ import annotations

import gc
import os
import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from actorflow.errors import RunOwned, StoreDenied, StoreUnavailable
from actorflow.store import liveness
from actorflow.store.liveness import LocalIncarnation
from actorflow.store.local import LocalBackend
from actorflow.store.machine import machine_id
from actorflow.store.store import open_store
from tests.store.children import Child, run
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from actorflow.store.frames import Owner


def incarnation(root: Path, *, taken: bool = True) -> LocalIncarnation:
    """A new opening of the store at ``root``."""
    made = LocalIncarnation(LocalBackend(str(root)))
    if taken:
        made.take()
    return made


def locks(root: Path) -> list[str]:
    """The lock files of this machine."""
    return sorted(path.name for path in (root / "hosts" / machine_id()).iterdir())


def test_who_is_open_lives_and_who_closed_is_gone(tmp_path: Path) -> None:
    """In one process as between processes: each opening has its own lock."""
    one, other = incarnation(tmp_path), incarnation(tmp_path)
    owner = one.owner(ACTOR)

    assert other.is_dead(owner, "r") is False
    assert one.is_dead(other.owner(ACTOR), "r") is False
    one.close()

    assert other.is_dead(owner, "r") is True
    other.close()
    assert locks(tmp_path) == []


def test_who_was_found_gone_is_not_looked_for_again(tmp_path: Path) -> None:
    """It never comes back: one look at its lock serves for a thousand runs."""
    looks: list[str] = []

    class Watched(LocalBackend):
        def open(self, key: str, flags: int, *, create: bool = False) -> int:
            looks.append(key)
            return super().open(key, flags, create=create)

    one, here = incarnation(tmp_path), LocalIncarnation(Watched(str(tmp_path)))
    owner = one.owner(ACTOR)

    alive = [here.is_dead(owner, "r") for _ in range(2)]
    one.close()
    gone = [here.is_dead(owner, f"r{n}") for n in range(3)]

    assert (alive, gone, len(looks)) == ([False, False], [True, True, True], 3)
    assert here.gone == {one.name}


def test_another_machine_can_not_be_judged(tmp_path: Path) -> None:
    """A free lock proves nothing about an owner elsewhere."""
    here = incarnation(tmp_path)
    owner: Owner = msgspec.structs.replace(here.owner(ACTOR), machine="0" * 16, incarnation="1" * 16)

    assert here.is_dead(owner, "r") is None
    here.close()


def test_two_who_look_at_once_see_the_same(tmp_path: Path) -> None:
    """A look takes no lock that another look would take for the owner's."""
    dead, here = incarnation(tmp_path), incarnation(tmp_path)
    owner = dead.owner(ACTOR)
    path = tmp_path / "hosts" / machine_id() / f"{dead.name}.lock"
    dead.close()
    path.write_bytes(b"")  # as after SIGKILL: there, and unlocked
    verdicts: list[bool | None] = []
    threads = [
        threading.Thread(target=lambda: verdicts.extend(here.is_dead(owner, "r") for _ in range(200))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert set(verdicts) == {True}
    assert len(verdicts) == 800
    here.close()


def test_the_locks_of_the_dead_are_cleared_away(tmp_path: Path) -> None:
    """By the next opening; strangers' files stay."""
    folder = tmp_path / "hosts" / machine_id()
    folder.mkdir(parents=True)
    for name in ("1" * 16 + ".lock", "notes.txt", "no-dot"):
        (folder / name).write_bytes(b"")

    here = incarnation(tmp_path)

    assert locks(tmp_path) == sorted(["notes.txt", "no-dot", f"{here.name}.lock"])
    here.close()


def test_a_lock_cleared_away_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cleaner may look between an opener's open and its lock: the opener notices."""
    real, cleared = liveness.fcntl.flock, []

    def flock(fd: int, operation: int) -> None:
        if not cleared:
            cleared.append(os.readlink(f"/proc/self/fd/{fd}"))  # noqa: PTH115
            Path(cleared[0]).unlink()
        real(fd, operation)

    monkeypatch.setattr(liveness.fcntl, "flock", flock)
    one = incarnation(tmp_path)
    monkeypatch.undo()
    other = incarnation(tmp_path)

    assert f"{one.name}.lock" in locks(tmp_path)
    assert other.is_dead(one.owner(ACTOR), "r") is False
    one.close()
    other.close()


def test_a_cleaner_never_deletes_a_lock_that_was_taken_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the file free, the opener locked it, it deletes: a living owner would be taken for dead by everybody."""
    opener, cleaner, other = (incarnation(tmp_path, taken=False) for _ in range(3))
    other.take()
    opened, looked, locked = threading.Event(), threading.Event(), threading.Event()
    lock, unlink, names = liveness.fcntl.flock, os.unlink, cleaner._backend.names

    def take() -> None:
        opener.take()
        locked.set()

    thread = threading.Thread(target=take)

    def names_after_the_opener_s_open(prefix: str) -> set[str]:
        if not opened.is_set():
            thread.start()
            opened.wait(5)
        return names(prefix)

    def lock_after_the_cleaner_s_look(fd: int, operation: int) -> None:
        if threading.current_thread() is thread and not opened.is_set():
            opened.set()
            looked.wait(5)
        lock(fd, operation)

    def unlink_after_the_opener_s_lock(name: str, *, dir_fd: int | None = None) -> None:
        if threading.current_thread() is not thread and str(name).startswith(opener.name):
            looked.set()
            locked.wait(0.5)
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(cleaner._backend, "names", names_after_the_opener_s_open)
    monkeypatch.setattr(liveness.fcntl, "flock", lock_after_the_cleaner_s_look)
    monkeypatch.setattr(os, "unlink", unlink_after_the_opener_s_lock)
    cleaner.take()
    looked.set()
    thread.join()

    assert other.is_dead(opener.owner(ACTOR), "r") is False
    for one in (opener, cleaner, other):
        one.close()
    assert locks(tmp_path) == []


def test_a_forgotten_opening_is_gone(tmp_path: Path) -> None:
    """When nobody can commit in its name any more, its lock is free although nobody closed it."""
    one, other = incarnation(tmp_path), incarnation(tmp_path)
    owner = one.owner(ACTOR)
    del one
    gc.collect()

    assert other.is_dead(owner, "r") is True
    other.close()


def test_a_store_opened_to_be_read_takes_no_lock(store_url: str) -> None:
    """And so it can't claim."""
    open_store(store_url).close()
    reader = open_store(store_url, readonly=True)

    with pytest.raises(StoreDenied, match="read only"):
        reader.log("r").claim(claiming(part(reader)), actor=ACTOR)

    assert reader.log("r").tip() is None
    assert locks(Path(store_url)) == []
    reader.close()


# -- forks --------------------------------------------------------------------------------

FORKING = """
store = open_store(url)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
ours, theirs = os.pipe()
child = os.fork()
if not child:
    os.write(theirs, b".")
    time.sleep(60)
    os._exit(0)
os.read(ours, 1)  # the child is past the hook
say(child)
sys.stdin.readline()
"""


def alive(pid: int) -> bool:
    """Whether that process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_forked_child_does_not_hold_a_dead_owner_s_lock(store_url: str) -> None:
    """The owner is killed, its child lives on: the run is free at once."""
    with Child(FORKING, store_url) as child:
        survivor = int(child.line())
        child.signal(signal.SIGKILL)
        try:
            assert alive(survivor)
            store = open_store(store_url)
            assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.epoch == 2
            assert alive(survivor)
            store.close()
        finally:
            os.kill(survivor, signal.SIGKILL)


def test_without_the_hook_a_forked_child_would_hold_it(store_url: str) -> None:
    """Planted: the child keeps its copy of the descriptor, and the dead owner seems to live."""
    planted = "from actorflow.store import liveness\nliveness.LocalIncarnation._abandon = lambda self: None\n"
    with Child(planted + FORKING, store_url) as child:
        survivor = int(child.line())
        child.signal(signal.SIGKILL)
        try:
            store = open_store(store_url)
            with pytest.raises(RunOwned):
                store.log("r").claim(claiming(part(store)), actor=ACTOR)
            store.close()
        finally:
            os.kill(survivor, signal.SIGKILL)


def test_a_forked_child_does_not_release_its_parent_s_lock(store_url: str) -> None:
    """It ends, in order or not, and the parent still owns the run and commits."""
    code = """
    store = open_store(url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    for how in ("exit", "close", "kill"):
        child = os.fork()
        if not child:
            if how == "close":
                owned.close()
                store.close()
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(0)
        os.waitpid(child, 0)
        say(how, owned.commit(draft("commit", 1, part(store))).seq)
        sys.stdin.readline()
    """
    with Child(code, store_url) as child:
        for seq, how in enumerate(("exit", "close", "kill"), 1):
            assert child.line() == f"{how} {seq}"
            store = open_store(store_url)
            with pytest.raises(RunOwned):
                store.log("r").claim(claiming(part(store)), actor=ACTOR)
            store.close()
            child.go()
        assert child.wait() == 0


def test_a_forked_child_commits_nothing_in_its_parent_s_name(store_url: str) -> None:
    """It opens the store anew, and sees the parent as what it is: another, living owner."""
    code = """
    store = open_store(url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    child = os.fork()
    if not child:
        for call in (
            lambda: owned.commit(draft("commit", 1, part(store))),
            lambda: store.log("q").claim(claiming(part(store, "q")), actor=ACTOR),
            lambda: open_store(url).log("r").claim(claiming(part(store)), actor=ACTOR),
        ):
            try:
                call()
            except ActorflowError as error:
                say(type(error).__name__, "forked" in str(error))
        again = open_store(url)
        say(again.log("q").claim(claiming(part(store, "q")), actor=ACTOR).header.seq)
        os._exit(0)
    os.waitpid(child, 0)
    say(owned.commit(draft("commit", 1, part(store))).seq)
    """
    status, lines = run(code, store_url)

    assert status == 0
    assert lines == ["StoreUnavailable True", "StoreUnavailable True", "RunOwned False", "0", "1"]


def test_a_child_forked_from_a_store_in_memory_has_a_copy_of_its_own(tmp_path: Path) -> None:
    """Nobody else commits to that copy, so the child may claim what the parent owned."""
    code = """
    store = open_store("memory://both")
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    child = os.fork()
    if not child:
        copy = open_store("memory://both")
        say(copy.log("r").claim(claiming(part(copy)), actor=ACTOR).header.epoch)
        os._exit(0)
    os.waitpid(child, 0)
    say(owned.commit(draft("commit", 1, part(store))).seq)
    """
    assert run(code, str(tmp_path)) == (0, ["2", "1"])


def test_a_started_process_inherits_no_lock(store_url: str) -> None:
    """The descriptor is closed on exec."""
    code = """
    import subprocess
    store = open_store(url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    say(subprocess.Popen(["sleep", "60"], close_fds=False).pid)
    sys.stdin.readline()
    """
    with Child(code, store_url) as child:
        survivor = int(child.line())
        child.signal(signal.SIGKILL)
        try:
            store = open_store(store_url)
            assert store.log("r").claim(claiming(part(store)), actor=ACTOR).header.epoch == 2
            store.close()
        finally:
            os.kill(survivor, signal.SIGKILL)


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # Python 3.12 and later warn of it
def test_a_thread_that_forks_while_another_commits_leaves_a_usable_parent(store_url: str) -> None:
    """The hook takes no lock that a commit holds for long, and the child never waits for one."""
    store = open_store(store_url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    done = threading.Event()

    def write() -> None:
        while not done.is_set():
            owned.commit(draft("commit", 1, part(store)))

    writer = threading.Thread(target=write)
    writer.start()
    statuses = []
    for _ in range(20):
        child = os.fork()
        if not child:
            try:
                owned.commit(draft("commit", 1, part(store)))
            except StoreUnavailable:
                os._exit(7)
            os._exit(1)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    done.set()
    writer.join()

    assert statuses == [7] * 20
    assert len(store.log("r").read()) == owned.header.seq + 1
    store.close()
