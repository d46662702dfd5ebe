"""Doctor: whether a place can keep a store, how quick it is, and what this installation can do there.

Nothing is left behind: what is tried is tried under names of its own, beside
whatever store is there.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from importlib import metadata
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from actorflow.errors import BadStoreUrl, StoreError, UnsafeStore
from actorflow.store.buckets.probe import RACERS
from actorflow.store.buckets.probe import probe as probe_backend
from actorflow.store.faults import translated
from actorflow.store.filesystem import check_filesystem, filesystem_of
from actorflow.store.filesystem import probe as probe_filesystem
from actorflow.store.identity import read_identity
from actorflow.store.keys import PROBE
from actorflow.store.local import TEMP, LocalBackend
from actorflow.store.memory import MemoryBackend
from actorflow.store.store import parse_url
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping

    from actorflow.store.backend import Backend

ROUNDS = 5
"""How often many race for one name; a store's own first opening tries harder."""

SAMPLES = 10
_SIZE = 1024  # bytes of a commit as they often are
_FEW_FILES = 1024
_LITTLE_ROOM = 256 * 1024 * 1024
_CLOCK_OFF = 60.0  # seconds

_LIBRARIES = ("actorflow", "anyio", "trio", "msgspec", "fsspec", "watchfiles")
_EXTRAS = {
    "s3": ("s3fs",),
    "gcs": ("gcsfs",),
    "azure": ("adlfs",),
    "crypto": ("cryptography",),
    "zstd": ("backports.zstd",),
    "cli": ("click", "rich"),
}

Verdict = Literal["good", "doubtful", "unsafe", "unknown"]


class Check(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. ``unsafe``: no store can be kept there."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""


class Diagnosis(Struct, frozen=True, kw_only=True):
    """What was found about a place for a store."""

    url: str
    checks: tuple[Check, ...]

    @property
    def safe(self) -> bool:
        """Whether a store can be kept there."""
        return all(check.verdict != "unsafe" for check in self.checks)


def doctor(url: str | os.PathLike[str], *, storage_options: Mapping[str, Any] | None = None) -> Diagnosis:
    """Examine a place for a store, and this installation. Blocks for a few seconds; leaves nothing behind.

    Args:
        url: a folder or the URL of a bucket, as for a `Runtime`; there need be no store yet.
        storage_options: as for a `Runtime`.

    Example:
        >>> from actorflow import doctor
        >>> doctor("memory://").safe
        True
    """
    text = os.fspath(url)
    checks: list[Check] = []
    try:
        scheme, rest = parse_url(text)
        if scheme == "file":
            checks += _of_folder(rest)
        else:
            checks += _of_backend(_bare(scheme, text, dict(storage_options or {})), text)
    except StoreError as error:
        refused = isinstance(error, UnsafeStore | BadStoreUrl)
        remedy = "use another place" if refused else "make it reachable, then ask again"
        checks.append(Check(name="store", verdict="unsafe", found=str(error), remedy=remedy))
    return Diagnosis(url=text, checks=(*checks, *_of_installation()))


def _bare(scheme: str, url: str, storage_options: dict[str, Any]) -> Backend:
    """The backend itself: what wraps it would try again, or keep a verdict."""
    if scheme == "memory":
        return MemoryBackend()
    from actorflow.store.buckets.resolve import bucket_backend  # fsspec is loaded for a bucket only

    backend = bucket_backend(url, storage_options)
    while isinstance(backend, WrappedBackend):
        backend = backend.inner
    return backend


def _of_folder(root: str) -> Iterator[Check]:
    above = root
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    kind = filesystem_of(above) or "unknown"
    try:
        check_filesystem(above)
    except UnsafeStore as error:
        yield Check(name="file system", verdict="unsafe", found=str(error), remedy="use a folder on a local disk")
        return
    yield Check(name="file system", verdict="good", found=kind)
    yield _room(above)
    with _scratch(above) as folder:
        probe_filesystem(folder, f"{TEMP}doctor-")
        yield Check(name="links and locks", verdict="good", found="a second link and a second lock are refused")
        yield _clock(folder)
        yield from _tried(LocalBackend(folder, mark="doctor"), root)
    yield _store_there(LocalBackend(root), root) if os.path.isdir(root) else _no_store()


def _of_backend(backend: Backend, url: str) -> Iterator[Check]:
    yield from _tried(backend, url)
    yield Check(name="clock", verdict="unknown", found="not asked; no rule depends on it")
    yield _store_there(backend, url)


@contextmanager
def _scratch(above: str) -> Generator[str]:
    """A folder of our own on the same file system."""
    with translated(above):
        folder = tempfile.mkdtemp(prefix=f"{TEMP}doctor-", dir=above)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _tried(backend: Backend, where: str) -> Iterator[Check]:
    """Exclusive creation, one after the other and racing, and how long things take."""
    try:
        probe_backend(backend, where, rounds=ROUNDS)
    except UnsafeStore as error:
        yield Check(name="exclusive creation", verdict="unsafe", found=str(error), remedy="use another store")
        return
    found = f"one of {RACERS} who race for a name gets it, {ROUNDS} times of {ROUNDS}; listings and deletions are true"
    yield Check(name="exclusive creation", verdict="good", found=found)
    yield from _times(backend)


def _times(backend: Backend) -> Iterator[Check]:
    prefix = f"{PROBE}{os.urandom(8).hex()}/"
    keys = [f"{prefix}{number:04d}" for number in range(SAMPLES)]
    data = os.urandom(_SIZE)
    try:
        yield _timed("put", lambda key: backend.put_new(key, data), keys)
        yield _timed("get", backend.get, keys)
        yield _timed("list", backend.list, [prefix] * SAMPLES)
    finally:
        backend.delete(keys)


def _timed(name: str, call: Callable[[str], object], keys: Iterable[str]) -> Check:
    took: list[float] = []
    for key in keys:
        began = time.perf_counter()
        call(key)
        took.append((time.perf_counter() - began) * 1000)
    found = f"median {statistics.median(took):.2f} ms, worst {max(took):.2f} ms, of {len(took)}"
    return Check(name=name, verdict="good", found=found)


def _clock(folder: str) -> Check:
    path = os.path.join(folder, "clock")
    with translated(path), open(path, "wb"):
        pass
    off = os.stat(path).st_mtime - time.time()
    os.unlink(path)
    found = f"{off:+.1f} s beside this process"
    if abs(off) <= _CLOCK_OFF:
        return Check(name="clock", verdict="good", found=found)
    remedy = "set the clocks: times in the history are wrong, though no rule depends on them"
    return Check(name="clock", verdict="doubtful", found=found, remedy=remedy)


def _room(path: str) -> Check:
    with translated(path):
        free = shutil.disk_usage(path).free
    found = f"{free // (1024 * 1024):,} MiB free"
    if free >= _LITTLE_ROOM:
        return Check(name="room", verdict="good", found=found)
    return Check(name="room", verdict="doubtful", found=found, remedy="make room: a full disk stops every run")


def _store_there(backend: Backend, url: str) -> Check:
    uuid = read_identity(backend, url)
    return _no_store() if uuid is None else Check(name="store", verdict="good", found=f"store {uuid.hex()}")


def _no_store() -> Check:
    return Check(name="store", verdict="good", found="none yet; the first run makes it")


def _of_installation() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < _FEW_FILES
    yield Check(
        name="open files",
        verdict="doubtful" if few else "good",
        found=f"this process may open {'any number' if soft == resource.RLIM_INFINITY else f'{soft:,}'}",
        remedy=f"raise it for many runs at once: ulimit -n {_FEW_FILES if hard < 0 else min(hard, 65536)}"
        if few
        else "",
    )
    yield Check(name="python", verdict="good", found=f"{platform.python_version()} on {platform.platform()}")
    versions = ", ".join(f"{name} {_version(name)}" for name in _LIBRARIES)
    yield Check(name="libraries", verdict="good", found=versions)
    for extra, names in _EXTRAS.items():
        have = [f"{name} {version}" for name in names if (version := _version(name)) is not None]
        missing = len(have) < len(names) and not _is_builtin(extra)
        yield Check(
            name=f"extra {extra}",
            verdict="unknown" if missing else "good",
            found="not installed" if missing else ", ".join(have) or "comes with Python",
            remedy=f"if it is needed: pip install 'actorflow[{extra}]'" if missing else "",
        )


def _is_builtin(extra: str) -> bool:
    return extra == "zstd" and platform.python_version_tuple() >= ("3", "14")


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
