"""The siege: starts processes over one store, kills them at random or at named points, and asks the oracle."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.kill.graphs import run_ids
from tests.kill.oracle import examine
from tests.kill.sidelog import SideLog, lines
from tests.kill.worker import Job, work

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

POINTS = (
    "append.after_sync",
    "append.after_write",
    "append.before_write",
    "claim.after_link",
    "claim.before_link",
    "claim.before_sync",
    "ended.after",
    "ended.before",
    "marker.after",
    "marker.before",
    "migrate",
    "node.begins",
    "node.ends",
    "put.after_link",
    "put.before_link",
    "put.before_sync",
    "rollover.after_link",
    "rollover.before_link",
    "rollover.before_sync",
    "temp.after_write",
)
"""Every place in the store that can be named, and three of the worker's own."""

ONCE = ("put.after_link", "put.before_link", "put.before_sync")
"""Passed once in the life of a store: when it is made."""

EACH = 20
"""Commits that are acknowledged for each kill, at least: processes that only die prove nothing."""

PATIENCE = 60.0  # seconds that a process may take, far more than it needs

# One process imports everything once; those to be killed are forked from it.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.kill.worker"])


class Breach(AssertionError):
    """The oracle found something; the message has what is needed to repeat the siege."""


@dataclass(slots=True)
class Siege:
    """One store after another, each until all of its runs have finished. The seed decides everything but timing."""

    folder: Path
    seed: int
    bug: str = ""
    kills: int = 0
    stores: int = 0  # whose runs all finished
    commits: int = 0
    refused: int = 0  # claims of what another process owned
    tries: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    _random: random.Random = field(init=False)
    _rounds: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def besiege_one(self) -> None:
        """Make a store, kill until its runs have finished, and see what is left."""
        home = self.folder / f"{self.seed}-{self.stores}"
        home.mkdir()
        (home / "log").touch()
        self._rounds = []
        matures = self._random.randint(4, 16)  # from this round on the code has version 2
        for round_ in range(1_000):
            version = 1 if round_ < matures else 2
            self._kill(home, version)
            if self._is_over(home):
                break
        self._finish(home)
        self.stores += 1
        self.commits += sum(1 for line in lines(home / "log") if line.what == "acknowledged")
        self.refused += _refused(home)

    def _kill(self, home: Path, version: int) -> None:
        """One round: one process or two, of which the first is killed early and the other soon after."""
        longest = 0.1 + 0.01 * len(self._rounds)  # a slow machine comes to an end too
        delays = [self._random.uniform(0, longest), self._random.uniform(0, longest)]
        point = crash = ""
        if self._random.random() < 0.7:
            point = self._next_point(home, version)
            crash = f"{point}:{1 if point in ONCE else self._random.choice((1, 1, 2, 3, 5))}"
            delays[0] += 1.0  # if it is not passed by then, that is a kill at random
            self.tries[point] += 1
        jobs = [self._job(home, version, crash)]
        if self._random.random() < 0.25:
            jobs.append(self._job(home, version, ""))
        self._rounds.append(f"version {version}, {len(jobs)} processes, at {crash or f'{delays[0]:.3f} s'}")
        refused = _refused(home)
        running = [_start(job) for job in jobs]
        for process, delay in zip(running, delays, strict=False):
            process.join(delay)
            own_doing = process.exitcode == -signal.SIGKILL
            if process.exitcode is None:
                process.kill()
                process.join(PATIENCE)
            self.kills += process.exitcode == -signal.SIGKILL
            if own_doing and process is running[0]:
                self.hits[point] += 1
            if process.exitcode not in (0, -signal.SIGKILL):
                raise Breach(self._report(home, [f"a process ended with {process.exitcode}"]))
        if len(jobs) == 1 and _refused(home) > refused:
            raise Breach(self._report(home, ["a process that was alone was refused a run: by somebody dead"]))
        self._judge(home)

    def _next_point(self, home: Path, version: int) -> str:
        """The one that was hit, or else tried, the least of those that can be passed."""
        fresh = not (home / "store" / "actorflow.json").exists()
        can = [point for point in POINTS if (point not in ONCE or fresh) and (point != "migrate" or version == 2)]
        return min(can, key=lambda point: (self.hits[point], self.tries[point], self._random.random()))

    def _job(self, home: Path, version: int, crash: str) -> Job:
        return Job(
            store=home / "store",
            log=home / "log",
            errors=home / "errors",
            seed=self._random.getrandbits(32),
            backend=self._random.choice(("asyncio", "trio")),
            version=version,
            crash=crash,
            bug=self.bug,
        )

    def _finish(self, home: Path) -> None:
        """A last process that nobody kills; afterwards nothing may be left lying about."""
        refused = _refused(home)
        process = _start(self._job(home, 2, ""))
        process.join(PATIENCE)
        if process.exitcode != 0 or _refused(home) > refused:
            process.kill()
            raise Breach(self._report(home, [f"the last process ended with {process.exitcode}, or was refused a run"]))
        self._judge(home, ended=True)

    def _judge(self, home: Path, *, ended: bool = False) -> None:
        problems, histories = examine(home / "store", home / "log", ended=ended)
        if problems:
            raise Breach(self._report(home, problems))
        log = SideLog(home / "log")
        for run_id, history in histories.items():
            log.tell("seen", run_id, seq=len(history.nonces) - 1, nonce=history.nonces[-1])
        log.close()

    def _is_over(self, home: Path) -> bool:
        return {line.run for line in lines(home / "log") if line.what == "result"} >= set(run_ids())

    def _report(self, home: Path, problems: list[str]) -> str:
        errors = (home / "errors").read_text() if (home / "errors").exists() else ""
        return "\n".join(
            [
                f"Siege(seed={self.seed}, bug={self.bug!r}), store {self.stores}, files in {home}",
                *self._rounds,
                *problems[:20],
                errors[-2000:],
            ]
        )


def besiege(folder: Path, seed: int, kills: int, enough: float, bug: str = "") -> Siege:
    """Store after store, until all points were hit and so many processes killed, or (seconds) it is enough."""
    siege = Siege(folder, seed, bug)
    began = time.monotonic()
    while time.monotonic() - began < enough:
        siege.besiege_one()
        lively = siege.stores >= 2 and siege.commits >= EACH * kills and siege.refused > 0
        if lively and siege.kills >= kills and all(siege.hits[point] for point in POINTS):
            break
    return siege


def _refused(home: Path) -> int:
    return sum(1 for line in lines(home / "log") if line.what == "owned")


def _start(job: Job) -> ForkServerProcess:
    process = _processes.Process(target=work, args=(job,), daemon=True)
    process.start()
    return process
