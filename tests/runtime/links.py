"""Links: how a process reaches its store, where a test decides whether it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import StoreUnavailable
from actorflow.store.backend import Backend

if TYPE_CHECKING:
    from collections.abc import Iterable


class Link(Backend):
    """One process's way to the bucket, which can be cut."""

    def __init__(self, bucket: Backend) -> None:
        self.bucket = bucket
        self.cut = False

    def __str__(self) -> str:
        return "link://bucket"

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, if the way is there."""
        return self._way().put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Get, if the way is there."""
        return self._way().get(key)

    def list(self, prefix: str) -> list[str]:
        """List, if the way is there."""
        return self._way().list(prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete, if the way is there."""
        self._way().delete(keys)

    def _way(self) -> Backend:
        if self.cut:
            raise StoreUnavailable("link://bucket", "the network is gone")
        return self.bucket
