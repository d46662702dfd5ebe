"""``gc``, ``delete`` and ``rekey``: what goes, what stays, and what is said about it."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.test_care import files_below

if TYPE_CHECKING:
    from tests.cli.conftest import Project


CTRL_C = "\x03"


def test_gc_deletes_what_ended_long_ago_and_spares_tags(project: Project) -> None:
    """Planted: ``--spare`` was not passed on, and the run that was to stay went."""
    for run_id in ("a", "b"):
        project.call("run", "app:trail", "--id", run_id)
    project.call("run", "app.py:trail", "--id", "kept")  # its tag says how the graph was named
    before = files_below(".actorflow")

    dry = project.call("gc", "--ended", "0s", "--spare", "graph=app.py:trail", "--dry-run")
    untouched = files_below(".actorflow") == before
    done = project.call("gc", "--ended", "0s", "--spare", "graph=app.py:trail")

    assert untouched
    assert sorted(dry.stdout.splitlines()[1:]) == ["a    would be deleted", "b    would be deleted"]
    assert "2 would be deleted" in dry.stderr
    assert sorted(done.stdout.splitlines()[1:]) == ["a    deleted", "b    deleted"]
    assert [row["id"] for row in project.rows("ls")] == ["kept"]


def test_gc_keeps_what_is_younger_and_the_newest(project: Project) -> None:
    """Nothing of a run that just ended is old; its last commit stays whatever is said."""
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r")
    for _ in range(3):  # each opening is a file of its own
        project.call("resume", "r", "app:trail")

    young = project.rows("gc", "--age", "1d", "--ended", "1d")
    [old] = project.rows("gc", "--last", "1")
    text = project.call("gc", "--last", "1")

    assert [(row["deleted"], row["files"]) for row in young] == [([], 0)]
    assert old["trimmed"] == ({"r": old["files"]} if old["files"] else {})
    assert "1 run looked at: 0 deleted" in text.stderr
    assert project.rows("show", "r")[0]["status"] == "failed"


def test_gc_leaves_a_damaged_run_and_says_so(project: Project) -> None:
    """The others are not held up; exit 1."""
    for run_id in ("good", "bad"):
        project.call("run", "app:trail", "--id", run_id)
    file = next(Path(".actorflow/runs/bad/log").iterdir())
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)

    result = project.call("gc", "--ended", "0s")

    assert result.exit_code == 1
    assert "good  deleted" in result.stdout
    assert "bad   left as it is" in result.stdout
    assert file.read_bytes() == data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--last, --age or --ended"),
        (["--spare", "a=b"], "--last, --age or --ended"),
        (["--dry-run"], "--last, --age or --ended"),
        (["--last", "0"], "x>=1"),
        (["--age", "7"], "90s, 15m, 12h or 30d"),
        (["--age", "-1d"], "90s, 15m, 12h or 30d"),
        (["--age", "٣d"], "90s, 15m, 12h or 30d"),
        (["--ended", "1w"], "90s, 15m, 12h or 30d"),
        (["--ended", "9999999999d"], "90s, 15m, 12h or 30d"),
        (["--last", "1", "--spare", "keep"], "key=value"),
        (["--last", "1", "--spare", "=x"], "key=value"),
        (["--last", "1", "--spare", "a=b", "--spare", "a=c"], "no run has both"),
    ],
)
def test_gc_refuses_what_it_would_have_to_guess(project: Project, words: list[str], said: str) -> None:
    """Exit 2, and nothing is let go of."""
    project.call("run", "app:trail", "--id", "r")
    before = files_below(".actorflow")

    result = project.call("gc", *words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert files_below(".actorflow") == before


def test_delete_needs_yes_where_nobody_can_be_asked(project: Project) -> None:
    """Planted: it went ahead without. With --yes the run is gone, and its id stays taken; again is no error."""
    project.call("run", "app:trail", "--id", "r")

    bare = project.call("delete", "r", input="y\n")
    there = [row["id"] for row in project.rows("ls")]
    deleted, again = project.call("delete", "r", "--yes"), project.call("delete", "r", "--yes")
    reused, missing = project.call("run", "app:trail", "--id", "r"), project.call("delete", "nobody", "--yes")

    assert (bare.exit_code, there) == (2, ["r"])
    assert "--yes" in bare.stderr
    assert (deleted.exit_code, again.exit_code) == (0, 0)
    assert project.rows("ls") == []
    assert (reused.exit_code, missing.exit_code) == (3, 3)


@pytest.mark.parametrize(
    ("answer", "left", "status"), [("n\n", ["r"], 0), ("\n", ["r"], 0), ("y\n", [], 0), (CTRL_C, ["r"], 130)]
)
def test_delete_asks_on_a_terminal(project: Project, answer: str, left: list[str], status: int) -> None:
    """Only a yes is one; Ctrl-C at the question exits as it does everywhere."""
    project.call("run", "app:trail", "--id", "r")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "actorflow.cli", "delete", "r"]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        os.close(theirs)
        assert child.stderr is not None
        asked = ""
        while "for good?" not in asked and child.poll() is None:
            asked += child.stderr.read(1)
        try:
            if answer == CTRL_C:
                press_until_it_ends(child)
            else:
                os.write(ours, answer.encode())
            child.communicate(timeout=30)
        finally:
            child.kill()
    os.close(ours)

    assert child.returncode == status
    assert [row["id"] for row in project.rows("ls")] == left


def press_until_it_ends(child: subprocess.Popen[str]) -> None:
    """Ctrl-C, as people press it: once more if the first one came between the question and the wait for an answer.

    Not soon: one that comes while it ends as it should would end it by the signal.
    """
    for _ in range(3):
        child.send_signal(signal.SIGINT)
        try:
            child.wait(timeout=15)
        except subprocess.TimeoutExpired:
            continue
        return


def test_a_run_that_lives_is_neither_deleted_nor_rekeyed(project: Project) -> None:
    """Exit 6, its owner named; a rekeying of the whole store leaves it and says so."""
    (project.folder / "hang").touch()
    with project.start("run", "app:trail", "--id", "r") as owner:
        project.reach("second", owner)
        deleted, rekeyed = project.call("delete", "r", "--yes"), project.call("rekey", "r")
        collected = project.call("gc", "--last", "1", "--ended", "0s")
        alive = owner.poll() is None
        owner.kill()

    assert (deleted.exit_code, rekeyed.exit_code, collected.exit_code) == (6, 6, 0)
    assert f"process {owner.pid}" in deleted.stderr
    assert alive


@pytest.mark.parametrize("words", [["gc", "--last", "1"], ["delete", "r", "--yes"], ["rekey"]])
def test_where_no_store_is_nothing_is_cleared_or_made(project: Project, words: list[str]) -> None:
    """A typo in a path is exit 3."""
    result = project.call(*words)

    assert result.exit_code == 3
    assert sorted(path.name for path in project.folder.iterdir()) == ["app.py"]


def test_rekey_without_keys_has_nothing_to_do_in_a_plain_store(project: Project) -> None:
    """As lines of JSON: what was done, what needed nothing, what was left."""
    project.call("run", "app:trail", "--id", "r")

    result = project.call("rekey", "--json")

    assert json.loads(result.stdout) == {"done": [], "fresh": ["r"], "left": {}}
