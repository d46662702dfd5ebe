"""``history``, ``show --at``, ``diff`` and ``archive``: the past of a run, from a shell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def begin(project: Project) -> None:
    """A run of two nodes that is over."""
    assert project.call("run", "app:trail", "--id", "r").exit_code == 0


def test_history_tells_only_what_is_asked_for(project: Project) -> None:
    """All options hold at once, and what happened since the one before is told as without them."""
    begin(project)
    everything = project.rows("history", "r")

    assert [row["commit"] for row in everything] == [0, 1, 2]
    for options, commits in (
        (["--node", "second"], [2]),
        (["--kind", "spawned"], [0]),
        (["--status", "running"], [0, 1]),
        (["--status", "running", "--limit", "1"], [1]),
        (["--before", "2"], [0, 1]),
        (["--before", "2", "--node", "second"], []),
        (["--limit", "2"], [1, 2]),
    ):
        assert project.rows("history", "r", *options) == [everything[commit] for commit in commits], options


def test_show_takes_a_commit_or_a_record_of_it(project: Project) -> None:
    """What is none is a usage error, and what is not there is not found."""
    begin(project)

    assert [row["state"]["trace"] for row in project.rows("show", "r", "--at", "1")] == [["first"]]
    assert [row["kind"] for row in project.rows("show", "r", "--at", "2.1")] == ["ended"]
    assert project.call("show", "r", "--at", "x").exit_code == 2
    assert project.call("show", "r", "--at", "2.9").exit_code == 3
    assert project.call("show", "r", "--at", "9").exit_code == 3


def test_diff_says_what_changed(project: Project) -> None:
    """From one commit to another or to now; as text and as JSON."""
    begin(project)

    assert project.rows("diff", "r", "0", "1") == [
        {"field": "trace", "old": [], "new": ["first"], "added": ["first"], "was_there": True, "is_there": True}
    ]
    assert [row["field"] for row in project.rows("diff", "r", "1")] == ["n", "trace"]
    text = project.call("diff", "r", "1", "2")
    assert text.stdout.splitlines() == ["n:", "- 0", "+ 1", "trace: 1 more", "[", '  "second"', "]"]
    assert text.stderr == "2 fields changed\n"
    assert project.call("diff", "r", "2", "2").stderr == "the states are the same\n"
    assert project.call("diff", "r", "0", "9").exit_code == 3
    assert project.call("diff", "r", "one").exit_code == 2


@pytest.mark.parametrize("to", [[], ["--to", "over"]])
def test_archive_takes_a_run_out_and_says_where_it_is(project: Project, to: list[str]) -> None:
    """The command that it names shows it; the same command again changes nothing."""
    begin(project)

    first, again = (project.call("archive", "r", *to) for _ in range(2))

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert again.stderr == first.stderr
    shown = first.stderr.splitlines()[1].partition("actorflow ")[2].split()
    assert [row["state"]["trace"] for row in project.rows(*shown)] == [["first", "second"]]
    assert project.rows("ls") == []
    [facts] = project.rows("archive", "r", *to)
    assert (facts["archive_id"], facts["life"], len(facts["checkpoints"])) == ("r@1", 1, 5)


def test_archive_of_what_is_not_there_exits_with_3(project: Project) -> None:
    """And makes no archive."""
    begin(project)
    project.call("delete", "r", "--yes")

    assert project.call("archive", "missing").exit_code == 3
    assert project.call("archive", "r").exit_code == 3
    assert not (project.folder / ".actorflow/archive").exists()
