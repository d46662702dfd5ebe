"""``actorflow dev``: a real process that goes on with its runs while somebody edits their code."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Project

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

LOOP = """
from typing import Annotated

import anyio

from actorflow import Graph, State, Update, bounded, migrate
import words


class Trail(State, version=1):
    n: int = 0
    trace: Annotated[list[str], bounded(1000)] = []


trail = Graph("trail", Trail)


@trail.node(entry=True)
async def step(state: Trail) -> Update:
    await anyio.sleep(0.01)
    print(f"- n {state.n} {words.SAID}", flush=True)
    return {"n": state.n + 1}


trail.edge(step, step)
"""

VERSION_2 = (
    LOOP.replace("version=1", "version=2")
    .replace("    n: int = 0", "    number: int = 0")
    .replace("state.n ", "state.number ")
    .replace("state.n}", "state.number}")
    .replace('{"n": state.number', '{"number": state.number')
)
MIGRATED = VERSION_2.replace(
    'trail = Graph("trail", Trail)',
    """
@migrate(from_=1, to=2)
def renamed(old: dict) -> dict:
    return {"number": old["n"] + 1_000_000, "trace": old["trace"]}


trail = Graph("trail", Trail, migrations=[renamed])
""",
)


class Session:
    """The process, what it said so far, and the file that is edited."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self._folder = folder

    def until(self, text: str) -> str:
        """The next line with this in it; what came before is over."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line.strip()
        pytest.fail(f"it ended before it said {text!r}")

    def edit(self, name: str, text: str) -> None:
        """Save a file as editors do: a new one in the place of the old."""
        draft = self._folder / f"{name}.draft"
        draft.write_text(text)
        draft.replace(self._folder / name)

    def end(self) -> int:
        """Ctrl-C; the exit status."""
        self.process.send_signal(signal.SIGINT)
        for _ in self.process.stdout or ():
            pass
        return self.process.wait()


@pytest.fixture
def session(project: Project) -> Iterator[Session]:
    """A run that counts for ever, in a process that watches its code."""
    import subprocess

    (project.folder / "words.py").write_text('SAID = "one"\n')
    (project.folder / "loop.py").write_text(LOOP)
    process = project.start("dev", "loop.py:trail", "--id", "x", stderr=subprocess.STDOUT)
    session = Session(process, project.folder)
    try:
        session.until("watching")
        session.until("one")
        yield session
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def number(line: str) -> int:
    """How far the run had counted when it said this."""
    return int(line.split()[2])


def test_each_save_is_taken_by_the_run_that_goes_on(session: Session) -> None:
    """Of the module, and of what it imports, also if nothing but a letter changes within a second."""
    before = number(session.until("one"))

    session.edit("words.py", 'SAID = "two"\n')
    assert session.until("changed").startswith("words.py changed: 1 run went on")
    after = number(session.until("two"))
    session.edit("words.py", 'SAID = "six"\n')
    session.until("six")
    session.edit("loop.py", LOOP.replace("- n", "- N"))

    assert after > before
    assert number(session.until("- N")) > after
    assert session.end() == 0


def test_what_is_broken_is_told_and_the_next_good_save_is_taken(session: Session) -> None:
    """Syntax, imports, checks, names: each says why, and the run goes on with the code of before."""
    for broken, reason in (
        (LOOP.replace("async def", "async deaf"), "SyntaxError: "),
        (LOOP.replace("import words", "import wards"), "No module named 'wards' (loop.py, line 7)"),
        (LOOP.replace("trail.edge(step, step)", 'trail.edge(step, "stop")'), "graph 'trail' has 1 problem"),
        (LOOP.replace('Graph("trail"', 'Graph("trial"'), "graph 'trail' is called 'trial' now"),
        (LOOP.replace("trail = ", "trial = ").replace("trail.", "trial."), "'trail' is not there"),
        (LOOP.replace("name=", "").replace("step", "walk"), "has no node 'step'"),
        (VERSION_2, "leads from version 1 to 2"),
    ):
        session.edit("loop.py", broken)
        while reason not in (said := session.until("")):
            assert "went on" not in said
        session.until("one")

    session.edit("loop.py", MIGRATED)

    assert "1 run went on with the new code, 1 of them migrated" in session.until("loop.py changed")
    assert number(session.until("one")) > 1_000_000
    assert session.end() == 0


ACTOR = """
from actorflow import END, Graph, Message, State


class Close(Message, version=1):
    pass


class Account(State, version=1):
    n: int = 0


account = Graph("account", Account, lifetime="actor")


@account.on(Close)
async def close(state: Account, msg: Close):
    return END
"""


def test_a_run_that_sleeps_and_would_be_blocked_is_told(project: Project) -> None:
    """A save refuses only what lives; of the others it is said at once, and not when somebody wants them."""
    import subprocess

    (project.folder / "bank.py").write_text(ACTOR)
    assert project.call("run", "bank.py:account", "--id", "ada").exit_code == 8
    process = project.start("dev", "bank.py:account", stderr=subprocess.STDOUT)
    session = Session(process, project.folder)
    try:
        session.until("watching")

        session.edit("bank.py", ACTOR.replace("Account(State, version=1)", "Account(State, version=2)"))

        assert "0 runs went on with the new code" in session.until("changed")
        assert session.until("ada").startswith("ada is not here, and is blocked from now on: ")
        session.edit("bank.py", ACTOR)
        session.until("changed")
        assert session.end() == 0
    finally:
        process.kill()
        process.communicate()


def test_ctrl_c_finishes_what_runs_and_lets_go(session: Session, project: Project) -> None:
    """The run is released with what it did, for whoever goes on with it."""
    session.until("one")

    assert session.end() == 0

    (found,) = project.rows("ls")
    assert (found["id"], found["status"], found["owned"]) == ("x", "running", False)
    (newest,) = project.rows("history", "x", "--limit", "1")
    assert newest["kind"] == "released"


def test_runs_that_others_left_are_taken_up(session: Session, project: Project) -> None:
    """Without being named: every run of the graph in the store that nobody carries on."""
    session.until("one")
    session.end()

    process = project.start("dev", "loop.py:trail")
    try:
        assert process.stdout is not None
        assert any("- n" in line for line in process.stdout)
    finally:
        process.kill()
        process.communicate()
