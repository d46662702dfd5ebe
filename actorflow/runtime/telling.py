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
    from actorflow.runtime.events import Mode
    from actorflow.runtime.large import Joiner
    from actorflow.store.frames import FilePart, Frame


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
        self._modes = frozenset(modes)
        self._graphs = graphs
        self._time_limit = time_limit
        self._run: RunState | None = None
        self._events: list[Event] = []
        self._part = 0  # events of the record so far, with those that nobody wants
        self._frame: Frame
        self._record = 0

    def tell(self, frame: Frame, joiner: Joiner | None = None) -> list[Event]:
        """What happened in the next commit. The first one that is told has a snapshot, or is the spawn.

        Raises:
            CorruptCheckpoint: it makes no sense.
        """
        snapshot, records = unpack(frame, joiner)
        self._run = snapshot or self._run
        self._events, self._frame = [], frame
        for self._record, record in enumerate(records):
            self._part = 0
            self._tell(record)
        header = frame.header
        self.status = status_of(header)
        failed = [record.error for record in records if isinstance(record, Failed)]
        named = [by for record in records if (by := getattr(record, "by", None)) is not None]
        self._note(
            CommitEvent,
            node=header.node,
            kind=header.kind,
            status=cast("Status", self.status),
            records=tuple(str(record.__struct_config__.tag) for record in records),
            epoch=header.epoch,
            opening=header.opening,
            size=header.raw,
            error=failed[-1] if failed else None,
            by=named[-1] if named else None,
        )
        self.seq = header.seq
        return self._events

    def _note(self, event: type[Event], /, **facts: Any) -> None:
        if event.mode in self._modes:
            header = self._frame.header
            offset = Offset(header.seq, 0, self._record, self._part)
            self._events.append(event(run_id=self._frame.file.run_id, offset=offset, time=header.time, **facts))
        self._part += 1

    def _tell(self, record: Record) -> None:
        run = self._run
        subject = None if run is None else run.open.get(getattr(record, "id", None) or 0)
        asked: Ask | None = None
        if isinstance(record, Answered) and subject is not None:
            asked = subject.asks.get(record.key)
        operations = _operations(run, subject, record)
        path = _path(subject, record)
        before = _values(run, path)
        first = 1 if run is None else run.next_id
        self._run = run = advance(run, record, self._frame)
        if subject is not None:
            self._tell_subject(subject, record, operations)
        if operations:
            node = getattr(record, "node", None) if subject is None else subject.node
            index = None if subject is None else subject.index
            by = getattr(record, "by", None)
            self._note(UpdateEvent, scope=path, node=node, index=index, operations=operations, by=by)
        went_back = isinstance(record, Rewound | Forked)
        after = _values(run, path)
        if after is not None and (after is not before or went_back):
            self._note(ValuesEvent, scope=path, _values=after, _typed=self._typed(path))
        if subject is not None:
            self._tell_waits(subject, record, asked)
            self._tell_progress(run, subject, record)
        self._tell_opened(run, record, range(1 if went_back else first, run.next_id))

    def _tell_subject(self, subject: Activation, record: Record, operations: tuple[Operation, ...]) -> None:
        """What became of the activation that a record is about."""
        note = partial(self._note, NodeEvent, scope=subject.scope, node=subject.node, index=subject.index)
        match record:
            case Finished(opens=opens) if any(opened.error is not None for opened in opens):
                note(kind="failed", error=next(opened.error for opened in opens if opened.error), handled=True)
            case Finished():
                note(kind="finished", took=record.took, cached=record.cached, update=operations)
            case ItemDone():
                note(kind="finished", took=record.took, result=record.result)
            case ItemFailed(error=error) | Failed(error=error):
                note(kind="failed", error=error)
            case Handling(error=error):
                note(kind="failed", error=error, handled=True)
            case Attempted():
                note(kind="retrying", attempt=record.attempt, error=record.error, due=record.due)
            case Rebased():
                note(kind="retrying")
            case Asked():
                note(kind="waiting")
            case _:
                pass

    def _tell_waits(self, subject: Activation, record: Record, asked: Ask | None) -> None:
        note = partial(self._note, WaitEvent, scope=subject.scope, node=subject.node, index=subject.index)
        if isinstance(record, Asked):
            for ask in record.asks:
                note(
                    kind="asked",
                    key=ask.key,
                    question=ask.question,
                    payload=ask.payload,
                    schema=ask.schema,
                    due=ask.due,
                )
        elif isinstance(record, Answered) and asked is not None:
            kind = "expired" if record.expired else "answered"
            note(kind=kind, key=asked.key, question=asked.question, value=record.value, by=record.by)

    def _tell_progress(self, run: RunState, subject: Activation, record: Record) -> None:
        """How far a fan-out got."""
        if not isinstance(record, Fanned | ItemDone | ItemFailed):
            return
        owner = subject if subject.fan is None else run.open[subject.fan]
        fan = run.fans[owner.id]
        self._note(
            ProgressEvent,
            scope=owner.scope,
            node=owner.node,
            done=fan.done,
            total=fan.total,
            failed=len(fan.failed),
            open=fan.open,
        )

    def _tell_opened(self, run: RunState, record: Record, opened: range) -> None:
        legs = {first: one.takes for first, one in zip(opened, getattr(record, "opens", ()), strict=False)}
        for id_ in opened:
            if (one := run.open.get(id_)) is not None:
                self._note(
                    NodeEvent, scope=one.scope, node=one.node, index=one.index, kind="opened", legs=legs.get(id_, ())
                )

    def _typed(self, path: str) -> Callable[[Values], Any]:
        if path != ROOT:
            return partial(_no_state, self._frame.file.run_id, path)
        return partial(_state, self._graphs, self._frame.file, self._time_limit)


def _operations(run: RunState | None, subject: Activation | None, record: Record) -> tuple[Operation, ...]:
    """What a record writes, with the results of a fan-out that it does not say again."""
    operations: tuple[Operation, ...] = getattr(record, "operations", ())
    if run is not None and subject is not None and (gathers := getattr(record, "gathers", ())):
        operations += tuple(gathered(run, subject, gathers))
    return operations


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
