"""Listing: the runs of a store. Blocking; reads headers, not states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.engine.records import ENDED
from actorflow.errors import StoreError
from actorflow.store.deletion import DELETED
from actorflow.store.keys import decode_id

if TYPE_CHECKING:
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store


class RunInfo(Struct, frozen=True):
    """What a listing says of a run: the newest header, in short. A damaged run is listed as ``corrupt``."""

    id: str
    graph: str
    status: str
    node: str | None  # the last one that finished
    seq: int
    opening: int
    updated: float  # seconds since 1970
    tags: dict[str, str]
    error: str | None = None
    owned: bool | None = False  # whether a live actor has it, here or elsewhere; None: that can't be known


def list_runs(store: Store) -> list[RunInfo]:
    """Every run that a marker leads to, the most recently changed first."""
    found: dict[str, RunInfo] = {
        summary.run_id: RunInfo(
            summary.run_id,
            summary.graph,
            summary.status,
            summary.node,
            summary.seq,
            summary.opening,
            summary.ended,
            summary.tags,
        )
        for summary in store.markers.ended()
    }
    for encoded in store.markers.unfinished():
        info = _look(store, encoded)
        if info is not None:
            found[info.id] = info
    return sorted(found.values(), key=lambda info: info.updated, reverse=True)


def log_of(store: Store, encoded: str) -> RunLog | None:
    """The log of a run by its name in keys; None: there is no such run."""
    run_id = store.run_id(encoded)
    return None if run_id is None else store.log(run_id)


def _look(store: Store, encoded: str) -> RunInfo | None:
    try:
        log = log_of(store, encoded)
        tip = None if log is None else log.tip()
    except StoreError as error:
        name = decode_id(encoded) or encoded
        return RunInfo(name, "?", "corrupt", None, 0, 0, 0.0, {}, str(error))
    if log is None or tip is None or tip.header.status == DELETED:
        return None
    header = tip.header
    return RunInfo(
        tip.file.run_id,
        tip.file.graph,
        header.status,
        header.node,
        header.seq,
        header.opening,
        header.time,
        header.tags,
        owned=header.status not in ENDED and log.is_owned(header),
    )
