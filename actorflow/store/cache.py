"""The cache of a store: what nodes have returned, by a digest of all that it depends on. No part of any run.

Nothing in a run refers to it: an entry that is gone, damaged or out of date is
computed again, and the folder may be deleted at any time. So unlike a run's
files an entry is replaced, by deletion; whoever comes in between finds none.
Where the store is sealed, so are the entries, and their names tell nobody
without the key what was looked for.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

from msgspec import Struct, msgpack

from actorflow.errors import CorruptCheckpoint, CorruptMessage, StoreError
from actorflow.store.backend import Missing
from actorflow.store.envelope import closed, decoded, opening, unwrapped
from actorflow.store.framing import MAX_BODY
from actorflow.store.keys import CACHE, cache_key
from actorflow.store.sealing import PLAIN, Sealing, data_key

if TYPE_CHECKING:
    from actorflow.store.backend import Backend

MAGIC = b"\x89AFR\r\n\x1a\n"

_logger = logging.getLogger("actorflow.store")


class Entry(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What stands at the head of an entry."""

    store: bytes
    digest: bytes  # which it is the name of, too
    raw: int  # bytes of the result
    time: float  # when it was kept, in seconds since 1970
    expires: float | None
    graph: str  # for people, as is the next
    node: str


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(Entry).decode  # made here and not at its first use, by two threads at once


class ResultCache:
    """The cache of one store. Thread-safe; calls block. Nothing that befalls it is more than a warning."""

    def __init__(self, backend: Backend, *, store: bytes, sealing: Sealing = PLAIN) -> None:
        self._backend = backend
        self._store = store
        self._sealing = sealing
        self._key = b""
        if sealing.keys is not None and sealing.mode != "plain":
            master = sealing.keys.key(sealing.keys.writer, CACHE)
            self._key = data_key(master, salt=CACHE.encode(), mode=sealing.mode, context=store)

    def digest(self, what: bytes) -> bytes:
        """The name of the entry for this: all that a result depends on, encoded."""
        return hashlib.blake2b(what, digest_size=32, key=self._key, person=b"actorflow-cache").digest()

    def get(self, digest: bytes, *, now: float, ttl: float | None) -> bytes | None:
        """The result that is kept; None: there is none, or none that counts.

        Args:
            digest: see `digest`.
            now: seconds since 1970.
            ttl: how old it may be, in seconds, whatever it was kept with.
        """
        path = cache_key(digest)
        try:
            entry, body = self._read(path, self._backend.get(path))
        except Missing:
            return None
        except StoreError as error:
            _logger.warning("a result in the cache is of no use, and is computed again: %s", _said(error))
            return None
        if entry.digest != digest or _is_over(entry, now) or (ttl is not None and now >= entry.time + ttl):
            return None
        return body

    def put(self, digest: bytes, body: bytes, *, graph: str, node: str, now: float, ttl: float | None) -> None:
        """Keep a result in place of what may be there, which was of no use. One that is too large is not kept."""
        if len(body) > MAX_BODY:
            return
        path = cache_key(digest)
        expires = None if ttl is None else now + ttl
        header = _encode(Entry(self._store, digest, len(body), now, expires, graph, node))
        packed = self._sealing.pack(body)
        before = opening(MAGIC, header, body=packed.size, flags=packed.flags)
        data = closed(before + self._sealing.seal(packed, before=before, context=self._store + digest))
        try:
            if not self._backend.put_new(path, data):
                self._backend.delete([path])
                self._backend.put_new(path, data)  # if somebody else was quicker, theirs is as good
        except StoreError as error:
            _logger.warning("a result could not be kept in the cache: %s", error)

    def sweep(self, *, now: float, dry_run: bool) -> int:
        """Delete what is out of date or damaged; how many entries that were."""
        gone: list[str] = []
        for path in self._backend.list(CACHE):
            try:
                envelope = unwrapped(self._backend.get(path), path, magic=MAGIC)
                over = _is_over(decoded(_decode, envelope.header, path), now)
            except Missing:
                continue
            except CorruptMessage:
                over = True
            except StoreError:
                continue  # of a later version, or not to be read just now
            if over:
                gone.append(path)
        if gone and not dry_run:
            self._backend.delete(gone)
        return len(gone)

    def _read(self, path: str, data: bytes) -> tuple[Entry, bytes]:
        envelope = unwrapped(data, path, magic=MAGIC)
        entry = decoded(_decode, envelope.header, path)
        if entry.store != self._store or entry.raw > MAX_BODY:
            raise CorruptMessage(path, "it belongs to another store, or says what can't be")
        self._sealing.check(envelope.flags, path)
        body = self._sealing.open(
            envelope.body,
            flags=envelope.flags,
            before=envelope.before,
            context=self._store + entry.digest,
            raw=entry.raw,
            path=path,
        )
        return entry, body


def _is_over(entry: Entry, now: float) -> bool:
    return entry.expires is not None and now >= entry.expires


def _said(error: StoreError) -> str:
    """What is wrong, without what these errors say of the files of runs."""
    return f"{error.path}: {error.reason}" if isinstance(error, CorruptMessage | CorruptCheckpoint) else str(error)
