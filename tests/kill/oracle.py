"""The oracle: reads a store nobody is writing to, and holds it against what the processes were promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from actorflow.engine.fold import begin, fold
from actorflow.engine.operations import thaw
from actorflow.engine.records import Finished, Spawned, decode_body
from actorflow.engine.snapshot import dump, load
from actorflow.errors import ActorflowError
from actorflow.runtime.replay import replay
from actorflow.store.keys import parse_active
from actorflow.store.local import TEMP
from actorflow.store.store import open_store
from actorflow.store.verify import verify_run
from tests.kill.graphs import problem_of_result, run_ids
from tests.kill.sidelog import lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actorflow.engine.run import RunState
    from actorflow.store.frames import Frame
    from actorflow.store.log import RunLog
    from tests.kill.sidelog import Line


@dataclass(slots=True)
class History:
    """One run as its whole chain tells it."""

    run: RunState
    version: int | str | None  # of the schema that it began with
    nonces: list[str] = field(default_factory=list)  # by number
    opened: dict[str, int] = field(default_factory=dict)  # activation key: the commit that opened it
    finished: dict[str, int] = field(default_factory=dict)  # activation key: the commit that finished it
    nodes: list[str] = field(default_factory=list)  # that finished


def examine(store: Path, log: Path, *, ended: bool = False) -> tuple[list[str], dict[str, History]]:
    """Everything that is wrong, and the histories. ``ended``: all runs must be over, and nothing left lying about."""
    problems: list[str] = []
    histories: dict[str, History] = {}
    told = lines(log)
    if (store / "actorflow.json").exists():
        opened = open_store(store, readonly=True)
        try:
            for run_id in run_ids():
                try:
                    history = _history(opened.log(run_id))
                except ActorflowError as error:
                    problems.append(f"{run_id}: can't be read: {error!r}")
                    continue
                if history is None:
                    problems += [f"{run_id}: acknowledged, but not there" for line in told if _is_promise(line, run_id)]
                    continue
                histories[run_id] = history
                problems += _broken(opened.log(run_id), history)
                problems += _betrayed([line for line in told if line.run == run_id], history, run_id)
        finally:
            opened.close()
    problems += [f"{line.run}: process {line.pid} met {line.text}" for line in told if line.what == "error"]
    if ended:
        problems += _unfinished(histories)
        problems += _left_behind(store, histories)
    return problems, histories


def _is_promise(line: Line, run_id: str) -> bool:
    return line.run == run_id and line.what in ("acknowledged", "seen", "result")


def _history(log: RunLog) -> History | None:
    frames = log.read(first=0)
    history: History | None = None
    for frame in frames:
        body = decode_body(frame.body)
        if history is not None and body.snapshot is not None:
            history.run = load(body.snapshot)  # the state may have been migrated just before
        for record in body.records:
            if isinstance(record, Spawned):
                history = History(begin(record), frame.file.version)
                before: set[int] = set()
            else:
                assert history is not None
                before = set(history.run.open)
                if isinstance(record, Finished):
                    activation = history.run.open[record.id]
                    history.finished[activation.key.hex()] = frame.header.seq
                    history.nodes.append(activation.node)
                history.run = fold(history.run, record)
            for id_ in history.run.open.keys() - before:
                history.opened[history.run.open[id_].key.hex()] = frame.header.seq
        assert history is not None
        history.nonces.append(frame.header.nonce.hex())
    return history


def _broken(log: RunLog, history: History) -> Iterator[str]:
    """Whether the chain is whole, and the shortest way to the newest state leads to the same state."""
    for finding in verify_run(log):
        if finding.broken:
            yield f"{log.run_id}: {finding.path}: {finding.what}"
    frames: list[Frame] = log.read()
    if dump(replay(frames)) != dump(history.run):
        yield f"{log.run_id}: from the snapshot at {frames[0].header.seq} it is another run than from the start"
    trace = thaw(history.run.root.values["trace"])
    if Counter(trace) != Counter(history.nodes):
        yield f"{log.run_id}: the state was made by {trace}, but {history.nodes} are committed"


def _betrayed(told: list[Line], history: History, run_id: str) -> Iterator[str]:
    """Promises that the store did not keep, in the order in which they were made."""
    known = -1  # everything up to this number was acknowledged, or seen by a reader, at this point of the log
    starts: set[tuple[int, str]] = set()
    for line in told:
        if line.what in ("acknowledged", "seen"):
            if line.seq >= len(history.nonces) or history.nonces[line.seq] != line.nonce:
                yield f"{run_id}: commit {line.seq} was {line.what} (process {line.pid}), and is lost"
            known = max(known, line.seq)
        elif line.what == "started":
            what = f"{run_id}: process {line.pid} started {line.text} ({line.key[:8]})"
            if history.finished.get(line.key, known + 1) <= known:
                yield f"{what}, finished by commit {history.finished[line.key]}, when {known} was known"
            if run_id.endswith("-sync") and history.opened.get(line.key, known + 1) > known:
                yield f"{what}, opened by commit {history.opened.get(line.key)}, when only {known} was known"
            if (line.pid, line.key) in starts:
                yield f"{what} twice"
            starts.add((line.pid, line.key))
        elif line.what == "result" and not history.run.ended:
            yield f"{run_id}: process {line.pid} had its result, but it is {history.run.status}"


def _unfinished(histories: dict[str, History]) -> Iterator[str]:
    for run_id in run_ids():
        history = histories.get(run_id)
        if history is None or history.run.status != "finished":
            yield f"{run_id}: {'not there' if history is None else history.run.status} after the last resume"
            continue
        values = {name: thaw(value) for name, value in history.run.root.values.items()}
        problem = problem_of_result(run_id.partition("-")[0], values)
        if problem is not None:
            yield f"{run_id}: {problem}"
        if (origin := values.get("origin", "version 1")) != f"version {history.version}":
            yield f"{run_id}: it began with version {history.version}, but says {origin!r}"


def _left_behind(store: Path, histories: dict[str, History]) -> Iterator[str]:
    for path in sorted(store.rglob("*")):
        key = path.relative_to(store).as_posix()
        if key.startswith("hosts/") and path.is_file():
            yield f"left behind: {key}"
        if path.name.startswith(TEMP):
            yield f"left behind: {key}"
        if marker := parse_active(key):
            # one that was put for an opening whose commit never came stays: that commit may be on its way
            run_id, opening = marker
            if histories[run_id].run.opening >= opening:
                yield f"left behind: {key}"
