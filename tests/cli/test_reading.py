"""``ls``, ``show``, ``history`` and ``verify``: they say what is there, as text and as JSON, and change nothing."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Project

HOSTILE = [
    "../up",
    "/etc/passwd",
    "a*",
    "-rf",
    "a b; rm x",
    "red\x1b[31m",
    "line\nbreak",
    "right\u202eleft",
    "\N{SNOWMAN}",
]

READING = [["ls"], ["show", "r"], ["history", "r"], ["verify"], ["check", "app:trail", "--against", ".actorflow"]]


def damage(store: Path) -> Path:
    """Change one byte in the middle of the only run's only file; that file."""
    [file] = store.glob("runs/*/log/*.ckpt")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return file


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_reading_where_no_store_is_exits_with_3_and_makes_none(project: Project, command: list[str]) -> None:
    """A typo in a path never makes an empty store; the error names the remedy."""
    result = project.call(*command)

    assert result.exit_code == 3
    assert "there is no store" in result.stderr
    assert "try: actorflow run" in result.stderr
    assert not (project.folder / ".actorflow").exists()


@pytest.mark.parametrize("command", READING, ids=lambda command: command[0])
def test_reading_leaves_every_file_as_it_is(project: Project, command: list[str]) -> None:
    """Not even a lock is left behind, with and without --json."""
    project.call("run", "app:trail", "--id", "r")
    before = {path: path.stat().st_mtime_ns for path in project.folder.rglob("*")}

    text, lines = project.call(*command), project.call(*command, "--json")

    assert (text.exit_code, lines.exit_code) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in project.folder.rglob("*") if path in before} == before
    assert all(json.loads(line) for line in lines.stdout.splitlines())


def test_ls_lists_the_newest_first_and_filters(project: Project) -> None:
    """Plain columns where no terminal is; the summary names the run that needs somebody."""
    project.call("run", "app:trail", "--id", "old")
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "new")

    result = project.call("ls")
    failed = project.rows("ls", "--status", "failed")

    table = [line.split() for line in result.stdout.splitlines()]
    assert table[0] == ["RUN", "GRAPH", "STATUS", "NODE", "COMMIT", "UPDATED"]
    assert [row[:4] for row in table[1:]] == [
        ["new", "trail", "failed", "first"],
        ["old", "trail", "finished", "second"],
    ]
    assert "2 runs in ./.actorflow; see actorflow history new" in result.stderr
    assert [row["id"] for row in failed] == ["new"]
    assert failed[0]["tags"] == {"graph": "app:trail"}


def test_show_gives_the_state_of_a_commit_or_of_a_node(project: Project) -> None:
    """Each checkpoint can be looked at, by number and by name."""
    project.call("run", "app:trail", "--id", "r")

    now = project.rows("show", "r")[0]
    by_node = project.rows("show", "r", "--node", "first")[0]
    by_number = project.rows("show", "r", "--at", "0")[0]

    assert (now["state"]["trace"], now["status"]) == (["first", "second"], "finished")
    assert (by_node["state"]["trace"], by_node["open"]) == (["first"], ["second"])
    assert (by_number["state"]["trace"], by_number["kind"]) == ([], "spawned")


def test_show_says_where_a_run_failed(project: Project) -> None:
    """The traceback as it was kept, down to the node's own line; what could harm a terminal is escaped."""
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r")

    shown = project.call("show", "r").stdout

    assert "app.py" in shown
    assert 'raise TypeError("broken' in shown
    assert "\x1b" not in shown


def test_show_cuts_long_values_short_for_people_but_not_in_json(project: Project) -> None:
    """A state of a megabyte does not fill the screen, and --json leaves nothing out."""
    project.call("run", "app:trail", "--id", "r", "--state", json.dumps({"text": "x" * 5000, "trace": ["t"] * 99}))

    text = project.call("show", "r").stdout
    whole = project.rows("show", "r")[0]["state"]

    assert len(text) < 1500
    assert "91 more in --json" in text
    assert (len(whole["text"]), len(whole["trace"])) == (5000, 101)


def test_a_checkpoint_that_is_not_there_exits_with_3(project: Project) -> None:
    """The command that lists what is there is named."""
    project.call("run", "app:trail", "--id", "r")

    by_node, by_number = project.call("show", "r", "--node", "third"), project.call("show", "r", "--at", "99")

    assert (by_node.exit_code, by_number.exit_code) == (3, 3)
    assert "no checkpoint of node 'third'" in by_node.stderr
    assert "try: actorflow history r" in by_number.stderr


def test_history_tells_the_oldest_first_with_what_happened_between(project: Project) -> None:
    """Failures, reopenings and who wrote what are on their lines."""
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r")
    (project.folder / "broken").unlink()
    project.call("resume", "r", "app:trail")

    rows = project.rows("history", "r")
    text = project.call("history", "r").stdout
    last = project.rows("history", "r", "--limit", "1")

    kinds = [row["kind"] for row in rows if "restarted" not in row["note"]]
    assert kinds == ["spawned", "finished", "failed", "claimed", "finished"]
    assert [row["note"] for row in rows if row["kind"] == "claimed"][-1].startswith("reopened")
    assert [row["wrote"] for row in rows if row["node"]] == [["trace"], ["trace", "n"]]
    assert "failed; TypeError: broken\\x1b[31m on purpose" in text
    assert [row["commit"] for row in last] == [rows[-1]["commit"]]


def test_verify_exits_with_4_for_a_damaged_file_and_names_it(project: Project) -> None:
    """One changed byte is found; every other command tells it as damage too, and never as absence."""
    project.call("run", "app:trail", "--id", "r")
    file = damage(project.folder / ".actorflow")

    verified, shown, resumed = (
        project.call("verify"),
        project.call("show", "r"),
        project.call("resume", "r", "app:trail"),
    )
    broken = project.rows("verify", "r")[0]

    assert (verified.exit_code, shown.exit_code, resumed.exit_code) == (4, 4, 4)
    assert file.name in verified.stdout
    assert "try: actorflow verify" in shown.stderr
    assert broken["broken"] is True


@pytest.mark.parametrize("run_id", HOSTILE, ids=ascii)
def test_a_hostile_id_is_kept_as_it_is_and_shown_without_harm(project: Project, run_id: str) -> None:
    """It comes back whole in JSON, and as text nothing of it reaches the terminal unescaped."""
    project.call("run", "app:trail", f"--id={run_id}")

    listed, shown, missing = (
        project.call("ls"),
        project.call("show", "--", run_id),
        project.call("show", "--", run_id * 2),
    )

    assert [row["id"] for row in project.rows("ls")] == [run_id]
    assert (listed.exit_code, shown.exit_code, missing.exit_code) == (0, 0, 3)
    for text in (listed.output, shown.output, missing.output):
        assert all(line.isprintable() for line in text.splitlines())
    assert len(listed.stdout.splitlines()) == 2


def test_a_reader_who_has_had_enough_hears_no_complaint(project: Project) -> None:
    """As with `actorflow history r | head`: the pipe is closed before all was written."""
    project.call("run", "app:trail", "--id", "r")
    reader, writer = os.pipe()
    os.close(reader)

    child = project.start("history", "r", stdout=writer)
    os.close(writer)
    _, complaint = child.communicate()

    assert complaint == ""
