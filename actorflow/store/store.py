"""The store: a folder (or a name in memory) opened by this process, with the logs and markers of its runs."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from actorflow.errors import BadStoreUrl, CorruptCheckpoint, NoSuchStore
from actorflow.store.append_log import AppendLog
from actorflow.store.append_ownership import log_opener
from actorflow.store.backend import Backend
from actorflow.store.blobs import Blobs
from actorflow.store.faults import translated
from actorflow.store.files import OpenFiles
from actorflow.store.filesystem import check_filesystem, probe
from actorflow.store.framing import read_frames
from actorflow.store.identity import create_identity, read_identity
from actorflow.store.inbox import Inbox
from actorflow.store.keys import RUNS, checkpoint_seq, decode_id, encode_id, log_prefix, run_of
from actorflow.store.liveness import LocalIncarnation, MemoryIncarnation
from actorflow.store.local import TEMP, LocalBackend
from actorflow.store.markers import Markers
from actorflow.store.memory import memory_backend
from actorflow.store.object_log import ObjectLog
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.stubs import is_stub, read_stub

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.store.frames import Owner
    from actorflow.store.heartbeat import HeartbeatIncarnation
    from actorflow.store.liveness import Incarnation
    from actorflow.store.log import RunLog

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


class Store(ABC):
    """An open store. Made by `open_store`. Thread-safe; calls block."""

    heartbeat: HeartbeatIncarnation | None = None
    """How others know that this process lives, on a store that processes of other machines reach, too."""

    def __init__(
        self, url: str, uuid: bytes, *, backend: Backend, incarnation: Incarnation, sealing: Sealing = PLAIN
    ) -> None:
        self.url = url
        self.uuid = uuid
        self.backend = backend
        self.incarnation = incarnation
        self.sealing = sealing
        self.markers = Markers(backend)

    def log(self, run_id: str) -> RunLog:
        """The log of a run, whether it exists or not. No I/O.

        Raises:
            BadRunId: no run can have this id.
        """
        return self._log(run_id, encode_id(run_id))

    def blobs(self, run_id: str) -> Blobs:
        """The large values of a run. No I/O.

        Raises:
            BadRunId: no run can have this id.
        """
        return Blobs(self.backend, encode_id(run_id), run_id=run_id, store=self.uuid, sealing=self.sealing)

    @property
    def inbox(self) -> Inbox:
        """Messages for its runs that came from elsewhere. No I/O."""
        return Inbox(self.backend, store=self.uuid, sealing=self.sealing)

    def run_ids(self) -> list[str]:
        """The encoded ids of all runs, ascending. Lists every file: for verify, not for every day."""
        names = (run_of(key) for key in self.backend.list(RUNS))
        return sorted({name for name in names if name is not None})

    def run_id(self, encoded: str) -> str | None:
        """The id behind an encoded one: mostly by decoding, for a hashed one from its files. None: no such run.

        Raises:
            CorruptCheckpoint: there are files, but they don't say.
        """
        if (run_id := decode_id(encoded)) is not None:
            return run_id
        for key in self.backend.list(log_prefix(encoded)):
            if (first := checkpoint_seq(key.rpartition("/")[2])) is not None:
                data = self.backend.get(key)
                if is_stub(data):
                    run_id = read_stub(data, key, first=first, store=self.uuid).file.run_id
                else:
                    frames, _ = read_frames(data, key, first=first, store=self.uuid, sealing=self.sealing, keyless=True)
                    run_id = frames[0].file.run_id
                if encode_id(run_id) != encoded:
                    raise CorruptCheckpoint(key, f"it belongs to run {run_id!r}")
                return run_id
        return None

    def owner(self, actor: bytes) -> Owner:
        """Who an actor of this opening of the store is."""
        return self.incarnation.owner(actor)

    def close(self) -> None:
        """Let go. Waits for nothing: a commit being written ends first, then the process lock is released."""
        self.incarnation.close()

    @abstractmethod
    def _log(self, run_id: str, encoded: str) -> RunLog: ...


class MemoryStore(Store):
    """A store that ends with its process."""

    def __init__(self, url: str, name: str, *, sealing: Sealing) -> None:
        backend = memory_backend(name)
        uuid = create_identity(backend, url)
        super().__init__(url, uuid, backend=backend, incarnation=MemoryIncarnation(url), sealing=sealing)

    def _log(self, run_id: str, encoded: str) -> RunLog:
        return ObjectLog(
            run_id,
            encoded,
            store=self.uuid,
            backend=self.backend,
            incarnation=self.incarnation,
            sealing=self.sealing,
        )


class LocalStore(Store):
    """A store in a local folder that exists."""

    def __init__(self, root: str, *, max_open_files: int, readonly: bool, sealing: Sealing) -> None:
        self._local = LocalBackend(root)
        self._incarnation = LocalIncarnation(self._local, readonly=readonly)
        self._files = OpenFiles(log_opener(self._local), limit=max_open_files)
        try:
            uuid = self._identify(root, readonly=readonly)
        except BaseException:
            self._shut()
            raise
        super().__init__(root, uuid, backend=self._local, incarnation=self._incarnation, sealing=sealing)

    @property
    def open_files(self) -> int:
        """How many log files are open right now."""
        return len(self._files)

    def close(self) -> None:
        """Let go. Waits for nothing: a commit being written ends first, then the process lock is released."""
        self._shut()

    def _identify(self, root: str, *, readonly: bool) -> bytes:
        check_filesystem(root)
        if readonly:
            if (uuid := read_identity(self._local, root)) is None:
                raise NoSuchStore(root, "there is no store in this folder")
            return uuid
        self._incarnation.take()
        probe(root, f"{TEMP}{self._local.mark}-")
        return create_identity(self._local, root)

    def _log(self, run_id: str, encoded: str) -> RunLog:
        return AppendLog(
            run_id,
            encoded,
            store=self.uuid,
            backend=self._local,
            incarnation=self._incarnation,
            files=self._files,
            sealing=self.sealing,
        )

    def _shut(self) -> None:
        self._incarnation.close()
        self._files.close()


def open_store(
    url: str | os.PathLike[str] | Backend,
    *,
    storage_options: Mapping[str, Any] | None = None,
    lease: float = 15.0,
    max_open_files: int = 256,
    readonly: bool = False,
    sealing: Sealing | None = None,
) -> Store:
    """Open a store, and make it if it is not there.

    Args:
        url: A path (``~`` is your home), ``file:///path``, ``memory://name`` (one per name in this process)
            or ``memory://`` (a new one), ``s3://bucket/folder``, ``gs://``, ``az://`` or the URL of another
            fsspec file system that creates exclusively; or a `Backend` of your own.
        storage_options: What fsspec's file system for this URL takes; by default all comes from the environment.
        lease: Seconds without a heartbeat after which others take over the runs of a process, where
            processes of other machines reach the store.
        max_open_files: Descriptors of logs kept open between commits.
        readonly: Write nothing, not even a lock; claims are refused. The store must exist.
        sealing: Whether commits are compressed, and how they are protected; by default neither.

    Raises:
        BadStoreUrl: not such a URL.
        NoSuchStore: read-only and not there.
        UnsafeStore: the file system can't keep the guarantees, or a symbolic link is in the way.
        StoreMarkerMissing: there are runs, but no actorflow.json.
        ForeignStore: actorflow.json is not ours.
        StoreDenied: no permission, or a read-only file system.
    """
    sealing = sealing or PLAIN
    if isinstance(url, Backend):
        return _bucket_store(str(url), url, lease=lease, readonly=readonly, sealing=sealing)
    text = os.fspath(url)
    scheme, rest = parse_url(text)
    if scheme == "memory":
        return MemoryStore(text, rest, sealing=sealing)
    if scheme != "file":
        from actorflow.store.buckets.resolve import bucket_backend  # fsspec is loaded for a bucket only

        backend = bucket_backend(text, dict(storage_options or {}))
        return _bucket_store(text, backend, lease=lease, readonly=readonly, sealing=sealing)
    if storage_options:
        raise BadStoreUrl(text, f"a folder takes no storage_options, and these were given: {sorted(storage_options)}")
    if readonly:
        if not os.path.isdir(rest):
            raise NoSuchStore(rest, "there is no store here")
    else:
        _make_root(rest)
    return LocalStore(rest, max_open_files=max_open_files, readonly=readonly, sealing=sealing)


def parse_url(text: str) -> tuple[str, str]:
    """The scheme of a store's URL and what follows it: for a folder its absolute path, and ``file``.

    Raises:
        BadStoreUrl: it can't be one.
    """
    if not text or "\0" in text or "::" in text:
        raise BadStoreUrl(repr(text), "give a folder, file:///folder or memory://name; chained URLs are not safe")
    match = _SCHEME.fullmatch(text)
    if match is None:
        return "file", os.path.abspath(os.path.expanduser(text))
    scheme, rest = match[1].lower(), match[2]
    if scheme == "file" and not rest.startswith("/"):
        raise BadStoreUrl(text, "write file:///absolute/path, with three slashes")
    return scheme, os.path.abspath(rest) if scheme == "file" else rest


def _bucket_store(url: str, backend: Backend, *, lease: float, readonly: bool, sealing: Sealing) -> Store:
    from actorflow.store.bucket_store import BucketStore  # it is a Store

    return BucketStore(url, backend, lease=lease, readonly=readonly, sealing=sealing)


def _make_root(root: str) -> None:
    """Make the folder and those above it, so that they survive power loss."""
    missing: list[str] = []
    path = root
    while not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path)
    for path in reversed(missing):
        with translated(path):
            try:
                os.mkdir(path, 0o700)
            except FileExistsError:
                continue
            folder = os.open(os.path.dirname(path), os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
