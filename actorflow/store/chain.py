"""The chain of an append log: which frame of which file counts.

Frame n of file F counts only if no other file has a first number greater
than F's and at most n. What F holds from there on is superseded: a write that
failed and was written again elsewhere, and no evidence of anything. Where the
last frame of F that should count is torn, lost or damaged, the copy of it at
the start of the claim's file stands in (proved by the claim's parent digest).
The chain begins after the newest stub: retention let go of what is before.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from contextlib import suppress
from itertools import pairwise, zip_longest
from typing import TYPE_CHECKING

from actorflow.errors import CorruptCheckpoint, StoreUnavailable
from actorflow.store.backend import Missing
from actorflow.store.framing import last_appended, read_frames
from actorflow.store.keys import checkpoint_name, checkpoint_seq
from actorflow.store.log import tip_of
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.stubs import is_stub, read_stub
from actorflow.store.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.frames import Frame, Tail
    from actorflow.store.local import LocalBackend
    from actorflow.store.log import Tip
    from actorflow.store.stubs import Stub

_RELIST = 20
_REREAD = 3


class FileChain:
    """Reads the files of one run's log, below ``prefix``."""

    def __init__(
        self, backend: LocalBackend, prefix: str, *, run_id: str, store: bytes, sealing: Sealing = PLAIN
    ) -> None:
        self.backend = backend
        self.prefix = prefix
        self._run_id = run_id
        self._store = store
        self._sealing = sealing

    def firsts(self) -> list[int]:
        """The first numbers of all files, ascending."""
        numbers = (checkpoint_seq(name) for name in self.backend.names(self.prefix))
        return sorted(number for number in numbers if number is not None)

    def key(self, first: int) -> str:
        """The key of the file with that first number."""
        return self.prefix + checkpoint_name(first)

    def first_of(self, tip: Tip) -> int:
        """The first number of the file that a commit is in."""
        first = checkpoint_seq(tip.path.rpartition("/")[2])
        if first is None:
            raise ValueError(f"{tip.path} is no file of this log")
        return first

    def newest(self, *, keyless: bool) -> tuple[list[int], list[Frame]]:
        """The first numbers of all files, and the frames of the newest; both empty if there is no file."""
        for _ in range(_RELIST):
            firsts = self.firsts()
            if not firsts:
                return [], []
            try:
                return firsts, self._load_newest(firsts[-1], keyless=keyless)
            except Missing:
                continue
        raise self._vanishing()

    def follow(self, known: Tip) -> Tip | None:
        """The newest commit, read from the end of one that was the newest; None: that can't be told from there.

        The bytes are read before the names. If the file is the newest one then, nobody had made a stub of it.
        """
        first = self.first_of(known)
        try:
            data = self.backend.get_from(self.key(first), known.end)
        except Missing:
            return None
        if data is None or self.firsts()[-1:] != [first]:
            return None
        try:
            frame = last_appended(data, known.path, known=known, sealing=self._sealing)
        except CorruptCheckpoint:
            return None  # perhaps it is just being written; who reads the whole file finds out
        return known if frame is None else tip_of(frame)

    def read(self, first: int | None, tip: Tip | None = None) -> list[Frame]:
        """The chain from ``first`` (None: from the newest snapshot) to its end; see `RunLog.read`."""
        if first is None and tip is not None and tip.header.snapshot >= (newest := self.first_of(tip)):
            with suppress(Missing):
                _, own = _parted(self._load_newest(newest), newest)
                return [frame for frame in own if frame.header.seq >= own[-1].header.snapshot]
        for _ in range(_RELIST):
            try:
                return self._read(first)
            except Missing:
                continue
        raise self._vanishing()

    def inspect(self) -> list[Finding]:
        """What is odd, file by file."""
        findings: list[Finding] = []
        firsts = self.firsts()
        for first, stop in zip_longest(firsts, firsts[1:]):
            path = self.backend.path(self.key(first))
            try:
                data = self.backend.get(self.key(first))
                if self._stub(first, data) is not None:
                    continue
                frames, tail = self._parse(data, first, keyless=True)
            except CorruptCheckpoint as error:
                findings.append(Finding(path=path, what=error.reason, remedy="restore this file from a backup"))
                continue
            if tail.torn:
                remedy = "none needed: a write that was cut off and never acknowledged"
                findings.append(Finding(path=path, what=f"torn tail at byte {tail.offset}", remedy=remedy))
            if stop is not None and frames[-1].header.seq >= stop:
                remedy = "none needed: these commits failed here and were written again in a later file"
                findings.append(Finding(path=path, what=f"superseded from commit {stop} on", remedy=remedy))
        known = {checkpoint_name(first) for first in firsts}
        for name in sorted(self.backend.names(self.prefix) - known):
            path = self.backend.path(self.prefix + name)
            findings.append(
                Finding(path=path, what="a file that is no checkpoint", remedy="the next claim clears ours")
            )
        return findings

    def backwards(self, *, keyless: bool = False) -> Iterator[list[Frame]]:
        """The chain from its newest file back to the oldest that is kept, file by file.

        Raises:
            CorruptCheckpoint: the next file is damaged, or not the one that the newer one was built on.
        """
        firsts, frames = self.newest(keyless=keyless)
        if not frames:
            return
        copy, own = _parted(frames, firsts[-1])
        yield own
        stop = firsts[-1]
        for first in reversed(firsts[:-1]):
            data = self.backend.get(self.key(first))
            if (stub := self._stub(first, data)) is not None:
                _check_joint(stub.last.seq, stub.digest, self.backend.path(self.key(first)), own[0])
                return
            older_copy, older = self._load_older(data, first, stop, copy, keyless=keyless)
            _check_joint(older[-1].header.seq, older[-1].digest, older[-1].path, own[0])
            yield older
            copy, own, stop = older_copy, older, first
        if own[0].header.seq > 0:
            raise CorruptCheckpoint(self.backend.path(self.prefix), "commit 0 is missing")

    def page(self, start: int) -> list[Frame]:
        """The commits from ``start`` on of the file that holds it, or of the oldest that is kept; see `RunLog.page`."""
        for _ in range(_RELIST):
            try:
                return self._page(start)
            except Missing:
                continue
        raise self._vanishing()

    def stubs(self) -> Iterator[Stub]:
        """What is left of the files that were let go of, newest first."""
        for first in reversed(self.firsts()):
            if (stub := self._stub(first, self.backend.get(self.key(first)))) is not None:
                yield stub

    def _read(self, start: int | None) -> list[Frame]:
        chain: list[Frame] = []
        for frames in self.backwards():
            start = frames[-1].header.snapshot if start is None else start
            chain = frames + chain
            if chain[0].header.seq <= start:
                return [frame for frame in chain if frame.header.seq >= start]
        return _beginning(chain)

    def oldest(self) -> int:
        """The number of the oldest commit that is kept."""
        oldest = 0
        for first in reversed(self.firsts()):
            if is_stub(self.backend.get(self.key(first))):
                return oldest
            oldest = first
        return oldest

    def _page(self, start: int) -> list[Frame]:
        firsts = self.firsts()
        at = max(bisect_right(firsts, start) - 1, 0)
        for first, stop in pairwise(firsts[at:]):
            own = self.counting(first, stop, keyless=False)
            if own is not None and own[-1].header.seq >= start:
                return [frame for frame in own if frame.header.seq >= start]
        if not firsts:
            return []
        _, own = _parted(self._load_newest(firsts[-1]), firsts[-1])
        return [frame for frame in own if frame.header.seq >= start]

    def counting(self, first: int, stop: int, *, keyless: bool = True) -> list[Frame] | None:
        """The commits of the file before the one that begins with ``stop``; None for a stub.

        Raises:
            CorruptCheckpoint: damaged, or the file after it does not follow.
        """
        data = self.backend.get(self.key(first))
        if self._stub(first, data) is not None:
            return None
        try:
            after = self._load_newest(stop, keyless=True)
        except Missing:
            if is_stub(self.backend.get(self.key(first))):
                return None  # somebody else lets go of the same
            raise
        copy, its = _parted(after, stop)
        _, own = self._load_older(data, first, stop, copy, keyless=keyless)
        _check_joint(own[-1].header.seq, own[-1].digest, own[-1].path, its[0])
        return own

    def _stub(self, first: int, data: bytes) -> Stub | None:
        if not is_stub(data):
            return None
        return read_stub(data, self.backend.path(self.key(first)), first=first, run_id=self._run_id, store=self._store)

    def _load_older(
        self, data: bytes, first: int, stop: int, copy: Frame | None, *, keyless: bool = False
    ) -> tuple[Frame | None, list[Frame]]:
        """The frames of a file that a later one follows, its last one from the copy there if need be."""
        try:
            frames, _ = self._parse(data, first, stop=stop, keyless=keyless)
        except CorruptCheckpoint:
            if copy is None:
                raise
            if stop - 1 == first:
                return None, [copy]
            frames, _ = self._parse(data, first, stop=stop - 1, keyless=keyless)
        older_copy, own = _parted(frames, first)
        if copy is not None and own[-1].header.seq == stop - 2:
            own.append(copy)
        return older_copy, own

    def _load_newest(self, first: int, *, keyless: bool = False) -> list[Frame]:
        """The newest file may be growing under our eyes: read again before calling it damaged."""
        for attempt in range(_REREAD):
            data = self.backend.get(self.key(first))
            if is_stub(data) and self.firsts()[-1:] != [first]:
                raise Missing(self.key(first))  # its owner went on, and retention let go of it: list again
            try:
                return self._parse(data, first, keyless=keyless)[0]
            except CorruptCheckpoint:
                if attempt == _REREAD - 1:
                    raise
                time.sleep(0.01)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    def _parse(
        self, data: bytes, first: int, *, stop: int | None = None, keyless: bool = False
    ) -> tuple[list[Frame], Tail]:
        return read_frames(
            data,
            self.backend.path(self.key(first)),
            first=first,
            stop=stop,
            run_id=self._run_id,
            store=self._store,
            sealing=self._sealing,
            keyless=keyless,
        )

    def _vanishing(self) -> StoreUnavailable:
        return StoreUnavailable(self.backend.path(self.prefix), "files were listed, but are not there when read")


def _beginning(chain: list[Frame]) -> list[Frame]:
    """Without those commits that lead on from what is let go of: that goes file by file, and may have been cut off."""
    for index, frame in enumerate(chain):
        if frame.header.snapshot == frame.header.seq:
            return chain[index:]
    return chain


def _parted(frames: list[Frame], first: int) -> tuple[Frame | None, list[Frame]]:
    """The copy at the start of a claim's file, if there is one, and the file's own frames."""
    if frames[0].header.seq == first:
        return None, frames
    return frames[0], frames[1:]


def _check_joint(seq: int, digest: bytes, path: str, after: Frame) -> None:
    """A file that ends with this commit, and the first frame that is not in it."""
    its = after.header.seq
    if seq != its - 1:
        raise CorruptCheckpoint(path, f"it ends with commit {seq}, but commit {its} follows")
    if after.header.parent != digest:
        raise CorruptCheckpoint(after.path, f"commit {its} was not built on the commit {seq} that is there")
