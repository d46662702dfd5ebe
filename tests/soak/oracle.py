"""The oracle of a soak: never killed, it holds a store against what was promised, while all processes stand still.

Retention works beside them, so what is kept of a run may begin at a snapshot.
Then the promises say more than the files: what was acknowledged under a number
by two processes, or acknowledged in an older epoch after a claim, is found in
the side log alone.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from actorflow.engine.operations import thaw
from actorflow.engine.records import ENDED, Finished
from actorflow.engine.snapshot import dump
from actorflow.errors import ActorflowError
from actorflow.runtime.boxes import Boxes
from actorflow.runtime.large import Joiner
from actorflow.runtime.replay import replay, steps
from actorflow.store.deletion import DELETED
from actorflow.store.keys import encode_id
from actorflow.store.store import open_store
from actorflow.store.verify import verify_run
from tests.soak.graphs import problem_of_result, shape_of
from tests.soak.ledger import LEDGER, Book
from tests.soak.told import Line, Reader

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actorflow.engine.run import Activation, RunState
    from actorflow.store.frames import Frame
    from actorflow.store.store import Store

READERS = 4  # runs that are read at once
PATIENCE = 60.0  # seconds that a migration may take

FAILURES = ("error", "trespass")


@dataclass(slots=True)
class History:
    """One run, as what is kept of its chain tells it."""

    frames: list[Frame]
    run: RunState
    opened: dict[str, int] = field(default_factory=dict)  # activation key: the commit that opened it
    finished: dict[str, int] = field(default_factory=dict)  # activation key: the commit that finished it
    nodes: list[str] = field(default_factory=list)  # that finished

    @property
    def floor(self) -> int:
        """The number of the oldest commit that is kept."""
        return self.frames[0].header.seq


@dataclass(slots=True)
class Dossier:
    """Everything that was told and seen of one run."""

    lines: list[Line] = field(default_factory=list)
    digests: dict[int, bytes] = field(default_factory=dict)  # by number, whenever it was read


@dataclass(slots=True)
class Oracle:
    """Judges a store again and again, until each of its runs is over."""

    url: str
    storage_options: dict[str, Any] | None
    log: Path
    victims: set[str] = field(default_factory=set)  # runs that had a damaged file for a while
    over: dict[str, int] = field(default_factory=dict)  # runs, and the number of the commit that ended them
    deleted: int = 0  # before their end was judged
    told: Counter[str] = field(default_factory=Counter)
    takeovers: list[tuple[Line, Line]] = field(default_factory=list)  # the old owner's last commit, the claim
    books: dict[str, Book] = field(default_factory=lambda: defaultdict[str, Book](Book))  # by ledger
    written: int = 0  # entries, in all ledgers that are over
    _open: dict[str, Dossier] = field(default_factory=dict)
    _reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        self._reader = Reader(self.log)

    @property
    def open_runs(self) -> list[str]:
        """Runs that were begun, and not seen to be over."""
        return [run for run in self._open if run not in self.over]

    def listen(self) -> list[str]:
        """Take in what was told; what is wrong by itself."""
        problems: list[str] = []
        met: dict[tuple[str, str], str] = {}
        for line in self._reader.news():
            self.told[line.what] += 1
            if line.what in FAILURES or (line.what == "corrupt" and not self._is_ours(line)):
                met.setdefault((line.run, line.what), f"{line.run}: process {line.who} met {line.what}: {line.text}")
            if line.what in ("sent", "kept"):
                self.books[line.run].note(line)
            elif line.run and line.what in ("tried", "acknowledged", "started", "result"):
                if line.run in self.over:
                    problems += after_the_end(line, self.over[line.run])
                else:
                    self._open.setdefault(line.run, Dossier()).lines.append(line)
        return [*problems, *met.values()]

    def examine(self, *, ended: bool = False) -> list[str]:
        """Everything that is wrong just now. ``ended``: every run must be over."""
        heard = self.listen()
        problems: list[str] = []
        store = open_store(self.url, storage_options=self.storage_options, readonly=True)
        try:
            with ThreadPoolExecutor(READERS) as pool:
                judged = pool.map(lambda run: self._judge(store, run, ended=ended), list(self._open))
                problems += [problem for found in judged for problem in found]
        finally:
            store.close()
        for run in self.over.keys() & self._open.keys():
            self._note_takeovers(self._open.pop(run).lines)
        return problems + heard

    def _is_ours(self, line: Line) -> bool:
        """Whether the damage that was met is our own: in the run itself, or in the ledger that it sends to."""
        return line.run in self.victims or any(f"/{encode_id(run)}/" in line.text for run in self.victims)

    def _judge(self, store: Store, run: str, *, ended: bool) -> list[str]:
        dossier = self._open[run]
        promises = [line for line in dossier.lines if line.what == "acknowledged"]
        problems = [*broken_promises(run, promises)]
        tried = max((line.seq for line in dossier.lines if line.what == "tried"), default=-1)
        known = max((line.seq for line in dossier.lines if line.what in ("acknowledged", "seen")), default=-1)
        try:
            tip = store.log(run).tip()
            if tip is None:
                if ended and not promises:
                    self.over[run] = -1  # its spawner died before its claim landed
                return problems + ([f"{run}: commit {known} was known, and there is no such run"] if promises else [])
            if tip.header.seq < known:
                problems.append(f"{run}: commit {known} was known, and the newest is {tip.header.seq}: lost")
            if tip.header.seq > tried:
                problems.append(f"{run}: its newest commit is {tip.header.seq}, and only {tried} was tried")
            if tip.header.status == DELETED:
                self.over[run] = tip.header.seq
                self.deleted += 1
                if not any(line.status in ENDED for line in dossier.lines):
                    problems.append(f"{run}: deleted, and it had not ended")
                return problems
            history = history_of(store, run)
            problems += broken_chain(store, run, history, dossier)
            problems += _betrayed(run, dossier.lines, history)
            if shape_of(run) == LEDGER:
                problems += self._wrong_book(store, run, history)
        except ActorflowError as error:
            return [*problems, f"{run}: can't be read: {error!r}"]
        if history.run.ended:
            self.over[run] = history.frames[-1].header.seq
            problems += _wrong_end(run, dossier.lines, history)
        elif ended:
            problems.append(f"{run}: {history.run.status} after everybody had gone on with it")
        newest = history.frames[-1].header
        seen = Line(what="seen", who=0, at=0, run=run, seq=newest.seq, nonce=newest.nonce.hex())
        dossier.lines.append(seen)
        return problems

    def _wrong_book(self, store: Store, run: str, history: History) -> Iterator[str]:
        """Whether what was sent to a ledger is there, once and in order, or waits for it."""
        state, book = history.run, self.books[run]
        entries = thaw(state.root.values["items"])
        boxes = Boxes(store, state, None, time_limit=PATIENCE)
        waiting = {one.values.get("label", "") for one in boxes.waiting()}
        if state.turn is not None and (letter := state.open[state.turn].letter) is not None:
            waiting.add(letter.values.get("label", ""))
        dead = [str(one.values.get("label")) for one in boxes.dead() if one.reason != "ended"]
        if state.ended:
            self.written += len(entries)
        return book.problems(run, entries, waiting=waiting, dead=dead, ended=state.ended)

    def _note_takeovers(self, lines: list[Line]) -> None:
        promises = sorted((line for line in lines if line.what == "acknowledged"), key=lambda line: line.seq)
        self.takeovers += [
            (before, claim)
            for before, claim in pairwise(promises)
            if claim.kind == "claim" and before.kind != "release" and before.who != claim.who
        ]


def after_the_end(line: Line, last: int) -> Iterator[str]:
    """Nothing follows the end but a deletion. An owner that stood still may start a node, and never acknowledges."""
    if line.what == "acknowledged" and line.seq > last and line.status != DELETED:
        yield f"{line.run}: process {line.who} acknowledged {line.seq}, and {last} had ended the run"


def broken_promises(run: str, promises: list[Line]) -> Iterator[str]:
    """What the acknowledgements alone show: one content for a number, and after a claim no older owner."""
    by_seq: dict[int, set[str]] = defaultdict(set)
    for line in promises:
        by_seq[line.seq].add(line.nonce)
    for seq, nonces in by_seq.items():
        if len(nonces) > 1:
            who = sorted({line.who for line in promises if line.seq == seq})
            yield f"{run}: commit {seq} was acknowledged with {len(nonces)} contents, by {who}: one is lost"
    for older, newer in pairwise(sorted(promises, key=lambda line: (line.seq, line.epoch))):
        if newer.epoch < older.epoch:
            yield f"{run}: epoch {newer.epoch} acknowledged {newer.seq} after the claim of epoch {older.epoch}"


def history_of(store: Store, run_id: str) -> History:
    """All of it that is kept, read once."""
    frames = store.log(run_id).read(first=0)
    joiner = Joiner(store.blobs(run_id))
    history: History | None = None
    open_: dict[int, Activation] = {}
    for frame, after, step in steps(frames, joiner):
        seq, record = frame.header.seq, step.record
        if history is None:
            history = History(frames, after)
        if isinstance(record, Finished) and record.id in open_:  # a snapshot may be of a run before this record
            activation = open_[record.id]
            history.finished[activation.key.hex()] = seq
            history.nodes.append(activation.node)
        for activation in after.open.values():
            history.opened.setdefault(activation.key.hex(), seq)
        open_, history.run = dict(after.open), after
    assert history is not None
    return history


def broken_chain(store: Store, run: str, history: History, dossier: Dossier) -> Iterator[str]:
    """Whether the chain is whole, is what it was, and the shortest way to the newest state leads to the same state."""
    log = store.log(run)
    for finding in verify_run(log):
        if finding.broken:
            yield f"{run}: {finding.path}: {finding.what}"
    for frame in history.frames:
        seq = frame.header.seq
        if dossier.digests.setdefault(seq, frame.digest) != frame.digest:
            yield f"{run}: commit {seq} has another digest than when it was read before"
    shortest = log.read()
    # Nobody moves, but what was on its way through a slow network may have landed since: it is judged the next time.
    landed = shortest[-1].header.seq > history.frames[-1].header.seq
    if not landed and dump(replay(shortest, Joiner(store.blobs(run)))) != dump(history.run):
        yield f"{run}: from its newest snapshot it is another run than from commit {history.floor} on"
    trace = thaw(history.run.root.values["trace"])
    if history.floor == 0 and Counter(trace) != Counter(history.nodes):
        yield f"{run}: the state was made by {Counter(trace)}, but {Counter(history.nodes)} are committed"


def _betrayed(run: str, told: list[Line], history: History) -> Iterator[str]:
    """Promises that the store did not keep, in the order in which they were made."""
    nonces = {frame.header.seq: frame.header.nonce.hex() for frame in history.frames}
    known = -1  # everything up to this number was acknowledged, or seen by the oracle, at this point of the log
    starts: set[tuple[int, str]] = set()
    epochs: dict[int, int] = {}  # process: that of its claim
    newest = 0  # epoch that was claimed
    for line in told:
        if line.what in ("acknowledged", "seen"):
            if line.seq >= history.floor and nonces.get(line.seq) != line.nonce:
                yield f"{run}: commit {line.seq} was {line.what} (process {line.who}), and is lost"
            known = max(known, line.seq)
            if line.kind == "claim":
                epochs[line.who] = newest = max(newest, line.epoch)
        elif line.what == "started":
            what = f"{run}: process {line.who} started {line.text} ({line.key[:8]})"
            # a fenced owner may start what its last commit opened, until its next one answers (guarantee 3)
            owns = epochs.get(line.who, 0) >= newest
            if owns and history.finished.get(line.key, known + 1) <= known:
                yield f"{what}, finished by commit {history.finished[line.key]}, when {known} was known"
            if run.endswith("-sync") and history.floor == 0 and history.opened.get(line.key, known + 1) > known:
                yield f"{what}, opened by commit {history.opened.get(line.key)}, when only {known} was known"
            if (line.who, f"{line.key}/{epochs.get(line.who)}") in starts:
                yield f"{what} twice"
            starts.add((line.who, f"{line.key}/{epochs.get(line.who)}"))
        elif line.what == "result" and not history.run.ended:
            yield f"{run}: process {line.who} had its result, but it is {history.run.status}"


def _wrong_end(run: str, told: list[Line], history: History) -> Iterator[str]:
    if history.run.status != "finished":
        yield f"{run}: it ended as {history.run.status}"
        return
    values = {name: thaw(value) for name, value in history.run.root.values.items()}
    if (problem := problem_of_result(run, values)) is not None:
        yield f"{run}: {problem}"
    began = next((line.version for line in told if line.what == "acknowledged" and line.seq == 0), None)
    origin = values.get("origin", "version 1")
    if began is not None and origin != f"version {began}":
        yield f"{run}: it began with version {began}, but says {origin!r}"
