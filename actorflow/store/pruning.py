"""Pruning: letting go of a run's oldest commits, below a snapshot, on each kind of log.

On the object log numbers come free. First the floor is put, so that what is
gone was let go of and is not missing; then, by exact key, loose commits below
it, but never a claim's number (see `retention`), and merged files. Where an
object can't be read it stays: what it is nobody knows. And where listings don't
ascend, all loose commits stay: there a claimer that took a number which came
free can't find out that it came too late, for its second listing may have gone
by the newest number before that was taken. The history begins at the floor all
the same.

On the append log no name is ever removed: a file whose commits are let go of
becomes a stub, replaced at once as a whole.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from actorflow.errors import StoreUnavailable
from actorflow.store.backend import Missing
from actorflow.store.crashpoints import reached
from actorflow.store.keys import floor_name
from actorflow.store.retention import Freed, Snapshot, freeable, releases_among
from actorflow.store.stubs import encode_stub, stub_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.chain import FileChain
    from actorflow.store.frames import Frame, Header
    from actorflow.store.log import Tip
    from actorflow.store.object_chain import ObjectChain


def let_go_of_objects(chain: ObjectChain, below: int, *, dry_run: bool) -> Freed:
    """Free what lies below a snapshot of the chain; see `RunLog.let_go`."""
    names = chain.names()
    if below > names.floor and not dry_run:
        reached("prune.before_floor")
        chain.backend.put_new(chain.prefix + floor_name(below), b"")
        reached("prune.after_floor")
    floor = max(below, names.floor)
    spans = [span for span in names.spans if span[1] < floor]
    loose = [seq for seq in names.loose if seq < floor]
    seen = chain.look([*spans, *loose] if chain.backend.ascends else spans)
    releases = releases_among(frame for _, frames in seen for frame in frames or ())
    gone = [place for place, frames in seen if frames and (place in spans or freeable(frames[0], releases))]
    if not dry_run:
        old = [chain.prefix + floor_name(seq) for seq in names.floors if seq < floor]
        chain.backend.delete([*map(chain.key, gone), *old])
        reached("prune.after_delete")
    return Freed(floor, len(gone))


def snapshots_of_objects(chain: ObjectChain, tip: Tip) -> Iterator[Snapshot]:
    """The snapshots of a run, newest first."""
    seq = tip.header.snapshot
    while True:
        before = _header_of(chain, seq - 1)
        yield Snapshot(seq, before)
        if before is None:
            return
        seq = before.snapshot


def _header_of(chain: ObjectChain, seq: int) -> Header | None:
    """The header of that commit; None if it is not kept."""
    for _ in range(2):  # once more, if it was merged between the listing and the reading
        names = chain.names()
        if seq < names.floor:
            return None
        place = next(names.cover(seq, seq))
        try:
            return next(frame.header for frame in chain.frames(place, keyless=True) if frame.header.seq == seq)
        except Missing:
            continue
    raise StoreUnavailable(chain.key(seq), "it was neither let go of nor is it there")


def shrink_files(chain: FileChain, below: int, *, dry_run: bool) -> Freed:
    """Make stubs of the files below a snapshot, oldest first; see `RunLog.let_go`."""
    shrunk = 0
    for first, stop in pairwise(chain.firsts()):
        if stop > below:
            break
        frames = chain.counting(first, stop)
        if frames is not None:
            shrunk += 1
            if not dry_run:
                _shrink(chain, first, frames)
    return Freed(max(below, chain.oldest()) if dry_run else chain.oldest(), shrunk)


def _shrink(chain: FileChain, first: int, frames: list[Frame]) -> None:
    reached("prune.before_stub")
    chain.backend.replace(chain.key(first), encode_stub(stub_of(frames)))
    reached("prune.after_stub")


def snapshots_of_files(chain: FileChain, tip: Tip) -> Iterator[Snapshot]:
    """The snapshots of a run, newest first: each begins a file."""
    firsts = chain.firsts()
    seq = tip.header.snapshot
    while True:
        older = [first for first in firsts if first < seq]
        frames = chain.counting(older[-1], seq) if older else None
        yield Snapshot(seq, frames[-1].header if frames else None)
        if not frames:
            return
        seq = frames[-1].header.snapshot
