"""Runs on an object log, over a backend that counts, pauses and dies where a test says so."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from actorflow.store import merging, object_log
from actorflow.store.backend import Backend
from actorflow.store.keys import log_prefix
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.memory import MemoryBackend
from actorflow.store.object_log import ObjectLog
from actorflow.store.object_names import names_in
from actorflow.store.store import Store
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import pytest

    from actorflow.store.object_names import Names
    from actorflow.store.ownership import Ownership

UUID = bytes(range(16))
PAGE = 1000


class Died(BaseException):
    """The process was killed here."""


class Watched(Backend):
    """A backend in memory. Counts calls (a listing counts each page), and calls `before` ahead of each."""

    def __init__(self) -> None:
        self.inner = MemoryBackend()
        self.readers = 1
        self.ascends = True
        self.here = MemoryIncarnation("memory://here")
        self.calls: Counter[str] = Counter()
        self.before: Callable[[str, str], object] = lambda kind, key: None

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put."""
        self._call("put", key)
        return self.inner.put_new(key, data, durable=durable)

    def get(self, key: str) -> bytes:
        """Read."""
        self._call("get", key)
        return self.inner.get(key)

    def list(self, prefix: str) -> list[str]:
        """List."""
        self._call("list", prefix)
        keys = self.inner.list(prefix)
        self.calls["list"] += max(0, len(keys) - 1) // PAGE
        return keys

    def delete(self, keys: Iterable[str]) -> None:
        """Delete one after the other, so that a death leaves a part of them."""
        for key in keys:
            self._call("delete", key)
            self.inner.delete([key])

    def die_at(self, nth: int) -> None:
        """Be killed at the nth call from now on, before it takes effect."""
        left = iter(range(1, nth))

        def count(kind: str, key: str) -> None:
            if next(left, None) is None:
                raise Died

        self.before = count

    def revive(self) -> None:
        """Let all calls through again, counted anew."""
        self.before = lambda kind, key: None
        self.calls.clear()

    def _call(self, kind: str, key: str) -> None:
        self.before(kind, key)
        self.calls[kind] += 1


class WatchedStore(Store):
    """A store over such a backend, as one process sees it."""

    def __init__(self, backend: Watched) -> None:
        super().__init__("memory://watched", UUID, backend=backend, incarnation=MemoryIncarnation("memory://watched"))

    def _log(self, run_id: str, encoded: str) -> ObjectLog:
        return ObjectLog(run_id, encoded, store=UUID, backend=self.backend, incarnation=self.incarnation)


def merge_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge after each snapshot, so that some dozen commits show it."""
    for module in (merging, object_log):
        monkeypatch.setattr(module, "MERGE_AT", 32)


def log_of(backend: Watched, incarnation: MemoryIncarnation | None = None) -> ObjectLog:
    """The log of run r, as this process sees it, or another."""
    return ObjectLog("r", "r", store=UUID, backend=backend, incarnation=incarnation or backend.here)


def names_of(backend: Watched) -> Names:
    """What lies in the log of run r."""
    return names_in(backend.inner.list(log_prefix("r")))


def grow(log: ObjectLog, commits: int, *, snapshot_every: int = 64, merge: bool = True) -> Ownership:
    """Claim the run and commit so often, with snapshots and merges in between; the owner."""
    owned = log.claim(claiming(part(UUID)), actor=ACTOR)
    for _ in range(commits):
        commit(owned, snapshot=(owned.header.seq + 1) % snapshot_every == 0)
        if merge and (tidy := owned.tidying()) is not None:
            tidy()
    return owned


def commit(owned: Ownership, *, snapshot: bool = False, kind: str = "commit") -> None:
    """One more commit."""
    seq, epoch = owned.header.seq + 1, owned.header.epoch
    owned.commit(draft(kind, epoch, part(UUID), b"%d" % seq, snapshot=snapshot))


def leave(owned: Ownership) -> None:
    """Release the run."""
    commit(owned, kind="release")
    owned.close()
