"""What the processes of a world were told and did, and the guarantees that it is held against."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED
from actorflow.errors import StoreError
from actorflow.runtime.replay import replay
from actorflow.store.deletion import is_tombstone
from actorflow.store.keys import checkpoint_seq
from actorflow.store.object_log import ObjectLog
from actorflow.store.verify import verify_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from actorflow.store.frames import Frame, Header
    from actorflow.store.store import Store
    from tests.simulation.network import Bucket


class Acknowledged(Struct, frozen=True):
    """The store told an owner that this commit is durable."""

    run_id: str
    epoch: int
    seq: int
    nonce: bytes


class Started(Struct, frozen=True):
    """A node was started by the owner of that epoch, when the newest commit in the bucket was ``newest``."""

    run_id: str
    epoch: int
    key: bytes
    newest: int


class Told:
    """All that was told, in order, by processes that lived when they heard it."""

    def __init__(self) -> None:
        self.acknowledged: list[Acknowledged] = []
        self.started: list[Started] = []
        self.refused: set[tuple[str, int]] = set()  # owners that a commit failed: they start nothing any more
        self.results: dict[str, list[str]] = {}  # by run, the newest
        self.wrong: list[str] = []  # seen to be wrong at once

    def acknowledge(self, run_id: str, header: Header, *, findable: bool) -> None:
        """The store told an owner that its commit is durable. ``findable``: a marker leads to the run, if it must."""
        if not findable:
            self.wrong.append(f"{run_id}: it is {header.status}, and no marker leads to it")
        self.acknowledged.append(Acknowledged(run_id, header.epoch, header.seq, header.nonce))

    def refuse(self, run_id: str, epoch: int) -> None:
        """A commit of that owner failed, or its outcome is unknown."""
        self.refused.add((run_id, epoch))

    def start(self, run_id: str, epoch: int, key: bytes, newest: int) -> None:
        """A node was started."""
        if (run_id, epoch) in self.refused:
            self.wrong.append(f"{run_id}: the owner of epoch {epoch} started a node after its commit had failed")
        self.started.append(Started(run_id, epoch, key, newest))

    def violations(
        self, store: Store, bucket: Bucket, run_ids: Iterable[str], *, ending: Callable[[str, list[Frame]], list[str]]
    ) -> list[str]:
        """Each guarantee that does not hold, in words. ``ending``: what is wrong with how a run ended."""
        found = list(self.wrong)
        for run_id in run_ids:
            told = [one for one in self.acknowledged if one.run_id == run_id]
            try:
                frames = store.log(run_id).read(first=0)
            except StoreError as error:
                found.append(f"{run_id}: it can't be read: {error}")
                continue
            if not frames:
                found += [f"{run_id}: acknowledged, and nothing of it is there"] if told else []
                continue
            found += [f"{run_id}: {finding.what}" for finding in verify_run(store.log(run_id))]
            kept, frames = frames, history(store, bucket, run_id, frames[-1])
            if [frame.digest for frame in kept] != [frame.digest for frame in frames[-len(kept) :]]:
                found.append(f"{run_id}: what is kept is no end of its history")
            found += _lost(told, frames)
            if frames[0].header.seq:
                found.append(f"{run_id}: commit {frames[0].header.seq} was built on one that never was")
                continue
            if started := [one for one in self.started if one.run_id == run_id]:
                found += _run_again(started, frames)
            try:
                found += ending(run_id, kept)
            except StoreError as error:
                found.append(f"{run_id}: what is kept of it makes no run: {error}")
        return found

    def wrong_trace(self, run_id: str, frames: list[Frame], *, expected: Counter[str]) -> list[str]:
        """What is wrong with how a run ended whose nodes add their names to its trace."""
        if is_tombstone(frames[-1].header):
            return []
        run = replay(frames)
        if run.status not in ENDED or frames[-1].header.status != run.status:
            return [f"{run_id}: it is {run.status}, and its newest header says {frames[-1].header.status}"]
        trace = thaw(run.root.values["trace"])
        if run.status == "finished" and Counter(trace) != expected:
            return [f"{run_id}: its state is {trace}"]
        told = self.results.get(run_id, trace)
        return [] if told == trace else [f"{run_id}: {told} was told, {trace} is there"]


def history(store: Store, bucket: Bucket, run_id: str, newest: Frame) -> list[Frame]:
    """The chain from its first commit on, with what retention has let go of since."""
    log = store.log(run_id)
    assert isinstance(log, ObjectLog)
    ever: dict[bytes, Frame] = {newest.digest: newest}
    for key, data in bucket.ever:
        if key.startswith(log.chain.prefix) and (seq := checkpoint_seq(key.rpartition("/")[2])) is not None:
            for frame in log.chain.parse(data, seq):
                ever.setdefault(frame.digest, frame)
    chain = [newest]
    while before := ever.get(chain[-1].header.parent):
        chain.append(before)
    return chain[::-1]


def _lost(told: list[Acknowledged], frames: list[Frame]) -> list[str]:
    """Guarantees 1 and 2: what was acknowledged is in the chain, in its place, and nothing else is."""
    nonces = {frame.header.seq: frame.header.nonce for frame in frames}
    return [
        f"{one.run_id}: commit {one.seq} was acknowledged, and lost" for one in told if nonces.get(one.seq) != one.nonce
    ]


def _run_again(started: list[Started], frames: list[Frame]) -> list[str]:
    """Under ``sync``: a node starts after the commit that opens it, and never after a claim that found it finished."""
    found: list[str] = []
    opened: dict[bytes, int] = {}
    closed: dict[bytes, int] = {}
    claims: dict[int, int] = {}
    for end in range(1, len(frames) + 1):
        header, is_open = frames[end - 1].header, {one.key for one in replay(frames[:end]).open.values()}
        for key in is_open:
            opened.setdefault(key, header.seq)
        for key in opened.keys() - closed.keys() - is_open:
            closed[key] = header.seq
        if header.kind == "claim":
            claims[header.epoch] = header.seq
    for one in started:
        if one.newest < opened.get(one.key, one.newest + 1):
            found.append(f"{one.run_id}: a node started before the commit that opened it")
        if one.epoch not in claims or closed.get(one.key, claims[one.epoch]) < claims[one.epoch]:
            found.append(f"{one.run_id}: a finished activation was run again in epoch {one.epoch}")
    return found
