"""What examples show is what they say: line by line, on both event loops, and again when they are started again."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.examples.conftest import EXAMPLES
from tests.examples.test_examples import on

if TYPE_CHECKING:
    from tests.examples.conftest import Start

SHOWN = {
    "threads": """
        ada:
          I am Ada
          bot: Ada, this is turn 1
          Who am I?
          bot: Ada, this is turn 2
        grace:
          I am Grace
          bot: Grace, this is turn 1
          Who am I?
          bot: Grace, this is turn 2
        """,
    "time_travel": """
        first:    Joke(topic='chickens', joke='Why did the chickens cross the road?', laughs=0)
        then:     Joke(topic='chickens', joke='', laughs=0), next: write_joke
        again:    Joke(topic='programmer', joke='Why did the programmer cross the road?', laughs=7)
        history:
          commit 7: tell        programmer  7 laughs
          commit 6: write_joke  programmer  0 laughs
          commit 5: updated     programmer  0 laughs
          commit 4: claimed     chickens    0 laughs
          commit 3: tell        chickens    0 laughs
          commit 2: write_joke  chickens    0 laughs
          commit 1: pick_topic  chickens    0 laughs
          commit 0: spawned                 0 laughs
        """,
    "branch": """
        look_up_rate runs
        offer    40 hours at 100: 4000
        cheaper  40 hours at 80: 3200
        longer   60 hours at 100: 6000
        longer, by hours: 40 -> 60
        longer, by total: 4000 -> 6000
        """,
    "cron_report": """
        Monday to Wednesday, a process is there
          report of 2026-01-05T06:00:00Z: 3 orders
          report of 2026-01-06T06:00:00Z: 5 orders
          report of 2026-01-07T06:00:00Z: 2 orders
        Thursday and Friday, nobody is
        Saturday, another process comes, and makes up for one of them
          report of 2026-01-08T06:00:00Z: 4 orders
          report of 2026-01-09T06:00:00Z: 7 orders
        next: 2026-01-12 06:00
        """,
    "hot_reload": """
        reloaded: 1 run went on, 1 was migrated
          v1 cooked soup for 4
          v2 served 6 portions
        refused: no migration of 'Order' leads from version 2 to 3 (registered: 1 -> 2)
          v2 cooked 2 portions of pie
          v2 served 2 portions
        """,
    "streaming": """
          once
          upon
          a
          time
          there
          were
          otters
        write wrote text
        translate: 0 of 2
        translate: 1 of 2
        translate: 2 of 2
        translate wrote translations
        what came after that, as the files tell it:
        translate wrote {'translations': ['(French)', '(Dutch)']}
        """,
    "subgraphs": """
        paper: 3 nodes
        * title  [graph polish: 1 node]
            → captions
          captions  [× captions, graph polish: 1 node]
            → lay_out
          lay_out
        graphs that survive / the long way / a cat asleep / no fish
          captions: 1 done
          captions/shorten: 5 done
          lay_out: 1 done
          title: 1 done
          title/shorten: 3 done
        """,
    "production": """
        17: ['charged for a lamp', 'shipped a lamp']
        18: run '18' failed in node 'charge' at commit 1: the bank is closed; resume(graph, '18') tries again from there
        status: {'failed': 1, 'finished': 1}
        18: ['charged for a chair', 'shipped a chair']
        status: {'finished': 2}
        deleted: 0
        """,
    "sessions_archive": """
        20 sessions
        archived as session-7@1:
          commit 4: release finished browse
          commit 3: claim   finished browse
          commit 2: release finished browse
          commit 1: commit  running  land
          commit 0: claim   running
        19 sessions
        in the archive: ['home', 'things for visitor 7']
        """,
    "validating_store": """
          commit 0: Account(owner='nobody', balance=-1)
        refused: nobody would owe 1
        the first release:
          commit 0: Account(owner='Ada', balance=0)
          commit 1: Account(owner='Ada', balance=100)
          commit 2: Account(owner='Ada', balance=-30)
        refused: Ada would owe 30
        in the file: Account(owner='Ada', balance=100)
        the next release:
          commit 3: Account(owner='Ada', balance=0)
        result: Account(owner='Ada', balance=0)
        """,
}


def lines_of(text: str) -> list[str]:
    """The lines of a text in an indented literal."""
    return [line.removeprefix(" " * 8).rstrip() for line in text.strip("\n").splitlines()][:-1]


@pytest.mark.parametrize("example", SHOWN)
def test_an_example_shows_what_it_says(start: Start, anyio_backend: str, example: str) -> None:
    """Line by line, whatever the event loop."""
    assert [line.rstrip() for line in start(*on(anyio_backend, example))] == lines_of(SHOWN[example])


@pytest.mark.parametrize("example", ["time_travel", "branch", "streaming", "subgraphs", "validating_store"])
def test_an_example_that_begins_new_runs_says_the_same_again(start: Start, example: str) -> None:
    """It can be started again in the same folder."""
    assert start("-m", example) == start("-m", example)


def test_conversations_go_on_where_they_were(start: Start) -> None:
    """Started again, each has one more turn, and what was said stays."""
    first, second = start("-m", "threads"), start("-m", "threads")

    more = {
        "Ada": ["  Who am I?", "  bot: Ada, this is turn 3"],
        "Grace": ["  Who am I?", "  bot: Grace, this is turn 3"],
    }
    assert second == [*first[:5], *more["Ada"], *first[5:], *more["Grace"]]


def test_a_session_that_was_archived_begins_anew_and_is_archived_beside_its_first_life(start: Start) -> None:
    """Started again, the other sessions are as they were."""
    start("-m", "sessions_archive")

    again = start("-m", "sessions_archive")

    assert again[:2] == ["20 sessions", "archived as session-7@2:"]
    assert again[-2:] == ["19 sessions", "in the archive: ['home', 'things for visitor 7']"]


def test_a_question_is_answered_by_another_process(start: Start) -> None:
    """What came before the question runs once, the question is in the store, and the run goes on with the answer."""
    assert start("-m", "human_in_the_loop") == [
        "process 1:",
        "  prepare 250 for the plumber",
        (
            "  run 'invoice-17' is waiting for an answer to 'Pay 250 to the plumber?'; "
            "answer() it, and wait for its result() then"
        ),
        "process 2:",
        "  invoice-17 asks: Pay 250 to the plumber?",
        "  pay: approved",
        "  paid",
    ]


def test_a_question_may_be_answered_on_another_event_loop_and_with_no(start: Start, anyio_backend: str) -> None:
    """Nobody is paid; and another answer than yes or no is refused, so the run still waits."""
    other = {"asyncio": "trio", "trio": "asyncio"}[anyio_backend]
    start(*on(anyio_backend, "human_in_the_loop", "ask"))

    start(*on(other, "human_in_the_loop", "answer", "perhaps"), exit_status=1)

    assert start(*on(other, "human_in_the_loop", "answer", "no")) == [
        "  invoice-17 asks: Pay 250 to the plumber?",
        "  pay: refused",
        "  refused",
    ]


def test_an_agent_waits_for_approval_and_goes_on_with_what_was_approved(start: Start, anyio_backend: str) -> None:
    """Tools that need no approval are used at once; the arguments of the one that does are the human's."""
    other = {"asyncio": "trio", "trio": "asyncio"}[anyio_backend]

    asked = start(*on(anyio_backend, "agent_with_approval", "ask_agent"))
    answered = start(*on(other, "agent_with_approval", "be_asked"))

    assert asked == ["-- trip-to-oslo waits, and nothing of it runs"]
    assert answered == [
        "-- Use book_hotel? {'name': 'Grand', 'nights': 2}",
        "user   Book me a hotel in Oslo or Bergen.",
        "model  find_hotels('Oslo',), find_hotels('Bergen',)",
        "tool   in Oslo there are the Grand and the Harbour",
        "tool   in Bergen there are the Grand and the Harbour",
        "model  The Grand it is. -> book_hotel('Grand', 2)",
        "tool   booked the Harbour for 3 nights",
        "model  Done: booked the Harbour for 3 nights.",
    ]


def test_items_that_had_finished_are_not_read_again(start: Start) -> None:
    """The process is killed in the fifth item; the next one reads the rest, and has all eight opinions."""
    lines = [line.strip() for line in start("-m", "fan_out")]

    second = lines.index("second start, same id:")
    killed = lines.index(f"(exit status {-signal.SIGKILL})")
    read_first = [line for line in lines[:killed] if line.startswith("read")]
    read_then = [line for line in lines[second:] if line.startswith("read")]
    assert "SIGKILL" in lines[killed - 2 : killed]  # the item beside it may still say that it was read
    assert len(read_first) >= 3  # two at a time: when the fifth is begun, three are done
    assert "read Kim" in read_then
    assert len(set(read_first) | set(read_then)) == 8
    # the item beside the fatal one may have been read without having been committed
    assert len(read_first) + len(read_then) <= 9
    assert lines[-1] == "8 opinions on 8 books"


def test_every_example_has_a_test() -> None:
    """An example that nobody runs would be the first to be wrong."""
    tests = "".join(file.read_text("utf-8") for file in Path(__file__).parent.glob("test_*.py"))

    imported = {"model", "text"}  # by others
    untested = {path.stem for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in tests} - imported
    assert untested == set()
