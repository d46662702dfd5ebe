"""What must hold of a store after whatever befell the processes that wrote it: guarantees 1, 2, 5 and 7 as a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import StoreError
from actorflow.runtime.inspection import verify_store
from actorflow.runtime.sleeping import is_asleep
from actorflow.store.keys import checkpoint_seq, encode_id, log_prefix
from actorflow.testing.story import story_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from actorflow.store.frames import Frame
    from actorflow.store.store import Store

_UNFINISHED = ("running", "waiting", "paused")
_DIGEST = 32  # bytes, the last ones of a commit


class Call(Struct, frozen=True):
    """A node was called."""

    run_id: str
    node: str
    key: str  # its idempotency key
    newest: int  # the highest number in the run's log just then
    finished: bool  # whether its activation was finished before this process took up the run


def finished_keys(store: Store) -> set[tuple[str, str]]:
    """Run and idempotency key of each activation that is over. What can't be read is told by `violations`."""
    if any(found.broken for found in verify_store(store, None)):
        return set()
    return {(run_id, key) for run_id, frames in _histories(store) for key in story_of(store, run_id, frames).over}


def unmarked(store: Store) -> Iterator[str]:
    """Unfinished runs that no recovery would find."""
    marked = set(store.markers.active())
    asleep = {(sleeper.run, sleeper.seq) for sleeper in store.markers.asleep()}
    for run_id, frames in _histories(store):
        header = frames[-1].header
        encoded = encode_id(run_id)
        sleeps = is_asleep(header) and (encoded, header.seq) in asleep
        if header.status in _UNFINISHED and (encoded, header.opening) not in marked and not sleeps:
            yield f"run {run_id!r} is {header.status}, and no marker leads to it: nobody would recover it"


def violations(store: Store, *, acknowledged: Mapping[str, bytes], calls: list[Call], sync: bool) -> Iterator[str]:
    """Each thing that is not as it must be, in words.

    Args:
        store: the store as it really is.
        acknowledged: what the processes were told is stored, by key.
        calls: all calls of nodes, in order.
        sync: the durability is ``sync``: a node starts after the commit that opened it.
    """
    for call in calls:
        if call.finished:
            yield f"run {call.run_id!r}: node {call.node!r} had finished, durably, and was called again"
    broken = [f"{found.path}: {found.what}" for found in verify_store(store, None) if found.broken]
    yield from broken
    if broken:
        return  # what is missing in what can't be read is no news
    frames_of = dict(_histories(store))
    yield from _lost(frames_of, acknowledged)
    for run_id, frames in frames_of.items():
        story = story_of(store, run_id, frames)
        for key, times in story.over.items():
            if times > 1:
                yield f"run {run_id!r}: the activation {key} is finished {times} times in its history"
        for call in calls:
            if sync and call.run_id == run_id and call.newest < story.opened.get(call.key, -1):
                yield f"run {run_id!r}: node {call.node!r} was called before the commit that opened it was durable"


def _histories(store: Store) -> Iterator[tuple[str, list[Frame]]]:
    """The chain of each run that can be read and has begun."""
    for encoded in store.run_ids():
        try:
            run_id = store.run_id(encoded)
            frames = [] if run_id is None else store.log(run_id).read(first=0)
        except StoreError:
            continue
        if run_id is not None and frames:
            yield run_id, frames


def _lost(frames_of: Mapping[str, list[Frame]], acknowledged: Mapping[str, bytes]) -> Iterator[str]:
    """What was acknowledged is in the chain, in its place, with these bytes."""
    runs = {log_prefix(encode_id(run_id)): frames for run_id, frames in frames_of.items()}
    for key, data in acknowledged.items():
        folder, _, name = key.rpartition("/")
        seq = checkpoint_seq(name)
        if seq is None:
            continue
        frames = runs.get(f"{folder}/", [])
        if frames and seq < frames[0].header.seq:
            continue  # retention let go of it
        if not any(frame.header.seq == seq and frame.digest == data[-_DIGEST:] for frame in frames):
            yield f"{key}: it was acknowledged, and is not in the history"
