"""Telling: the commits of a run as events. The same commits make the same events, live or years later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from actorflow.engine.fold import gathered
from actorflow.engine.records import (
    Answered,
    Asked,
    Attempted,
    Entered,
    Failed,
    Fanned,
    Finished,
    Forked,
    Handling,
    ItemDone,
    ItemFailed,
    Rebased,
    Rewound,
    Status,
    Updated,
)
from actorflow.engine.run import ROOT
from actorflow.errors import RunError
from actorflow.runtime.adopt import read_state
from actorflow.runtime.events import (
    CommitEvent,
    Event,
    Mode,
    NodeEvent,
    Offset,
    ProgressEvent,
    UpdateEvent,
    ValuesEvent,
    WaitEvent,
)
from actorflow.runtime.replay import advance, unpack
from actorflow.store.transfer import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from actorflow.engine.operations import Operation, Values
    from actorflow.engine.records import Ask, Record
    from actorflow.engine.run import Activation, RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.large import Joiner
    from actorflow.store.frames import FilePart, Frame


# The parts of a record's story. Numbered the same whatever is told of it, so that an offset is good for all.
_SUBJECT, _UPDATE, _VALUES, _PROGRESS, _FIRST_OF_SEVERAL = range(5)

# Made once: a union of classes is an object that costs more than the question.
_WENT_BACK = (Rewound, Forked)
_OF_FANS = (Fanned, ItemDone, ItemFailed)

_OF_THE_RUN: frozenset[Mode] = frozenset({"values", "updates", "nodes", "progress", "waits"})
"""The modes for which the run has to be followed, record by record."""


class Teller:
    """Follows the commits of a run, one after the other, and tells what happened in each.

    Has the run as it is since, a copy of its own: records name activations by
    number, and only the run before them knows which those are.
    """

    def __init__(
        self, modes: Collection[Mode], *, graphs: Callable[[str], Graph[Any] | None], time_limit: float
    ) -> None:
        """Begin before the first commit.

        Args:
            modes: what to tell of.
            graphs: the graph of a name, if it is known.
            time_limit: seconds that migrating a state may take.
        """
        self.seq: int | None = None  # the newest commit that was told
        self.status = "running"  # of the run, as of that
        self._graphs = graphs
        self._time_limit = time_limit
        self._follows = not _OF_THE_RUN.isdisjoint(modes)
        self._values, self._updates, self._nodes, self._commits, self._progress, self._waits = (
            mode in modes for mode in ("values", "updates", "nodes", "commits", "progress", "waits")
        )
        self._run: RunState | None = None
        self._events: list[Event] = []
        self._frame: Frame
        self._number = 0  # of the record that is told

    def tell(self, frame: Frame, joiner: Joiner | None = None) -> list[Event]:
        """What happened in the next commit. The first one that is told has a snapshot, or is the spawn.

        Raises:
            CorruptCheckpoint: it makes no sense.
        """
        self._events, self._frame = [], frame
        self.seq, self.status = frame.header.seq, status_of(frame.header)
        if self._follows or self._commits:
            snapshot, records = unpack(frame, joiner)
            self._run = snapshot or self._run
            if self._follows:
                for self._number, record in enumerate(records):
                    self._tell(record)
            if self._commits:
                self._number = len(records)
                self._tell_commit(records)
        return self._events

    def _at(self, part: int) -> dict[str, Any]:
        """Where an event is in the story of its run."""
        frame = self._frame
        header = frame.header
        offset = Offset(header.seq, 0, self._number, part)
        return {"run_id": frame.file.run_id, "offset": offset, "time": header.time}

    def _of(self, part: int, activation: Activation) -> dict[str, Any]:
        """That, and what it is about."""
        return {
            **self._at(part),
            "scope": activation.scope,
            "node": activation.node,
            "index": activation.index,
        }

    def _tell(self, record: Record) -> None:
        run = self._run
        subject = None if run is None else run.open.get(getattr(record, "id", None) or 0)
        asked = subject.asks.get(record.key) if subject is not None and isinstance(record, Answered) else None
        operations: tuple[Operation, ...] = getattr(record, "operations", ())
        if run is not None and subject is not None and (gathers := getattr(record, "gathers", ())):
            operations += tuple(gathered(run, subject, gathers))  # what the record does not say again
        path = _path(subject, record)
        before = _values(run, path)
        first = 1 if run is None else run.next_id
        self._run = run = advance(run, record, self._frame)
        if self._nodes and subject is not None and (became := _became(record, operations)) is not None:
            self._events.append(NodeEvent(**self._of(_SUBJECT, subject), **became))
        if self._updates and operations:
            self._tell_update(subject, record, operations, path)
        went_back = isinstance(record, _WENT_BACK)
        if self._values:
            after = _values(run, path)
            if after is not None and (after is not before or went_back):
                values = ValuesEvent(**self._at(_VALUES), scope=path, _values=after, _typed=self._typed(path))
                self._events.append(values)
        if subject is not None:
            if self._progress:
                self._tell_progress(run, subject, record)
            if self._waits:
                self._tell_waits(subject, record, asked)
        if self._nodes and (went_back or run.next_id > first):
            self._tell_opened(run, record, range(1 if went_back else first, run.next_id))

    def _tell_commit(self, records: tuple[Record, ...]) -> None:
        header = self._frame.header
        failed = [record.error for record in records if isinstance(record, Failed)]
        named = [by for record in records if (by := getattr(record, "by", None)) is not None]
        self._events.append(
            CommitEvent(
                **self._at(_SUBJECT),
                node=header.node,
                kind=header.kind,
                status=cast("Status", self.status),
                records=tuple([str(record.__struct_config__.tag) for record in records]),
                epoch=header.epoch,
                opening=header.opening,
                size=header.raw,
                error=failed[-1] if failed else None,
                by=named[-1] if named else None,
            )
        )

    def _tell_update(
        self, subject: Activation | None, record: Record, operations: tuple[Operation, ...], path: str
    ) -> None:
        if subject is not None:
            self._events.append(UpdateEvent(**self._of(_UPDATE, subject), operations=operations))
        else:
            node, by = getattr(record, "node", None), getattr(record, "by", None)
            self._events.append(UpdateEvent(**self._at(_UPDATE), scope=path, node=node, operations=operations, by=by))

    def _tell_progress(self, run: RunState, subject: Activation, record: Record) -> None:
        """How far a fan-out got."""
        if not isinstance(record, _OF_FANS):
            return
        owner = subject if subject.fan is None else run.open[subject.fan]
        fan = run.fans[owner.id]
        self._events.append(
            ProgressEvent(
                **self._of(_PROGRESS, owner), done=fan.done, total=fan.total, failed=len(fan.failed), open=fan.open
            )
        )

    def _tell_waits(self, subject: Activation, record: Record, asked: Ask | None) -> None:
        if isinstance(record, Asked):
            for part, ask in enumerate(record.asks, _FIRST_OF_SEVERAL):
                self._events.append(
                    WaitEvent(
                        **self._of(part, subject),
                        kind="asked",
                        key=ask.key,
                        question=ask.question,
                        payload=ask.payload,
                        schema=ask.schema,
                        due=ask.due,
                    )
                )
        elif isinstance(record, Answered) and asked is not None:
            self._events.append(
                WaitEvent(
                    **self._of(_FIRST_OF_SEVERAL, subject),
                    kind="expired" if record.expired else "answered",
                    key=asked.key,
                    question=asked.question,
                    value=record.value,
                    by=record.by,
                )
            )

    def _tell_opened(self, run: RunState, record: Record, opened: range) -> None:
        legs = {id_: one.takes for id_, one in zip(opened, getattr(record, "opens", ()), strict=False)}
        for part, id_ in enumerate(opened, _FIRST_OF_SEVERAL):
            if (one := run.open.get(id_)) is not None:
                self._events.append(NodeEvent(**self._of(part, one), kind="opened", legs=legs.get(id_, ())))

    def _typed(self, path: str) -> Callable[[Values], Any]:
        if path != ROOT:
            return partial(_no_state, self._frame.file.run_id, path)
        return partial(_state, self._graphs, self._frame.file, self._time_limit)


def _became(record: Record, update: tuple[Operation, ...]) -> dict[str, Any] | None:
    """What became of the activation that a record is about; None: nothing to speak of."""
    match record:
        case Finished(opens=opens) if any(opened.error is not None for opened in opens):
            error = next(opened.error for opened in opens if opened.error is not None)
            return {"kind": "failed", "error": error, "handled": True}
        case Finished():
            return {"kind": "finished", "took": record.took, "cached": record.cached, "update": update}
        case ItemDone():
            return {"kind": "finished", "took": record.took, "result": record.result}
        case ItemFailed(error=error) | Failed(error=error):
            return {"kind": "failed", "error": error}
        case Handling(error=error):
            return {"kind": "failed", "error": error, "handled": True}
        case Attempted():
            return {"kind": "retrying", "attempt": record.attempt, "error": record.error, "due": record.due}
        case Rebased():
            return {"kind": "retrying"}
        case Asked():
            return {"kind": "waiting"}
        case _:
            return None


def _path(subject: Activation | None, record: Record) -> str:
    """The path of the scope that a record may write to."""
    match record:
        case Entered(path=path) | Updated(scope=path):
            return path
        case _:
            return ROOT if subject is None else subject.scope


def _values(run: RunState | None, path: str) -> Values | None:
    """The values of a scope: another dict as soon as one of them was written."""
    scope = None if run is None else run.scopes.get(path)
    return None if scope is None else scope.values


def _state(graphs: Callable[[str], Graph[Any] | None], file: FilePart, time_limit: float, values: Values) -> Any:
    graph = graphs(file.graph)
    if graph is None:
        msg = f"the graph of run {file.run_id!r} is not registered here; register it, or use `values`"
        raise RunError(file.run_id, msg)
    return read_state(graph, values, file, time_limit=time_limit)


def _no_state(run_id: str, path: str, _: Values) -> Any:
    raise RunError(run_id, f"only the root of a run has a typed state here, not scope {path!r}; use `values`")
