"""Drive: begins a survey in child processes, kills them, goes on, and compares the result with an uninterrupted run."""

from __future__ import annotations

import random
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from actorflow.demo.measure import python_files
from actorflow.demo.worker import Began, Done, Message
from actorflow.demo.worklog import WorkLogReader

if TYPE_CHECKING:
    from typing import IO

    from actorflow.demo.screen import Screen

M = TypeVar("M", Began, Done)

FIRST_KILL, SECOND_KILL = (0.10, 0.45), (0.55, 0.85)
"""The shares of the files between which a kill is drawn by the seed."""

POLL = 0.005
"""Seconds between two looks at the work log. How far into a file or a commit a kill hits is up to the machine."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What to survey, where to keep it, and by which seed to kill."""

    folder: Path
    home: Path
    seed: int
    processes: int = 2
    limit: int = 2000

    @property
    def store(self) -> Path:
        """The store of all demos that were run in this home."""
        return self.home / "store"


@dataclass(frozen=True)
class Phase:
    """How one child process ended: killed, or with what came out."""

    began: Began
    done: Done | None


class WorkerFailed(Exception):
    """A child process ended by itself without a result. What it said is on the standard error."""

    def __init__(self, code: int) -> None:
        super().__init__(f"the worker ended with status {code} and without a result")
        self.code = code


class Demo:
    """One survey that is interrupted, and one that is not."""

    def __init__(self, settings: Settings, screen: Screen) -> None:
        self.settings = settings
        self.screen = screen
        chance = random.Random(settings.seed)
        self.kills = (chance.uniform(*FIRST_KILL), chance.uniform(*SECOND_KILL))
        self.total = min(settings.limit, sum(1 for _ in python_files(str(settings.folder))))
        self.number = _free_number(settings.home)
        self.run_id = f"survey-{self.number}"
        self.work = WorkLogReader(self._worklog(self.run_id))
        self.other_id = f"uninterrupted-{self.number}"
        self.other_work = WorkLogReader(self._worklog(self.other_id))

    def play(self) -> bool:
        """The whole demo; whether the two results are the same."""
        begin = time.perf_counter()
        say = self.screen
        say.heading(f"a survey of {self.settings.folder}, {self.total:,} Python files, killed twice on its way")
        say.line(str(self.settings.store), "store")
        say.line(f"each file, over {self.settings.processes} worker processes", "fan-out")
        say.line(f"{self.settings.seed}  (--seed {self.settings.seed} kills at the same points again)", "seed")

        say.heading("1  start, with version 1 of the schema")
        self._interrupted(1, self.kills[0])
        say.heading("2  the same command again")
        self._interrupted(1, self.kills[1])
        say.heading("3  the same command, the code now at version 2: a field and a node more, and a migration")
        interrupted = self._phase(self.run_id, 2, self.work)
        say.heading("4  an uninterrupted run with version 2, to compare")
        reference = self._phase(self.other_id, 2, self.other_work)
        if interrupted.done is None or reference.done is None:
            raise AssertionError("a phase that nobody kills ends with a result")

        say.heading("result")
        same = self.judge(interrupted.done, reference.done)
        say.line(f"{time.perf_counter() - begin:.1f} s for all of it", "took")
        self._ways_to_look_around()
        return same

    def judge(self, interrupted: Done, reference: Done) -> bool:
        """Show what came out and what it cost; whether the two results are the same."""
        say = self.screen
        for line in interrupted.report:
            say.line(line)
        same = interrupted.digest == reference.digest
        say.line(
            f"{interrupted.digest} {'==' if same else '!='} {reference.digest}  "
            + ("the same as without interruption" if same else "DIFFERENT from the uninterrupted run"),
            "digest",
        )
        self.work.look()
        say.line(
            f"{self.work.redone:,} of {interrupted.files:,} files, counted where they are parsed, in {self._log}",
            "redone",
        )
        self.other_work.look()
        say.line(
            f"{self.other_work.seconds:.2f} s of parsing in {reference.seconds:.2f} s without interruption, by "
            f"{self.settings.processes} worker processes, with {reference.commits:,} commits, each synced to disk",
            "spread",
        )
        return same

    # -- phases ---------------------------------------------------------------------

    def _interrupted(self, schema: int, share: float) -> None:
        """A phase that is killed once this share of the files was parsed."""
        phase = self._phase(self.run_id, schema, self.work, kill_at=int(self.total * share) + 1)
        if phase.done is None:
            self.screen.line(f"process {phase.began.pid}, {self.work.look():,} files parsed", "kill -9")
        else:
            self.screen.line("nothing: so few files were done before the kill came", "kill -9")

    def _phase(self, run_id: str, schema: int, work: WorkLogReader, *, kill_at: int | None = None) -> Phase:
        command = self._command(run_id, schema)
        # a group of its own: Ctrl-C is for this process, which ends the child
        with subprocess.Popen(command, stdout=subprocess.PIPE, process_group=0) as child:
            if child.stdout is None:
                raise AssertionError("stdout=PIPE makes a pipe")
            try:
                began = _heard(child, child.stdout, Began)
                self._tell(began, schema)
                killed = self._watch(child, work, began.files, kill_at)
                return Phase(began, None if killed else _heard(child, child.stdout, Done))
            finally:
                child.kill()

    def _watch(self, child: subprocess.Popen[bytes], work: WorkLogReader, begin: int, kill_at: int | None) -> bool:
        """Show how far the child is until it ends; whether it was killed."""
        with self.screen.progress(begin) as show:
            while child.poll() is None:
                done = work.look()
                show(done, self.total)
                if kill_at is not None and done >= kill_at:
                    child.kill()
                    return child.wait() != 0  # it may have been done just before
                time.sleep(POLL)
            show(work.look(), self.total)
        return False

    def _tell(self, began: Began, schema: int) -> None:
        if began.commit is None:
            return
        why = "it had ended" if began.let_go or began.status == "finished" else f"process {began.before} is dead"
        self.screen.line(f"from commit {began.commit}, {began.files:,} files done; {why}", "resumed")
        if began.version != schema:
            self.screen.line(f"version {began.version} -> {schema}, as the migration says", "migrated")

    # -- commands and places ----------------------------------------------------------

    @property
    def _log(self) -> Path:
        return self._worklog(self.run_id)

    def _worklog(self, run_id: str) -> Path:
        return self.settings.home / "work" / f"{run_id}.log"

    def _command(self, run_id: str, schema: int) -> list[str]:
        settings = self.settings
        places = [str(settings.store), run_id, str(settings.folder), str(self._worklog(run_id))]
        options = [f"--schema={schema}", f"--processes={settings.processes}", f"--limit={settings.limit}"]
        # -P: a file of the current folder never stands in for a module
        return [sys.executable, "-P", "-m", "actorflow.demo.worker", *options, "--", *places]

    def _ways_to_look_around(self) -> None:
        self.screen.heading("look around")
        store = f"--store {shlex.quote(str(self.settings.store))}"
        for command in (
            f"ls {store}",
            f"history {self.run_id} {store}",
            f"show {self.run_id} --node measure {store}",
            f"verify {self.run_id} {store}",
            "graph actorflow.demo.survey:survey --format text",
            f"check actorflow.demo.survey:survey --against {shlex.quote(str(self.settings.store))}",
        ):
            self.screen.line(f"{_program()} {command}")


def _heard(child: subprocess.Popen[bytes], pipe: IO[bytes], kind: type[M]) -> M:
    """The child's next message, which is to be of this kind."""
    line = pipe.readline()
    if not line:
        raise WorkerFailed(child.wait())
    message = msgspec.json.decode(line, type=Message)
    if not isinstance(message, kind):
        raise TypeError(f"the worker said {message}")
    return message


def _program() -> str:
    """How the ``actorflow`` command of this environment is typed here, where it may not be on the PATH."""
    if shutil.which("actorflow") is not None:
        return "actorflow"
    installed = Path(sys.executable).with_name("actorflow")
    if not installed.exists():
        return f"{shlex.quote(sys.executable)} -m actorflow.cli"
    return shlex.quote(str(installed.relative_to(Path.cwd()) if installed.is_relative_to(Path.cwd()) else installed))


def _free_number(home: Path) -> int:
    """The first number that no demo in this home has had, taken by making its work log."""
    (home / "work").mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        try:
            (home / "work" / f"survey-{number}.log").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return number
