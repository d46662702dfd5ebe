"""Rekeying: a run whole and anew, under the key and in the mode that its store writes in now. Needs no graph.

Nothing is rewritten in place: the run is claimed, and released with a snapshot
of all it is, large values included. From then on nobody needs the old key to
go on with it. What was committed before stays as it was, readable with the old
key, until retention lets go of it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, get_args

from msgspec import Struct

from actorflow.engine.fold import fold
from actorflow.engine.records import Body, Claimed, Released, Status, encode_body
from actorflow.errors import ActorflowError, CommitTooLarge, NoSuchRun, RunError
from actorflow.runtime.claiming import commit_release, near_ids
from actorflow.runtime.large import Joiner, Splitter, references
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import got_up, is_asleep, lying_down, mark_getting_up, next_opening
from actorflow.store.backend import whole
from actorflow.store.deletion import DELETED
from actorflow.store.frames import Draft, Header
from actorflow.store.framing import MAX_BODY

if TYPE_CHECKING:
    from actorflow.runtime.large import Snapshot
    from actorflow.store.log import Tip
    from actorflow.store.store import Store


_MAX_SNAPSHOT = MAX_BODY - 1024  # what else is in a body takes less


class Rekeyed(Struct, frozen=True):
    """What became of the runs of a store."""

    done: tuple[str, ...]
    fresh: tuple[str, ...]  # needed nothing
    left: dict[str, str]  # as they were, and why


def rekey_run(store: Store, run_id: str) -> Header:
    """Write a run anew. Its status and crash count stay what they are; the header of the new commit.

    Raises:
        NoSuchRun: there is no such run.
        RunOwned: a live actor owns it: what that commits is under the key it was started with.
        MissingKey, NotSealed: it can't be read. Nothing was written.
        CommitTooLarge: all of it does not fit into one commit. Nothing was written.
        RunError: it was deleted, or is being imported.
    """
    log = store.log(run_id)
    snapshots: dict[bytes, Snapshot] = {}
    before: dict[bytes, Header] = {}

    def draft_for(tip: Tip | None) -> Draft:
        if tip is None:
            raise NoSuchRun(run_id, near_ids(store, run_id))
        if tip.header.status == DELETED or tip.header.status not in get_args(Status):
            raise RunError(run_id, f"run {run_id!r} is {tip.header.status}: there is no state to write anew")
        # read to its end before anything is written: no claim follows what can't be read (guarantee 7)
        frames, run = reading(log, lambda frames: replay(frames, Joiner(store.blobs(run_id))))
        draft = _claim_draft(store, tip)
        run = fold(run, Claimed(draft.epoch, draft.opening))
        # knows no blob, so that all of them are made again: those that are there are under the old key
        snapshot = Splitter(store.blobs(run_id), epoch=draft.epoch, known={}).dump(run)
        if len(snapshot.data) > _MAX_SNAPSHOT:
            raise CommitTooLarge(frames[-1].path, len(snapshot.data), _MAX_SNAPSHOT)
        snapshots[frames[-1].digest] = snapshot
        before[tip.digest] = tip.header
        mark_getting_up(store, run_id, tip.header)
        return draft

    ownership = log.claim(draft_for, actor=os.urandom(16))
    try:
        header = ownership.header
        got_up(store, run_id, before[header.parent])
        snapshot = snapshots[header.parent]
        store.blobs(run_id).put(snapshot.blobs)
        released = commit_release(ownership, Body((Released(),), snapshot.data), snapshot=True)
        if is_asleep(released):
            whole(lying_down(store, run_id, released))
        return released
    finally:
        ownership.close()


def rekey_store(store: Store) -> Rekeyed:
    """Rekey every run that needs it. One that can't be rekeyed never stops the others; ask again for what was left.

    Runs with large values are always written anew: their files are not opened to see what they are under.
    """
    done: list[str] = []
    fresh: list[str] = []
    left: dict[str, str] = {}
    for encoded in store.run_ids():
        run_id = encoded
        try:
            run_id = store.run_id(encoded) or encoded
            if _is_fresh(store, run_id):
                fresh.append(run_id)
            else:
                rekey_run(store, run_id)
                done.append(run_id)
        except ActorflowError as error:
            left[run_id] = str(error)
    return Rekeyed(tuple(done), tuple(fresh), left)


def _is_fresh(store: Store, run_id: str) -> bool:
    frames = store.log(run_id).read()
    return all(frame.seal == store.sealing.writes and not references(frame.body) for frame in frames)


def _claim_draft(store: Store, tip: Tip) -> Draft:
    header = tip.header
    died = header.kind != "release" and header.owner.incarnation != store.incarnation.name
    opening = next_opening(header)
    return Draft(
        kind="claim",
        epoch=header.epoch + 1,
        status=header.status,
        opening=opening,
        crashes=header.crashes + died,
        file=tip.file,
        body=encode_body(Body((Claimed(header.epoch + 1, opening),))),
        node=header.node,
        tags=header.tags,
        due=header.due,
        marks=header.marks,
    )
