"""Damage: what keeps a run from being read, and what can still be read before it. Nothing is changed here.

Only what a resume would read counts: a damaged file below the newest readable
snapshot is history that can't be told, and keeps nobody from going on.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from actorflow.errors import CorruptCheckpoint, NotSealed, UnsupportedFormat
from actorflow.store.frames import Frame, Header
from actorflow.store.framing import frame_end, read_frames
from actorflow.store.keys import checkpoint_seq, encode_id, log_prefix, span_range
from actorflow.store.object_log import ObjectLog
from actorflow.store.stubs import is_stub, read_stub

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.store import Store


class Damage(Struct, frozen=True, kw_only=True):
    """A file that stands in the way, and the commits before it, from a snapshot on."""

    key: str
    reason: str
    digest: bytes  # BLAKE2b-256 of the file as it is, by which people name it
    good: tuple[Frame, ...]  # empty: nothing before it can be read
    last: int  # the highest number that is there
    newest_file: int  # the highest first number of a file
    stub: int | None  # the number of a stub after the last good commit, that a repair which was cut off has put
    epoch: int  # the highest one that can be read, before the damage or after it
    opening: int
    newest: Header | None  # of the highest number that can be read


class _File(NamedTuple):
    key: str
    first: int
    last: int  # by its name
    stop: int | None  # where the next file takes over


def find_damage(store: Store, run_id: str) -> Damage | None:
    """What keeps the run from being read; None if nothing does.

    Raises:
        UnsupportedFormat, NotSealed, MissingKey: a file is whole, but can't be read here: that is no damage.
    """
    try:
        store.log(run_id).read()
    except (UnsupportedFormat, NotSealed):
        raise
    except CorruptCheckpoint as error:
        return _Walk(store, run_id).damage(error)
    return None


class _Walk:
    """All files of a run, in order, and what can be read of each."""

    def __init__(self, store: Store, run_id: str) -> None:
        self._store = store
        self._run_id = run_id
        self._log = store.log(run_id)
        # On the object log some stay that are below the floor, claims as a rule: nothing is built on them any more.
        self._floor = self._log.chain.names().floor if isinstance(self._log, ObjectLog) else 0
        self._files = [file for file in self._listed() if file.last >= self._floor]
        self._good: list[Frame] = []
        self._hurt: tuple[str, str] | None = None
        self._stub: int | None = None

    def damage(self, error: CorruptCheckpoint) -> Damage:
        """What stands in the way.

        Raises:
            CorruptCheckpoint: that which was given, if it is in no file of the log.
        """
        epoch = opening = last = 0
        newest: Header | None = None
        for file in self._files:
            frames, reason = self._read(file)
            last = max([last, file.last, *(frame.header.seq for frame in frames)])
            for frame in frames:
                epoch, opening = max(epoch, frame.header.epoch), max(opening, frame.header.opening)
                newest = frame.header if newest is None or frame.header.seq > newest.seq else newest
                self._take(frame, file)
            if reason is not None and self._hurt is None:
                self._hurt = (file.key, reason)
        if self._hurt is None:
            raise error
        key, reason = self._hurt
        return Damage(
            key=key,
            reason=reason,
            digest=hashlib.blake2b(self._store.backend.get(key), digest_size=32).digest(),
            good=tuple(self._good),
            last=last,
            newest_file=self._files[-1].first,
            stub=self._stub,
            epoch=epoch,
            opening=opening,
            newest=newest,
        )

    def _take(self, frame: Frame, file: _File) -> None:
        header = frame.header
        before = self._good[-1] if self._good else None
        if before is not None and header.seq <= before.header.seq:
            return  # a copy of what was read already
        follows = before is not None and (header.seq, header.parent) == (before.header.seq + 1, before.digest)
        if header.snapshot == header.seq and (follows or before is None or self._hurt or header.seq == file.first):
            self._good, self._hurt, self._stub = [frame], None, None
        elif follows:
            self._good.append(frame)
            self._hurt = None  # the copy in a claim's file stands in for its original
        elif self._hurt is None:
            self._hurt = (file.key, f"commit {header.seq} was not built on the one before it that is there")

    def _read(self, file: _File) -> tuple[list[Frame], str | None]:
        """The commits of a file up to its damage, if there is any, and what that is."""
        if isinstance(self._log, ObjectLog):
            place = file.first if file.last == file.first and span_range(_name(file.key)) is None else file[1:3]
            try:
                return [frame for frame in self._log.chain.frames(place) if frame.header.seq >= self._floor], None
            except (UnsupportedFormat, NotSealed):
                raise
            except CorruptCheckpoint as error:
                return [], error.reason
        data = self._store.backend.get(file.key)
        try:
            if is_stub(data):
                self._note_stub(data, file)
                return [], None
            return self._parsed(data, file), None
        except (UnsupportedFormat, NotSealed):
            raise
        except CorruptCheckpoint as error:
            return self._prefix(data, file), error.reason

    def _note_stub(self, data: bytes, file: _File) -> None:
        stub = read_stub(data, file.key, first=file.first, run_id=self._run_id, store=self._store.uuid)
        if self._good and stub.digest == self._good[-1].digest:
            self._stub = file.first

    def _prefix(self, data: bytes, file: _File) -> list[Frame]:
        """As many frames from the beginning of a damaged file as can be read."""
        ends = list(_ends(data, file.key))
        best: list[Frame] = []
        low, high = 0, len(ends)
        while low < high:
            middle = (low + high + 1) // 2
            try:
                best = self._parsed(data[: ends[middle - 1]], file)
                low = middle
            except CorruptCheckpoint:
                high = middle - 1
        return best

    def _parsed(self, data: bytes, file: _File) -> list[Frame]:
        frames, _ = read_frames(
            data,
            file.key,
            first=file.first,
            stop=file.stop,
            run_id=self._run_id,
            store=self._store.uuid,
            sealing=self._store.sealing,
        )
        return frames

    def _listed(self) -> Iterator[_File]:
        found: list[tuple[int, int, str]] = []
        for key in self._store.backend.list(log_prefix(encode_id(self._run_id))):
            if (seq := checkpoint_seq(_name(key))) is not None:
                found.append((seq, seq, key))
            elif (span := span_range(_name(key))) is not None:
                found.append((*span, key))
        found.sort(key=lambda file: (file[0], -file[1]))  # a merged file before the loose ones that it holds
        for index, (first, last, key) in enumerate(found):
            stop = found[index + 1][0] if self._log.appends and index + 1 < len(found) else None
            yield _File(key, first, last, stop)


def _name(key: str) -> str:
    return key.rpartition("/")[2]


def _ends(data: bytes, path: str) -> Iterator[int]:
    """Where the frames of a file end, as far as their prefixes are whole."""
    offset = 0
    try:
        while offset < len(data):
            offset = frame_end(data, offset, path)
            yield offset
    except CorruptCheckpoint:
        return
