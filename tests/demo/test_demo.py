"""The demo as its users run it: real processes, real kills, and a comparison that can fail."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import anyio
import pytest
from click.testing import CliRunner

from actorflow import Checkpoint, Runtime
from actorflow.cli.app import app
from actorflow.demo.drive import Demo, Settings, WorkerFailed
from actorflow.demo.survey import Survey, survey, survey_v1
from actorflow.errors import NoSuchRun
from tests.demo.sources import copied, folder_of, opened, shut

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path


class Told:
    """A screen that remembers what it was told, by label.

    ``on`` is called with each heading, and ``begun`` with how many files are done when a process begins: it is not
    killed before that returns.
    """

    def __init__(
        self,
        on: Callable[[str], None] = lambda text: None,
        begun: Callable[[int], None] = lambda begin: None,
    ) -> None:
        self.headings: list[str] = []
        self.lines: list[tuple[str, str]] = []
        self.on = on
        self.begun = begun

    def heading(self, text: str) -> None:
        self.headings.append(text)
        self.on(text)

    def line(self, text: str, label: str = "") -> None:
        self.lines.append((label, text))

    @contextlib.contextmanager
    def progress(self, begin: int) -> Generator[Callable[[int, int], None]]:
        self.begun(begin)
        yield lambda done, total: None

    def labelled(self, label: str) -> list[str]:
        """The lines with this label, in order."""
        return [text for known, text in self.lines if known == label]


def history_of(demo: Demo) -> tuple[Survey, list[Checkpoint[Survey]]]:
    """The final state and the checkpoints, oldest first, of the run that was interrupted."""

    async def read() -> tuple[Survey, list[Checkpoint[Survey]]]:
        async with Runtime(demo.settings.store, readonly=True, graphs=[survey]) as rt:
            found = [checkpoint async for checkpoint in rt.get(demo.run_id).views()]
            return found[0].state, found[::-1]

    return anyio.run(read)


def test_a_survey_killed_twice_ends_like_one_that_was_not(tmp_path: Path) -> None:
    """Two kills, a migration on the way, the same digest; and each claim of the demo agrees with the history."""
    source = copied(tmp_path, "asyncio", "concurrent", "email", "importlib", "json", "logging", "unittest", "xml")
    # whoever looks late finds neither of the first two processes at its end
    gates = {"2": shut(source, "1.py"), "3": shut(source, "2.py")}
    before_third: list[int] = []  # parsings that happened before the third process began

    def listen(heading: str) -> None:
        if heading[0] in gates:
            opened(gates.pop(heading[0]))
        if heading.startswith("3"):
            demo.work.look()
            before_third.append(demo.work.lines)

    def wait_for_one_more(begin: int) -> None:  # what is parsed is committed some time later
        if gates:
            anyio.run(committed, demo, begin + 1)

    told = Told(listen, wait_for_one_more)
    demo = Demo(Settings(folder=source, home=tmp_path / "home", seed=4), told)

    same = demo.play()

    state, history = history_of(demo)
    assert same
    assert len(told.labelled("kill -9")) == 2
    assert all("process" in line for line in told.labelled("kill -9"))
    assert len(told.labelled("resumed")) == 2
    assert told.labelled("migrated") == ["version 1 -> 2, as the migration says"]
    assert len({checkpoint.owner.pid for checkpoint in history}) == 3
    assert [checkpoint.kind for checkpoint in history if checkpoint.kind == "released"] == []
    assert (history[0].version, history[-1].version) == (1, 2)
    assert [facts.path for facts in state.files] == state.paths
    assert len(state.report) > 3
    redone = int(told.labelled("redone")[0].split()[0])
    assert redone == demo.work.lines - demo.total
    # what was committed is never parsed again, and all else is parsed once more; planted, and found here: a process
    # that takes the run up goes back to before the fan-out
    done = [int(line.split(", ")[1].split()[0]) for line in told.labelled("resumed")]
    assert 0 < done[0] < done[1] < demo.total
    assert demo.work.lines - before_third[0] == demo.total - done[1]


def test_the_demo_can_be_run_again_in_the_same_home(tmp_path: Path) -> None:
    """Earlier surveys stay; the next one takes the next number."""
    source = folder_of(tmp_path, {"a.py": "def f(): 'documented'\n"})
    settings = Settings(folder=source, home=tmp_path / "home", seed=1, processes=1)

    first, second = Demo(settings, Told()), Demo(settings, Told())

    assert (first.run_id, second.run_id) == ("survey-1", "survey-2")
    assert first.play()
    assert second.play()


async def committed(demo: Demo, files: int) -> None:
    """Back when the results of so many files are in the store."""
    async with Runtime(demo.settings.store, readonly=True, graphs=[survey_v1]) as rt:
        done = 0
        while done < files:
            await anyio.sleep(0.01)
            with contextlib.suppress(NoSuchRun):  # it may not have begun
                done = (await rt.get(demo.run_id).progress()).tally(("parse",)).items


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"only.txt": "no Python"},
        {
            "wrong.py": "def",
            "null.py": "a\0b",
            "deep.py": "(" * 5000,
            "fine.py": "import wrong\n",
            "latin.py": "# \xff",
        },
        {"pkg/__init__.py": "", "pkg/tests/test_a.py": "1/0", ".hidden/b.py": "1/0", "warns.py": "'\\d'"},
    ],
    ids=["empty", "no Python", "unparsable", "left out"],
)
def test_no_folder_is_too_odd(tmp_path: Path, files: dict[str, str]) -> None:
    """Files that can't be parsed are counted, nothing is run, and nothing crashes."""
    demo = Demo(Settings(folder=folder_of(tmp_path, files), home=tmp_path / "home", seed=2, processes=1), Told())

    same = demo.play()

    state, _ = history_of(demo)
    assert same
    unparsed = {facts.path for facts in state.files if facts.problem}
    assert unparsed == {"deep.py", "null.py", "wrong.py"} & files.keys()
    assert state.totals["unparsed"] == len(unparsed)


def test_names_that_are_no_text_and_loops_of_links_are_left_out(tmp_path: Path) -> None:
    """What no state can hold is not surveyed; a link to its own folder does not lead round in circles."""
    source = folder_of(tmp_path, {"a.py": "x = 1\n"})
    try:
        (source / os.fsdecode(b"\xff.py")).touch()
    except OSError:
        pytest.skip("this file system only holds names that are text")
    (source / "loop").symlink_to(source)
    (source / "gone.py").symlink_to(source / "nowhere.py")

    demo = Demo(Settings(folder=source, home=tmp_path / "home", seed=2, processes=1), Told())

    assert demo.play()
    assert history_of(demo)[0].paths == ["a.py", "gone.py"]


def test_a_difference_is_found_and_exits_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: the folder changes before the uninterrupted run, so the digests can't be equal."""
    source = folder_of(tmp_path, {"a.py": "x = 1\n"})

    def meddle(heading: str) -> None:
        if "uninterrupted" in heading:
            (source / "a.py").write_text("def f(): pass\n")

    told = Told(meddle)
    monkeypatch.setattr("actorflow.demo.screen.choose_screen", lambda: told)
    result = CliRunner().invoke(app, ["demo", str(source), "--home", str(tmp_path / "home"), "--processes", "1"])

    assert result.exit_code == 1
    assert "DIFFERENT from the uninterrupted run" in told.labelled("digest")[0]


def test_a_worker_that_cannot_work_is_told(tmp_path: Path) -> None:
    """A store that can't be used ends the demo with an error, not with a claim."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "store").write_text("no folder")

    with pytest.raises(WorkerFailed, match="status 1"):
        Demo(Settings(folder=folder_of(tmp_path, {"a.py": ""}), home=home, seed=1), Told()).play()


@pytest.mark.slow
def test_the_command_surveys_a_part_of_the_standard_library(tmp_path: Path) -> None:
    """``actorflow demo`` as a user types it: status 0, plain lines in a pipe, commands to look around that work."""
    copied(tmp_path, "asyncio", "email", "json", "logging")
    demo = [sys.executable, "-m", "actorflow.cli", "demo", "source", "--seed", "5", "--processes", "1"]

    shown = subprocess.run(demo, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert shown.returncode == 0, shown.stderr
    assert shown.stderr == ""
    assert "\x1b" not in shown.stdout
    assert "the same as without interruption" in shown.stdout
    commands = [line for line in shown.stdout.partition("look around")[2].splitlines() if line.strip()]
    assert len(commands) == 6
    for command in commands:
        assert subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False).returncode == 0, (
            command
        )


def test_a_terminal_gets_a_bar_and_colours(tmp_path: Path) -> None:
    """The same story, drawn; the process that reads it is a pseudo-terminal."""
    folder_of(tmp_path, {"a.py": "x = 1\n", "b.py": "y = 2\n"})
    ours, theirs = pty.openpty()
    terminal = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "CI")}
    demo = [sys.executable, "-m", "actorflow.cli", "demo", "source", "--seed", "5", "--processes", "1"]

    with subprocess.Popen(demo, cwd=tmp_path, stdout=theirs, env={**terminal, "TERM": "xterm"}) as child:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # Linux ends a pseudo-terminal with EIO
            while piece := os.read(ours, 65536):
                shown += piece
    os.close(ours)

    assert child.returncode == 0
    assert b"\x1b[" in shown
    assert "━" in shown.decode()
    assert b"the same as without interruption" in shown


def test_ctrl_c_ends_the_demo_and_its_worker(tmp_path: Path) -> None:
    """Exit status 130, a line and no traceback; the worker is gone, so its run can be taken up at once."""
    source = folder_of(tmp_path, {"a.py": "x = 1\n"})
    for number in range(20):  # before the first kill is due, everybody waits
        shut(source, f"{number}.py")
    demo = [sys.executable, "-m", "actorflow.cli", "demo", "source", "--seed", "5", "--home", "home"]
    log = tmp_path / "home" / "work" / "survey-1.log"

    with subprocess.Popen(demo, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        while not (log.exists() and log.stat().st_size):
            time.sleep(0.005)
        shown.send_signal(signal.SIGINT)
        _, said = shown.communicate()

    assert shown.returncode == 130
    assert said == "error: interrupted\n"

    async def take_up() -> int:
        async with Runtime(tmp_path / "home" / "store") as rt:
            run = await rt.resume(survey_v1, "survey-1")
            checkpoint = await run.at()
            await run.cancel()
            return checkpoint.epoch

    assert anyio.run(take_up) == 2
