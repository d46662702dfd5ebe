"""Blobs: the large values of one run, each in a file of its own that commits refer to.

A blob is put before the commit that refers to it, under a name that nobody
else uses: the digest of its bytes, the epoch of the owner that put it, and that
owner's count from a random start. So the name proves the bytes, a late write lands on a name that
nothing else has, and which blobs nobody needs can be decided from the log alone:

- an owner refers only to blobs that it read when it claimed the run, from the newest snapshot on, or put itself since;
- a name whose deletion was ever sent is never referred to again;
- only the owner sweeps, while no commit or blob is being written, and only epochs up to its own.

    magic    8 bytes, as a checkpoint's but for one letter
    format   1, reserved 1, flags 2 (as a frame's), length of the header 4; big-endian
    header   msgpack [store, run id, epoch, length of the value]: where it was first put
    body     the value in msgpack, sealed as the store's sealing asks

The digest in the name is BLAKE2b-256 of all of it, with the person "actorflow-blob".
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import msgspec
from msgspec import Struct, msgpack

from actorflow.errors import (
    CommitTooLarge,
    CorruptCheckpoint,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
    UnsupportedFormat,
)
from actorflow.store.backend import Missing
from actorflow.store.crashpoints import reached
from actorflow.store.framing import MAX_BODY
from actorflow.store.keys import blob_epoch, blob_name, blobs_prefix

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from actorflow.store.backend import Backend
    from actorflow.store.sealing import Sealing

MAGIC = b"\x89AFB\r\n\x1a\n"
FORMAT = 1
IN_FLIGHT = 4
"""How many blobs are read or written at once: on a bucket each takes tens of milliseconds, and all of its bytes."""

_FIELDS = struct.Struct(">8sBBHI")
_REF = struct.Struct(">32sQQQ")
_KNOWN_FLAGS = 2 | 4 | 8
_RESEND = 4

T = TypeVar("T")
R = TypeVar("R")


class Ref(NamedTuple):
    """What a commit says instead of a large value."""

    digest: bytes
    epoch: int
    n: int
    size: int  # bytes of the value

    @property
    def name(self) -> str:
        """The blob's name in its folder."""
        return blob_name(self.digest, self.epoch, self.n)

    def pack(self) -> bytes:
        """As bytes, always of the same length."""
        return _REF.pack(*self)

    @classmethod
    def unpack(cls, data: bytes) -> Ref:
        """Raises ValueError for what is no reference."""
        if len(data) != _REF.size:
            raise ValueError(f"a reference to a blob has {_REF.size} bytes, not {len(data)}")
        return cls(*_REF.unpack(data))


REF = _REF.size


class Blob(NamedTuple):
    """A blob that is to be put."""

    ref: Ref
    data: bytes


class _Header(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    store: bytes
    run_id: str
    epoch: int
    raw: int


_encode = msgpack.Encoder().encode
_decode_header = msgpack.Decoder(_Header).decode


class Blobs:
    """The blobs of one run. Thread-safe; calls block."""

    __slots__ = ("_backend", "_encoded", "_run_id", "_sealing", "_store")  # there may be thousands

    def __init__(self, backend: Backend, encoded: str, *, run_id: str, store: bytes, sealing: Sealing) -> None:
        self._backend = backend
        self._encoded = encoded
        self._run_id = run_id
        self._store = store
        self._sealing = sealing

    @property
    def _prefix(self) -> str:
        return blobs_prefix(self._encoded)

    def make(self, value: bytes, *, epoch: int, n: int) -> Blob:
        """An encoded value as the blob that the owner of ``epoch`` puts as its ``n``-th. No I/O.

        Raises:
            CommitTooLarge: it is over 64 MiB.
        """
        if len(value) > MAX_BODY:
            raise CommitTooLarge(self._prefix, len(value), MAX_BODY)
        region = _encode(_Header(self._store, self._run_id, epoch, len(value)))
        packed = self._sealing.pack(value)
        before = _FIELDS.pack(MAGIC, FORMAT, 0, packed.flags, len(region)) + region
        data = before + self._sealing.seal(packed, before=before, context=region)
        return Blob(Ref(_digest(data), epoch, n, len(value)), data)

    def put(self, blobs: Collection[Blob]) -> None:
        """Make all of them durable. Only then may a commit refer to them.

        Raises:
            StoreError: some may be there and some not; none is referred to, and a later sweep removes them.
        """
        if blobs:
            reached("blobs.before_put")
            _at_once(self._put, blobs)
            reached("blobs.after_put")

    def get(self, refs: Collection[Ref]) -> list[bytes]:
        """The encoded values.

        Raises:
            CorruptCheckpoint: naming the blob that is missing or damaged.
            MissingKey, NotSealed: as for commits.
        """
        return _at_once(self._get, refs)

    def names(self) -> list[str]:
        """The names of all files where the blobs are, ascending."""
        prefix = self._prefix
        return [key.removeprefix(prefix) for key in self._backend.list(prefix)]

    def path(self, name: str) -> str:
        """The key of a blob."""
        return self._prefix + name

    def sweep(self, keep: Collection[str], *, epoch: int) -> list[str]:
        """Delete the blobs that nothing refers to, and say which.

        Only for the owner, between its commits: whoever else would do it might
        delete what is about to be referred to.

        Args:
            keep: names that the commits which are kept refer to, all of them from the newest snapshot on included.
            epoch: the owner's own; what a later one has put is not looked at.
        """
        names = ((name, blob_epoch(name)) for name in self.names())
        gone = [name for name, put in names if put is not None and put <= epoch and name not in keep]
        reached("sweep.before_delete")
        self._backend.delete([self._prefix + name for name in gone])
        return gone

    def copy(self, refs: Iterable[Ref], source: Blobs, *, epoch: int) -> dict[str, Ref]:
        """Copy blobs of another run here, before the first commit that refers to them; the new references by old name.

        Byte for byte, so that a sealed blob stays sealed by the key it was sealed with.

        Raises:
            CorruptCheckpoint: one is missing or damaged. Those that were copied so far are removed again.
        """
        copied: dict[str, Ref] = {}
        try:
            for n, ref in enumerate({ref.name: ref for ref in refs}.values(), first_number()):
                data = source._read(ref)
                copied[ref.name] = ref._replace(epoch=epoch, n=n)
                self._put(Blob(copied[ref.name], data))
        except BaseException:
            self._backend.delete([self._prefix + ref.name for ref in copied.values()])
            raise
        return copied

    def _put(self, blob: Blob) -> None:
        key = self._prefix + blob.ref.name
        failure: StoreError = StoreUnavailable(key, "it is taken, and is not there when read")
        for attempt in range(_RESEND):
            try:
                if self._backend.put_new(key, blob.data):
                    return
                self._check(blob.ref, self._backend.get(key))  # put by us, and the reply was lost
            except (StoreFull, StoreDenied, CorruptCheckpoint):
                raise
            except Missing:
                continue  # taken a moment ago, and gone: send again
            except StoreError as error:  # it may have taken effect; the same bytes again do no harm
                failure = error
                time.sleep(random.uniform(0, 0.01 * 2**attempt))
            else:
                return
        raise failure

    def _get(self, ref: Ref) -> bytes:
        path = self._prefix + ref.name
        data = self._read(ref)
        if len(data) < _FIELDS.size:
            raise CorruptCheckpoint(path, "it is too short for a blob")
        magic, number, reserved, flags, header_size = _FIELDS.unpack_from(data)
        if magic != MAGIC:
            raise CorruptCheckpoint(path, "it is no blob")
        if number != FORMAT or reserved or flags & ~_KNOWN_FLAGS:
            raise UnsupportedFormat(path, f"it is of format {number}.{reserved}, flags {flags}, unknown here")
        self._sealing.check(flags, path)
        start = _FIELDS.size + header_size
        region = data[_FIELDS.size : start]
        try:
            header = _decode_header(region)
        except (msgspec.MsgspecError, ValueError, OverflowError) as error:
            raise CorruptCheckpoint(path, f"the header of the blob does not decode: {error}") from error
        if header.raw != ref.size or ref.size > MAX_BODY:
            raise CorruptCheckpoint(path, f"it holds {header.raw:,} bytes where its commit says {ref.size:,}")
        body = self._sealing.open(
            data[start:], flags=flags, before=data[:start], context=region, raw=ref.size, path=path
        )
        if len(body) != ref.size:
            raise CorruptCheckpoint(path, f"it holds {len(body):,} bytes where its commit says {ref.size:,}")
        return body

    def _read(self, ref: Ref) -> bytes:
        """The bytes that the name promises."""
        path = self._prefix + ref.name
        try:
            data = self._backend.get(path)
        except Missing:
            raise CorruptCheckpoint(path, "this blob is missing, and a commit refers to it") from None
        self._check(ref, data)
        return data

    def _check(self, ref: Ref, data: bytes) -> None:
        if _digest(data) != ref.digest:
            raise CorruptCheckpoint(self._prefix + ref.name, "this blob is damaged (BLAKE2b)")


def first_number() -> int:
    """Where an owner begins to count: not where another does that hopes for the same epoch.

    What that one put is swept by the one who got it, and no name that was ever deleted may be used again.
    """
    return int.from_bytes(os.urandom(7))


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32, person=b"actorflow-blob").digest()


def _at_once(work: Callable[[T], R], items: Collection[T]) -> list[R]:
    """The results in order, at most `IN_FLIGHT` being worked at; the first error once nothing is in flight any more."""
    if len(items) < 2:
        return [work(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(len(items), IN_FLIGHT), "actorflow-blobs") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
