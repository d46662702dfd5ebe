"""The local backend: files made exclusively and durably below one folder, never through a symbolic link."""

from __future__ import annotations

import errno
import itertools
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.errors import UnsafeStore
from actorflow.store.backend import Backend, Missing, whole
from actorflow.store.crashpoints import reached
from actorflow.store.faults import translated
from actorflow.store.folders import Folders

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.store.backend import Steps

TEMP = ".tmp-"
EMPTY = ".empty"
"""An empty file in the root: each file that is put without data is one more name of it.

To make a file takes the file system much longer than to give one a name, longest where others were deleted lately;
and each run puts a marker, and deletes it.
"""

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # non-blocking: a planted FIFO must not hang us
_REOPEN = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
_CREATE = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_NOT_NEEDED: int | None = getattr(os, "POSIX_FADV_DONTNEED", None)
# ext4 gives a file at most 65,000; the kernel may refuse to link another user's; somebody may have tidied it away
_NO_MORE_NAMES = frozenset({errno.EMLINK, errno.EPERM, errno.ENOENT})


class LocalBackend(Folders, Backend):
    """Files below ``root``, which exists. ``mark``, in the names of temporary files, tells whose they are."""

    def __init__(self, root: str, *, mark: str = "") -> None:
        super().__init__(root)
        self.mark = mark
        self._temps = itertools.count()
        self._has_empty = False

    # -- the contract --------------------------------------------------------------

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Store if free: under a temporary name first, then linked, so that the name never shows half a file."""
        return whole(self._putting(key, data, durable=durable))

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps."""
        return self._putting(key, data, durable=True)

    def creating(self, key: str, data: bytes, *, stage: str, durable: bool = True) -> Steps[int | None]:
        """`put_new` in steps, with the name of its crash points.

        Returns:
            A descriptor for appending, for the caller to close; None if the key was taken.
        """
        with translated(self.path(key)):
            place = self._place(key, lasting=durable)
            try:
                if not durable:  # nobody minds a torn one
                    return self._write_new(place.folder, place.name, data)
                fd = yield from self._link_new(place.folder, place.name, data, stage)
                try:
                    yield from self._surviving(place)
                except BaseException:
                    if fd is not None:
                        os.close(fd)
                    raise
            finally:
                self._leave(place)
        return fd

    def get(self, key: str) -> bytes:
        """The whole file."""
        with translated(self.path(key)):
            fd = self.open(key, _READ)
            try:
                left = os.fstat(fd).st_size
                parts: list[bytes] = []
                while left and (part := os.read(fd, left)):
                    parts.append(part)
                    left -= len(part)
                return b"".join(parts)
            finally:
                os.close(fd)

    def get_from(self, key: str, start: int) -> bytes | None:
        """What a file holds from ``start`` on; None: it is shorter than that.

        Raises:
            Missing: there is no such file.
        """
        with translated(self.path(key)):
            fd = self.open(key, _READ)
            try:
                size = os.fstat(fd).st_size
                parts: list[bytes] = []
                at = start
                while at < size and (part := os.pread(fd, size - at, at)):
                    parts.append(part)
                    at += len(part)
                return b"".join(parts) if start <= size else None
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

    def make_folder(self, prefix: str) -> None:
        """Make a folder, so that it can be watched. It need not be durable: the first file in it makes it so."""
        with translated(self.path(prefix)):
            os.close(self._open_folder(prefix, create=True))

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

    def reopen(self, key: str) -> int:
        """A descriptor for appending to a file that the caller knows again by its inode. The caller closes it.

        One system call where `open` walks folder by folder: the way may lead through links.

        Raises:
            Missing: there is no such file.
        """
        with translated(self.path(key)):
            try:
                return os.open(key, _REOPEN, dir_fd=self._root)
            except FileNotFoundError:
                raise Missing(key) from None

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

    def replace(self, key: str, data: bytes) -> None:
        """Put ``data`` in the place of a file, at once and as a whole. A power loss may bring back what was there."""
        temp = f"{TEMP}{self.mark}-{next(self._temps)}"
        with translated(self.path(key)):
            folder = self._open_folder(key)
            try:
                fd = os.open(temp, _CREATE, 0o600, dir_fd=self._root)
                try:
                    self.write(fd, data)
                    self.fsync(fd)
                    reached("replace.before_rename")
                    os.rename(temp, key.rpartition("/")[2], src_dir_fd=self._root, dst_dir_fd=folder)
                except BaseException:
                    os.unlink(temp, dir_fd=self._root)
                    raise
                finally:
                    os.close(fd)
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

    def write(self, fd: int, data: bytes) -> None:
        """Write all of ``data``; an error may leave a part of it."""
        written = os.write(fd, data)
        while written < len(data):
            written += os.write(fd, memoryview(data)[written:])

    def start_writing(self, fd: int, offset: int, size: int) -> None:
        """Let the disk begin with what was written there, so that a sync to come waits less: for others most of all.

        Linux does so when told that these pages are not needed. It keeps those that it has yet to write.
        """
        if _NOT_NEEDED is not None:
            os.posix_fadvise(fd, offset, size, _NOT_NEEDED)

    # -- how ---------------------------------------------------------------------------

    def _putting(self, key: str, data: bytes, *, durable: bool) -> Steps[bool]:
        if data:
            fd = yield from self.creating(key, data, stage="put", durable=durable)
            if fd is not None:
                os.close(fd)
            return fd is not None
        with translated(self.path(key)):
            place = self._place(key, lasting=durable)
            try:
                new = self._name_empty(place.folder, place.name)
                if durable:
                    yield from self._surviving(place)
            finally:
                self._leave(place)
        return new

    def _link_new(self, folder: int, name: str, data: bytes, stage: str) -> Steps[int | None]:
        # In the root, not beside ``name``: whoever opens the store next finds what the dead left without a long search.
        temp = f"{TEMP}{self.mark}-{next(self._temps)}"
        fd = os.open(temp, _CREATE, 0o600, dir_fd=self._root)
        linked = False
        try:
            try:
                self.write(fd, data)
                reached("temp.after_write")
                self.start_writing(fd, 0, len(data))
                yield None
                reached(f"{stage}.before_sync")
                self.fsync(fd)
                yield None  # a name that is made now would have to go into the journal before the next one's sync
                reached(f"{stage}.before_link")
                with suppress(FileExistsError):
                    os.link(temp, name, src_dir_fd=self._root, dst_dir_fd=folder, follow_symlinks=False)
                    linked = True
                    reached(f"{stage}.after_link")
            finally:
                os.unlink(temp, dir_fd=self._root)
        except BaseException:  # also if it was linked, and its other name could not be removed: nobody gets it then
            os.close(fd)
            raise
        if linked:
            return fd
        os.close(fd)
        return None

    def _write_new(self, folder: int, name: str, data: bytes) -> int | None:
        try:
            fd = os.open(name, _CREATE, 0o600, dir_fd=folder)
        except FileExistsError:
            return None
        try:
            if data:
                self.write(fd, data)
        except OSError:
            os.close(fd)
            os.unlink(name, dir_fd=folder)
            raise
        return fd

    def _name_empty(self, folder: int, name: str) -> bool:
        """Give the empty file one more name; False if that is taken."""
        if not self._has_empty:
            self._make_empty()
            self._has_empty = True
        try:
            os.link(EMPTY, name, src_dir_fd=self._root, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_MORE_NAMES:
                raise
            fd = self._write_new(folder, name, b"")
            if fd is not None:
                os.close(fd)
            return fd is not None
        return True

    def _make_empty(self) -> None:
        fd = os.open(EMPTY, _REOPEN | os.O_CREAT, 0o600, dir_fd=self._root)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode) or found.st_size:
                raise UnsafeStore(self.path(EMPTY), "it is to be an empty file; remove it, and it is made anew")
            self.fsync(fd)
        finally:
            os.close(fd)
