"""History: what was committed of a run, newest first, and the run as it was at one point of it.

The log is read backwards and only as far as somebody asks. What is told of it
is replayed from the snapshot before it; what is newer is checked, not decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct

from actorflow.errors import CheckpointGone, CorruptCheckpoint, NoSuchRun
from actorflow.runtime.checkpoint import check_told
from actorflow.runtime.claiming import near_ids
from actorflow.runtime.large import Joiner
from actorflow.runtime.replay import moments, replay
from actorflow.runtime.view import commits, view, views

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from actorflow.engine.run import RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.replay import Moment
    from actorflow.runtime.view import View
    from actorflow.store.frames import Frame
    from actorflow.store.store import Store

T = TypeVar("T")

_POINT = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?")


class History(Generic[T]):
    """What there is of a run, newest first, for ``async for``. Each loop begins anew, with what is newest then.

    Not an async generator, so that a loop left early leaves nothing behind.
    """

    def __init__(self, begin: Callable[[], Callable[[], Awaitable[list[T] | None]]], *, limit: int | None) -> None:
        self._begin = begin
        self._limit = limit
        self._next = begin()
        self._told = 0
        self._piece: list[T] = []  # newest last

    def __aiter__(self) -> History[T]:
        return History(self._begin, limit=self._limit)

    async def __anext__(self) -> T:
        while not self._piece and self._told != self._limit:
            piece = await self._next()
            if piece is None:
                break
            self._piece = piece[::-1]
        if not self._piece or self._told == self._limit:
            raise StopAsyncIteration
        self._told += 1
        return self._piece.pop()


class Point(Struct, frozen=True):
    """A place in a history: a commit, or one record in it."""

    seq: int
    record: int | None = None

    def __str__(self) -> str:
        return f"commit {self.seq}" if self.record is None else f"record {self.record} of commit {self.seq}"


def to_point(at: int | str, record: int | None = None) -> Point:
    """The point that ``12``, ``"12"``, ``"12.1"``, or ``12`` and a record name.

    Raises:
        ValueError: they name none.
    """
    if isinstance(at, int):
        return Point(at, record)
    match = _POINT.fullmatch(at)
    if match is None or (record is not None and match[2] is not None):
        msg = f"at={at!r}: name a commit by its number, or a record in it as in '12.1'"
        raise ValueError(msg)
    return Point(int(match[1]), record if match[2] is None else int(match[2]))


Graphs = Callable[[str], "Graph[Any] | None"]
"""The graph of a name, if it is known."""


def tell_views(
    store: Store, run_id: str, graphs: Graphs, *, before: int | None, time_limit: float
) -> Iterator[list[View[Any]]]:
    """The views of a run's history, newest first, those from one snapshot to the next at once. Blocking.

    Args:
        store: where it is.
        run_id: which run.
        graphs: see there.
        before: only those of commits below this number.
        time_limit: see `View.state`.

    Raises:
        NoSuchRun, RunDeleted
        CorruptCheckpoint: the next piece is damaged. All that is newer has been told.
    """
    for stretch in stretches(store, run_id):
        frames = [frame for frame in stretch if before is None or frame.header.seq < before]
        told = _replayed(store, run_id, frames)
        if told is None:
            return
        graph = graphs(stretch[0].file.graph)
        yield list(views(told, graph, time_limit=time_limit))[::-1]


def find_view(
    store: Store, run_id: str, graphs: Graphs, *, point: Point | None, node: str | None, time_limit: float
) -> View[Any]:
    """The run as of one point, after the last record of a node, or (without either) as of now. Blocking.

    Raises:
        NoSuchRun, RunDeleted, CorruptCheckpoint
        CheckpointGone: retention let go of this commit.
        LookupError: the run has no such commit, record or node.
    """
    newest = oldest = -1
    for stretch in stretches(store, run_id):
        newest, oldest = max(newest, stretch[-1].header.seq), stretch[0].header.seq
        if point is not None and point.seq < oldest:
            continue
        if point is not None and point.seq > newest:
            break
        told = _replayed(store, run_id, [one for one in stretch if point is None or one.header.seq <= point.seq])
        if told is None:
            oldest = stretch[-1].header.seq + 1
            break
        found = _found(run_id, told, graphs(stretch[0].file.graph), point=point, node=node, time_limit=time_limit)
        if found is not None:
            return found
        if point is not None:
            break
    if point is not None and 0 <= point.seq < oldest:
        raise CheckpointGone(run_id, point.seq, oldest)
    what = " in ".join(filter(None, (f"checkpoint of node {node!r}" if node else None, str(point) if point else None)))
    msg = f"run {run_id!r} has no {what}; its newest is commit {newest}, and history() lists what it has"
    raise LookupError(msg)


def replay_at(store: Store, run_id: str, point: Point | None) -> tuple[RunState, Frame]:
    """The run as of one point, or as of now, to be folded on; and its frame. Blocking.

    Raises:
        NoSuchRun, RunDeleted, CorruptCheckpoint
        CheckpointGone: retention let go of this commit.
        LookupError: the run has no such commit, or no such record in it.
    """
    view = find_view(store, run_id, lambda _: None, point=point, node=None, time_limit=0.0)
    for stretch in stretches(store, run_id):
        if stretch[0].header.seq <= view.seq:
            frames = [frame for frame in stretch if frame.header.seq <= view.seq]
            record = None if point is None else point.record
            return replay(frames, Joiner(store.blobs(run_id)), record=record), frames[-1]
    raise CheckpointGone(run_id, view.seq, view.seq + 1)


def _found(
    run_id: str,
    told: list[Moment],
    graph: Graph[Any] | None,
    *,
    point: Point | None,
    node: str | None,
    time_limit: float,
) -> View[Any] | None:
    """The newest view of those moments that fits; None if none does."""
    if point is not None:
        told = [*commits(told)][-1]
        if point.record is not None:
            return _record(run_id, point.record, told, graph, time_limit=time_limit)
    newest_first = reversed([*views(told, graph, time_limit=time_limit)])
    return next((one for one in newest_first if node in (None, one.node)), None)


def _record(
    run_id: str, number: int, commit: list[Moment], graph: Graph[Any] | None, *, time_limit: float
) -> View[Any]:
    if number >= len(commit):
        seq = commit[0].frame.header.seq
        msg = f"run {run_id!r} has no record {number} in commit {seq}: it has records 0 to {len(commit) - 1}"
        raise LookupError(msg)
    return view(commit[number], commit, graph, stands_for=[commit[number]], time_limit=time_limit)


def stretches(store: Store, run_id: str) -> Iterator[list[Frame]]:
    """The commits from each snapshot to before the next, newest first: each can be replayed by itself."""
    held: list[Frame] = []
    begun = False
    for frames in store.log(run_id).backwards():
        check_told(frames[-1].header, run_id)
        begun, held = True, frames + held
        while held and held[-1].header.snapshot >= held[0].header.seq:
            first = next(at for at, frame in enumerate(held) if frame.header.seq == held[-1].header.snapshot)
            yield held[first:]
            held = held[:first]
    if not begun:
        raise NoSuchRun(run_id, near_ids(store, run_id))


def unless_gone(store: Store, run_id: str, frames: list[Frame], make: Callable[[Joiner], T]) -> T | None:
    """What is made of these commits; None if retention let go of them, and with them of large values, meanwhile."""
    try:
        return make(Joiner(store.blobs(run_id)))
    except CorruptCheckpoint:
        kept = store.log(run_id).read(first=frames[0].header.seq)
        if kept and kept[0].digest == frames[0].digest:
            raise
        return None


def _replayed(store: Store, run_id: str, frames: list[Frame]) -> list[Moment] | None:
    return unless_gone(store, run_id, frames, lambda joiner: list(moments(frames, joiner)))
