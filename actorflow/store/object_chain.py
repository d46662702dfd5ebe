"""The chain of an object log: which object holds which commit, read back from the newest by parent digests.

A commit lies under its own number, or in the file of several that were merged
into one, byte for byte. Where both are there the merged file counts: below the
newest snapshot a number that came free may have been taken by a stray, a claim
of somebody who stalled. Below the floor nothing counts.
"""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import msgspec

from actorflow.errors import CorruptCheckpoint, StoreUnavailable
from actorflow.store.backend import Missing
from actorflow.store.framing import frame_end, read_frames
from actorflow.store.keys import checkpoint_name, log_prefix, span_name
from actorflow.store.log import tip_of
from actorflow.store.object_names import Names, Span, names_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from actorflow.store.backend import Backend
    from actorflow.store.frames import Frame
    from actorflow.store.log import Tip
    from actorflow.store.sealing import Sealing

T = TypeVar("T")

_PIECE = 64
"""How many objects are read at once when a chain is told backwards."""

_RELIST = 20
_GAPS = 3
"""How often a number that no listing showed is looked for: a listing may be behind, the object itself is not."""


class ObjectChain:
    """Reads the objects of one run's log, several at once where that is worth it."""

    def __init__(self, backend: Backend, encoded: str, *, run_id: str, store: bytes, sealing: Sealing) -> None:
        self.backend = backend
        self.prefix = log_prefix(encoded)
        self._run_id = run_id
        self._store = store
        self._sealing = sealing

    def names(self) -> Names:
        """What a listing says now."""
        return names_in(self.backend.list(self.prefix))

    def key(self, place: int | Span) -> str:
        """The key of a commit under its own number, or of a merged file."""
        return self.prefix + (checkpoint_name(place) if isinstance(place, int) else span_name(*place))

    def newest(self, known: Tip | None = None) -> Tip | None:
        """The commit with the highest number; None: there is no run. It is read unless it is this one."""
        for _ in range(_RELIST):
            names = self.names()
            if not names.loose:
                return None
            if known is not None and names.loose[-1] <= known.header.seq:  # less: the listing is behind
                return known
            try:
                return tip_of(self.frames(names.loose[-1], keyless=True)[0])
            except Missing:
                continue
        raise self._vanishing()

    def read(self, first: int | None, tip: Tip | None) -> list[Frame]:
        """The chain from ``first`` (None: from the newest snapshot), or from the oldest commit kept, to its end."""
        if tip is not None:
            try:
                return self._since_snapshot(tip)
            except (Missing, CorruptCheckpoint):
                pass  # merged meanwhile, and the number may have been taken by a stray: a listing knows

        def whole(names: Names) -> list[Frame]:
            newest = self.frames(names.loose[-1])[0]
            return self.back_from(newest, newest.header.snapshot if first is None else first, names)

        return self._settled(whole) or []

    def backwards(self, *, keyless: bool = False) -> Iterator[list[Frame]]:
        """The chain from its newest commit back to the oldest that is kept, some objects at once.

        Raises:
            CorruptCheckpoint: the next commit is damaged or missing, or not the one that its successor was built on.
        """
        piece = self._settled(lambda names: self.frames(names.loose[-1], keyless=keyless))
        while piece:
            yield piece
            oldest = piece[0]
            piece = self._settled(partial(self._before, oldest, keyless=keyless))

    def page(self, first: int) -> list[Frame]:
        """The commits of some objects from ``first`` on, or from the oldest that is kept; see `RunLog.page`."""
        return self._settled(partial(self._from, first)) or []

    def _from(self, first: int, names: Names) -> list[Frame]:
        """The commits from this one on, of some objects; the one after them is read as well, to prove the last."""
        seq, newest = max(first, names.floor), names.loose[-1]
        if seq > newest:
            return []
        last = seq
        for _ in range(_PIECE + 1):
            span = names.span_of(seq)
            last = seq if span is None else span[1]
            seq = last + 1
            if last >= newest:
                break
        last = min(last, newest)
        held = self.frames(names.span_of(last) or last)
        end = next(frame for frame in held if frame.header.seq == last)
        chain = self.back_from(end, first, names)
        return chain if last == newest else chain[:-1]

    def _before(self, oldest: Frame, names: Names, *, keyless: bool) -> list[Frame]:
        """The commits before this one, of some objects; none if it is the oldest that is kept."""
        places = list(islice(names.cover(names.floor, oldest.header.seq - 1), _PIECE))
        if not places:
            return []
        first = places[-1] if isinstance(places[-1], int) else places[-1][0]
        return self.back_from(oldest, first, names, keyless=keyless)[:-1]

    def _settled(self, make: Callable[[Names], list[Frame]]) -> list[Frame] | None:
        """What ``make`` reads by the names of one listing: listed again if they changed meanwhile; None: no run."""
        for attempt in range(_RELIST):
            names = self.names()
            if not names.loose:
                return None
            try:
                return make(names)
            except Missing as missing:
                if attempt >= _GAPS and self._is_gap(missing.key):
                    name = missing.key.rpartition("/")[2]
                    raise CorruptCheckpoint(self.prefix + name, "it is missing, and the chain needs it") from missing
            except CorruptCheckpoint:
                if self.names() == names:
                    raise
        raise self._vanishing()

    def back_from(self, newest: Frame, first: int, names: Names, *, keyless: bool = False) -> list[Frame]:
        """The chain that ends with ``newest``, ascending, from ``first`` or the floor on.

        Raises:
            Missing: something was merged or let go of since the names were listed.
            CorruptCheckpoint: a commit is damaged, or not the one that its successor was built on.
        """
        places = list(names.cover(max(first, names.floor), newest.header.seq - 1))
        chain = [newest]
        for frames in self._all_frames(places, keyless=keyless):
            for before in reversed(frames):
                head = chain[-1].header
                if before.header.seq >= head.seq:
                    continue  # two merged files overlap
                if before.digest != head.parent:
                    raise CorruptCheckpoint(before.path, f"commit {head.seq} was not built on it")
                chain.append(before)
        floor = max(first, names.floor)
        return [frame for frame in reversed(chain) if frame.header.seq >= floor]

    def frames(self, place: int | Span, *, keyless: bool = False) -> list[Frame]:
        """The verified commits of one object, ascending."""
        return self.parse(self.backend.get(self.key(place)), place, keyless=keyless)

    def parse(self, data: bytes, place: int | Span, *, keyless: bool = False) -> list[Frame]:
        """The verified commits in these bytes of one object, ascending."""
        first, last = (place, place) if isinstance(place, int) else place
        path = self.key(place)
        frames: list[Frame] = []
        for seq, (offset, end) in zip(range(first, last + 1), _pieces(data, path), strict=False):
            read, tail = read_frames(
                data[offset:end],
                path,
                first=seq,
                run_id=self._run_id,
                store=self._store,
                sealing=self._sealing,
                keyless=keyless,
            )
            if tail.torn or len(read) != 1:
                raise CorruptCheckpoint(path, f"there is no single commit at offset {offset}")
            frames.append(msgspec.structs.replace(read[0], offset=offset))
        end = frames[-1].offset + frames[-1].size if frames else 0
        if len(frames) != last - first + 1 or end != len(data):
            raise CorruptCheckpoint(path, f"it holds other commits than {first} to {last}")
        return frames

    def get_all(self, places: Sequence[int | Span]) -> Iterator[bytes]:
        """The bytes of these objects, in order.

        Raises:
            Missing: one of them is not there.
        """
        return self._at_once(lambda place: self.backend.get(self.key(place)), places)

    def look(self, places: Sequence[int | Span]) -> list[tuple[int | Span, list[Frame] | None]]:
        """The commits of each of these objects, for their headers; None for one that is gone or can't be read."""

        def one(place: int | Span) -> tuple[int | Span, list[Frame] | None]:
            try:
                return place, self.frames(place, keyless=True)
            except (Missing, CorruptCheckpoint):
                return place, None

        return list(self._at_once(one, places))

    def _at_once(self, work: Callable[[int | Span], T], places: Sequence[int | Span]) -> Iterator[T]:
        readers = min(self.backend.readers, len(places))
        if readers < 2:
            yield from map(work, places)
            return
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(readers, "actorflow-read") as threads:
            yield from threads.map(work, places)

    def _all_frames(self, places: Sequence[int | Span], *, keyless: bool) -> Iterator[list[Frame]]:
        for place, data in zip(places, self.get_all(places), strict=True):
            yield self.parse(data, place, keyless=keyless)

    def _is_gap(self, key: str) -> bool:
        """Whether a listing shows nothing under a key, and no reason for it: it was neither merged nor let go of."""
        now, gone = self.names(), names_in([key])
        if gone.spans:
            return gone.spans[0] not in now.spans and gone.spans[0][1] >= now.floor
        seq = gone.loose[0]
        return seq not in now.loose and seq >= now.floor and now.span_of(seq) is None

    def _since_snapshot(self, tip: Tip) -> list[Frame]:
        """Without a listing: nobody frees what the newest snapshot needs."""
        numbers = range(tip.header.snapshot, tip.header.seq)
        newest = self.frames(tip.header.seq)[0]
        if newest.digest != tip.digest:
            raise CorruptCheckpoint(newest.path, "it is another commit by now")
        return self.back_from(newest, tip.header.snapshot, Names(tuple(numbers), (), ()))

    def _vanishing(self) -> StoreUnavailable:
        return StoreUnavailable(self.prefix, "commits were listed, but are not there when read")


def _pieces(data: bytes, path: str) -> Iterator[tuple[int, int]]:
    """Where each frame begins and ends."""
    offset = 0
    while offset < len(data):
        end = frame_end(data, offset, path)
        yield offset, end
        offset = end
