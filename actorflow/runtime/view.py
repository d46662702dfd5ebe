"""View: a run as it was after one record of one commit: state, frontier, waits, and what was written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from msgspec import Struct

from actorflow.engine.operations import Operation
from actorflow.engine.records import Attempted, ErrorInfo, Failed, Finished, Merged, Repaired
from actorflow.errors import RunError
from actorflow.graph.graph import Graph
from actorflow.graph.state import State
from actorflow.runtime.adopt import read_state
from actorflow.runtime.checkpoint import parent_of
from actorflow.runtime.replay import Moment, Opened, finishes
from actorflow.store.frames import Owner
from actorflow.store.transfer import tags_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from actorflow.engine.records import Record

S_co = TypeVar("S_co", bound=State, covariant=True)


class View(Struct, Generic[S_co], frozen=True):
    """A run as of one record. ``seq`` addresses the commit, ``record`` the record inside it.

    ``kind`` is what happened: spawned, claimed, finished (a node), merged,
    attempted, offered, failed, ended, released, imported or repaired.
    """

    run_id: str
    seq: int
    record: int
    parent: int | None  # the commit that this one was built on; None: the run began with it
    kind: str
    node: str | None  # that finished
    scope: str  # the path of the scope where that was, and whose fields were written; "" is the root
    status: str
    open: tuple[Opened, ...]  # the activations that are open: the frontier
    writes: dict[str, tuple[Operation, ...]]  # what the record changed, by field
    took: float | None  # seconds, of the node's attempt that succeeded
    cached: bool  # the node was not called: what it returns was known
    error: ErrorInfo | None
    by: str | None  # who asked for it, where that was said
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
    def frontier(self) -> tuple[str, ...]:
        """The nodes of the activations that are open, oldest first."""
        return tuple(one.node for one in self.open)

    @property
    def waits(self) -> tuple[Opened, ...]:
        """The open activations that wait: for an answer, for a time, or for their turn."""
        return tuple(one for one in self.open if one.waits)

    @property
    def values(self) -> dict[str, Any]:
        """The state as plain data, in the schema that it was saved in: a dict of the caller's own."""
        return self._moment.plain()

    @property
    def inside(self) -> dict[str, dict[str, Any]]:
        """The states inside the run's, by the path of their scopes, as plain data in dicts of the caller's own.

        Of the subgraphs and items that were open, each as an activation in `open` names its scope, and of
        subgraphs whose state is kept for the next visit.
        """
        return {path: self._moment.plain(path) for path in self._moment.inside}

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


def views(moments: Iterable[Moment], graph: Graph[Any] | None, *, time_limit: float) -> Iterator[View[Any]]:
    """What a history shows, oldest first: each activation that finished, and each other commit.

    In a commit that ends with a record without node (the run ended, or
    failed), the last activation's view stands for both and shows the final
    status, the error, and who asked for what has no view of its own.
    """
    for group in commits(moments):
        shown = list(_shown(group)) or group[-1:]
        apart = {one.index for one in shown[:-1]}
        for one in shown:
            stands_for = [one] if one.index in apart else [each for each in group if each.index not in apart]
            yield view(one, group, graph, stands_for=stands_for, time_limit=time_limit)


def commits(moments: Iterable[Moment]) -> Iterator[list[Moment]]:
    """The moments of each commit."""
    group: list[Moment] = []
    for moment in moments:
        group.append(moment)
        if moment.last:
            yield group
            group = []


def view(
    moment: Moment,
    group: Iterable[Moment],
    graph: Graph[Any] | None,
    *,
    stands_for: Sequence[Moment],
    time_limit: float,
) -> View[Any]:
    """One moment of a commit, with the run as it was after the last of those that it stands for."""
    frame, header, record, end = moment.frame, moment.frame.header, moment.record, stands_for[-1]
    return View(
        run_id=frame.file.run_id,
        seq=header.seq,
        record=moment.index,
        parent=record.seq if isinstance(record, Repaired) else parent_of(header),
        kind=str(record.__struct_config__.tag),  # as it stands in the file
        node=moment.node,
        scope=moment.scope,
        status=end.status,
        open=end.open,
        writes=_writes(record, group),
        took=getattr(record, "took", None),  # of those kinds that say that an activation finished
        cached=getattr(record, "cached", False),
        error=end.record.error if isinstance(end.record, Failed | Attempted) else None,
        by=_asker(stands_for),
        time=header.time,
        epoch=header.epoch,
        opening=header.opening,
        owner=header.owner,
        schema=frame.file.schema,
        version=frame.file.version,
        size=frame.size,
        tags=tags_of(header),
        _graph=graph,
        _moment=end,
        _time_limit=time_limit,
    )


def _shown(group: Iterable[Moment]) -> Iterator[Moment]:
    """The activations that finished in a commit, and whatever else changed the state.

    An update that went in by itself, since its routing was still to come, is shown only if that failed.
    """
    routed = {one.record.id for one in group if isinstance(one.record, Finished)}
    for one in group:
        record = one.record
        if isinstance(record, Merged):
            if record.id not in routed:
                yield one
        elif finishes(record) or _operations(record):
            yield one


def _operations(record: Record) -> tuple[Operation, ...]:
    """What a record changed; nothing if it is of a kind that changes no state."""
    operations: tuple[Operation, ...] = getattr(record, "operations", ())
    return operations


def _asker(moments: Iterable[Moment]) -> str | None:
    """Who asked for these, of those kinds that somebody asks for: the last of them that says so."""
    said = [by for one in moments if (by := getattr(one.record, "by", None)) is not None]
    return said[-1] if said else None


def _writes(shown: Record, group: Iterable[Moment]) -> dict[str, tuple[Operation, ...]]:
    """What a record changed. Where an activation was routed later, its update is a record of its own before."""
    records = [
        one.record
        for one in group
        if one.record is shown
        or (isinstance(shown, Finished) and isinstance(one.record, Merged) and one.record.id == shown.id)
    ]
    writes: dict[str, tuple[Operation, ...]] = {}
    for record in records:
        for operation in _operations(record):
            writes[operation.field] = (*writes.get(operation.field, ()), operation)
    return writes
