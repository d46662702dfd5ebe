"""Syncing folders: many names need one sync, and none is taken for durable that isn't."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from actorflow.errors import StoreUnavailable, UnsafeStore
from actorflow.store.local import EMPTY, LocalBackend
from actorflow.store.syncing import FolderSyncs

if TYPE_CHECKING:
    from actorflow.store.backend import Steps


class Recording(LocalBackend):
    """Takes down what is synced, and fails where it is told to."""

    def __init__(self, root: Path) -> None:
        super().__init__(str(root))
        self.synced: list[str] = []
        self.failing: str | None = None

    def fsync(self, fd: int) -> None:
        """Take down its path below the root."""
        path = os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), self.root)
        if path == self.failing:
            raise OSError(errno.EIO, "the disk is dying")
        if ".tmp" not in path:
            self.synced.append(path)
        super().fsync(fd)


def together(*jobs: Steps[bool]) -> None:
    """A step of each before the next of any."""
    moving = list(jobs)
    while moving:
        moving = [job for job in moving if next(job, "over") is None]


def test_names_that_are_made_together_share_the_sync_of_their_folder(tmp_path: Path) -> None:
    """Ten runs that begin at once: `runs` is synced once, and so is each of the folders of markers."""
    backend = Recording(tmp_path)

    together(*(backend.putting_new(f"runs/{n}/log/0", b"x") for n in range(10)))
    together(*(backend.putting_new(f"active/a/{n}", b"") for n in range(10)))

    own = [folder for n in range(10) for folder in (f"runs/{n}", f"runs/{n}/log")]
    assert sorted(backend.synced) == sorted([".", "runs", *own, EMPTY, ".", "active", "active/a"])


def test_a_name_that_was_made_after_a_sync_began_needs_another(tmp_path: Path) -> None:
    """The one before may have ended without it."""
    backend = Recording(tmp_path)
    first, second = backend.putting_new("a/1", b""), backend.putting_new("a/2", b"")
    next(first)
    list(first)
    backend.synced.clear()

    next(second)
    list(second)

    assert backend.synced == ["a"]


def test_a_sync_that_began_before_serves_nobody() -> None:
    """It counts from its beginning, not from its end: what came meanwhile is not in it."""
    syncs, calls = FolderSyncs(), list[str]()
    made: list[int] = []

    syncs.sync("f", syncs.moment(), lambda: made.append(syncs.moment()))
    syncs.sync("f", made[0], lambda: calls.append("again"))

    assert calls == ["again"]


def test_after_a_failed_sync_nobody_relies_on_another_one(tmp_path: Path) -> None:
    """Only one of those who have the folder open may be told that it failed: each asks for itself then."""
    backend = Recording(tmp_path)
    backend.put_new("a/0", b"x")
    jobs = [backend.putting_new(f"a/{n}", b"") for n in range(3)]
    for job in jobs:
        next(job)
    backend.failing = "a"
    with pytest.raises(StoreUnavailable, match="dying"):
        next(jobs[0])
    backend.failing = None
    backend.synced.clear()

    together(*jobs[1:])

    assert backend.synced == ["a", "a"]


def test_empty_files_are_names_of_one(tmp_path: Path) -> None:
    """A marker takes no file of its own, and to delete it frees none."""
    backend = LocalBackend(str(tmp_path))

    assert [backend.put_new(f"a/{n}", b"", durable=bool(n)) for n in (0, 1)] == [True, True]
    assert not backend.put_new("a/1", b"")
    backend.delete(["a/0"])

    assert (tmp_path / "a/1").samefile(tmp_path / EMPTY)
    assert backend.list("") == ["a/1"]
    assert backend.get("a/1") == b""


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM])
def test_where_a_file_gets_no_more_names_another_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """ext4 gives it 65,000, and the kernel may refuse to link another user's."""
    backend = LocalBackend(str(tmp_path))
    backend.put_new("a/1", b"")

    def refuse(*args: object, **options: object) -> None:
        raise OSError(number, "no more")

    monkeypatch.setattr(os, "link", refuse)

    assert backend.put_new("a/2", b"")
    assert not backend.put_new("a/2", b"")
    assert not (tmp_path / "a/2").samefile(tmp_path / EMPTY)


def test_the_empty_file_may_be_tidied_away(tmp_path: Path) -> None:
    """What was one of its names stays, and what comes is a file of its own."""
    backend = LocalBackend(str(tmp_path))
    backend.put_new("a/1", b"")
    (tmp_path / EMPTY).unlink()

    assert backend.put_new("a/2", b"")
    assert backend.list("") == ["a/1", "a/2"]


def test_a_file_that_is_not_empty_lends_no_name(tmp_path: Path) -> None:
    """Somebody has put something else in its place: neither that nor what a link leads to becomes a marker."""
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / EMPTY).symlink_to(tmp_path / "secret")
    with pytest.raises(UnsafeStore, match="symbolic link"):
        LocalBackend(str(tmp_path)).put_new("a/1", b"")
    (tmp_path / EMPTY).unlink()
    (tmp_path / EMPTY).write_bytes(b"full")

    with pytest.raises(UnsafeStore, match="empty file"):
        LocalBackend(str(tmp_path)).put_new("a/1", b"")

    assert list((tmp_path / "a").iterdir()) == []


def test_a_folder_that_is_made_again_is_synced_again(tmp_path: Path) -> None:
    """Somebody tidied it away: that the one before survived says nothing of this one, nor of those above it."""
    backend = Recording(tmp_path)
    backend.put_new("a/b/1", b"x")
    (tmp_path / "a/b/1").unlink()
    (tmp_path / "a/b").rmdir()
    (tmp_path / "a").rmdir()
    backend.synced.clear()

    backend.put_new("a/b/1", b"x")

    assert backend.synced == [".", "a", "a/b"]
