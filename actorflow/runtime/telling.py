"""Telling: the commits of a run as events. The same commits make the same events, live or years later."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

from actorflow.engine.records import Asked, Failed, Finished, Status
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
from actorflow.runtime.recorded import (
    ELSEWHERE,
    ENDING,
    NAMES,
    OF_FANS,
    OF_NODES,
    WENT_BACK,
    became,
    ending,
    handled,
    path_of,
    written,
)
from actorflow.runtime.replay import advance, records_of, unpack
from actorflow.store.transfer import status_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from actorflow.engine.operations import Operation, Values
    from actorflow.engine.records import Ask, Open, Record
    from actorflow.engine.run import Activation, RunState
    from actorflow.graph.graph import Graph
    from actorflow.runtime.large import Joiner
    from actorflow.store.frames import FilePart, Frame, Header


# The parts of a record's story. Numbered the same whatever is told of it, so that an offset is good for all.
_SUBJECT, _UPDATE, _VALUES, _PROGRESS, _FIRST_OF_SEVERAL = range(5)

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
        self._writes = self._values or self._updates or self._nodes
        self._run: RunState | None = None
        # of the commit that is told:
        self._events: list[Event] = []
        self._frame: Frame
        self._file: FilePart | None = None  # that it is in, or was to be in
        self._typed: Callable[[Values], Any]
        self._run_id = ""
        self._time = 0.0
        self._number = 0  # of the record that is told

    def tell(self, frame: Frame, joiner: Joiner | None = None) -> list[Event]:
        """What happened in the next commit. The first one that is told has a snapshot, or is the spawn.

        Args:
            frame: the commit.
            joiner: reads the large values that its body refers to; None: its records refer to none, and are enough.

        Raises:
            CorruptCheckpoint: it makes no sense.
        """
        header, file = frame.header, frame.file
        if file is not self._file:
            self._file, self._run_id = file, file.run_id
            self._typed = partial(_state, self._graphs, file, self._time_limit)
        self._events, self._frame, self._time = [], frame, header.time
        self.seq, self.status = header.seq, status_of(header)
        if self._follows or self._commits:
            if joiner is None:
                records = records_of(frame)
            else:
                snapshot, records = unpack(frame, joiner)
                self._run = snapshot or self._run
            if self._follows:
                for self._number, record in enumerate(records):
                    self._tell(record)
            if self._commits:
                self._number = len(records)
                self._tell_commit(header, records)
        return self._events

    def _at(self, part: int) -> Offset:
        """Where an event is in the story of its run."""
        return Offset(self._frame.header.seq, 0, self._number, part)

    def _of(self, part: int, activation: Activation) -> dict[str, Any]:
        """That, and what it is about."""
        return {
            "run_id": self._run_id,
            "offset": self._at(part),
            "time": self._time,
            "scope": activation.scope,
            "node": activation.node,
            "index": activation.index,
        }

    def _tell(self, record: Record) -> None:
        run, kind = self._run, record.__class__
        first = 1 if run is None else run.next_id
        subject = None if run is None else run.open.get(getattr(record, "id", None) or 0)
        path = path_of(record) if subject is None or kind in ELSEWHERE else subject.scope
        # what is wanted of the run before the record is looked up now: it is spent
        before = _values(run, path)
        operations = written(run, subject, record) if self._writes else ()
        answer = ending(run, subject, record) if kind in ENDING else None
        self._run = run = advance(run, record, self._frame)
        went_back = kind in WENT_BACK
        if self._nodes and subject is not None and kind in OF_NODES:
            self._tell_became(subject, record, operations)
        if self._updates and operations:
            self._tell_update(subject, record, operations, path)
        if self._values and (after := _values(run, path)) is not None and (after is not before or went_back):
            self._tell_values(after, path)
        if self._progress and subject is not None and kind in OF_FANS:
            self._tell_progress(run, subject)
        if self._waits and subject is not None and isinstance(record, Asked):
            self._tell_asked(subject, record.asks)
        if self._waits and subject is not None and answer is not None:
            self._events.append(WaitEvent(**self._of(_FIRST_OF_SEVERAL, subject), **answer))
        if self._nodes and (went_back or run.next_id > first):
            self._tell_opened(run, record, range(1 if went_back else first, run.next_id))

    def _tell_commit(self, header: Header, records: Sequence[Record]) -> None:
        error = by = None
        for record in records:
            if type(record) is Failed:
                error = record.error
            if (who := getattr(record, "by", None)) is not None:
                by = who
        self._events.append(
            CommitEvent(
                run_id=self._run_id,
                offset=self._at(_SUBJECT),
                time=self._time,
                node=header.node,
                kind=header.kind,
                status=cast("Status", self.status),
                records=tuple([NAMES[record.__class__] for record in records]),
                epoch=header.epoch,
                opening=header.opening,
                size=header.raw,
                error=error,
                by=by,
            )
        )

    def _tell_became(self, subject: Activation, record: Record, operations: tuple[Operation, ...]) -> None:
        if type(record) is Finished and not handled(record):
            # said in full, as the others that come with every node: to go by way of a dict takes as long again
            self._events.append(
                NodeEvent(
                    run_id=self._run_id,
                    offset=self._at(_SUBJECT),
                    time=self._time,
                    scope=subject.scope,
                    node=subject.node,
                    index=subject.index,
                    kind="finished",
                    took=record.took,
                    cached=record.cached,
                    update=operations,
                )
            )
        elif facts := became(record):
            self._events.append(NodeEvent(**self._of(_SUBJECT, subject), **facts))

    def _tell_update(
        self, subject: Activation | None, record: Record, operations: tuple[Operation, ...], path: str
    ) -> None:
        run_id, offset, time = self._run_id, self._at(_UPDATE), self._time
        if subject is not None:
            told = UpdateEvent(
                run_id=run_id,
                offset=offset,
                time=time,
                scope=subject.scope,
                node=subject.node,
                index=subject.index,
                operations=operations,
            )
        else:
            node, by = getattr(record, "node", None), getattr(record, "by", None)
            told = UpdateEvent(
                run_id=run_id, offset=offset, time=time, scope=path, node=node, operations=operations, by=by
            )
        self._events.append(told)

    def _tell_values(self, values: Values, path: str) -> None:
        self._events.append(
            ValuesEvent(
                run_id=self._run_id,
                offset=self._at(_VALUES),
                time=self._time,
                scope=path,
                _values=values,
                _typed=self._typed if path == ROOT else partial(_no_state, self._run_id, path),
            )
        )

    def _tell_progress(self, run: RunState, subject: Activation) -> None:
        """How far a fan-out got."""
        owner = subject if subject.fan is None else run.open[subject.fan]
        fan = run.fans[owner.id]
        self._events.append(
            ProgressEvent(
                **self._of(_PROGRESS, owner), done=fan.done, total=fan.total, failed=len(fan.failed), open=fan.open
            )
        )

    def _tell_asked(self, subject: Activation, asks: Iterable[Ask]) -> None:
        for part, ask in enumerate(asks, _FIRST_OF_SEVERAL):
            self._events.append(
                WaitEvent(
                    **self._of(part, subject),
                    kind="asked",
                    wait=ask.kind,
                    key=ask.key,
                    question=ask.question,
                    payload=ask.payload,
                    schema=ask.schema,
                    due=ask.due,
                )
            )

    def _tell_opened(self, run: RunState, record: Record, opened: range) -> None:
        opens: tuple[Open, ...] = getattr(record, "opens", ())
        for number, id_ in enumerate(opened):
            if (one := run.open.get(id_)) is not None:
                self._events.append(
                    NodeEvent(
                        run_id=self._run_id,
                        offset=self._at(_FIRST_OF_SEVERAL + number),
                        time=self._time,
                        scope=one.scope,
                        node=one.node,
                        index=one.index,
                        kind="opened",
                        legs=opens[number].takes if number < len(opens) else (),
                    )
                )


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
