"""Both backends keep the contract; the local one also never leaves its folder and leaves nothing behind."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from actorflow.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore
from actorflow.store.faults import store_error
from actorflow.store.local import LocalBackend
from actorflow.store.memory import MemoryBackend, memory_backend
from actorflow.testing.backend_contract import BackendContract
from tests.store.children import run


class TestMemoryBackend(BackendContract):
    """The contract, in memory."""

    @pytest.fixture
    def backend(self) -> MemoryBackend:
        """A fresh one."""
        return MemoryBackend()

    def test_a_name_is_one_store_in_this_process(self) -> None:
        """And no name is a new one each time."""
        assert memory_backend("shared") is memory_backend("shared")
        assert memory_backend("shared") is not memory_backend("other")
        assert memory_backend("") is not memory_backend("")


class TestLocalBackend(BackendContract):
    """The contract, on disk."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        """In a folder of its own."""
        return LocalBackend(str(tmp_path), mark="m-i")

    def test_nothing_temporary_stays(self, backend: LocalBackend, tmp_path: Path) -> None:
        """Neither after a put that took effect, nor after one that did not."""
        backend.put_new("a/b", b"x")
        backend.put_new("a/b", b"y")

        assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]

    def test_no_descriptor_stays_of_a_put_whose_temporary_name_does(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The put fails, so nobody gets the descriptor. Planted: only a file that was not linked was closed."""

        def refuse(*_: object, **__: object) -> None:
            raise PermissionError(errno.EPERM, "not permitted")

        backend.put_new("a/b", b"x")
        before = set(Path("/dev/fd").iterdir())
        monkeypatch.setattr(os, "unlink", refuse)
        with pytest.raises(StoreError):
            backend.put_new("a/c", b"y")
        monkeypatch.undo()

        assert set(Path("/dev/fd").iterdir()) <= before  # what a test before left to the collector may go meanwhile
        assert backend.get("a/c") == b"y"

    def test_files_are_private(self, backend: LocalBackend, tmp_path: Path) -> None:
        """Only their owner reads and writes them."""
        backend.put_new("a/b", b"x")
        backend.put_new("a/c", b"", durable=False)

        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
        assert {stat.S_IMODE((tmp_path / "a" / name).stat().st_mode) for name in "bc"} == {0o600}

    def test_temporary_files_are_not_listed(self, backend: LocalBackend, tmp_path: Path) -> None:
        """A crash leaves one now and then: no listing shows it."""
        backend.put_new("a/b", b"x")
        (tmp_path / "a" / ".tmp-m-i-9").write_bytes(b"")

        assert backend.list("a/") == ["a/b"]

    @pytest.mark.parametrize("planted", ["runs", "runs/r", "runs/r/log"])
    def test_a_planted_link_in_place_of_a_folder_is_refused(self, planted: str, tmp_path: Path) -> None:
        """Nothing is read through it, nothing is written through it."""
        outside = tmp_path / "outside"
        (outside / "r" / "log" / "log").mkdir(parents=True)
        root = tmp_path / "root"
        (root / planted).parent.mkdir(parents=True)
        (root / planted).symlink_to(outside)
        backend = LocalBackend(str(root))
        before = sorted(outside.rglob("*"))

        for call in (
            lambda: backend.put_new("runs/r/log/1.ckpt", b"x"),
            lambda: backend.put_new("runs/r/log/1.ckpt", b""),
            lambda: backend.get("runs/r/log/1.ckpt"),
            lambda: backend.names("runs/r/log/"),
            lambda: backend.delete(["runs/r/log/1.ckpt"]),
            lambda: backend.open("runs/r/log/1.ckpt", os.O_WRONLY),
        ):
            with pytest.raises(UnsafeStore, match="symbolic link"):
                call()
        assert sorted(outside.rglob("*")) == before

    def test_a_planted_link_in_place_of_a_file_is_refused(self, backend: LocalBackend, tmp_path: Path) -> None:
        """It is neither read nor replaced; a link to nowhere is no free name."""
        secret = tmp_path / "secret"
        secret.write_bytes(b"secret")
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "file").symlink_to(secret)
        (tmp_path / "a" / "dangling").symlink_to(tmp_path / "nowhere")

        with pytest.raises(UnsafeStore):
            backend.get("a/file")
        for name in ("file", "dangling"):
            assert not backend.put_new(f"a/{name}", b"x")
            assert not backend.put_new(f"a/{name}", b"")
        assert secret.read_bytes() == b"secret"
        assert not (tmp_path / "nowhere").exists()

    def test_a_planted_pipe_does_not_hang_a_reader(self, backend: LocalBackend, tmp_path: Path) -> None:
        """Only regular files are checkpoints."""
        os.mkfifo(tmp_path / "pipe")

        with pytest.raises(UnsafeStore, match="no regular file"):
            backend.get("pipe")

    def test_a_root_that_is_a_link_is_refused(self, tmp_path: Path) -> None:
        """The folder itself can be named."""
        (tmp_path / "root").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "root")

        with pytest.raises(UnsafeStore, match="name the folder itself"):
            LocalBackend(str(tmp_path / "link"))

    def test_a_full_disk_leaves_nothing(self, tmp_path: Path) -> None:
        """A file that can't be written whole gets no name and leaves no temporary one."""
        status, lines = run(
            """
            import resource
            from actorflow.store.local import LocalBackend
            backend = LocalBackend(url)
            backend.put_new("a/fits", b"x")
            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
            for durable in (True, False):
                try:
                    backend.put_new("a/big", b"x" * 100_000, durable=durable)
                except StoreFull as error:
                    say("full", error.path.endswith("a/big"))
            """,
            str(tmp_path),
        )

        assert (status, lines) == (0, ["full True", "full True"])
        assert [path.name for path in (tmp_path / "a").iterdir()] == ["fits"]

    def test_folders_are_settled_once_and_also_if_they_were_there(self, tmp_path: Path) -> None:
        """Whoever made a folder may have died before its sync, so the first put of a process syncs its parents."""
        synced: list[str] = []

        class Recording(LocalBackend):
            def fsync(self, fd: int) -> None:
                synced.append(os.path.relpath(Path(f"/proc/self/fd/{fd}").readlink(), tmp_path))
                super().fsync(fd)

        (tmp_path / "runs" / "r" / "log").mkdir(parents=True)
        backend = Recording(str(tmp_path))
        backend.put_new("runs/r/log/0", b"x")
        backend.put_new("runs/r/log/1", b"x")

        folders = [folder for folder in synced if ".tmp" not in folder]
        assert folders == [".", "runs", "runs/r", "runs/r/log", "runs/r/log"]


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EFBIG, StoreFull),
        (errno.EACCES, StoreDenied),
        (errno.EROFS, StoreDenied),
        (errno.ELOOP, UnsafeStore),
        (errno.EIO, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
    ],
)
def test_an_error_of_the_system_names_path_and_reason(number: int, kind: type[StoreError]) -> None:
    """Each errno becomes the error that tells what to do."""
    error = store_error("/s/runs/r", OSError(number, os.strerror(number)))

    assert type(error) is kind
    assert str(error).startswith("/s/runs/r: ")
