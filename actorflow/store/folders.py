"""Folders: how names below one root are found and made, never through a symbolic link, and made to survive power loss.

Each path below the root is walked folder by folder with descriptors that
refuse links, so nobody who can write into the store can lead a write out of it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from actorflow.errors import UnsafeStore
from actorflow.store.faults import translated
from actorflow.store.syncing import FolderSyncs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.backend import Steps

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)  # macOS: plain fsync stops at the drive's cache
_MAX_SETTLED = 4096

Unsynced = list[tuple[int, str]]
"""Folders whose names may not survive power loss yet: a descriptor of the parent, and the path.

The descriptor is for whoever has the list to close, unless it is the root's.
"""


class Place(NamedTuple):
    """Where a name is to be made."""

    folder: int  # a descriptor
    way: str  # the folder's path
    name: str
    unsynced: Unsynced


class Folders:
    """What is below ``root``, which exists. Thread-safe; calls block."""

    def __init__(self, root: str) -> None:
        self.root = root
        self._settled: set[str] = set()
        self._syncs = FolderSyncs()
        with translated(root):
            self._root = _open_folder(root, root)
        # Not at a `close`: a late call would then work in whatever folder gets the same number next.
        weakref.finalize(self, os.close, self._root).atexit = False

    def path(self, key: str) -> str:
        """The path of ``key``, for people."""
        return f"{self.root}/{key}"  # each commit asks for it; join would take a tenth of its time

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

    # -- one folder after the other --------------------------------------------------

    def _open_folder(self, key: str, *, create: bool = False, unsynced: Unsynced | None = None) -> int:
        """A descriptor of the folder that holds ``key`` (a prefix ends in "/" and holds itself).

        With ``create`` the folders on the way are made. Those whose names may not survive power loss yet
        go to ``unsynced``, for the caller to settle and to close.
        """
        fd = self._root
        way = self.root
        for name in key.split("/")[:-1]:
            way = f"{way}/{name}"
            ours = fd != self._root
            likely = unsynced is None or way in self._settled  # most that are not settled are not there
            try:
                below = _find_folder(name, way, parent=fd, needed=not create) if likely else None
                if below is None:
                    if unsynced is not None:
                        self._settled.discard(way)  # somebody took away the one that was
                        unsynced.append((fd, way))
                        ours = False
                    _make_folder(name, fd)
                    below = _open_folder(name, way, parent=fd)
            finally:
                if ours:
                    os.close(fd)
            fd = below
        return os.dup(fd) if fd == self._root else fd

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

    # -- names that last ---------------------------------------------------------------

    def _place(self, key: str, *, lasting: bool) -> Place:
        """Where ``key`` is to be made; the caller leaves it. Its folders are made, to be settled if it is to last."""
        way, _, name = self.path(key).rpartition("/")
        unsynced: Unsynced = []
        try:
            folder = self._open_folder(key, create=True, unsynced=unsynced if lasting else None)
        except BaseException:
            self._close_all(unsynced)
            raise
        return Place(folder, way, name, unsynced)

    def _surviving(self, place: Place) -> Steps[None]:
        """Make the name survive that is there now, in steps: others may make theirs before the first sync of a folder.

        Also if it was there before: whoever made it may have died before its sync, and we build on it.
        """
        made = self._syncs.moment()
        yield None
        for parent, way in place.unsynced:
            self._settle(parent, way, made)
        self._sync_names(place.folder, place.way, made)

    def _leave(self, place: Place) -> None:
        os.close(place.folder)
        self._close_all(place.unsynced)

    def note_lasting(self, prefix: str) -> None:
        """The folder ``prefix`` and those above it survive power loss, as the caller knows: they need no sync."""
        way = self.root
        for name in prefix.split("/")[:-1]:
            way = f"{way}/{name}"
            self._remember(way)

    def _settle(self, parent: int, way: str, made: int) -> None:
        """Make the folder ``way``, which was there at the moment ``made``, survive power loss.

        Also if it was there long before: whoever made it may have died before its sync.
        Which ones this process has synced is remembered.
        """
        self._sync_names(parent, way.rpartition("/")[0], made)
        self._remember(way)

    def _remember(self, way: str) -> None:
        if len(self._settled) >= _MAX_SETTLED:
            self._settled.clear()
        self._settled.add(way)

    def _sync_names(self, folder: int, way: str, made: int) -> None:
        self._syncs.sync(way, made, lambda: self.fsync(folder))

    def _close_all(self, unsynced: Unsynced) -> None:
        for parent, _ in unsynced:
            if parent != self._root:
                os.close(parent)


def _make_folder(name: str, parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)


def _find_folder(name: str, path: str, *, parent: int, needed: bool) -> int | None:
    try:
        return _open_folder(name, path, parent=parent)
    except FileNotFoundError:
        if needed:
            raise
        return None


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
