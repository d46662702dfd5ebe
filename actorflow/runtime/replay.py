"""Replay: frames of a log back into a run, and into the list of its checkpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import Values, thaw
from actorflow.engine.records import Ask, Record, Spawned, decode_body
from actorflow.engine.run import ROOT
from actorflow.engine.snapshot import load
from actorflow.errors import CorruptCheckpoint
from actorflow.runtime.large import Joiner, references
from actorflow.store.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from actorflow.engine.run import Activation, RunState
    from actorflow.store.log import RunLog, Tip


P = ParamSpec("P")
T = TypeVar("T")

_REREAD = 20

_SENSELESS = (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError)


class Opened(Struct, frozen=True):
    """An activation as it was open at some moment."""

    node: str
    scope: str  # the path of its scope; "" is the root
    attempt: int  # recorded attempts that failed
    due: float | None  # seconds since 1970: not tried again before
    merged: bool  # its update is in, where it leads is still to be found out
    index: int | None  # of an item of a fan-out
    queued: bool  # until the scope that it is to enter is free
    asks: tuple[Ask, ...]  # that nobody answered yet

    @property
    def waits(self) -> bool:
        """Whether it goes on only when something comes: an answer, a time, its turn."""
        return bool(self.asks) or self.queued or self.due is not None


class Moment(Struct, frozen=True):
    """A run as of one record of one frame. ``last`` says that the frame holds nothing more."""

    frame: Frame
    index: int
    record: Record
    last: bool
    values: Values
    inside: dict[str, Values]  # of the other scopes that there are, by path
    open: tuple[Opened, ...]
    status: str
    node: str | None  # of the activation that finished, if one did
    scope: str  # the path of the scope that the record is about; "" is the root

    def plain(self, scope: str = ROOT) -> dict[str, Any]:
        """The values of a scope as they would be encoded, in a dict of the caller's own."""
        values = self.values if scope == ROOT else self.inside[scope]
        return {name: thaw(value) for name, value in values.items()}


def reading(
    log: RunLog, make: Callable[[list[Frame]], T], *, first: int | None = None, tip: Tip | None = None
) -> tuple[list[Frame], T]:
    """The frames of a log and what ``make`` makes of them and their blobs, as of one moment.

    Blocking. Whoever does not own the run may find a blob missing because the
    owner went on, and swept it: then the frames are read again.
    """
    frames = log.read(first=first, tip=tip)
    for _ in range(_REREAD):
        try:
            return frames, make(frames)
        except CorruptCheckpoint:
            before, frames = frames, log.read(first=first)
            if [frame.digest for frame in before] == [frame.digest for frame in frames]:
                raise
    return frames, make(frames)


def replay(frames: Sequence[Frame], joiner: Joiner | None = None, *, record: int | None = None) -> RunState:
    """The run as of the last frame; the first one has a snapshot or is the spawn.

    Args:
        frames: from a snapshot or the spawn on.
        joiner: reads the large values that they refer to; needed if they do.
        record: stop after this one of the last frame; None: at its end.

    Raises:
        CorruptCheckpoint: a body is whole but makes no sense as a history.
    """
    run: RunState | None = None
    for frame in frames:
        for run, step in _steps(run, frame, joiner):  # noqa: B007, B020 - each step continues the run of the one before
            if step.number == record and frame is frames[-1]:
                break
    if run is None:
        raise CorruptCheckpoint("(no file)", "there is no frame to begin with")
    return run


def moments(frames: Iterable[Frame], joiner: Joiner | None = None) -> Iterator[Moment]:
    """Every record of the frames with the run as it was after it, oldest first. Arguments as `replay`'s."""
    run: RunState | None = None
    for frame in frames:
        for run, step in _steps(run, frame, joiner):  # noqa: B020 - as above
            yield Moment(
                frame=frame,
                index=step.number,
                record=step.record,
                last=step.last,
                values=run.root.values,
                inside={path: scope.values for path, scope in run.scopes.items() if path != ROOT},
                open=tuple(map(opened, run.open.values())),
                status=run.status,
                node=step.node if finishes(step.record) else None,
                scope=step.scope,
            )


def steps(frames: Iterable[Frame], joiner: Joiner | None = None) -> Iterator[tuple[Frame, RunState, Step]]:
    """As `moments`, for whom the records are enough: the run is folded on with the next step, and spent."""
    run: RunState | None = None
    for frame in frames:
        for run, step in _steps(run, frame, joiner):  # noqa: B020 - as above
            yield frame, run, step


def finishes(record: Record) -> bool:
    """Whether a record says that an activation did its work: those say how long that took."""
    return "took" in record.__struct_fields__


def opened(activation: Activation) -> Opened:
    """What is told of an activation that is open."""
    return Opened(
        activation.node,
        activation.scope,
        activation.attempt,
        activation.due,
        activation.merged,
        activation.index,
        activation.queued,
        tuple(activation.asks.values()),
    )


class Step(NamedTuple):
    """A record of a frame, and the activation that it is about, as it was before."""

    record: Record
    number: int
    last: bool
    node: str | None
    scope: str


def _steps(run: RunState | None, frame: Frame, joiner: Joiner | None) -> Iterator[tuple[RunState, Step]]:
    """The run after each record of a frame. A snapshot in it is the run before them."""
    snapshot, records = unpack(frame, joiner)
    run = snapshot or run
    for index, record in enumerate(records):
        activation = None if run is None else run.open.get(getattr(record, "id", 0))  # as it is before
        node, scope = (None, ROOT) if activation is None else (activation.node, activation.scope)
        run = advance(run, record, frame)
        yield run, Step(record, index, index == len(records) - 1, node, scope)


def unpack(frame: Frame, joiner: Joiner | None) -> tuple[RunState | None, tuple[Record, ...]]:
    """The snapshot in a frame, if it has one, and its records, with the large values that they refer to.

    Raises:
        CorruptCheckpoint: the body is whole but makes no sense, or refers to values that can't be read.
    """
    body = _guarded(frame, decode_body, frame.body)
    restore, records = thaw, body.records
    if refs := _guarded(frame, references, frame.body):
        if joiner is None:
            raise CorruptCheckpoint(frame.path, f"frame {frame.header.seq} refers to blobs, and was read without them")
        _guarded(frame, joiner.fetch, refs.values())
        restore, records = joiner.value, _guarded(frame, joiner.records, records)
    return None if body.snapshot is None else _guarded(frame, load, body.snapshot, restore=restore), records


def records_of(frame: Frame) -> tuple[Record, ...]:
    """The records of a frame, none of which refers to a large value.

    Raises:
        CorruptCheckpoint: as `unpack`.
    """
    return _guarded(frame, decode_body, frame.body).records


def advance(run: RunState | None, record: Record, frame: Frame) -> RunState:
    """The run after a record of a frame; None is the run before it began. The run passed in is spent.

    Whose a body is, the file says: in a copy under another id it is the same body.

    Raises:
        CorruptCheckpoint: the record does not follow.
    """
    if isinstance(record, Spawned):
        run = begin(record)
    elif run is None:
        raise CorruptCheckpoint(frame.path, f"frame {frame.header.seq} continues a history that does not begin")
    else:
        try:
            run = fold(run, record)
        except _SENSELESS as error:
            raise _senseless(frame, error) from error
    run.run_id = frame.file.run_id
    return run


def _guarded(frame: Frame, make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``make`` makes; whatever it raises means that these bytes were not written by an actor of this format."""
    try:
        return make(*args, **kwargs)
    except _SENSELESS as error:
        raise _senseless(frame, error) from error


def _senseless(frame: Frame, error: Exception) -> CorruptCheckpoint:
    reason = f"the body of frame {frame.header.seq} is whole but makes no sense: {error!r}"
    return CorruptCheckpoint(frame.path, reason)
