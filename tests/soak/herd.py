"""The herd: the processes over one store, each in a slot of its own, where the next one follows when it ends."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.kill.siege import ONCE, POINTS
from tests.soak.worker import JUMPS, work

if TYPE_CHECKING:
    import random
    from collections.abc import Generator
    from multiprocessing.context import ForkServerProcess

    from tests.soak.worker import Job, Role

PAUSE = (0.1, 30.0)  # seconds that a process stands still
LEAVING = 20.0  # seconds that a process may take to leave in order
STOPPING = 5.0  # seconds within which a process that was told to stand still does so
DEATHS = (signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1)  # the latter two before a new process listens for them
PAGE = os.sysconf("SC_PAGE_SIZE")

# One process imports everything once; those to be killed are forked from it.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["tests.soak.worker", "s3fs"])


@dataclass(slots=True)
class Slot:
    """A place for a process."""

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

    @property
    def stands(self) -> bool:
        """Whether the kernel has stopped it, or it is gone."""
        return all(_state(thread) in "TZX" for thread in Path(f"/proc/{self.process.pid}/task").glob("*/stat"))

    @property
    def listens(self) -> bool:
        """Whether it has come so far that a signal to set its clock does not kill it."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        except (FileNotFoundError, ProcessLookupError):
            return False
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGUSR1 - 1) & 1)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there to get one."""
        if self.lives and self.process.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended, and we have yet to hear of it
                os.kill(self.process.pid, number)


def _state(thread: Path) -> str:
    """What the kernel says that a thread does: a letter."""
    try:
        return thread.read_text("ascii").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


@dataclass(slots=True)
class Herd:
    """Starts, hurts and replaces processes. ``like`` is a job that all of theirs are made from."""

    like: Job
    chance: random.Random
    version: int = 1  # of the code that is started now
    slots: list[Slot] = field(default_factory=list)
    died: dict[int, float] = field(default_factory=dict)  # process: when, if it did not leave in order
    kills: int = 0
    _started: int = 0

    def start(self, role: Role, *, spared: bool = False, ids: tuple[str, ...] = ()) -> Slot:
        """One process more. Those that are hurt may also kill themselves at a named point."""
        self._started += 1
        calm = spared or role == "finish"
        points = [point for point in POINTS if point not in ONCE and (point != "migrate" or self.version == 2)]
        point = "" if calm or self.chance.random() < 0.7 else self.chance.choice(points)
        job = replace(
            self.like,
            who=self._started,
            role=role,
            seed=self.chance.getrandbits(32),
            backend=self.chance.choice(("asyncio", "trio")),
            version=1 if spared else self.version,
            clock=0.0 if role == "finish" else self.chance.choice(JUMPS),
            crash=f"{point}:{self.chance.choice((1, 3, 10, 30))}" if point else "",
            ids=ids,
        )
        process = _processes.Process(target=work, args=(job,), daemon=True)
        process.start()
        slot = Slot(process, job, spared)
        self.slots.append(slot)
        return slot

    def tend(self) -> list[str]:
        """What is due: the stopped go on, the dead are followed, old code leaves; ends that should not be."""
        now, problems = time.monotonic(), list[str]()
        for slot in list(self.slots):
            if not slot.lives:
                problems += self._follow(slot)
            elif slot.resumes and now >= slot.resumes:
                slot.resumes = 0.0
                slot.signal(signal.SIGCONT)
            elif slot.leaves and now >= slot.leaves + LEAVING and not slot.resumes:
                self.kill(slot)
        if not any(slot.leaves for slot in self.slots):
            for slot in [slot for slot in self.slots if slot.old][:1]:  # one after the other
                slot.old, slot.leaves = False, now
                slot.signal(signal.SIGTERM)
        return problems

    def _follow(self, slot: Slot) -> list[str]:
        code, who = slot.process.exitcode, slot.job.who
        self.slots.remove(slot)
        self.start(slot.job.role, spared=slot.spared)
        if code == 0 and not slot.spared:
            return []
        if code is not None and -code in DEATHS and not slot.spared:
            self.died.setdefault(who, time.monotonic())
            self.kills += 1
            return []
        return [f"process {who} ended with {code}"]

    # -- what is done to them ------------------------------------------------------------

    def kill(self, slot: Slot) -> None:
        """At once, also while it stands still."""
        if slot.lives:
            self.died[slot.job.who] = time.monotonic()
            slot.signal(signal.SIGKILL)

    def kill_one(self) -> None:
        """Any that lives and is not leaving."""
        if slots := [slot for slot in self.slots if slot.lives and not slot.spared and not slot.leaves]:
            self.kill(self.chance.choice(slots))

    def pause_one(self) -> None:
        """Mostly for a moment, now and then for long: the logarithm is what is drawn evenly."""
        if slots := [slot for slot in self.slots if slot.lives and not slot.resumes]:
            slot = self.chance.choice(slots)
            slot.resumes = time.monotonic() + math.exp(self.chance.uniform(*map(math.log, PAUSE)))
            slot.signal(signal.SIGSTOP)

    def jump_a_clock(self) -> None:
        """By an hour or ten years, forward, back, or to the right time again."""
        if slots := [slot for slot in self.slots if slot.lives and slot.listens and not slot.leaves]:
            self.chance.choice(slots).signal(signal.SIGUSR1)

    def change_the_code(self) -> None:
        """The other version, process by process; the one that is spared keeps the old code."""
        self.version = 3 - self.version
        for slot in self.slots:
            slot.old = not slot.spared

    # -- all of them ---------------------------------------------------------------------

    @contextmanager
    def standing_still(self) -> Generator[None]:
        """Nobody moves. Afterwards those go on that were not to stand still anyway."""
        living = [slot for slot in self.slots if slot.lives]
        for slot in living:
            slot.signal(signal.SIGSTOP)
        end = time.monotonic() + STOPPING
        while not all(slot.stands for slot in living) and time.monotonic() < end:
            time.sleep(0.002)
        try:
            yield
        finally:
            for slot in living:
                if not slot.resumes:
                    slot.signal(signal.SIGCONT)

    def end(self) -> None:
        """Kill all, and wait until they are gone."""
        for slot in self.slots:
            self.kill(slot)
        for slot in self.slots:
            slot.process.join()
        self.slots.clear()

    def weigh(self) -> float:
        """MiB of memory of the process that lives as long as the soak."""
        slot = next(slot for slot in self.slots if slot.spared)
        return int(Path(f"/proc/{slot.process.pid}/statm").read_text("ascii").split()[1]) * PAGE / 2**20
