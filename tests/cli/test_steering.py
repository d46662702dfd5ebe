"""``answer``, ``update``, ``input``, ``pause``, ``rewind``, ``fork``, ``tag``: steering from the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

    from tests.cli.conftest import Project

ASKS = """
from typing import Annotated

from actorflow import Context, Graph, State, Update, extend


class Order(State):
    amount: int = 0
    notes: Annotated[list[str], extend] = []


order = Graph("order", Order)


@order.node
async def prepare(state: Order) -> Update:
    return {"notes": [f"prepared {state.amount}"]}


@order.node(after=prepare)
async def approve(state: Order, ctx: Context) -> Update:
    good = await ctx.interrupt("Approve?", {"amount": state.amount}, type=bool)
    return {"notes": ["approved" if good else "refused"]}
"""
GRAPH = "asks.py:order"


@pytest.fixture
def waiting(project: Project) -> Project:
    """A run that waits for approval."""
    (project.folder / "asks.py").write_text(ASKS)
    result = project.call("run", GRAPH, "--id", "o", "--state", '{"amount": 5}')
    assert result.exit_code == 8
    return project


def notes(result: Result) -> list[str]:
    """What is in the state that a command prints."""
    assert result.exit_code == 0, result.stderr
    found: list[str] = json.loads(result.stdout)["notes"]
    return found


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of the store with its bytes."""
    return {str(path): path.read_bytes() for path in (folder / ".actorflow/runs").rglob("*") if path.is_file()}


def test_a_run_that_waits_says_so_and_what_helps(waiting: Project) -> None:
    """`run` and `resume` end with a status of their own, and the command to type next."""
    for command in (("run", GRAPH, "--id", "o", "--state", '{"amount": 5}'), ("resume", "o", GRAPH)):
        result = waiting.call(*command)

        assert (result.exit_code, result.stdout) == (8, "")
        assert "run 'o' is waiting for an answer to 'Approve?'" in result.stderr
        assert f"try: actorflow answer o {GRAPH}" in result.stderr


def test_a_run_that_waits_is_shown_so_and_is_no_orphan(waiting: Project) -> None:
    """Nobody has it, and nobody need have it. A list and a closer look say the same."""
    listed, shown = waiting.call("ls").stdout, waiting.call("show", "o").stdout

    assert "waiting" in listed
    assert "orphan" not in listed
    assert "status  waiting" in shown
    assert waiting.rows("show", "o")[0]["status"] == waiting.rows("ls")[0]["status"] == "waiting"


def test_questions_are_listed_and_answered(waiting: Project) -> None:
    """Listing needs no code; the answer goes on to the end, and prints the state."""
    (row,) = waiting.rows("interrupts", "o")
    assert (row["question"], row["payload"], row["node"]) == ("Approve?", {"amount": 5}, "approve")
    shown = waiting.call("interrupts", "o")
    assert row["id"] in shown.stdout
    assert "boolean" in shown.stdout

    result = waiting.call("answer", "o", GRAPH, "--value", "true", "--to", row["id"], "--by", "Ada")

    assert notes(result) == ["prepared 5", "approved"]
    assert waiting.rows("interrupts", "o") == []


@pytest.mark.parametrize(
    ("value", "message"), [('"yes"', "expected boolean"), ("yes", "a text needs quotes"), ("@none.json", "none.json")]
)
def test_a_bad_answer_changes_nothing(waiting: Project, value: str, message: str) -> None:
    """Neither of the wrong type nor no JSON at all; not a byte of the run is written."""
    before = files_of(waiting.folder)

    result = waiting.call("answer", "o", GRAPH, "--value", value)

    assert result.exit_code == 2
    assert message in result.stderr
    assert files_of(waiting.folder) == before


def test_what_is_only_stored_is_gone_on_with_later(waiting: Project) -> None:
    """``--leave``: the answer is durable, and another command brings the run to its end."""
    result = waiting.call("answer", "o", GRAPH, "--value", "false", "--leave")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "answered in commit" in result.stderr
    assert notes(waiting.call("resume", "o", GRAPH))[-1] == "refused"


def test_an_update_is_merged_and_can_stand_for_a_node(waiting: Project) -> None:
    """Then it waits still, or goes on after that node."""
    changed = waiting.call("update", "o", GRAPH, "--values", '{"amount": 7}')
    assert (changed.exit_code, waiting.rows("show", "o")[0]["state"]["amount"]) == (8, 7)

    result = waiting.call("update", "o", GRAPH, "--values", '{"notes": ["by hand"]}', "--as-node", "approve")

    assert notes(result) == ["prepared 5", "by hand"]
    wrong = waiting.call("update", "o", GRAPH, "--values", "[1]")
    assert (wrong.exit_code, "object" in wrong.stderr) == (2, True)


def test_input_is_the_next_turn(waiting: Project) -> None:
    """Refused while the run works on the one before, unless it is said what to do with that."""
    refused = waiting.call("input", "o", GRAPH, "--values", '{"amount": 9}')
    assert (refused.exit_code, "on_pending" in refused.stderr) == (2, True)

    assert waiting.call("input", "o", GRAPH, "--values", '{"amount": 9}', "--on-pending", "discard").exit_code == 8

    assert notes(waiting.call("answer", "o", GRAPH, "--value", "true")) == ["prepared 5", "prepared 9", "approved"]


def test_a_paused_run_goes_on_when_it_is_unpaused(waiting: Project) -> None:
    """Until then `resume` says that it is paused."""
    assert waiting.call("pause", "o", GRAPH).exit_code == 0
    assert waiting.call("answer", "o", GRAPH, "--value", "true").exit_code == 8
    resumed = waiting.call("resume", "o", GRAPH)
    assert (resumed.exit_code, f"actorflow unpause o {GRAPH}" in resumed.stderr) == (8, True)

    assert notes(waiting.call("unpause", "o", GRAPH)) == ["prepared 5", "approved"]


def test_a_run_goes_back_and_a_fork_goes_its_own_way(waiting: Project) -> None:
    """To a tag or a commit; the id of a fork that is only begun is what is printed."""
    assert waiting.call("tag", "o", "asked").exit_code == 0
    assert notes(waiting.call("answer", "o", GRAPH, "--value", "true"))[-1] == "approved"

    fork = waiting.call("fork", "o", GRAPH, "--at", "asked", "--id", "f", "--update", '{"amount": 1}', "--leave")
    assert (fork.exit_code, fork.stdout) == (0, "f\n")
    assert notes(waiting.call("answer", "f", GRAPH, "--value", "false"))[-1] == "refused"

    assert waiting.call("rewind", "o", GRAPH, "--to", "asked").exit_code == 8
    assert notes(waiting.call("answer", "o", GRAPH, "--value", "false")) == ["prepared 5", "refused"]
    result = waiting.call("rewind", "o", GRAPH, "--to", "0", "--as-node", "approve", "--update", '{"amount": 3}')
    assert result.exit_code == 8  # what was open then is open again, and leads to the question

    assert waiting.call("rewind", "o", GRAPH, "--to", "999").exit_code == 3
    assert waiting.call("tag", "o", "7").exit_code == 2
    assert waiting.call("tag", "o", "asked", "--remove").exit_code == 0
    assert waiting.call("fork", "o", GRAPH, "--at", "asked").exit_code == 2


def test_the_graph_can_be_named_by_the_environment(waiting: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for `resume`; without one it is wrong usage."""
    assert waiting.call("answer", "o", "--value", "true").exit_code == 2
    monkeypatch.setenv("ACTORFLOW_GRAPH", GRAPH)

    assert notes(waiting.call("answer", "o", "--value", "true"))[-1] == "approved"

    over = waiting.call("answer", "o", "--value", "true")
    assert (over.exit_code, "finished" in over.stderr) == (2, True)
    assert waiting.call("answer", "nobody", "--value", "true").exit_code == 3
