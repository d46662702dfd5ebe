"""Faults: what the operating system refused, as our errors, with the path and the remedy in them."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from actorflow.errors import StoreDenied, StoreError, StoreFull, StoreUnavailable, UnsafeStore

if TYPE_CHECKING:
    from types import TracebackType

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


def store_error(path: str, error: OSError) -> StoreError:
    """Our error for an error of the operating system at ``path``."""
    reason = error.strerror or str(error)
    if error.errno in _FULL:
        return StoreFull(path, f"{reason}; make room, then go on: nothing acknowledged was lost")
    if error.errno in _DENIED:
        return StoreDenied(path, f"{reason}; actorflow needs to read and write there")
    if error.errno == errno.ELOOP:
        return UnsafeStore(path, "it is a symbolic link, which is not followed inside a store")
    if error.errno == errno.EXDEV:
        return UnsafeStore(path, "a part of the store is mounted elsewhere; all of it must be one file system")
    if error.errno == errno.ENOTDIR:
        return UnsafeStore(path, "a part of this path is no folder")
    return StoreUnavailable(path, reason)


class translated:  # noqa: N801 - reads as the statement it is: `with translated(path):`
    """Within this block, an OSError that is not ours already becomes a `StoreError` about ``path``."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, OSError) and not isinstance(error, StoreError):
            raise store_error(self._path, error) from error
