"""Every example does what its text says, as a process of its own, on both event loops."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.examples.conftest import Model, Start

ADDER = ("-m", "adder_multiplier")
LUNAR = ("-m", "lunar_mission")
RESEARCH = ("-m", "research_pipeline")

SHOWN_OF_THE_SUM = [
    "(2 + 3) * 10 = 50",
    "resumed: 50, finished",
    "commit 2: multiplier, product 50",
    "commit 1: adder, product 0",
    "commit 0: spawned, product 0",
]


def on(backend: str, module: str, function: str = "main", *arguments: str) -> tuple[str, str]:
    """Arguments for Python that run a coroutine function of an example on this event loop."""
    call = ", ".join([f"{module}.{function}", *map(repr, arguments), f"backend={backend!r}"])
    return "-c", f"import anyio, {module}; anyio.run({call})"


def test_the_first_start_of_the_sum_runs_both_nodes_and_the_second_none(start: Start) -> None:
    """A finished run is resumed by printing its result; nothing runs and no checkpoint is added."""
    first = start(*ADDER)
    second = start(*ADDER)

    assert first == ["adder runs", "multiplier runs", *SHOWN_OF_THE_SUM]
    assert second == SHOWN_OF_THE_SUM


def test_the_sum_says_the_same_on_both_event_loops(start: Start, anyio_backend: str) -> None:
    """The example does not depend on the event loop."""
    assert start(*on(anyio_backend, "adder_multiplier"))[-5:] == SHOWN_OF_THE_SUM


def test_a_finished_mission_goes_on_under_newer_schemas(start: Start, anyio_backend: str) -> None:
    """Under v2 only the new node runs and the rest is untouched; v1 to v3 is chained; each migration runs once."""
    lines = start(*on(anyio_backend, "lunar_mission"))

    shown = {line[2:16].strip(): line[16:] for line in lines if line.startswith("  ")}
    sections = "\n".join(lines).split("resumed under ")
    assert [line.split(": ")[1] for line in lines[1:5]] == [
        "draft_timeline",
        "size_crew",
        "define_objective",
        "spawned",
    ]
    assert [line for line in sections[1].splitlines() if "migrating" in line] == ["  migrating     1 -> 2"]
    assert "nodes run     ['assess_risks']" in sections[1]
    assert shown["trace"] == "['define_objective', 'size_crew', 'draft_timeline', 'assess_risks']"
    assert 2 <= int(shown["crew"]) <= 8
    assert shown["risks"].startswith("[no model: made up locally] ")
    assert shown["other fields"] == "untouched"
    assert [line[-6:] for line in sections[2].splitlines() if "migrating" in line] == ["1 -> 2", "2 -> 3"]
    assert "nodes run     ['assess_risks']" in sections[2]
    assert shown["roles"].startswith("commander, specialist")
    assert shown["versions"] == "[1, 1, 1, 1, 1, 3, 3] in the history"


def test_every_mission_is_a_new_run(start: Start) -> None:
    """The example can be started again in the same folder, and says the same words."""
    assert start(*LUNAR) == start(*LUNAR)


def test_research_survives_the_death_of_its_process(start: Start) -> None:
    """The first process is killed after build_outline; the second one runs only what was left to do."""
    lines = start(*RESEARCH)

    second = lines.index("second start, same id:")
    looked = lines.index("checkpoints, newest first:")
    runs = lines.index("runs in the store:")
    assert [line.strip() for line in lines[1:second]] == [
        "gather_sources",
        "build_outline",
        "write_draft ... SIGKILL",
        f"(exit status {-signal.SIGKILL})",
    ]
    assert [line.strip() for line in lines[second + 1 : looked]] == ["write_draft", "finalize_report"]
    assert [line.split()[2] for line in lines[looked + 1 : runs - 1]] == [
        "finalize_report",
        "write_draft",
        "claimed",
        "build_outline",
        "gather_sources",
        "spawned",
    ]
    assert lines[runs - 1].strip() == "as of build_outline: 3 headings, draft ''"
    assert lines[runs + 1 :] == ["  moon-bases  last node finalize_report, finished"]


def test_research_that_is_finished_is_not_done_again(start: Start) -> None:
    """Started once more, neither process has anything to do."""
    start(*RESEARCH)

    again = start(*RESEARCH)

    assert again[:3] == ["first start:", "  (exit status 0)", "second start, same id:"]
    assert again[3] == "checkpoints, newest first:"


def test_what_died_on_one_event_loop_goes_on_on_the_other(start: Start, anyio_backend: str) -> None:
    """A file says nothing of the event loop that wrote it."""
    start(*on(anyio_backend, "research_pipeline", "work", "accident"), exit_status=-signal.SIGKILL)
    other = {"asyncio": "trio", "trio": "asyncio"}[anyio_backend]

    lines = start(*on(other, "research_pipeline", "work"))

    assert [line.strip() for line in lines] == ["write_draft", "finalize_report"]


def test_an_endpoint_is_asked_if_there_is_one(start: Start, model: Model) -> None:
    """With LLM_BASE_URL and LLM_API_KEY set, the words come from there, over the chat completions API."""
    lines = start(*RESEARCH, LLM_BASE_URL=model.url, LLM_API_KEY="secret", LLM_MODEL="small")

    assert len(model.asked) == 4  # three sources in the first process, one draft in the second
    assert {question["path"] for question in model.asked} == {"/v1/chat/completions"}
    assert {question["model"] for question in model.asked} == {"small"}
    assert "answer 1" in model.asked[3]["messages"][0]["content"]
    assert {headers["Authorization"] for headers in model.headers} == {"Bearer secret"}
    assert "  moon-bases  last node finalize_report, finished" in lines


def test_an_endpoint_that_is_busy_is_asked_again(start: Start, model: Model) -> None:
    """Nodes that ask a model have a Retry: an error status costs an attempt, not the run."""
    model.failures = 2

    lines = start(*LUNAR, LLM_BASE_URL=model.url, LLM_API_KEY="secret")

    assert model.failures == 0
    assert any("risks         answer " in line for line in lines)


@pytest.mark.parametrize("missing", ["LLM_BASE_URL", "LLM_API_KEY"])
def test_without_address_or_key_the_words_are_made_up_and_say_so(start: Start, model: Model, missing: str) -> None:
    """Half a configuration asks nobody."""
    variables = {"LLM_BASE_URL": model.url, "LLM_API_KEY": "secret", missing: ""}

    lines = start("-c", "from text import write; print(write('Why?'))", **variables)

    assert lines[0].startswith("[no model: made up locally] ")
    assert model.asked == []


def test_desks_that_need_each_other_are_restarted_together(start: Start, anyio_backend: str) -> None:
    """The inner supervisor restarts both once, the outer one once more; what was unlocked is not unlocked again."""
    lines = start(*on(anyio_backend, "supervision_tree"))

    together = ["  ledger opens", "  cards opens", "  cards crashes", "  ledger is stopped"]
    assert lines[:14] == [
        "payments:",
        *together,
        *together,
        "  ledger opens",
        "  cards opens",
        "  ledger: ['unlocked', 'closed']",
        "  cards: ['unlocked', 'closed']",
        "  restarts: bank/payments 1, bank 1",
    ]
    assert lines[14:-2] == ["credit:", *["  loans opens", "  loans crashes"] * 3]
    assert lines[-2].startswith("  supervisor 'credit': run 'loans' crashed after 2 restarts of its children")
    assert lines[-1] == "  because of ConnectionError('no line to the loans company'); loans is failed"


def test_an_order_is_paid_once_though_the_bank_did_not_reply_and_undone_if_it_can_not_be_shipped(
    start: Start, anyio_backend: str
) -> None:
    """The second start does nothing more: both runs are over."""
    first = start(*on(anyio_backend, "order_saga"))
    second = start(*on(anyio_backend, "order_saga"))

    assert first == [
        "-- lamp",
        "   lamp reserved",
        "   nobody replied, so the bank is asked about 'pay'",
        "   parcel with lamp, receipt 1 over 40",
        "-- piano",
        "   piano reserved",
        "   receipt 2 over 900 refunded",
        "   piano put back",
        "   undone: ['pay', 'reserve']",
        "-- the bank booked 2 payments",
    ]
    assert second == [first[0], first[3], first[4], first[8], "-- the bank booked 0 payments"]
