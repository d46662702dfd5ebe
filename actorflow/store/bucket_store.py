"""A store that processes on many machines share: a bucket, or any backend of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import NoSuchStore
from actorflow.store.heartbeat import HeartbeatIncarnation
from actorflow.store.identity import create_identity, read_identity
from actorflow.store.object_log import ObjectLog
from actorflow.store.store import Store

if TYPE_CHECKING:
    from actorflow.store.backend import Backend
    from actorflow.store.log import RunLog
    from actorflow.store.sealing import Sealing


class BucketStore(Store):
    """A store over a `Backend` that is reached from elsewhere, too: owners show by heartbeats that they live."""

    def __init__(self, url: str, backend: Backend, *, lease: float, readonly: bool, sealing: Sealing) -> None:
        heartbeat = HeartbeatIncarnation(backend, url, lease=lease, readonly=readonly)
        if readonly:
            uuid = read_identity(backend, url)
            if uuid is None:
                raise NoSuchStore(url, "there is no store here")
        else:
            uuid = create_identity(backend, url)
        super().__init__(url, uuid, backend=backend, incarnation=heartbeat, sealing=sealing)
        self.heartbeat = heartbeat

    def _log(self, run_id: str, encoded: str) -> RunLog:
        return ObjectLog(
            run_id,
            encoded,
            store=self.uuid,
            backend=self.backend,
            incarnation=self.incarnation,
            sealing=self.sealing,
        )
