"""``run`` and ``resume``: what they print, how they end, and that nothing runs twice."""

from __future__ import annotations

import json
import signal
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from actorflow import Graph, Runtime, State

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Project


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its bytes."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def wait_for(path: Path, text: str) -> None:
    """Wait until a file that a child process writes has this text in it; the test's own time limit bounds it."""
    while not (path.exists() and text in path.read_text()):
        time.sleep(0.01)


def test_run_prints_the_final_state_as_json_and_nothing_else(project: Project) -> None:
    """What is worth piping is on standard output, remarks are on standard error."""
    result = project.call("run", "app:trail", "--id", "r", "--state", '{"n": 4}')

    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"n": 5, "text": "", "trace": ["first", "second"]}
    assert "run r begins" in result.stderr


def test_run_of_a_finished_id_prints_its_result_and_runs_nothing(project: Project) -> None:
    """The second start with the same id is an answer, not an execution."""
    project.call("run", "app:trail", "--id", "r")

    again = project.call("run", "app:trail", "--id", "r")

    assert json.loads(again.stdout)["trace"] == ["first", "second"]
    assert project.ran == ["first", "second"]


def test_a_graph_is_found_by_the_path_of_its_file(project: Project) -> None:
    """``path/to/file.py:graph`` needs no module path; the only graph of a file needs no name."""
    (project.folder / "deep").mkdir()
    (project.folder / "app.py").rename(project.folder / "deep" / "my app.py")

    named = project.call("run", "deep/my app.py:trail", "--id", "a")
    alone = project.call("run", "deep/my app.py", "--id", "b")

    assert (named.exit_code, alone.exit_code) == (0, 0)


@pytest.mark.parametrize("given", ["@input.json", "@-"])
def test_the_input_comes_from_a_file_or_from_standard_input(project: Project, given: str) -> None:
    """``@FILE`` reads the file, ``@-`` what is piped in."""
    (project.folder / "input.json").write_text('{"n": 7}')

    result = project.call("run", "app:trail", "--state", given, input='{"n": 7}')

    assert json.loads(result.stdout)["n"] == 8


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('{"m": 1}', "Trail has no m; its fields are n, text, trace"),
        ('{"n": "many"}', "Expected `int`"),
        ("{", "truncated"),
        ("[1]", "Expected `object`"),
        ("@missing.json", "missing.json"),
    ],
)
def test_an_input_that_is_no_state_is_refused_before_anything_is_written(
    project: Project, given: str, said: str
) -> None:
    """A typo in a field's name is an error as well, as it would be in code."""
    result = project.call("run", "app:trail", "--state", given)

    assert result.exit_code == 2
    assert said in result.stderr
    assert not (project.folder / ".actorflow").exists()


def test_a_failed_run_exits_with_1_and_goes_on_when_its_cause_is_mended(project: Project) -> None:
    """The error names the node, the commit and the exception; what was done stays done."""
    (project.folder / "broken").touch()

    failed = project.call("run", "app:trail", "--id", "r")
    (project.folder / "broken").unlink()
    resumed = project.call("resume", "r", "app:trail")

    assert failed.exit_code == 1
    assert "error: run 'r' failed in node 'second'" in failed.stderr
    assert "TypeError" in failed.stderr
    assert "try: actorflow show r" in failed.stderr
    assert "\x1b" not in failed.stderr
    assert "Traceback" not in failed.stderr
    assert resumed.exit_code == 0
    assert project.ran.count("first") == 1


def test_traceback_shows_where_a_failure_comes_from(project: Project) -> None:
    """With --traceback the user's own line is there, and the exit status is the same."""
    (project.folder / "broken").touch()

    failed = project.call("--traceback", "run", "app:trail", "--id", "r")

    assert failed.exit_code == 1
    assert 'raise TypeError("broken' in failed.stderr


def test_an_id_that_began_with_another_input_is_refused(project: Project) -> None:
    """The caller sees that this is not the run that was meant, and how to look at it."""
    project.call("run", "app:trail", "--id", "r", "--state", '{"n": 1}')

    result = project.call("run", "app:trail", "--id", "r", "--state", '{"n": 2}')

    assert result.exit_code == 2
    assert "another input" in result.stderr
    assert "try: actorflow show r" in result.stderr


def test_an_id_that_can_be_none_is_refused(project: Project) -> None:
    """An empty id is most likely an unset variable of a script."""
    result = project.call("run", "app:trail", "--id", "")

    assert result.exit_code == 2
    assert "can't be a run id" in result.stderr


def test_a_store_that_can_be_none_exits_with_7(project: Project) -> None:
    """A file is no folder."""
    result = project.call("run", "app:trail", "--store", "app.py")

    assert result.exit_code == 7
    assert "app.py" in result.stderr


def test_resume_of_a_missing_run_exits_with_3_and_names_ids_that_look_alike(project: Project) -> None:
    """A misspelt id starts nothing."""
    project.call("run", "app:trail", "--id", "mission")

    result = project.call("resume", "misson", "app:trail")

    assert result.exit_code == 3
    assert "did you mean 'mission'?" in result.stderr


def test_resume_makes_no_store(project: Project) -> None:
    """Where no store is, there is nothing to go on with."""
    result = project.call("resume", "r", "app:trail", "--store", "elsewhere")

    assert result.exit_code == 3
    assert not (project.folder / "elsewhere").exists()


def test_resume_without_a_graph_prints_the_result_of_a_finished_run(project: Project) -> None:
    """A result can be read without the code that made it."""
    project.call("run", "app:trail", "--id", "r")

    result = project.call("resume", "r")

    assert json.loads(result.stdout)["trace"] == ["first", "second"]


def test_resume_without_a_graph_says_how_it_was_named_and_imports_nothing(project: Project) -> None:
    """A name in a store is shown to the user; importing it would run code because of data."""
    (project.folder / "planted.py").write_text("from pathlib import Path\nPath('imported').touch()\n")

    class Empty(State):
        pass

    async def fail() -> None:
        graph = Graph("trail", Empty)
        graph.node(lambda state: {"no such field": 1}, name="first")
        async with Runtime(".actorflow") as rt:
            await rt.spawn(graph, id="r", tags={"graph": "planted:graph"})

    anyio.run(fail)

    result = project.call("resume", "r")

    assert result.exit_code == 2
    assert "try: actorflow resume r planted:graph" in result.stderr
    assert not (project.folder / "imported").exists()


def test_the_environment_can_name_store_and_graph(project: Project) -> None:
    """ACTORFLOW_STORE and ACTORFLOW_GRAPH stand in for what is not said."""
    environment = {"ACTORFLOW_STORE": "other", "ACTORFLOW_GRAPH": "app:trail"}
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r", env=environment)
    (project.folder / "broken").unlink()

    result = project.call("resume", "r", env=environment)

    assert result.exit_code == 0
    assert (project.folder / "other" / "actorflow.json").exists()


def test_a_run_that_this_code_cannot_run_exits_with_5_and_stays_as_it_is(project: Project) -> None:
    """Without a migration nothing is written, and the command that looks before a deployment is named."""
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r")
    source = (project.folder / "app.py").read_text()
    (project.folder / "new.py").write_text(source.replace("version=1", "version=2"))
    before = files_of(project.folder / ".actorflow")

    result = project.call("resume", "r", "new:trail")

    assert result.exit_code == 5
    assert "try: actorflow check new:trail --against ./.actorflow" in result.stderr
    assert files_of(project.folder / ".actorflow") == before


def test_a_run_that_is_alive_elsewhere_exits_with_6(project: Project) -> None:
    """Its owner is named, and goes on undisturbed."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "r") as owner:
        wait_for(project.folder / "ran.log", "second")

        result = project.call("resume", "r", "app:trail")
        alive = owner.poll() is None
        owner.kill()

    assert result.exit_code == 6
    assert f"process {owner.pid}" in result.stderr
    assert alive


def test_ctrl_c_exits_with_130_and_leaves_the_run_claimable_at_once(project: Project) -> None:
    """The interrupted command says how to go on, and that command does so without waiting."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "it's r") as interrupted:
        wait_for(project.folder / "ran.log", "second")
        interrupted.send_signal(signal.SIGINT)
        _, said = interrupted.communicate()
    (project.folder / "hang").unlink()

    resumed = project.call("resume", "it's r", "app:trail")

    assert interrupted.returncode == 130
    assert "actorflow resume 'it'\"'\"'s r' app:trail" in said
    assert "Traceback" not in said
    assert "it was let go" in resumed.stderr
    assert json.loads(resumed.stdout)["trace"] == ["first", "second"]
    assert project.ran.count("first") == 1


def test_sigterm_exits_with_143_once_what_ran_is_committed(project: Project) -> None:
    """The node that runs finishes; its run can be resumed at once, and nothing runs again."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "r") as ended:
        wait_for(project.folder / "ran.log", "second")
        ended.send_signal(signal.SIGTERM)
        assert ended.stderr is not None
        while "SIGTERM: runs finish what runs just now" not in ended.stderr.readline():
            pass
        (project.folder / "hang").unlink()
        _, said = ended.communicate()

    resumed = project.call("resume", "r", "app:trail")

    assert ended.returncode == 143
    assert "actorflow resume r app:trail" in said
    assert "Traceback" not in said
    assert json.loads(resumed.stdout)["trace"] == ["first", "second"]
    assert project.ran == ["first", "second"]


def test_a_killed_run_goes_on_with_the_same_command(project: Project) -> None:
    """After SIGKILL the same command says who died and where it goes on; committed nodes don't run again."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "r") as killed:
        wait_for(project.folder / "ran.log", "second")
        killed.kill()
    (project.folder / "hang").unlink()

    again = project.call("run", "app:trail", "--id", "r")

    assert f"process {killed.pid}" in again.stderr
    assert "did not let go" in again.stderr
    assert again.exit_code == 0
    assert project.ran == ["first", "second", "second"]
