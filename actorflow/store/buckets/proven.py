"""Proven: a bucket that nothing is put into before it has shown that it creates exclusively."""

from __future__ import annotations

import threading
from hashlib import blake2b
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec import Struct

from actorflow.store.backend import Missing
from actorflow.store.buckets.probe import probe
from actorflow.store.keys import PROBE
from actorflow.store.wrappers import WrappedBackend

if TYPE_CHECKING:
    from actorflow.store.backend import Steps
    from actorflow.store.buckets.bucket import BucketBackend

_PROBE = 1  # raise it when the probe finds more: old verdicts then no longer count


class Verdict(Struct, frozen=True, kw_only=True):
    """What is kept in the store of a probe that was passed. One that was not is kept nowhere."""

    what: Literal["actorflow probe"] = "actorflow probe"
    probe: int
    backend: str
    endpoint: str


_decode = msgspec.json.Decoder(Verdict).decode


class ProvenBackend(WrappedBackend):
    """The same bucket; its first put waits for a proof, unless the cloud's own service is behind it.

    Reading proves nothing and needs no proof, so it writes nothing.
    """

    def __init__(self, inner: BucketBackend) -> None:
        super().__init__(inner)
        self._bucket = inner
        self._lock = threading.Lock()
        self._proven = False

    def put_new(self, key: str, data: bytes, *, durable: bool = True) -> bool:
        """Put, after the proof.

        Raises:
            UnsafeStore: it was not given. Nothing was put.
        """
        self.prove()
        return self.inner.put_new(key, data, durable=durable)

    def putting_new(self, key: str, data: bytes) -> Steps[bool]:
        """`put_new` in steps: the proof blocks, but is given once."""
        if not self._proven:
            yield None
            self.prove()
        return (yield from self.inner.putting_new(key, data))

    def prove(self) -> None:
        """Once for each store and endpoint: try it, and keep the verdict in the store.

        Raises:
            UnsafeStore: naming what failed.
        """
        with self._lock:
            if self._proven:
                return
            endpoint = self._bucket.endpoint
            if endpoint is not None:
                self._prove(Verdict(probe=_PROBE, backend=type(self._bucket).__name__, endpoint=endpoint))
            self._proven = True

    def _prove(self, verdict: Verdict) -> None:
        digest = blake2b(f"{verdict.probe} {verdict.backend} {verdict.endpoint}".encode(), digest_size=16).hexdigest()
        key = f"{PROBE}{digest}.json"
        try:
            known = _decode(self.inner.get(key)) == verdict
        except (Missing, msgspec.MsgspecError):
            known = False
        if not known:
            probe(self.inner, str(self))
            self.inner.put_new(key, msgspec.json.format(msgspec.json.encode(verdict)))
