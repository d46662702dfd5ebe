"""Inspection: everything of a store looked at, and said what is not as it should be. Blocking.

Chains, bodies and large values of each run; then what leads to runs: active
markers and summaries, which are an index and can be put right from the
commits at any time; then what the dead have left. Only the index is ever
repaired here, and only when asked. A run that lives may change while it is
looked at: what looks wrong of it is looked at again before it is told.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple, get_args

from msgspec.structs import replace

from actorflow.engine.records import ENDED, Status
from actorflow.errors import CorruptCheckpoint, MissingExtra, MissingKey, NoSuchRun, StoreError
from actorflow.runtime.claiming import near_ids
from actorflow.runtime.deletion import delete_run
from actorflow.runtime.large import Joiner, referenced, references
from actorflow.runtime.listing import log_of
from actorflow.runtime.repair import NAMED
from actorflow.runtime.replay import reading, replay
from actorflow.runtime.sleeping import is_asleep
from actorflow.store.damage import find_damage
from actorflow.store.deletion import DELETED
from actorflow.store.keys import active_key, asleep_key, encode_id, log_prefix
from actorflow.store.liveness import LocalIncarnation
from actorflow.store.markers import summary_of
from actorflow.store.strays import stray_letters, strays_of
from actorflow.store.transfer import IMPORTING
from actorflow.store.verify import UNSEALED, Finding, verify_run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.blobs import Ref
    from actorflow.store.frames import Header
    from actorflow.store.log import RunLog, Tip
    from actorflow.store.store import Store


class _Index:
    """What leads to runs, as of one look."""

    def __init__(self, store: Store) -> None:
        # asleep first: whoever gets up meanwhile has its active marker by then
        self.asleep = {(sleeper.run, sleeper.seq) for sleeper in store.markers.asleep()}
        self.active = set(store.markers.active())
        self.ended = {(encode_id(one.run_id), one.opening) for one in store.markers.ended()}


class _Found(NamedTuple):
    """A finding, and what puts it right."""

    finding: Finding
    mend: Callable[[], object] | None = None


def verify_store(store: Store, run_id: str | None, *, repair: bool = False) -> list[Finding]:
    """What is wrong or odd about one run, or about a whole store.

    Args:
        store: where to look.
        run_id: only this one.
        repair: put right what can be put right without deciding anything: see `Finding`.

    Raises:
        NoSuchRun: there is no run of this id.
    """
    if run_id is None:
        found = _of_store(store)
    else:
        if encode_id(run_id) not in store.run_ids():
            raise NoSuchRun(run_id, near_ids(store, run_id))
        found = _of_run(store, store.log(run_id), _Index(store))
    return [_mended(one) if repair else one.finding for one in found]


def _mended(found: _Found) -> Finding:
    if found.mend is None:
        return found.finding
    found.mend()
    return replace(found.finding, repaired=True)


def _of_store(store: Store) -> Iterator[_Found]:
    yield from _lost_summaries(store)  # first, since repair may put one under the name of another that can't be read
    index = _Index(store)
    for encoded in store.run_ids():
        try:
            run_id = store.run_id(encoded)
        except CorruptCheckpoint as error:
            yield _Found(_broken(error, "restore this file from a backup; until then the run stays as it is"))
            continue
        if run_id is not None:
            yield from _of_run(store, store.log(run_id), index)
    yield from _lost_markers(store)
    yield from _old_sleeps(store)
    yield from map(_Found, stray_letters(store))
    yield from _litter(store)


# -- one run ----------------------------------------------------------------------


def _of_run(store: Store, log: RunLog, index: _Index) -> Iterator[_Found]:
    try:
        yield from _looked_at(store, log, index)
    except (MissingKey, MissingExtra) as error:
        remedy = "look again where the key and the library are; nothing is known to be damaged"
        yield _Found(Finding(path=error.path, what=str(error), remedy=remedy, broken=True))


def _looked_at(store: Store, log: RunLog, index: _Index) -> Iterator[_Found]:
    findings = verify_run(log)
    if any(finding.broken for finding in findings):
        for finding in findings:
            damaged = finding.broken and finding.remedy != UNSEALED
            yield _Found(replace(finding, remedy=_way_out(store, log.run_id)) if damaged else finding)
        return
    for finding in findings:
        yield _Found(finding)
    tip = log.tip()
    if tip is None:
        remedy = "none needed: a run was begun here, or deleted, and what is left holds no commit"
        yield _Found(Finding(path=log_prefix(log.encoded), what="files of a run without a commit", remedy=remedy))
        return
    if tip.header.status == IMPORTING:
        remedy = "import the run again, which finishes it; nobody goes on with it before"
        yield _Found(Finding(path=tip.path, what="its import has not ended", remedy=remedy))
        return
    yield from _of_bodies(store, log, tip)
    yield from _of_markers(store, log, tip, index)


def _way_out(store: Store, run_id: str) -> str:
    """What to do about a run that can't be read."""
    try:
        damage = find_damage(store, run_id)
    except StoreError as error:
        return f"make it readable here, nothing is known to be damaged: {error}"
    if damage is None:
        return "restore this file from a backup; the run goes on without it, only its history can't be told"
    if not damage.good:
        return "restore this file from a backup; until then the run stays as it is"
    return (
        f"restore this file from a backup; or give up for good what came after commit {damage.good[-1].header.seq}: "
        f"repair with --skip {damage.digest.hex()[:NAMED]}"
    )


def _of_bodies(store: Store, log: RunLog, tip: Tip) -> Iterator[_Found]:
    """Large values that commits refer to, and those that none does; and whether it makes a run at all."""
    remedy = "restore this file from a backup; until then the run stays as it is"
    blobs = store.blobs(log.run_id)
    names = blobs.names()
    needed: dict[str, Ref] = {}
    chain = log.read(first=0)
    yield from map(_Found, strays_of(log, chain))
    for frame in chain:
        needed |= references(frame.body)
    for ref in needed.values():
        try:
            blobs.get([ref])
        except CorruptCheckpoint as error:
            if ref.name in referenced(log.read(first=0)):  # not let go of meanwhile
                yield _Found(_broken(error, remedy))
    try:
        reading(log, lambda frames: replay(frames, Joiner(blobs)))
    except CorruptCheckpoint as error:
        if not error.path.startswith(blobs.path("")):
            yield _Found(_broken(error, remedy))
    if log.is_owned(tip.header) is not True:  # a live owner puts them before the commit that refers to them
        for name in sorted(set(names) - set(needed)):
            what = "a large value that no commit refers to"
            yield _Found(Finding(path=blobs.path(name), what=what, remedy="none needed: the next owner clears it away"))


def _of_markers(store: Store, log: RunLog, tip: Tip, index: _Index) -> Iterator[_Found]:
    header = tip.header
    run = (log.encoded, header.opening)
    if header.status == DELETED:
        yield from _of_deletion(store, log, header, index)
        return
    if header.status not in get_args(Status) or _is_right(tip, run, index):
        return
    index = _Index(store)
    again = log.tip()
    if again is None or again.digest != tip.digest or _is_right(tip, run, index):
        return  # it has moved on meanwhile
    marked, indexed = run in index.active, run in index.ended
    marker = active_key(log.encoded, header.opening)
    if header.status not in ENDED and not marked:
        finding = Finding(
            path=marker,
            what=f"run {log.run_id!r} is {header.status}, and no marker leads to it: nobody recovers it",
            remedy="repair puts the marker",
            repairable=True,
        )
        yield _Found(finding, lambda: store.markers.put_active(log.run_id, header.opening))
    elif header.status in ENDED and not indexed and not marked:
        finding = Finding(
            path=f"ended/ of {log.run_id!r}",
            what=f"run {log.run_id!r} is {header.status}, and not in the index: no listing shows it",
            remedy="repair puts its summary",
            repairable=True,
        )
        yield _Found(finding, lambda: store.markers.put_ended(summary_of(tip)))
    elif header.status in ENDED and marked and log.is_owned(header) is False:
        finding = Finding(
            path=marker,
            what=f"run {log.run_id!r} is {header.status}, and a marker still leads to it",
            remedy="none needed: the next look for orphaned runs takes it away, and so does repair",
            repairable=True,
        )
        yield _Found(finding, lambda: _finish(store, tip, indexed=indexed))


def _of_deletion(store: Store, log: RunLog, header: Header, index: _Index) -> Iterator[_Found]:
    cut_off = (log.encoded, header.opening) in index.active or header.kind != "release"
    if cut_off and log.is_owned(header) is False:
        finding = Finding(
            path=active_key(log.encoded, header.opening),
            what=f"the deletion of run {log.run_id!r} was cut off",
            remedy="none needed: the next look for orphaned runs finishes it, and so does repair",
            repairable=True,
        )
        yield _Found(finding, lambda: delete_run(store, log.run_id, by=None))
    elif any(encoded == log.encoded for encoded, _ in index.ended):
        finding = Finding(
            path=f"ended/ of {log.run_id!r}",
            what=f"run {log.run_id!r} was deleted, and listings still show it: whoever ended it put its summary late",
            remedy="none needed: gc takes it away, and so does repair",
            repairable=True,
        )
        yield _Found(finding, lambda: delete_run(store, log.run_id, by=None))


def _is_right(tip: Tip, run: tuple[str, int], index: _Index) -> bool:
    """Whether a marker leads to the run if it is unfinished, and only a summary if it has ended."""
    if tip.header.status in ENDED:
        return run not in index.active and run in index.ended
    return run in index.active or (is_asleep(tip.header) and (run[0], tip.header.seq) in index.asleep)


def _finish(store: Store, tip: Tip, *, indexed: bool) -> None:
    """What the owner that ended the run would have done next."""
    if not indexed:
        store.markers.put_ended(summary_of(tip))
    store.markers.drop_active(tip.file.run_id, tip.header.opening)


# -- what leads to runs -------------------------------------------------------------


def _lost_markers(store: Store) -> Iterator[_Found]:
    """Markers of openings that were never committed, or that are over."""
    for encoded, opening in store.markers.active():
        try:
            run_id = store.run_id(encoded)
            tip = None if run_id is None else store.log(run_id).tip()
        except StoreError:
            continue  # told with the run
        path = active_key(encoded, opening)
        if tip is None or tip.header.opening < opening:
            remedy = "none needed: what was to follow it was cut off, and nobody was told that it had begun"
            yield _Found(Finding(path=path, what=f"opening {opening} was never committed", remedy=remedy))
        elif tip.header.opening > opening:
            finding = Finding(
                path=path,
                what=f"opening {opening} is over, the run is at opening {tip.header.opening}",
                remedy="none needed: the next look for orphaned runs takes it away, and so does repair",
                repairable=True,
            )
            drop = _drop(store, tip.file.run_id, opening)
            yield _Found(finding, drop)


def _drop(store: Store, run_id: str, opening: int) -> Callable[[], object]:
    return lambda: store.markers.drop_active(run_id, opening)


def _old_sleeps(store: Store) -> Iterator[_Found]:
    """Asleep markers of runs that have got up since."""
    for sleeper in store.markers.asleep():
        try:
            log = log_of(store, sleeper.run)
            tip = None if log is None else log.tip()
        except StoreError:
            continue  # told with the run
        if tip is not None and tip.header.seq > sleeper.seq:
            finding = Finding(
                path=asleep_key(sleeper),
                what=f"run {tip.file.run_id!r} has got up since commit {sleeper.seq}, and a marker says that it sleeps",
                remedy="none needed: whoever looks for what is due takes it away, and so do gc and repair",
                repairable=True,
            )
            yield _Found(finding, partial(store.markers.drop_asleep, [sleeper]))


def _lost_summaries(store: Store) -> Iterator[_Found]:
    """Entries of the index that can't be read, or that lead nowhere."""
    known = set(store.run_ids())
    for key, encoded, readable in store.markers.entries():
        if readable and encoded in known:
            continue
        what = "a summary of a run that is not there" if readable else "a summary that can't be read"
        remedy = "repair takes it away; what it said is in the commits"
        yield _Found(Finding(path=key, what=what, remedy=remedy, repairable=True), _delete(store, key))


def _delete(store: Store, key: str) -> Callable[[], object]:
    return lambda: store.backend.delete([key])


def _litter(store: Store) -> Iterator[_Found]:
    """Temporary files of processes that died while they wrote."""
    incarnation = store.incarnation
    if isinstance(incarnation, LocalIncarnation):
        for name in incarnation.litter():
            what = "a temporary file of a process that is gone"
            remedy = "none needed: whoever opens the store next to write takes it away, and so does repair"
            yield _Found(Finding(path=name, what=what, remedy=remedy, repairable=True), _delete(store, name))


def _broken(error: CorruptCheckpoint, remedy: str) -> Finding:
    return Finding(path=error.path, what=error.reason, remedy=remedy, broken=True)
