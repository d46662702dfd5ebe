"""Damage: one bit of a committed file turned over for a while, and turned back."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from actorflow.store.keys import log_prefix

if TYPE_CHECKING:
    import random
    from pathlib import Path


class Damage(ABC):
    """A file with one wrong bit. Whoever replaces or deletes the file meanwhile has the last word."""

    @abstractmethod
    def restore(self) -> None:
        """Put the bit right, if the damaged file is still there."""


class DamagedFile(Damage):
    """In a local folder: the file is held open, so that no other is hit should it be replaced."""

    def __init__(self, fd: int, offset: int, right: bytes) -> None:
        self._fd = fd
        self._offset = offset
        self._right = right

    def restore(self) -> None:
        """Write the byte back."""
        os.pwrite(self._fd, self._right, self._offset)
        os.close(self._fd)


class DamagedObject(Damage):
    """In a bucket: put back only over the very object that was damaged."""

    def __init__(self, client: Any, bucket: str, key: str, right: bytes, etag: str) -> None:
        self._put = lambda: client.put_object(Bucket=bucket, Key=key, Body=right, IfMatch=etag)
        self._precondition = client.exceptions.ClientError

    def restore(self) -> None:
        """Put the object back."""
        with suppress(self._precondition):  # it was deleted meanwhile, by whoever had read it before
            self._put()


def damage_file(store: Path, encoded: str, chance: random.Random) -> Damage | None:
    """Turn one bit over in the newest file of a run; None: it has none."""
    files = sorted((store / log_prefix(encoded)).glob("*.ckpt"))
    if not files:
        return None
    fd = os.open(files[-1], os.O_RDWR)
    size = os.fstat(fd).st_size
    offset = chance.randrange(max(1, size * 9 // 10))
    right = os.pread(fd, 1, offset)
    if not right:
        os.close(fd)
        return None
    os.pwrite(fd, bytes([right[0] ^ 1 << chance.randrange(8)]), offset)
    return DamagedFile(fd, offset, right)


def damage_object(client: Any, bucket: str, root: str, encoded: str, chance: random.Random) -> Damage | None:
    """Turn one bit over in the newest object of a run; None: it has none, or it went on meanwhile."""
    prefix = f"{root}/{log_prefix(encoded)}"
    page = client.list_objects_v2(Bucket=bucket, Prefix=prefix)
    keys = [entry["Key"] for entry in page.get("Contents", ()) if entry["Key"].endswith(".ckpt")]
    if not keys or page["IsTruncated"]:
        return None
    try:
        reply = client.get_object(Bucket=bucket, Key=keys[-1])
        right = reply["Body"].read()
        wrong = bytearray(right)
        wrong[chance.randrange(len(wrong))] ^= 1 << chance.randrange(8)
        put = client.put_object(Bucket=bucket, Key=keys[-1], Body=bytes(wrong), IfMatch=_bare(reply["ETag"]))
    except client.exceptions.ClientError:
        return None
    return DamagedObject(client, bucket, keys[-1], right, _bare(put["ETag"]))


def _bare(etag: str) -> str:
    """Without its quotes: Ceph does not know it with them."""
    return etag.strip('"')
