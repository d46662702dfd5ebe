"""The arena: one store, the processes over it, and everything that is done to them for so long.

All processes work for as long as the soak lasts; at random moments something
happens to one of them, to the network or to a file. Every now and then all are
stopped where they are, and the oracle judges. In the end they are killed, and
one more process, that nobody disturbs, must bring every run to its end.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import random
import signal
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from actorflow.errors import CorruptCheckpoint
from actorflow.store.keys import encode_id, log_prefix
from actorflow.store.local import TEMP
from actorflow.store.store import open_store
from tests.kill.siege import ONCE, POINTS
from tests.servers.place import buckets_of
from tests.servers.proxy import Proxy
from tests.soak.damage import Damage, damage_file, damage_object
from tests.soak.figures import Figures
from tests.soak.network import BadNetwork, OneAtATime
from tests.soak.oracle import Oracle
from tests.soak.worker import JUMPS, Job, work

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.context import ForkServerProcess

    from tests.servers.place import S3Server
    from tests.soak.worker import Role

Kind = Literal["local", "ceph", "moto"]

TICK = 0.05  # seconds between two looks at what is due
PAUSE = (0.1, 30.0)  # seconds that a process stands still
ROUND = 20.0  # seconds between two judgements
SLOWEST = 4  # times as long as it should, at most, where too little comes about
LEAVING = 20.0  # seconds that a process may take to leave in order
DRAIN = 150.0  # seconds that the last process may take
WEIGH_EVERY = 5.0  # seconds between two looks at the memory of the process that lives longest
DEATHS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)  # the latter two before a new process listens for them
PAGE = os.sysconf("SC_PAGE_SIZE")

# One process imports everything once; those to be killed are forked from it.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.soak.worker", "s3fs"])


class Breach(AssertionError):
    """The oracle found something; the message has what is needed to look at it."""


@dataclass(slots=True)
class Slot:
    """A place for a process: when it ends, the next one is started in it."""

    role: Role
    process: ForkServerProcess
    job: Job
    spared: bool = False  # lives as long as the soak
    resumes: float = 0.0  # when it goes on; 0: it is not stopped
    leaves: float = 0.0  # when it was asked to leave; 0: it was not
    old: bool = False  # its code is to be replaced

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return self.process.exitcode is None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there to get one."""
        if self.lives and self.process.pid is not None:
            os.kill(self.process.pid, number)


@dataclass(slots=True)
class Arena:
    """One soak of one store. The seed decides everything but timing."""

    folder: Path
    kind: Kind
    seed: int
    seconds: float
    workers: int = 3
    at_once: int = 4  # runs that each of them begins
    bug: str = ""
    least: int = 0  # commits that must be acknowledged before it is over, on however slow a machine
    figures: Figures = field(default_factory=Figures)
    _chance: random.Random = field(init=False)
    _slots: list[Slot] = field(default_factory=list)
    _started: int = 0
    _version: int = 1
    _until: float = 0.0  # when every process ends by itself
    _network: BadNetwork | None = None
    _client: Any = None
    _url: str = ""
    _direct: dict[str, Any] | None = None  # storage options, past the network
    _through: dict[str, Any] | None = None
    _oracle: Oracle = field(init=False)
    _damage: tuple[Damage, str, float] | None = None  # of which run, and until when
    _killed: dict[int, float] = field(default_factory=dict)  # process: when
    _stood: list[tuple[float, float]] = field(default_factory=list)  # when all were stopped

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def soak(self) -> Figures:
        """All of it; the figures.

        Raises:
            Breach: something is wrong; the files are kept.
        """
        began = time.monotonic()
        self._until = began + self.seconds * SLOWEST + LEAVING + DRAIN
        with ExitStack() as stack:
            self._open(stack)
            stack.callback(self._end_all)
            for number in range(self.workers):
                self._slots.append(self._start("carry", spared=number == 0))
            self._slots.append(self._start("collect"))
            self._endure(began + self.seconds)
            self._finish()
        self.figures.seconds = time.monotonic() - began
        self._measure()
        return self.figures

    # -- before and after -------------------------------------------------------------

    def _open(self, stack: ExitStack) -> None:
        self.folder.mkdir(parents=True)
        (self.folder / "log").touch()
        if self.kind == "local":
            self._url = str(self.folder / "store")
        else:
            server = stack.enter_context(_server(self.kind))
            proxy = stack.enter_context((OneAtATime if self.kind == "moto" else Proxy)(server.endpoint))
            self._network = BadNetwork(proxy, self._chance)
            place = server.place(through=proxy.endpoint)
            self._url, self._through = place
            self._direct = {**place.storage_options, "endpoint_url": server.endpoint}
            self._client = stack.enter_context(buckets_of(server.endpoint, server.key, server.secret))
        open_store(self._url, storage_options=self._through).close()  # made by one who lives: it is not what is tested
        self._oracle = Oracle(self._url, self._direct, self.folder / "log")

    def _finish(self) -> None:
        """Everybody dies; one more process, alone, brings all runs to their end, and nothing is left lying about."""
        self._calm()
        for slot in self._slots:
            self._kill(slot)
        for slot in self._slots:
            slot.process.join()
        self._check(self._oracle.listen())
        self._version = 2
        last = self._start("finish", ids=tuple(self._oracle.open_runs))
        self._slots.append(last)
        last.process.join(DRAIN)
        code = last.process.exitcode
        self._kill(last)
        self._check(self._oracle.examine(ended=True))
        if code != 0:
            self._check([f"the last process, which nobody disturbed, ended with {code}"])
        if self.kind == "local":
            self._check([f"left behind: {path}" for path in _left_behind(Path(self._url))])

    def _end_all(self) -> None:
        for slot in self._slots:
            slot.signal(signal.SIGKILL)
        for slot in self._slots:
            slot.process.join()

    def _start(self, role: Role, *, spared: bool = False, ids: tuple[str, ...] = ()) -> Slot:
        self._started += 1
        careful = spared or role == "finish"
        points = [point for point in POINTS if point not in ONCE and (point != "migrate" or self._version == 2)]
        point = "" if careful or self._chance.random() < 0.7 else self._chance.choice(points)
        job = Job(
            who=self._started,
            role=role,
            url=self._url,
            storage_options=self._direct if role == "finish" else self._through,
            log=self.folder / "log",
            errors=self.folder / "errors",
            seed=self._chance.getrandbits(32),
            backend=self._chance.choice(("asyncio", "trio")),
            version=1 if spared else self._version,
            at_once=self.at_once,
            until=self._until,
            clock=0.0 if role == "finish" else self._chance.choice(JUMPS),
            crash=f"{point}:{self._chance.choice((1, 3, 10, 30))}" if point else "",
            bug=self.bug,
            ids=ids,
        )
        process = _processes.Process(target=work, args=(job,), daemon=True)
        process.start()
        return Slot(role, process, job, spared)

    # -- the time between ---------------------------------------------------------------

    def _endure(self, end: float) -> None:
        events: list[tuple[int, Callable[[], None]]] = [
            (4, self._kill_one),
            (2, self._kill_a_recovery),
            (4, self._pause_one),
            (2, self._jump_a_clock),
            (4, self._turn_a_bit),
            (1, self._change_the_code),
        ]
        weights = [weight for weight, _ in events]
        judges = weighs = time.monotonic() + min(ROUND, self.seconds / 3)
        latest = end + self.seconds * (SLOWEST - 1)
        while (now := time.monotonic()) < end or (now < latest and self._oracle.told["acknowledged"] < self.least):
            self._wait(min(self._chance.uniform(0.2, 5.0), max(end - now, 1.0)))
            self._chance.choices([event for _, event in events], weights)[0]()
            if self._network is not None and self._chance.random() < 0.7:
                self._network.disturb()
            if time.monotonic() >= weighs:
                weighs = time.monotonic() + WEIGH_EVERY
                self._weigh()
            if time.monotonic() >= judges:
                self._judge()
                judges = time.monotonic() + min(ROUND, self.seconds / 3)

    def _wait(self, seconds: float) -> None:
        """Let that much time pass, and do meanwhile what falls due."""
        end = time.monotonic() + seconds
        while True:
            self._tend()
            left = end - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(TICK, left))

    def _tend(self) -> None:
        now = time.monotonic()
        if self._network is not None:
            self._network.forget()
        if self._damage is not None and now >= self._damage[2]:
            self._restore()
        for place, slot in enumerate(self._slots):
            if not slot.lives:
                self._slots[place] = self._next(slot)
            elif slot.resumes and now >= slot.resumes:
                slot.resumes = 0.0
                slot.signal(signal.SIGCONT)
            elif slot.leaves and now >= slot.leaves + LEAVING and not slot.resumes:
                self._kill(slot)
        leaving = any(slot.leaves for slot in self._slots)
        for slot in self._slots:
            if slot.old and not leaving:
                slot.old, slot.leaves, leaving = False, now, True
                slot.signal(signal.SIGTERM)

    def _next(self, slot: Slot) -> Slot:
        """The process that follows one that has ended."""
        code = slot.process.exitcode
        who = slot.job.who
        self._killed.setdefault(who, time.monotonic())
        if code is not None and -code in DEATHS:
            self.figures.events["kill"] += 1
        elif code != 0 or slot.spared:
            self._check([f"process {who} ended with {code}"])
        else:
            self._killed.pop(who)
        return self._start(slot.role, spared=slot.spared)

    # -- what happens ---------------------------------------------------------------------

    def _any(self) -> Slot | None:
        """A process that may be hurt, if one lives and is not leaving."""
        slots = [slot for slot in self._slots if slot.lives and not slot.spared and not slot.leaves]
        return self._chance.choice(slots) if slots else None

    def _kill(self, slot: Slot) -> None:
        if slot.lives:
            self._killed[slot.job.who] = time.monotonic()
            slot.signal(signal.SIGKILL)

    def _kill_one(self) -> None:
        if (slot := self._any()) is not None:
            self._kill(slot)

    def _kill_a_recovery(self) -> None:
        """One is killed, and another a moment later, while it takes up what the first one left."""
        self._kill_one()
        self._wait(self._chance.uniform(0.1, 1.5))
        self._kill_one()
        self.figures.events["kill during recovery"] += 1

    def _pause_one(self) -> None:
        """Mostly for a moment, now and then for long: the logarithm is what is drawn evenly."""
        slots = [slot for slot in self._slots if slot.lives and not slot.resumes]
        if slots:
            slot = self._chance.choice(slots)
            slot.resumes = time.monotonic() + math.exp(self._chance.uniform(*map(math.log, PAUSE)))
            slot.signal(signal.SIGSTOP)
            self.figures.events["pause"] += 1

    def _jump_a_clock(self) -> None:
        slots = [slot for slot in self._slots if slot.lives and not slot.leaves]
        if slots:
            self._chance.choice(slots).signal(signal.SIGUSR1)
            self.figures.events["clock jump"] += 1

    def _change_the_code(self) -> None:
        """The other version, process by process; the one that is spared keeps the old code."""
        self._version = 3 - self._version
        for slot in self._slots:
            slot.old = not slot.spared
        self.figures.events["upgrade" if self._version == 2 else "downgrade"] += 1

    def _turn_a_bit(self) -> None:
        """In the newest file of a run that goes on; whoever reads it must refuse it, or read what it was."""
        runs = [run for run in self._oracle.open_runs if self._oracle.newest(run) is not None]
        if self._damage is not None or not runs:
            return
        run = self._chance.choice(runs)
        encoded = encode_id(run)
        before = self._digests(run)
        if not before:
            return
        self._oracle.victims.add(run)
        if self._client is None:
            damage = damage_file(Path(self._url), encoded, self._chance)
        else:
            split = urlsplit(self._url)
            damage = damage_object(self._client, split.netloc, split.path.strip("/"), encoded, self._chance)
        if damage is None:
            return
        self._damage = (damage, run, time.monotonic() + self._chance.uniform(0.5, 5.0))
        self.figures.events["bit turned"] += 1
        after = self._digests(run)
        if after is None:
            self.figures.events["bit turned, and refused"] += 1
            return
        wrong = [seq for seq in before.keys() & after.keys() if before[seq] != after[seq]]
        if wrong or (after and max(after) < max(before)):
            self._check([f"{run}: with a bit turned it reads as another run, from commit {min(wrong, default=-1)} on"])

    def _restore(self) -> None:
        if self._damage is not None:
            self._damage[0].restore()
            self._damage = None

    def _digests(self, run: str) -> dict[int, bytes] | None:
        """The commits of a run by number; None: it is refused as damaged."""
        store = open_store(self._url, storage_options=self._direct, readonly=True)
        try:
            return {frame.header.seq: frame.digest for frame in store.log(run).read(first=0)}
        except CorruptCheckpoint:
            return None
        finally:
            store.close()

    # -- judging --------------------------------------------------------------------------

    def _calm(self) -> None:
        """No more faults, and nobody stands still."""
        self._restore()
        if self._network is not None:
            self._network.heal()
        for slot in self._slots:
            if slot.resumes:
                slot.resumes = 0.0
                slot.signal(signal.SIGCONT)

    def _judge(self) -> None:
        """All stand still; what those had to do that were to stand still anyway is over."""
        self._restore()
        began = time.monotonic()
        living = [slot for slot in self._slots if slot.lives]
        for slot in living:
            slot.signal(signal.SIGSTOP)
        for slot in living:
            _wait_until_stopped(slot)
        try:
            self._check(self._oracle.examine())
        finally:
            for slot in living:
                if not slot.resumes:
                    slot.signal(signal.SIGCONT)
        self._stood.append((began, time.monotonic()))
        self.figures.rounds += 1

    def _check(self, problems: list[str]) -> None:
        if not problems:
            return
        self._save([problem.partition(": ")[0] for problem in problems])
        errors = self.folder / "errors"
        told = errors.read_text("utf-8", "replace")[-3000:] if errors.exists() else ""
        head = f"Arena(kind={self.kind!r}, seed={self.seed}, bug={self.bug!r}), files in {self.folder}"
        raise Breach("\n".join([head, f"{len(problems)} problems", *problems[:20], told]))

    def _save(self, runs: list[str]) -> None:
        """What a bucket holds of these runs, as files."""
        if self._client is None:
            return
        split = urlsplit(self._url)
        for run in dict.fromkeys(runs):
            prefix = f"{split.path.strip('/')}/{log_prefix(encode_id(run))}"
            page = self._client.list_objects_v2(Bucket=split.netloc, Prefix=prefix)
            for key in (entry["Key"] for entry in page.get("Contents", ())):
                path = self.folder / "objects" / key
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self._client.get_object(Bucket=split.netloc, Key=key)["Body"].read())

    def _weigh(self) -> None:
        """The memory of the process that lives as long as the soak."""
        slot = next(slot for slot in self._slots if slot.spared)
        pages = int(Path(f"/proc/{slot.process.pid}/statm").read_text("ascii").split()[1])
        self.figures.weights.append((time.monotonic(), pages * PAGE / 2**20))

    def _measure(self) -> None:
        """What the oracle heard in all, and how long runs of the dead waited."""
        oracle, figures = self._oracle, self.figures
        if self._network is not None:
            figures.faults = self._network.met()
        figures.told += oracle.told
        figures.runs = len(oracle.over)
        figures.judged = figures.runs - oracle.deleted
        figures.commits_read = oracle.commits
        figures.takeovers = len(oracle.takeovers)
        for _, before, claim in oracle.takeovers:
            died = self._killed.get(before.who)
            if died is None or claim.at < died:
                continue
            stood = sum(max(0.0, min(claim.at, end) - max(died, began)) for began, end in self._stood)
            figures.recoveries.append(claim.at - died - stood)


def soak(folder: Path, kind: Kind, seed: int, seconds: float, **more: Any) -> Figures:
    """One arena from beginning to end; see `Arena`."""
    return Arena(folder, kind, seed, seconds, **more).soak()


def _server(kind: Kind) -> Any:
    from tests.servers.ceph import Ceph
    from tests.servers.moto import Moto

    server: type[S3Server] = Ceph if kind == "ceph" else Moto
    return server()


def _wait_until_stopped(slot: Slot) -> None:
    end = time.monotonic() + 5
    while slot.lives and time.monotonic() < end:
        try:
            state = Path(f"/proc/{slot.process.pid}/stat").read_text("ascii").rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state in "TZX":
            return
        time.sleep(0.002)


def _left_behind(store: Path) -> list[str]:
    """Temporary files and locks of the dead, when the last one has left."""
    return [
        str(path)
        for path in sorted(store.rglob("*"))
        if path.name.startswith(TEMP) or (path.is_file() and path.relative_to(store).parts[0] == "hosts")
    ]
