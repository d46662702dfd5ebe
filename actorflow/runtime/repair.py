"""Repair: a run goes on from before a damaged commit, because somebody said so by naming the damage.

The damaged file stays, and so does everything after it. A new commit, above
all numbers that are there, holds the run as it was before the damage and says
what it skips. It is a release: whoever wants to may go on. Blocking.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from actorflow.engine.fold import fold
from actorflow.engine.records import ENDED, Body, Claimed, Repaired, encode_body
from actorflow.errors import NoSuchRun, RunError, RunOwned
from actorflow.runtime.claiming import near_ids
from actorflow.runtime.large import Joiner, Splitter
from actorflow.runtime.replay import replay
from actorflow.store.damage import find_damage
from actorflow.store.keys import checkpoint_name, encode_id, floor_name, log_prefix
from actorflow.store.liveness import LocalIncarnation
from actorflow.store.object_log import put_or_settle
from actorflow.store.placing import Placing, derived_nonce
from actorflow.store.stubs import encode_stub, stub_of

if TYPE_CHECKING:
    from actorflow.engine.run import RunState
    from actorflow.store.damage import Damage
    from actorflow.store.frames import Header
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store

NAMED = 12
"""Hex digits of a digest that name a damaged file well enough."""


def repair_run(store: Store, run_id: str, *, skip: str, by: str | None) -> int:
    """Let a run go on from the last commit before its damage; the number of the commit that says so.

    Args:
        store: where it is.
        run_id: which run.
        skip: the digest of the damaged file in hex, or its first twelve digits, as `verify` shows it.
        by: who decided, for the history.

    Raises:
        NoSuchRun: there is no such run.
        RunError: nothing keeps the run from being read, or it is another file, or nothing before the damage is left.
        RunOwned: a live actor owns it, or may.
    """
    log = store.log(run_id)
    if encode_id(run_id) not in store.run_ids():
        raise NoSuchRun(run_id, near_ids(store, run_id))
    with store.incarnation.working():
        store.incarnation.take()
        if not store.incarnation.hold(log.encoded):
            raise _owned(store, run_id)
        try:
            return _repair(store, log, _named(store, run_id, skip), by)
        finally:
            store.incarnation.drop(log.encoded)


def _named(store: Store, run_id: str, skip: str) -> Damage:
    damage = find_damage(store, run_id)
    if damage is None:
        raise RunError(run_id, f"nothing keeps run {run_id!r} from being read; there is nothing to repair")
    if len(skip) < NAMED or not damage.digest.hex().startswith(skip.lower()):
        raise RunError(
            run_id,
            f"the file of run {run_id!r} that can't be read, {damage.key}, has the digest "
            f"{damage.digest.hex()}, not {skip!r}; nothing was written",
        )
    if not damage.good:
        raise RunError(run_id, f"nothing of run {run_id!r} before {damage.key} is left; restore it from a backup")
    return damage


def _repair(store: Store, log: RunLog, damage: Damage, by: str | None) -> int:
    _check_unowned(store, log, damage)
    newest = damage.good[-1]
    seq = _number(log, damage)
    joiner = Joiner(store.blobs(log.run_id))
    run = fold(replay(damage.good, joiner), Claimed(damage.epoch + 1, damage.opening))
    snapshot = Splitter(store.blobs(log.run_id), epoch=run.epoch, known=joiner.known).dump(run)
    skipped = newest.header.seq + 1, max(newest.header.seq + 1, damage.last)
    record = Repaired(newest.header.seq, newest.digest, skipped, damage.digest, by)
    header = _header(store, damage, run, seq)
    store.blobs(log.run_id).put(snapshot.blobs)
    if run.status not in ENDED:
        store.markers.put_active(log.run_id, run.opening)
    prefix = log_prefix(log.encoded)
    if log.appends and seq > newest.header.seq + 1 and damage.stub is None:
        stub = replace(stub_of([newest]), first=replace(newest.header, seq=seq - 1))
        put_or_settle(store.backend, prefix + checkpoint_name(seq - 1), encode_stub(stub))
    body = encode_body(Body((record,), snapshot.data))
    Placing(store, log.run_id, parent=newest.digest).put(newest.file, [(header, body)])
    if not log.appends:
        store.backend.put_new(prefix + floor_name(seq), b"")
    return seq


def _number(log: RunLog, damage: Damage) -> int:
    """The number of the new commit, above all that count.

    Where the damage is in the file that grew last, the next number will do: a file that begins with it
    supersedes the rest. Elsewhere a stub, or a floor, says that the history begins with it.
    """
    after = damage.good[-1].header.seq + 1
    if damage.stub is not None:
        return damage.stub + 1
    if not log.appends:
        return damage.last + 1
    return after if after > damage.newest_file else damage.last + 2


def _header(store: Store, damage: Damage, run: RunState, seq: int) -> Header:
    return replace(
        damage.good[-1].header,
        kind="release",
        seq=seq,
        epoch=run.epoch,
        nonce=derived_nonce(damage.good[-1].digest, damage.digest, seq.to_bytes(8)),
        owner=store.owner(os.urandom(16)),
        crashes=0,
        opening=run.opening,
        status=run.status,
        due=None,
        snapshot=seq,
        time=time.time(),
    )


def _check_unowned(store: Store, log: RunLog, damage: Damage) -> None:
    """The owner is the one that the newest readable commit names, or one that nobody can name any more."""
    if damage.newest is not None and log.is_owned(damage.newest) is not False:
        owner = damage.newest.owner
        raise RunOwned(log.run_id, owner.host, owner.pid, here=log.is_owned(damage.newest) is True)
    # An owner whose claim can't be read is fenced by the number on the object log. On the append log only locks fence.
    unknown = damage.newest is None or damage.newest.seq < damage.newest_file
    if unknown and isinstance(store.incarnation, LocalIncarnation) and store.incarnation.others():
        raise RunError(
            log.run_id,
            f"another process has {store.url} open, and who owns run {log.run_id!r} can't be read any more; "
            "end all others first",
        )


def _owned(store: Store, run_id: str) -> RunOwned:
    owner = store.owner(b"")
    return RunOwned(run_id, owner.host, owner.pid)
