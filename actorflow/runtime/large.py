"""Large values: parted from what a commit holds and put as blobs, and put back where it is read.

A body refers to a blob by a msgpack extension of our own, in place of a value
(`VALUE`), of an element of a list, or of a value in a dict; or in place of
several elements that stand there one after the other (`PIECE`). Only those
places are looked at, so no data of a user is taken for a reference. What is
equal is put once: a snapshot refers to what is there already.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from msgspec import Raw, Struct, msgpack
from msgspec.msgpack import Ext
from msgspec.structs import replace

from actorflow.engine import operations as ops
from actorflow.engine.operations import thaw
from actorflow.engine.records import (
    Answered,
    Entered,
    Fanned,
    Finished,
    InputGiven,
    InputQueued,
    ItemDone,
    Merged,
    Posted,
    Received,
    Replied,
    Spawned,
    Stepped,
    TimerSet,
    Updated,
    decode_body,
)
from actorflow.engine.snapshot import dump
from actorflow.graph.schema import PIECE, VALUE
from actorflow.store.blobs import REF, Blob, Ref, first_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.engine.operations import Operation
    from actorflow.engine.records import Handed, Open, Record
    from actorflow.engine.run import RunState
    from actorflow.store.blobs import Blobs
    from actorflow.store.frames import Frame

BLOB_MIN = 256 * 1024
"""Bytes from which on a value is worth a file of its own."""

PIECE_MAX = 8 * 1024 * 1024
"""Bytes at which a blob of small elements is full: of a list that grows, all but the last of its pieces stay."""

_CODES = frozenset({VALUE, PIECE})
_MARKS = tuple(bytes((0xC7, REF, code)) for code in sorted(_CODES))  # how such an extension begins
_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder().decode

Known = dict[bytes, Ref]
"""Which blob holds an encoded value, by the digest of that."""


class Snapshot(Struct, frozen=True):
    """A run as bytes, the blobs that must be put before them, and what reading it back takes in all."""

    data: bytes
    blobs: tuple[Blob, ...]
    new: Known  # the references to those
    weight: int


class Joiner:
    """Puts the large values of one run back into what was read of it. Reads each blob once."""

    def __init__(self, blobs: Blobs) -> None:
        self.known: Known = {}
        self._blobs = blobs
        self._values: dict[str, Any] = {}

    def fetch(self, refs: Iterable[Ref]) -> None:
        """Read the blobs that a frame refers to.

        Raises:
            CorruptCheckpoint: naming the blob that is missing or damaged.
        """
        missing = [ref for ref in refs if ref.name not in self._values]
        for ref, data in zip(missing, self._blobs.get(missing), strict=True):
            self._values[ref.name] = _decode(data)
            self.known[_digest(data)] = ref

    def value(self, value: Any) -> Any:
        """The value of which this was left."""
        if _is_ref(value):
            return self._of(value)
        if value.__class__ is list and any(map(_is_ref, value)):
            return self._list(value)
        if value.__class__ is dict and any(map(_is_ref, value.values())):
            return self._dict(value)
        return value

    def records(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """The records of which these were left."""
        return tuple(_changed(record, self.value) for record in records)

    def _of(self, ext: Ext) -> Any:
        return self._values[Ref.unpack(bytes(ext.data)).name]

    def _list(self, short: list[Any]) -> list[Any]:
        whole: list[Any] = []
        for item in short:
            if not _is_ref(item):
                whole.append(item)
            elif item.code == VALUE:
                whole.append(self._of(item))
            else:
                whole += self._of(item)
        return whole

    def _dict(self, short: dict[Any, Any]) -> dict[Any, Any]:
        whole: dict[Any, Any] = {}
        for key, item in short.items():
            if not _is_ref(item):
                whole[key] = item
            elif item.code == VALUE:
                whole[key] = self._of(item)
            else:  # under one of its own keys, since keys can't be extensions
                whole |= self._of(item)
        return whole


class Splitter:
    """Parts large values from what the owner of a run is about to commit.

    Refers only to blobs that the owner read when it claimed the run, or put
    itself since, and of those only to what the newest snapshot and the commits
    after it refer to: no sweep takes them.
    """

    __slots__ = ("_epoch", "_known", "_number", "blobs")  # there may be thousands

    def __init__(self, blobs: Blobs, *, epoch: int, known: Known) -> None:
        self.blobs = blobs
        self._epoch = epoch
        self._known = known
        self._number: int | None = None  # of the next blob, once there was one

    def records(self, records: Iterable[Record]) -> tuple[list[Record], tuple[Blob, ...]]:
        """What to commit of the records, and the blobs to put before. They are known from now on."""
        batch = _Batch(self)
        short = [_changed(record, batch.shorten) for record in records]
        self._known |= batch.new
        return short, tuple(batch.blobs)

    def dump(self, run: RunState) -> Snapshot:
        """The run as a snapshot, which may be committed or not."""
        batch = _Batch(self)
        data = dump(run, shorten=batch.shorten)
        # what this run does not hold any more may be swept once the snapshot is there
        self._known = {digest: ref for digest, ref in batch.met.items() if digest not in batch.new}
        weight = len(data) + sum(ref.size for ref in batch.met.values())
        return Snapshot(data, tuple(batch.blobs), batch.new, weight)

    def sealed(self, snapshot: Snapshot) -> None:
        """The next commit begins with this snapshot: its blobs are known from now on."""
        self._known |= snapshot.new

    def ref(self, digest: bytes) -> Ref | None:
        """The blob that holds this value, if it may be referred to."""
        return self._known.get(digest)

    def make(self, value: bytes) -> Blob:
        """A new blob, under a name of its own."""
        number = first_number() if self._number is None else self._number
        self._number = number + 1
        return self.blobs.make(value, epoch=self._epoch, n=number)


class _Batch:
    """What one commit, or one snapshot, refers to."""

    def __init__(self, splitter: Splitter) -> None:
        self.blobs: list[Blob] = []
        self.new: Known = {}
        self.met: Known = {}
        self._splitter = splitter

    def shorten(self, value: Any) -> Any:
        """What to encode for a value."""
        value = thaw(value)
        data = _encode(value)
        if len(data) < BLOB_MIN:
            return Raw(data)
        if value.__class__ is list:
            return self._list(value)
        if value.__class__ is dict:
            return self._dict(value)
        return self._ref(VALUE, data)

    def _list(self, value: list[Any]) -> list[Any]:
        short: list[Any] = []
        run: list[Any] = []
        size = 0
        for item in value:
            data = _encode(item)
            alone = len(data) >= BLOB_MIN or _is_ref(item)
            if alone or size >= PIECE_MAX:
                short += self._piece(run, size)
                run, size = [], 0
            if alone:
                short.append(item if _is_ref(item) else self._ref(VALUE, data))
            else:
                run.append(Raw(data))
                size += len(data)
        return short + self._piece(run, size)

    def _piece(self, run: list[Any], size: int) -> list[Any]:
        return [self._ref(PIECE, _encode(run))] if size >= BLOB_MIN else run

    def _dict(self, value: dict[Any, Any]) -> dict[Any, Any]:
        short: dict[Any, Any] = {}
        run: dict[Any, Any] = {}
        size = 0
        for key, item in value.items():
            data = _encode(item)
            alone = len(data) >= BLOB_MIN or _is_ref(item)
            if alone or size >= PIECE_MAX:
                short |= self._part(run, size)
                run, size = {}, 0
            if alone:
                short[key] = item if _is_ref(item) else self._ref(VALUE, data)
            else:
                run[key] = Raw(data)
                size += len(data)
        return short | self._part(run, size)

    def _part(self, run: dict[Any, Any], size: int) -> dict[Any, Any]:
        return {next(iter(run)): self._ref(PIECE, _encode(run))} if size >= BLOB_MIN else run

    def _ref(self, code: int, data: bytes) -> Ext:
        digest = _digest(data)
        ref = self.met.get(digest) or self._splitter.ref(digest)
        if ref is None:
            blob = self._splitter.make(data)
            self.blobs.append(blob)
            ref = self.new[digest] = blob.ref
        self.met[digest] = ref
        return Ext(code, ref.pack())


def references(body: bytes) -> dict[str, Ref]:
    """The blobs that a frame's body refers to, by name."""
    refs: dict[str, Ref] = {}
    if not any(mark in body for mark in _MARKS):
        return refs

    def note(code: int, data: memoryview) -> None:
        if code in _CODES and len(data) == REF:
            ref = Ref.unpack(bytes(data))
            refs[ref.name] = ref

    snapshot = decode_body(body).snapshot
    for part in (body, snapshot or b"\xc0"):
        msgpack.decode(part, ext_hook=note)
    return refs


def referenced(frames: Iterable[Frame]) -> set[str]:
    """The names of all blobs that these frames refer to: what a sweep has to keep."""
    return {name for frame in frames for name in references(frame.body)}


def _is_ref(value: Any) -> bool:
    return type(value) is Ext and value.code in _CODES


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def _changed(record: Record, change: Callable[[Any], Any]) -> Record:
    match record:
        case Spawned(values=values) | Entered(values=values):
            return replace(record, values={name: change(value) for name, value in values.items()})
        case Finished(operations=operations, opens=opens, handed=handed):
            if not operations and not handed and all(opened.sent is None for opened in opens):
                return record
            return replace(
                record,
                operations=_all_operated(operations, change),
                opens=tuple(_sent(opened, change) for opened in opens),
                handed=_handed(handed, change),
            )
        case Merged(operations=operations, handed=handed, sends=sends) if operations or handed or sends:
            return replace(
                record,
                operations=_all_operated(operations, change),
                handed=_handed(handed, change),
                sends=tuple((target, change(inputs)) for target, inputs in sends),
            )
        case Updated(operations=operations, handed=handed) if operations or handed:
            return replace(record, operations=_all_operated(operations, change), handed=_handed(handed, change))
        case InputGiven(operations=operations) if operations:
            return replace(record, operations=_all_operated(operations, change))
        case InputQueued(values=values):
            return replace(record, values=_handed(values, change))
        case Fanned(items=list(items)):
            return replace(record, items=change(items))
        case ItemDone(result=result):
            return replace(record, result=change(result))
        case Answered(value=value) | Stepped(value=value) | Replied(value=value):
            return replace(record, value=change(value))
        case Received(values=values) | TimerSet(values=values) | Posted(values=values) if values:
            return replace(record, values=change(values))
        case _:
            return record


def _all_operated(operations: tuple[Operation, ...], change: Callable[[Any], Any]) -> tuple[Operation, ...]:
    return tuple(_operated(operation, change) for operation in operations)


def _handed(handed: tuple[Handed, ...], change: Callable[[Any], Any]) -> tuple[Handed, ...]:
    return tuple(replace(one, value=change(one.value)) for one in handed)


def _sent(opened: Open, change: Callable[[Any], Any]) -> Open:
    return opened if opened.sent is None else replace(opened, sent=change(opened.sent))


def _operated(operation: Operation, change: Callable[[Any], Any]) -> Operation:
    match operation:
        case ops.Put(value=value) | ops.Reduced(value=value):
            return replace(operation, value=change(value))
        case ops.Extended(items=items) | ops.Spliced(items=items) | ops.Merged(items=items):
            return replace(operation, items=change(items))
        case ops.Dropped():
            return operation
