"""The local backend: files made exclusively and durably below one folder, never through a symbolic link.

Each path below the root is walked folder by folder with descriptors that
refuse links, so nobody who can write into the store can lead a write out of it.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import stat
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.errors import UnsafeStore
from actorflow.store.backend import Backend, Missing
from actorflow.store.crashpoints import reached
from actorflow.store.faults import translated

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TEMP = ".tmp-"

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # non-blocking: a planted FIFO must not hang us
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: plain fsync stops at the drive's cache
_MAX_SETTLED = 4096


class LocalBackend(Backend):
    """Files below ``root``, which exists. ``mark``, in the names of temporary files, tells whose they are."""

    def __init__(self, root: str, *, mark: str = "") -> None:
        self.root = root
        self.mark = mark
        self._temps = itertools.count()
        self._settled: set[str] = set()
        with translated(root):
            self._root = _open_folder(root, root)
        # Not at a `close`: a late call would then work in whatever folder gets the same number next.
        weakref.finalize(self, os.close, self._root).atexit = False

    # -- the contract --------------------------------------------------------------

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store if free: under a temporary name first, then linked, so that the name never shows half a file."""
        return self.create(key, data, stage="put", durable=durable)

    def create(self, key: str, data: bytes, *, stage: str, durable: bool = True) -> bool:
        """`put_new`, with the name of its crash points."""
        name = key.rpartition("/")[2]
        with translated(self.path(key)):
            folder = self._open_folder(key, create=True, durable=durable)
            try:
                if not data or not durable:  # nothing to tear, or nobody minds
                    created = self._write_new(folder, name, data)
                else:
                    created = self._link_new(folder, name, data, stage)
                if durable:
                    # Also if it was taken: its creator may have died before this sync, and we build on it.
                    self.fsync(folder)
            finally:
                os.close(folder)
        return created

    def get(self, key: str) -> bytes:
        """The whole file."""
        with translated(self.path(key)):
            fd = self.open(key, _READ)
            try:
                parts: list[bytes] = []
                while part := os.read(fd, max(os.fstat(fd).st_size, 65536)):
                    parts.append(part)
                return b"".join(parts)
            finally:
                os.close(fd)

    def list(self, prefix: str) -> list[str]:
        """All files below ``prefix``, ascending. Links are listed like files: who opens one is told."""
        with translated(self.path(prefix)):
            try:
                folder = self._open_folder(prefix)
            except FileNotFoundError:
                return []
            try:
                return sorted(self._walk(folder, prefix))
            finally:
                os.close(folder)

    def delete(self, keys: Iterable[str]) -> None:
        """Unlink exactly these files. A deletion that power loss undoes does no harm, so nothing is synced."""
        for key in keys:
            with translated(self.path(key)):
                try:
                    folder = self._open_folder(key)
                except FileNotFoundError:
                    continue
                try:
                    os.unlink(key.rpartition("/")[2], dir_fd=folder)
                except FileNotFoundError:
                    pass
                finally:
                    os.close(folder)

    # -- what only a local folder can do ---------------------------------------------

    def path(self, key: str) -> str:
        """The path of ``key``, for people."""
        return f"{self.root}/{key}"  # each commit asks for it; join would take a tenth of its time

    def names(self, prefix: str) -> set[str]:
        """The names directly below ``prefix``, temporary ones included; none if there is no such folder."""
        with translated(self.path(prefix)):
            try:
                folder = self._open_folder(prefix)
            except FileNotFoundError:
                return set()
            try:
                return set(os.listdir(folder))
            finally:
                os.close(folder)

    def open(self, key: str, flags: int, *, create: bool = False) -> int:
        """A descriptor of a regular file, never through a link. The caller closes it.

        Raises:
            Missing: there is no such file. `create` makes its folders, not the file: that is what flags are for.
        """
        with translated(self.path(key)):
            try:
                folder = self._open_folder(key, create=create)
                try:
                    fd = os.open(key.rpartition("/")[2], flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)
                finally:
                    os.close(folder)
            except FileNotFoundError:
                raise Missing(key) from None
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                os.close(fd)
                raise UnsafeStore(self.path(key), "it is no regular file")
            return fd

    def rename(self, key: str, to: str) -> None:
        """Give a file another key in the same folder, whatever is there.

        Raises:
            Missing: there is no such file.
        """
        with translated(self.path(key)):
            folder = self._open_folder(key)
            try:
                os.rename(key.rpartition("/")[2], to.rpartition("/")[2], src_dir_fd=folder, dst_dir_fd=folder)
            except FileNotFoundError:
                raise Missing(key) from None
            finally:
                os.close(folder)

    def sync_folder(self, prefix: str) -> None:
        """Make the names directly below ``prefix`` survive power loss."""
        with translated(self.path(prefix)):
            folder = self._open_folder(prefix)
            try:
                self.fsync(folder)
            finally:
                os.close(folder)

    def fsync(self, fd: int) -> None:
        """Bytes and metadata to the disk itself."""
        if _FULLFSYNC is None:
            os.fsync(fd)
        else:
            fcntl.fcntl(fd, _FULLFSYNC)

    def fdatasync(self, fd: int) -> None:
        """Bytes and length to the disk itself."""
        if _FULLFSYNC is None:
            os.fdatasync(fd)
        else:
            fcntl.fcntl(fd, _FULLFSYNC)

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``; an error may leave a part of it."""
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, memoryview(data)[written:])

    # -- how ---------------------------------------------------------------------------

    def _link_new(self, folder: int, name: str, data: bytes, stage: str) -> bool:
        # In the root, not beside ``name``: whoever opens the store next finds what the dead left without a long search.
        temp = f"{TEMP}{self.mark}-{next(self._temps)}"
        fd = os.open(temp, _CREATE, 0o600, dir_fd=self._root)
        try:
            try:
                self.write(fd, data)
                reached("temp.after_write")
                reached(f"{stage}.before_sync")
                self.fsync(fd)
            finally:
                os.close(fd)
            reached(f"{stage}.before_link")
            try:
                os.link(temp, name, src_dir_fd=self._root, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                return False
            reached(f"{stage}.after_link")
            return True
        finally:
            os.unlink(temp, dir_fd=self._root)

    def _write_new(self, folder: int, name: str, data: bytes) -> bool:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
        except FileExistsError:
            return False
        try:
            if data:
                self.write(fd, data)
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(fd)
        return True

    def _open_folder(self, key: str, *, create: bool = False, durable: bool = False) -> int:
        """A descriptor of the folder that holds ``key`` (a prefix ends in "/" and holds itself).

        With ``create`` the folders on the way are made, with ``durable`` they survive power loss.
        """
        fd: int | None = None
        way = self.root
        for name in key.split("/")[:-1]:
            way = f"{way}/{name}"
            parent = self._root if fd is None else fd
            try:
                below = self._step(parent, name, way, create=create, durable=durable)
            finally:
                if fd is not None:
                    os.close(fd)
            fd = below
        return os.dup(self._root) if fd is None else fd

    def _step(self, parent: int, name: str, way: str, *, create: bool, durable: bool) -> int:
        try:
            below = _open_folder(name, way, parent=parent)
        except FileNotFoundError:
            if not create:
                raise
            _make_folder(name, parent)
            below = _open_folder(name, way, parent=parent)
        if durable and way not in self._settled:
            try:
                self._settle(parent, way)
            except BaseException:
                os.close(below)
                raise
        return below

    def _settle(self, parent: int, way: str) -> None:
        """Make the folder ``way`` survive power loss.

        Also if it was there: whoever made it may have died before its sync.
        Which ones this process has synced is remembered.
        """
        self.fsync(parent)
        if len(self._settled) >= _MAX_SETTLED:
            self._settled.clear()
        self._settled.add(way)

    def _walk(self, folder: int, prefix: str) -> Iterator[str]:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.is_dir(follow_symlinks=False):
                    yield prefix + entry.name
                    continue
                below = _open_folder(entry.name, self.path(prefix + entry.name), parent=folder)
                try:
                    yield from self._walk(below, f"{prefix}{entry.name}/")
                finally:
                    os.close(below)


def _make_folder(name: str, parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)


def _open_folder(name: str, path: str, *, parent: int | None = None) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        # Linux says ENOTDIR, not ELOOP, for a link that was to be opened as a folder.
        if error.errno not in (errno.ENOTDIR, errno.ELOOP):
            raise
        if os.path.islink(path):
            raise UnsafeStore(path, "it is a symbolic link, which is not followed; name the folder itself") from error
        raise UnsafeStore(path, "it is no folder") from error
