"""Merging: many small objects of a run become one, off the commit path, and the names they had come free.

A merge overwrites nothing. It is the put-if-absent of ``<first>-<last>.ckpt``,
the commits byte for byte; if that name is taken, only what the object there
holds counts. Then the loose names in the range are deleted, but never a
claim's (a stalled old owner aims at it) unless it is on top of a release. The
newest commit is never among them: a merge ends below the newest snapshot.

An owner hands over the bytes of what it committed itself, as far as it kept
them. An acknowledged put is in the store as it was sent, and merged files are
checked like all others, so only what somebody else committed is read back.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from actorflow.errors import CorruptCheckpoint
from actorflow.store.crashpoints import reached
from actorflow.store.retention import freeable, releases_among

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from actorflow.store.frames import Frame, Header
    from actorflow.store.object_chain import ObjectChain
    from actorflow.store.object_names import Names, Span

MERGE_AT = 256
"""Loose commits below the newest snapshot that are worth a merge.

So many because deleting is no less work for a server than creating, and because a log of any age is still listed in
one page. Most runs end before.
"""

SPAN_BYTES = 16 * 1024 * 1024
"""A merged file is not made larger, but for a single commit."""

RECENT_BYTES = 128 * 1024
"""What an owner keeps of its commits until they are merged: that many small ones. What does not fit is read back."""

_AT_ONCE = 16
_NONE: list[int] = []
_NOTHING: Mapping[int, bytes] = {}


class Recent:
    """The bytes of an owner's unmerged commits, by number, as far as they fit. Thread-safe."""

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._data: dict[int, bytes] = {}
        self._room = RECENT_BYTES

    def add(self, seq: int, data: bytes) -> None:
        """Keep the bytes of a commit that was acknowledged, if there is room."""
        with self._mutex:
            if len(data) <= self._room:
                self._data[seq] = data
                self._room -= len(data)

    def take(self, below: int) -> dict[int, bytes]:
        """What is kept of the commits below that number, from now on the caller's."""
        with self._mutex:
            taken = {seq: data for seq, data in self._data.items() if seq < below}
            for seq, data in taken.items():
                del self._data[seq]
                self._room += len(data)
            return taken


def merge(chain: ObjectChain, snapshot: int, *, recent: Mapping[int, bytes] = _NOTHING) -> None:
    """Merge the loose commits below a snapshot of the chain, if they are many; finish merges that were cut off.

    Harmless whoever does it, and whenever: also for an owner that has been fenced.

    Args:
        chain: of the run.
        snapshot: the number of a commit with a snapshot, at most the newest such.
        recent: the bytes under these numbers, of commits that were acknowledged to the caller.

    Raises:
        Missing: somebody else merges, too.
        StoreError: nothing was lost; the next merge tries again.
    """
    if not chain.backend.ascends:
        return  # no number may come free there, so it would only be one more object
    names = chain.names()
    _finish_last(chain, names)
    numbers = max(_runs(names.unmerged(below=snapshot)), key=len, default=_NONE)
    if len(numbers) < MERGE_AT:
        return
    after = next(names.cover(numbers[0] + 1, numbers[0] + 1))
    parent = next(its.parent for its in _headers(chain, after) if its.seq == numbers[0] + 1)
    group: list[tuple[Frame, bytes]] = []
    size = 0
    for start in range(0, len(numbers), _AT_ONCE):
        some = numbers[start : start + _AT_ONCE]
        for seq, data in zip(some, _bytes_of(chain, some, recent), strict=True):
            frame = chain.parse(data, seq, keyless=True)[0]
            if frame.digest != parent:
                raise CorruptCheckpoint(frame.path, f"commit {seq + 1} was not built on it")
            parent = frame.header.parent
            if group and size + len(data) > SPAN_BYTES:
                _merge_group(chain, group, names)
                group, size = [], 0
            group.append((frame, data))
            size += len(data)
    _merge_group(chain, group, names)


def _bytes_of(chain: ObjectChain, numbers: Sequence[int], recent: Mapping[int, bytes]) -> Iterator[bytes]:
    """The bytes of these commits, in order."""
    read = chain.get_all([seq for seq in numbers if seq not in recent])
    return (recent[seq] if seq in recent else next(read) for seq in numbers)


def _finish_last(chain: ObjectChain, names: Names) -> None:
    """Free what the newest merge would have freed, had its maker lived."""
    last = max(names.spans, default=None)
    if last is not None and any(last[0] <= seq <= last[1] for seq in names.loose):
        _free(chain, chain.frames(last, keyless=True), names)


def _runs(numbers: list[int]) -> list[list[int]]:
    """Ascending numbers as runs without a gap, each newest first."""
    runs: list[list[int]] = []
    for seq in numbers:
        if runs and runs[-1][0] == seq - 1:
            runs[-1].insert(0, seq)
        else:
            runs.append([seq])
    return runs


def _headers(chain: ObjectChain, place: int | Span) -> Iterator[Header]:
    return (frame.header for frame in chain.frames(place, keyless=True))


def _merge_group(chain: ObjectChain, group: list[tuple[Frame, bytes]], names: Names) -> None:
    """Put these commits, given newest first, as one object, and free their numbers."""
    frames = [frame for frame, _ in reversed(group)]
    if len(frames) < 2:
        return
    span = frames[0].header.seq, frames[-1].header.seq
    data = b"".join(data for _, data in reversed(group))
    reached("merge.before_put")
    if not chain.backend.put_new(chain.key(span), data):
        held = {frame.digest for frame in chain.frames(span, keyless=True)}
        frames = [frame for frame in frames if frame.digest in held]
    reached("merge.after_put")
    _free(chain, frames, names)


def _free(chain: ObjectChain, frames: Iterable[Frame], names: Names) -> None:
    """Delete the loose names of commits that a merged file holds."""
    kept = list(frames)
    releases, loose = releases_among(kept), set(names.loose)
    numbers = [frame.header.seq for frame in kept if freeable(frame, releases)]
    chain.backend.delete([chain.key(seq) for seq in numbers if seq in loose])
    reached("merge.after_delete")
