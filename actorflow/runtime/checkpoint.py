"""Checkpoint: a run as of one commit, or of one record inside it. What history is a list of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from msgspec import Struct

from actorflow.engine.records import (
    Attempted,
    Claimed,
    Ended,
    ErrorInfo,
    Failed,
    Finished,
    Imported,
    Merged,
    Offered,
    Released,
    Repaired,
    Spawned,
)
from actorflow.errors import RunError
from actorflow.graph.graph import Graph
from actorflow.graph.state import State
from actorflow.runtime.adopt import read_state
from actorflow.runtime.replay import Moment
from actorflow.store.frames import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from actorflow.engine.records import Record

S_co = TypeVar("S_co", bound=State, covariant=True)

_KINDS: dict[type[Any], str] = {
    Spawned: "spawned",
    Claimed: "claimed",
    Released: "released",
    Finished: "finished",
    Merged: "merged",
    Attempted: "attempted",
    Offered: "offered",
    Failed: "failed",
    Ended: "ended",
    Imported: "imported",
    Repaired: "repaired",
}


class Checkpoint(Struct, Generic[S_co], frozen=True):
    """A run as of one record. ``seq`` addresses the commit, ``record`` the record inside it.

    ``kind`` says what the record was: spawned, claimed, finished (a node),
    merged, attempted, offered, failed, ended, released, imported or repaired. ``values`` are plain
    data in the schema they were saved in; `state` is typed and migrated.
    """

    run_id: str
    seq: int
    record: int
    kind: str
    node: str | None
    status: str
    frontier: tuple[str, ...]
    values: dict[str, Any]
    writes: tuple[str, ...]  # fields that the record changed
    took: float | None  # seconds, of the node's attempt that succeeded
    error: ErrorInfo | None
    time: float  # seconds since 1970, when it was committed; for people
    epoch: int
    opening: int
    owner: Owner
    schema: str
    version: int | str | None
    size: int  # bytes of the frame
    tags: dict[str, str]
    _graph: Graph[Any] | None
    _moment: Moment
    _time_limit: float

    @property
    def state(self) -> S_co:
        """The typed state, migrated to the code's version if it is an older one.

        Raises:
            RunError: the handle knows no graph; ``rt.register(graph)`` tells it.
            MigrationError: the saved version can't be brought to the code's.
        """
        if self._graph is None:
            msg = f"the graph of run {self.run_id!r} is not registered here; register it, or use `values`"
            raise RunError(self.run_id, msg)
        state = read_state(self._graph, self._moment.values, self._moment.frame.file, time_limit=self._time_limit)
        return cast("S_co", state)  # the handle's type is its graph's


def checkpoints(moments: Iterable[Moment], graph: Graph[Any] | None, *, time_limit: float) -> Iterator[Checkpoint[Any]]:
    """The checkpoints of a history, oldest first: one for each activation that finished, and for each other commit.

    In a commit that ends with a record without node (the run ended, or
    failed), the last activation's checkpoint stands for both and shows the
    final status and the error.
    """
    group: list[Moment] = []
    for moment in moments:
        group.append(moment)
        if moment.last:
            shown = list(_shown(group)) or group[-1:]
            for one in shown:
                end = group[-1] if one is shown[-1] else one
                yield _checkpoint(one, graph, end=end, writes=_writes(one.record, group), limit=time_limit)
            group = []


def _shown(group: Iterable[Moment]) -> Iterator[Moment]:
    """The activations that finished in a commit, and those whose update went in although their routing failed."""
    routed = {one.record.id for one in group if isinstance(one.record, Finished)}
    for one in group:
        if isinstance(one.record, Finished) or (isinstance(one.record, Merged) and one.record.id not in routed):
            yield one


def _writes(shown: Record, group: Iterable[Moment]) -> tuple[str, ...]:
    """The fields that an activation changed: its update, if branches follow it, is a record of its own."""
    records = [one.record for one in group if isinstance(one.record, Merged | Finished)]
    operations = [
        operation
        for record in records
        if record is shown or (isinstance(shown, Finished) and record.id == shown.id)
        for operation in record.operations
    ]
    return tuple(dict.fromkeys(operation.field for operation in operations))


def _checkpoint(
    moment: Moment, graph: Graph[Any] | None, *, end: Moment, writes: tuple[str, ...], limit: float
) -> Checkpoint[Any]:
    frame, header, record = moment.frame, moment.frame.header, moment.record
    return Checkpoint(
        run_id=frame.file.run_id,
        seq=header.seq,
        record=moment.index,
        kind=_KINDS[type(record)],
        node=moment.node,
        status=end.status,
        frontier=moment.frontier,
        values=moment.plain(),
        writes=writes,
        took=record.took if isinstance(record, Finished | Merged) else None,
        error=end.record.error if isinstance(end.record, Failed | Attempted) else None,
        time=header.time,
        epoch=header.epoch,
        opening=header.opening,
        owner=header.owner,
        schema=frame.file.schema,
        version=frame.file.version,
        size=frame.size,
        tags=header.tags,
        _graph=graph,
        _moment=moment,
        _time_limit=limit,
    )
