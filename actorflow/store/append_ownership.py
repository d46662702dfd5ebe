"""The owner's side of the append log: one append and one fdatasync per commit, and what follows if they fail."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from actorflow.errors import CommitUnknown, CorruptCheckpoint, Fenced, StoreError
from actorflow.store.backend import Missing
from actorflow.store.crashpoints import reached
from actorflow.store.faults import store_error, translated
from actorflow.store.framing import encode_file, encode_frame
from actorflow.store.ownership import Ownership, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Steps
    from actorflow.store.chain import FileChain
    from actorflow.store.files import OpenFiles
    from actorflow.store.frames import Draft, FilePart, Frame, Header
    from actorflow.store.liveness import Incarnation
    from actorflow.store.local import LocalBackend
    from actorflow.store.sealing import Sealing


Inode = tuple[int, int]  # device and number


class AppendOwnership(Ownership):
    """Owns the end of one file, up to ``size``."""

    __slots__ = ("_backend", "_chain", "_files", "_inode", "_key", "_ragged", "_sealing", "_size")

    def __init__(
        self,
        *,
        chain: FileChain,
        backend: LocalBackend,
        files: OpenFiles,
        key: str,
        size: int,
        inode: Inode,
        encoded: str,
        incarnation: Incarnation,
        header: Header,
        digest: bytes,
        file: FilePart,
        sealing: Sealing,
    ) -> None:
        super().__init__(encoded=encoded, incarnation=incarnation, header=header, digest=digest, file=file)
        self._chain = chain
        self._backend = backend
        self._files = files
        self._key = key
        self._size = size
        self._inode = inode
        self._sealing = sealing
        self._ragged = False  # a part of a failed write may stand behind `_size`

    @property
    def path(self) -> str:
        """The file that the last commit went to."""
        return self._backend.path(self._key)

    def load(self) -> list[Frame]:
        """Read back what is there."""
        return self._chain.read(None)

    def _put(self, draft: Draft) -> Steps[tuple[Header, bytes]]:
        if draft.snapshot or (draft.file is not self._file and draft.file != self._file):
            file, file_digest = encode_file(draft.file)
            header = self._header(draft, file_digest)
            return header, (yield from self._roll_over(header, draft, file))
        header = self._header(draft, self.header.file)
        data, digest = encode_frame(header, draft.body, path=self.path, sealing=self._sealing)
        if (yield from self._append(data)):
            return header, digest
        if draft.kind == "release":
            # Whoever has seen it may have claimed already; written again it would be another frame than theirs.
            raise CommitUnknown(self.path, State.UNKNOWN.value)
        # Nothing read back from the old file is evidence any more: the commit is made durable in a new one.
        return header, (yield from self._roll_over(header, draft, encode_file(draft.file)[0], again=True))

    def _append(self, data: bytes) -> Steps[bool]:
        """Append, stop, and sync; False if the sync failed. That descriptor is closed and never synced again."""
        try:
            with self._files.use(self._key) as fd:
                self._find_end(fd)
                self._write(fd, data)
                if not self.alone:
                    self._backend.start_writing(fd, self._size, len(data))
                yield None
                self._backend.fdatasync(fd)
                reached("append.after_sync")
        except StoreError:
            raise
        except OSError:
            return False
        self._size += len(data)
        return True

    def _find_end(self, fd: int) -> None:
        with translated(self.path):
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != self._inode:
                raise CorruptCheckpoint(self.path, "another file has taken its place under its owner")
            if found.st_nlink == 0:
                raise CorruptCheckpoint(self.path, "it was deleted under its owner")
            if self._ragged:
                self._cut(fd)
            elif found.st_size != self._size:
                raise CorruptCheckpoint(self.path, f"it does not end at byte {self._size}, where its owner left it")

    def _write(self, fd: int, data: bytes) -> None:
        reached("append.before_write")
        self._state = State.UNKNOWN
        try:
            self._backend.write(fd, data)
        except OSError as error:
            self._ragged = True
            with suppress(OSError):  # then it is cut before the next write
                self._cut(fd)
            self._state = State.OPEN  # a part of a frame never counts
            raise store_error(self.path, error) from error
        reached("append.after_write")

    def _cut(self, fd: int) -> None:
        os.ftruncate(fd, self._size)
        self._ragged = False

    def _roll_over(self, header: Header, draft: Draft, file: bytes, *, again: bool = False) -> Steps[bytes]:
        """Commit as the first frame of a new file. ``again``: the frame may stand in the old one already."""
        key = self._chain.key(header.seq)
        path = self._backend.path(key)
        data, digest = encode_frame(header, draft.body, path=path, file=file, sealing=self._sealing)
        self._state = State.UNKNOWN
        try:
            fd = yield from creating_file(self._backend, key, data, stage="rollover")
        except CommitUnknown:
            raise
        except StoreError as error:
            if again:
                raise CommitUnknown(path, f"its sync failed, and so did writing it again: {error}") from error
            self._state = State.OPEN
            raise
        if fd is None:
            self._state = State.FENCED
            raise Fenced(path, State.FENCED.value)
        self._files.discard(self._key)
        self._inode = inode_of(fd)
        self._files.keep(key, fd)
        self._key, self._size, self._ragged, self._file = key, len(data), False, draft.file
        return digest

    def _let_go(self) -> None:
        self._files.discard(self._key)


def creating_file(backend: LocalBackend, key: str, data: bytes, *, stage: str) -> Steps[int | None]:
    """Create a file of the log, exclusively.

    Returns:
        A descriptor for appending, for the caller to close; None if the name is taken.

    Raises:
        CommitUnknown: it failed, and the name is there: whether it is durable can't be known.
        StoreError: it failed, and nothing was created.
    """
    try:
        return (yield from backend.creating(key, data, stage=stage))
    except StoreError as error:
        try:
            backend.get(key)
        except Missing:
            raise error from None
        except StoreError:
            pass
        raise CommitUnknown(backend.path(key), f"it was written, but not made durable: {error}") from error


def inode_of(fd: int) -> Inode:
    """What tells an open file from every other."""
    found = os.fstat(fd)
    return found.st_dev, found.st_ino


def log_opener(backend: LocalBackend) -> Callable[[str], int]:
    """Opens a file of a log for its owner's appends."""

    def opened(key: str) -> int:
        try:
            return backend.reopen(key)
        except Missing:
            raise CorruptCheckpoint(backend.path(key), "it has vanished under its owner") from None

    return opened
