"""File systems: which ones keep what the append log stands on, and a probe that they do.

A list, because a probe is not enough: network mounts pass it on one machine
and then let two machines own the same run.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import sys
from typing import TYPE_CHECKING

from actorflow.errors import UnsafeStore
from actorflow.store.faults import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

ALLOWED = frozenset({"apfs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "hfs", "overlay", "tmpfs", "xfs", "zfs"})

_MACOS_MOUNT = re.compile(r".* on (?P<point>/.*) \((?P<kind>\w+)[,)]")


def check_filesystem(root: str) -> None:
    """Refuse a file system that is not known to keep what the append log stands on.

    Raises:
        UnsafeStore: naming what is missing.
    """
    kind = filesystem_of(root)
    if kind not in ALLOWED:
        raise UnsafeStore(
            root,
            f"it is on {kind or 'a file system that can not be named'}, where locks and exclusive links can't be "
            f"relied on; use a local disk ({', '.join(sorted(ALLOWED))})",
        )


def probe(root: str, temp: str) -> None:
    """Try it: a second link to a name must fail, and so must a second lock.

    Args:
        root: The folder to try it in.
        temp: The start of names that are free to be used and removed there.

    Raises:
        UnsafeStore: naming what is missing.
    """
    path, other = os.path.join(root, f"{temp}1"), os.path.join(root, f"{temp}2")
    with translated(root):
        first = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            _probe_links(root, path, other)
            _probe_locks(root, path, first)
        finally:
            os.close(first)
            os.unlink(path)


def filesystem_of(path: str) -> str | None:
    """The type of the file system that holds ``path``, by the mount table; None if there is no such table."""
    real = os.path.realpath(path)
    best: tuple[int, str] | None = None
    for point, kind in _mounts():
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and (best is None or len(point) >= best[0]):  # a later mount covers an earlier one
            best = (len(point), kind)
    return None if best is None else best[1]


def _mounts() -> Iterator[tuple[str, str]]:
    if sys.platform == "darwin":
        import subprocess  # costs milliseconds, and only macOS needs it

        table = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=True).stdout
        for match in _MACOS_MOUNT.finditer(table):
            yield match["point"], match["kind"]
        return
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
            for line in table:
                left, _, right = line.partition(" - ")
                yield _unescaped(left.split(" ")[4]), right.split(" ")[0]
    except FileNotFoundError:
        return


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _probe_links(root: str, path: str, other: str) -> None:
    try:
        os.link(path, other)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise UnsafeStore(root, "its file system has no hard links, which exclusive creation needs") from error
        raise
    try:
        os.link(path, other)
    except FileExistsError:
        return
    finally:
        os.unlink(other)
    raise UnsafeStore(root, "its file system lets two hard links take one name")


def _probe_locks(root: str, path: str, first: int) -> None:
    second = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    try:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        raise UnsafeStore(root, "its file system grants one lock twice")
    except OSError as error:
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            raise UnsafeStore(root, "its file system has no locks") from error
        raise
    finally:
        os.close(second)
