"""``graph`` and ``check``, and how graphs are named: code is looked at and compared with a store before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Project


def test_graph_draws_without_running_anything(project: Project) -> None:
    """As lines and as Mermaid; no store is made."""
    text, mermaid = project.call("graph", "app:trail"), project.call("graph", "app:trail", "--format", "mermaid")

    assert text.stdout.splitlines()[0] == "trail: 2 nodes"
    assert mermaid.stdout.startswith("flowchart TD")
    assert project.ran == []
    assert not (project.folder / ".actorflow").exists()


def test_graph_writes_a_file_in_the_format_that_its_name_says(project: Project) -> None:
    """``-o`` decides, unless --format does."""
    svg, dot = project.call("graph", "app:trail", "-o", "a.svg"), project.call("graph", "app:trail", "-o", "a.gv")
    other = project.call("graph", "app:trail", "-o", "b.svg", "--format", "mermaid")

    assert (svg.exit_code, dot.exit_code, other.exit_code) == (0, 0, 0)
    assert (svg.stdout, svg.stderr) == ("", "wrote a.svg\n")
    assert (project.folder / "a.svg").read_text("utf-8").startswith("<svg ")
    assert (project.folder / "a.gv").read_text("utf-8").startswith("digraph ")
    assert (project.folder / "b.svg").read_text("utf-8").startswith("flowchart ")


def test_graph_says_why_it_can_not_write_a_file(project: Project) -> None:
    """A folder that is not there is named; nothing is traced."""
    result = project.call("graph", "app:trail", "-o", "no/where.svg")

    assert result.exit_code != 0
    assert "no/where.svg" in result.stderr
    assert "Traceback" not in result.output


def test_graph_shows_how_far_a_run_has_come(project: Project) -> None:
    """With --run, what is done and what failed is marked, in each format."""
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "r")

    text, svg = (project.call("graph", "app:trail", "--run", "r", "--format", kind) for kind in ("text", "svg"))

    assert text.stdout.splitlines() == [
        "trail: 2 nodes (run r: failed)",
        "* first  [done]",
        "    → second",
        "  second  [failed]",
    ]
    assert 'id="actorflow-trail-second" class="failed"' in svg.stdout


def test_graph_of_a_run_that_is_not_there_exits_with_3(project: Project) -> None:
    """Neither a store nor a run that is missing is drawn as one in which nothing is done."""
    no_store = project.call("graph", "app:trail", "--run", "r")
    project.call("run", "app:trail", "--id", "other")
    no_run = project.call("graph", "app:trail", "--run", "r")

    assert (no_store.exit_code, no_run.exit_code) == (3, 3)
    assert "try: actorflow ls" in no_run.stderr


def test_graph_of_a_run_of_another_graph_is_refused(project: Project) -> None:
    """The graph of the run is named: what one run did is not drawn into another graph."""
    project.call("run", "app:trail", "--id", "r")
    (project.folder / "two.py").write_text(
        "from app import Graph, Trail\nother = Graph('other', Trail)\nother.node(lambda state: None, name='a')"
    )

    result = project.call("graph", "two:other", "--run", "r")

    assert result.exit_code == 2
    assert "'trail', is not registered" in result.stderr


def test_check_tells_all_problems_at_once_and_exits_with_2(project: Project) -> None:
    """A graph that can't run is a mistake in what was given."""
    with (project.folder / "app.py").open("a") as source:
        source.write("\ntrail.edge(first, 'nowhere')\ntrail.edge('noone', second)\n")

    result = project.call("check", "app:trail")
    rows = project.rows("check", "app:trail")
    run = project.call("run", "app:trail")

    assert (result.exit_code, run.exit_code) == (2, 2)
    assert "nowhere" in result.stdout
    assert "noone" in result.stdout
    assert {row["level"] for row in rows} == {"error"}
    assert "try: actorflow check app:trail" in run.stderr


def test_check_against_a_store_says_what_would_start(project: Project) -> None:
    """A failed run would go on where it failed; a finished one with what the graph grew by."""
    project.call("run", "app:trail", "--id", "done")
    (project.folder / "broken").touch()
    project.call("run", "app:trail", "--id", "failed")
    source = (project.folder / "app.py").read_text()
    (project.folder / "grown.py").write_text(f"{source}\ntrail.node(lambda state: None, name='third', after=second)\n")

    same = project.rows("check", "app:trail", "--against", ".actorflow")
    grown = project.rows("check", "grown:trail", "--against", ".actorflow")
    text = project.call("check", "grown:trail", "--against", ".actorflow")

    assert {row["run"]: (row["verdict"], row["starts"]) for row in same} == {
        "done": ("over", []),
        "failed": ("ready", ["second"]),
    }
    assert {row["run"]: row["starts"] for row in grown} == {"done": ["third"], "failed": ["second"]}
    assert text.exit_code == 0
    assert project.ran.count("third") == 0


def test_check_against_a_store_exits_with_5_if_a_run_could_not_go_on(project: Project) -> None:
    """The missing migration is named; with it, the same check passes."""
    project.call("run", "app:trail", "--id", "r")
    source = (project.folder / "app.py").read_text().replace("version=1", "version=2")
    (project.folder / "new.py").write_text(source)
    migration = "\n@trail.migrate(from_=1, to=2)\ndef upgrade(old: dict) -> dict:\n    return old\n"
    (project.folder / "mended.py").write_text(source + migration)

    blocked = project.call("check", "new:trail", "--against", ".actorflow")
    mended = project.call("check", "mended:trail", "--against", ".actorflow")

    assert blocked.exit_code == 5
    assert "no migration of 'Trail' leads from version 1 to 2" in blocked.stdout
    assert mended.exit_code == 0


def test_check_against_a_store_exits_with_4_if_a_run_cannot_be_read(project: Project) -> None:
    """A damaged run is told as such, and those beside it are judged all the same."""
    project.call("run", "app:trail", "--id", "bad")
    [file] = project.folder.glob(".actorflow/runs/*/log/*.ckpt")
    project.call("run", "app:trail", "--id", "good")
    file.write_bytes(file.read_bytes()[:200])

    result = project.call("check", "app:trail", "--against", ".actorflow")
    rows = project.rows("check", "app:trail", "--against", ".actorflow")

    assert result.exit_code == 4
    assert {row["run"]: row["verdict"] for row in rows} == {"bad": "corrupt", "good": "over"}


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:trail", "no module 'nowhere' here"),
        ("nowhere.deep:trail", "no module 'nowhere.deep' here"),
        ("nowhere.py:trail", "there is no file 'nowhere.py'"),
        ("app:none", "'none' is not there; 'app' has app:trail"),
        ("app:Trail", "'Trail' is no Graph but a StateMeta"),
        ("two:", "say which graph"),
        ("two", "'two' has two:one, two:other"),
        ("raises:trail", "importing 'raises' raised ZeroDivisionError"),
        ("exits:trail", "importing 'exits' raised SystemExit"),
        ("missing:trail", "importing 'missing' raised ModuleNotFoundError: No module named 'not_installed'"),
        ("wrong:trail", "raised SyntaxError"),
        (":trail", "no module"),
        ("", "is no name of a module"),
        ("..:trail", "is no name of a module"),
    ],
)
def test_a_graph_that_is_not_found_is_told_with_what_there_is(project: Project, target: str, said: str) -> None:
    """Each mistake in naming a graph has its own words; none ends in a traceback."""
    (project.folder / "two.py").write_text(
        "from app import Graph, Trail\none = Graph('a', Trail)\nother = Graph('b', Trail)"
    )
    (project.folder / "raises.py").write_text("1 / 0")
    (project.folder / "exits.py").write_text("raise SystemExit('bye')")
    (project.folder / "missing.py").write_text("import not_installed")
    (project.folder / "wrong.py").write_text("def")

    result = project.call("graph", target)

    assert result.exit_code == 2
    assert said in result.stderr
    assert "Traceback" not in result.output


def test_ctrl_c_while_a_module_is_imported_exits_with_130(project: Project) -> None:
    """A slow import can be interrupted like everything else."""
    (project.folder / "slow.py").write_text("raise KeyboardInterrupt")

    result = project.call("graph", "slow:trail")

    assert result.exit_code == 130
    assert result.stderr == "error: interrupted\n"


def test_traceback_shows_where_an_import_failed(project: Project) -> None:
    """The user's own line is in it."""
    (project.folder / "raises.py").write_text("1 / 0")

    result = project.call("--traceback", "graph", "raises:trail")

    assert result.exit_code == 2
    assert "1 / 0" in result.stderr
