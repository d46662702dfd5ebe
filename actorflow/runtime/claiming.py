"""Claiming: from a run's files to a run that this process may go on with, or a typed reason why not.

Everything here blocks and runs in a worker thread. What this code can't run is
found out before the claim, so that such a process writes nothing (guarantee 9).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import Struct
from msgspec.structs import replace

from actorflow.engine.fold import fold
from actorflow.engine.posting import farewell
from actorflow.engine.records import ENDED, Body, Claimed, Ended, Inherited, Record, Rewound, encode_body
from actorflow.engine.run import RunState
from actorflow.engine.tokens import growth
from actorflow.errors import (
    ActorflowError,
    Blocked,
    ImportUnfinished,
    MigrationError,
    NoSuchRun,
    Quarantined,
    RunDeleted,
    RunExists,
    RunOwned,
    UnknownNode,
    WrongGraph,
)
from actorflow.runtime import clock
from actorflow.runtime.adopt import adopt, check_form, current_part, file_part
from actorflow.runtime.large import BLOB_MIN, Joiner, Known, Splitter
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import got_up, mark_getting_up, next_opening
from actorflow.store.deletion import DELETED, is_tombstone
from actorflow.store.frames import Draft, FilePart
from actorflow.store.keys import decode_id
from actorflow.store.markers import Summary
from actorflow.store.ownership import Ownership
from actorflow.store.transfer import IMPORTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.engine.decision import Decision
    from actorflow.engine.records import Status
    from actorflow.engine.supervision import Under
    from actorflow.graph.graph import Graph
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Frame, Header
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.store import Store


class Limits(Struct, frozen=True):
    """What claiming may take, and how often processes may die with a run."""

    migration_timeout: float  # seconds
    max_crashes: int


class Adopted(Struct, frozen=True):
    """A run that this process owns, as its code understands it."""

    run: RunState
    ownership: Ownership
    file: FilePart
    large: Splitter
    rewound: Rewound | None = None  # it is not as it was read


class Preview(Struct, frozen=True):
    """A run read and adopted before its claim, as of the commit with this digest."""

    digest: bytes
    run: RunState
    known: Known


class EndedMeanwhile(ActorflowError):
    """The run ended after the caller had looked at it. Nothing was written: look again."""


def claiming_run(
    store: Store,
    graph: Graph[Any],
    run_id: str,
    limits: Limits,
    *,
    reopen: int | None,
    preview: Preview | None = None,
    under: Under | None = None,
    may_migrate: bool = True,
) -> Steps[Adopted]:
    """Become the owner of an existing run; in steps, since many are often taken up together.

    Args:
        store: where it is.
        graph: what is to run it.
        run_id: which run.
        limits: see `Limits`.
        reopen: the opening that the caller saw ended, to be taken up again with a fresh budget. An
            end that the caller has not seen stays, since its result may have been told.
        preview: what was adopted already; used if the claim is built on that commit, so
            that a migration runs once.
        under: the supervisor that it is a child of from now on; None: of the one it was.
        may_migrate: whether there is time for a user's code.

    Raises:
        NoSuchRun, RunDeleted, WrongGraph, RunOwned, Blocked, Quarantined, CorruptCheckpoint, EndedMeanwhile
        MustMigrate: it has to be migrated, and may not; nothing was written.
    """
    previews = {} if preview is None else {preview.digest: preview}
    before: dict[bytes, Header] = {}
    log = store.log(run_id)

    def draft_for(tip: Tip | None) -> Draft:
        if tip is None:
            raise NoSuchRun(run_id, near_ids(store, run_id))
        check_graph(graph, log, tip)
        draft = _claim_draft(store, tip, reopen=reopen, under=under)
        if tip.digest not in previews:
            # read to its end before anything is written: no claim follows a damaged commit (guarantee 7)
            read = preview_run(store, graph, log, tip, limits, may_migrate=may_migrate)
            previews[read.digest] = read
        before[tip.digest] = tip.header
        if draft.opening > tip.header.opening:
            # before the claim that opens it, and after all that may refuse it: a refusal writes nothing
            store.markers.put_active(run_id, draft.opening)
        return draft

    ownership = yield from log.claiming(draft_for, actor=os.urandom(16))
    try:
        header = ownership.header
        read = previews[header.parent]
        got_up(store, run_id, before[header.parent])
        run = fold(read.run, _claimed(header.epoch, header.opening, under))
        if header.crashes > limits.max_crashes:
            run = _commit_end(ownership, run, Ended("quarantined"))
            end_markers(store, run, ownership.header)
    except BaseException:
        ownership.close()
        raise
    if run.ended:
        ownership.close()
        raise Quarantined(run_id, ownership.header.crashes)
    large = Splitter(store.blobs(run_id), epoch=header.epoch, known=read.known)
    return Adopted(run, ownership, current_part(graph, ownership.file), large)


def adopted_anew(adopted: Adopted, graph: Graph[Any], limits: Limits) -> Adopted:
    """A run that was just claimed, under code that is newer than the one it was claimed for.

    Raises:
        Blocked: that can't run it; it is not owned any more.
    """
    try:
        run = adopt(graph, adopted.run, adopted.file, time_limit=limits.migration_timeout)
    except (MigrationError, UnknownNode) as error:
        adopted.ownership.close()
        raise Blocked(adopted.run.run_id, str(error)) from error
    return replace(adopted, run=run, file=current_part(graph, adopted.file))


class Tombstone(NamedTuple):
    """What is left of the life of an id that was deleted."""

    tip: Tip
    marks: dict[str, tuple[int, int]]  # of its lanes: what was taken then is not taken again


def creating_run(
    store: Store,
    graph: Graph[Any],
    run_id: str,
    decision: Decision,
    tags: dict[str, str],
    *,
    tombstone: Tombstone | None = None,
    begins: RunState | None = None,
    under: Under | None = None,
    looked: bool = False,
) -> Steps[Adopted]:
    """Make a run durable, and own it; in steps, since many are often begun together.

    Args:
        store: where to.
        graph: what is to run it.
        run_id: its id.
        decision: the spawn.
        tags: kept in every header.
        tombstone: of the id's life before, whose openings, epochs and marks this one continues.
        begins: for a fork, the run before those records, which its first commit carries in full.
        under: the supervisor that it is a child of.
        looked: the caller has just found that there is no such run, or made up the id; whoever was faster is noticed.

    Raises:
        RunExists: the id is taken.
        RunDeleted: it was, and is not to be used again.
        BadRunId: it can't be one.
    """
    log = store.log(run_id)
    tip = None if looked else log.tip()
    if tip is not None:
        _check_reuse(tip, tombstone)
    run, records, marks = decision.run, list(decision.records), b""
    if tombstone is not None:
        before = tombstone.tip.header
        goes_on = (_claimed(before.epoch + 1, before.opening + 1, under), Inherited(tombstone.marks))
        for record in goes_on:
            run = fold(run, record)
        records += goes_on
        marks = before.marks
    elif under is not None:
        records.append(_claimed(run.epoch, run.opening, under))
        run = fold(run, records[-1])
    file = file_part(graph, run_id=run_id, life=run.life, store=store.uuid)
    yield from store.markers.putting_active(run_id, run.opening)
    large = Splitter(store.blobs(run_id), epoch=run.epoch, known={})
    snapshot = None
    if begins is not None:
        dumped = large.dump(begins)
        large.blobs.put(dumped.blobs)
        large.sealed(dumped)
        snapshot = dumped.data
    body = encode_body(Body(tuple(records), snapshot))
    if len(body) - len(snapshot or b"") >= BLOB_MIN:
        records, blobs = large.records(records)
        body = encode_body(Body(tuple(records), snapshot))
        large.blobs.put(blobs)

    def draft_for(tip: Tip | None) -> Draft:
        if tip is not None:
            _check_reuse(tip, tombstone)
        return Draft(
            kind="claim",
            epoch=run.epoch,
            status=run.standing,
            opening=run.opening,
            crashes=0,
            file=file,
            body=body,
            snapshot=tombstone is not None or begins is not None,
            node=run.last_node,
            tags=tags,
            marks=marks,
        )

    try:
        ownership = yield from log.claiming(draft_for, actor=os.urandom(16), new=tip is None)
    except RunOwned as error:  # whoever was faster lives, and has it
        raise RunExists(run_id) from error
    return Adopted(run, ownership, file, large)


def end_unowned(
    store: Store, run_id: str, status: Status, by: str | None, *, before: Callable[[], object] | None = None
) -> RunState:
    """End a run that no live actor owns: claim it, and commit how it ended. Needs no graph. The run as it ended.

    Args:
        store: where it is.
        run_id: which run.
        status: how it ends.
        by: who wants it.
        before: called between the two, while nobody can go on with the run, which goes on elsewhere then: nobody is
            told that it ended. If this raises, the run stays unfinished.

    Raises:
        NoSuchRun: there is no such run.
        RunOwned: a live actor owns it.
        EndedMeanwhile: it has ended.
    """
    log = store.log(run_id)
    tips: dict[bytes, Header] = {}

    def draft_for(tip: Tip | None) -> Draft:
        if tip is None:
            raise NoSuchRun(run_id, near_ids(store, run_id))
        draft = _claim_draft(store, tip, reopen=None)
        # no claim follows a damaged commit (guarantee 7)
        reading(log, lambda frames: replay(frames, Joiner(store.blobs(run_id))))
        tips[tip.digest] = tip.header
        mark_getting_up(store, run_id, tip.header)
        return draft

    ownership = log.claim(draft_for, actor=os.urandom(16))
    try:
        got_up(store, run_id, tips[ownership.header.parent])
        if before is not None:
            before()
        run = replay(ownership.load(), Joiner(store.blobs(run_id)))
        run = _commit_end(ownership, run, Ended(status, by), tells=before is None)
        end_markers(store, run, ownership.header)
        return run
    finally:
        ownership.close()


def check_there(tip: Tip) -> None:
    """Refuse a run that was deleted.

    Raises:
        RunDeleted: naming it.
    """
    if tip.header.status == DELETED:
        raise RunDeleted(tip.file.run_id)


def _check_reuse(tip: Tip, tombstone: Tombstone | None) -> None:
    """A new life of an id begins on the tombstone that its spawner saw, and on nothing else."""
    if tombstone is None:
        check_there(tip)
    if tombstone is None or not is_tombstone(tip.header) or tip.digest != tombstone.tip.digest:
        raise RunExists(tip.file.run_id)


def check_graph(graph: Graph[Any], log: RunLog, tip: Tip) -> None:
    """Refuse a run of another graph.

    Raises:
        WrongGraph: naming both.
    """
    if tip.file.graph != graph.name:
        raise WrongGraph(log.run_id, tip.file.graph, graph.name)


def preview_run(
    store: Store, graph: Graph[Any], log: RunLog, tip: Tip, limits: Limits, *, may_migrate: bool = True
) -> Preview:
    """Read a run and adopt it, without a claim.

    Raises:
        Blocked: this code can't run it; `__cause__` says why: a newer schema, no migration, an unknown node.
    """

    def read(frames: list[Frame]) -> tuple[RunState, Known]:
        joiner = Joiner(store.blobs(log.run_id))
        return replay(frames, joiner), joiner.known

    try:
        check_form(graph, tip.file)  # what its header says already is not read for
    except MigrationError as error:
        raise Blocked(log.run_id, str(error)) from error
    frames, (run, known) = reading(log, read, tip=tip)
    try:
        run = adopt(graph, run, tip.file, time_limit=limits.migration_timeout if may_migrate else None)
    except (MigrationError, UnknownNode) as error:
        raise Blocked(log.run_id, str(error)) from error
    return Preview(frames[-1].digest, run, known)


def nodes_to_start(graph: Graph[Any], preview: Preview) -> tuple[str, ...]:
    """The nodes that a resume would start: those that are open, and those that parked tokens would go on to."""
    run = preview.run
    still_open = tuple(activation.node for activation in run.open.values())
    return still_open + growth(graph.plan, run)


def near_ids(store: Store, run_id: str) -> list[str]:
    """Ids of this store that look like a misspelt one."""
    known = [summary.run_id for summary in store.markers.ended()] + [
        name for encoded in store.markers.unfinished() if (name := decode_id(encoded)) is not None
    ]
    import difflib  # only a mistake needs it

    return difflib.get_close_matches(run_id, [name for name in known if name != run_id], n=3)


def end_markers(store: Store, run: RunState, header: Header) -> None:
    """What follows the commit that ended a run: its summary for listings, and nothing left to recover.

    One that has sent what others do not have yet is still to be looked after: the dispatcher removes its marker then.
    """
    store.markers.put_ended(
        Summary(
            run_id=run.run_id,
            graph=run.graph,
            status=run.status,
            opening=run.opening,
            seq=header.seq,
            node=run.last_node,
            ended=header.time,
            tags=header.tags,
        )
    )
    if not run.mail.outbox:
        store.markers.drop_active(run.run_id, run.opening)


def commit_release(ownership: Ownership, body: Body, *, snapshot: bool = False) -> Header:
    """Let go of a run with one more commit, under the header that the claim had; the commit's own."""
    header = ownership.header
    return ownership.commit(
        Draft(
            kind="release",
            epoch=header.epoch,
            status=header.status,
            opening=header.opening,
            crashes=header.crashes,
            file=ownership.file,
            body=encode_body(body),
            snapshot=snapshot,
            node=header.node,
            tags=header.tags,
            due=header.due,
            marks=header.marks,
        )
    )


def _claimed(epoch: int, opening: int, under: Under | None) -> Claimed:
    if under is None:
        return Claimed(epoch, opening)
    return Claimed(epoch, opening, under.path, under.restart)


def _claim_draft(store: Store, tip: Tip, *, reopen: int | None, under: Under | None = None) -> Draft:
    header = tip.header
    check_there(tip)
    if header.status == IMPORTING:
        raise ImportUnfinished(tip.file.run_id, header.owner.host, header.owner.pid)
    reopened = header.status in ENDED
    if reopened and header.opening != reopen:
        raise EndedMeanwhile(f"run {tip.file.run_id!r} is {header.status} by now")
    opening = header.opening + 1 if reopened else next_opening(header)
    # a restart inside this process is counted by its supervisor, not as the death of a process
    died = header.kind != "release" and header.owner.incarnation != store.incarnation.name
    return Draft(
        kind="claim",
        epoch=header.epoch + 1,
        status="running" if reopened else header.status,
        opening=opening,
        crashes=0 if reopened else header.crashes + died,
        file=tip.file,
        body=encode_body(Body((_claimed(header.epoch + 1, opening, under),))),
        node=header.node,
        tags=header.tags,
        marks=header.marks,
    )


def _commit_end(ownership: Ownership, run: RunState, ended: Ended, *, tells: bool = True) -> RunState:
    """Commit that a run is over, and (unless nobody is to be told) what it leaves behind it; the run then."""
    records: list[Record] = [ended]
    run = fold(run, ended)
    for record in farewell(run, now=clock.now()) if tells else ():
        run = fold(run, record)
        records.append(record)
    header = ownership.header
    ownership.commit(
        Draft(
            kind="release",
            epoch=header.epoch,
            status=run.status,
            opening=header.opening,
            crashes=header.crashes,
            file=ownership.file,
            body=encode_body(Body(tuple(records))),
            node=header.node,
            tags=header.tags,
            marks=header.marks,
        )
    )
    return run
