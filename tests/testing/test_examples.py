"""Every graph of every example ends the same wherever its process is killed."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from actorflow import Graph
from actorflow.testing import assert_resumes_equal
from actorflow.testing.crashing import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow import Run
    from actorflow.testing.crashing import Kind

pytestmark = pytest.mark.no_cover  # thousands of times the same ways

EXAMPLES = Path(__file__).parents[2] / "examples"


def _made_by(example: str, name: str) -> Callable[[], Any]:
    """Makes what the nodes of an example have as context, by a class of its."""
    return lambda: getattr(import_module(example), name)()  # noqa: PLW0108 - it can't be imported yet


async def _converse(run: Run[Any]) -> None:
    """A question, a verdict, and the end. Each has an id, since the process before may have sent it."""
    chat_agent = import_module("chat_agent")
    await run.send(chat_agent.Question(text="It is broken."), id="question")
    await run.wait()
    await run.send(chat_agent.Verdict(call="call-2", granted=True), id="verdict")
    await run.wait()
    await run.send(chat_agent.Goodbye(), id="goodbye")


async def _bank(run: Run[Any]) -> None:
    """Deposits that are sent twice, in each process, and somebody who takes out all but one."""
    bank_account = import_module("bank_account")
    for amount in (1, 2, 3):
        for _ in range(2):
            await run.send(bank_account.Deposit(amount=amount), id=f"deposit {amount}")
    await run.ask(bank_account.Withdraw(amount=5), id="withdrawal")
    await run.send(bank_account.Close(), id="close")


SCENES: dict[str, dict[str, Any]] = {
    "accounts": {"state": {"owner": "Ada"}},
    "adder-multiplier": {"state": {"a": 2, "b": 3}},
    "agent": {
        "context": _made_by("agent_with_approval", "Script"),
        "answers": {"Use book_hotel?": {"approved": True}},
    },
    "bank-account": {"outside": _bank},
    "chat": {"state": {"messages": ["I am Ada"]}},
    "chat-agent": {"outside": _converse},
    "desks": {"context": _made_by("supervision_tree", "Bank")},
    "lunar-mission": {"state": {"destination": "the moon"}},
    "offers": {"state": {"hours": 40}},
    "order-saga": {"state": {"item": "piano", "price": 900}, "context": _made_by("order_saga", "Shop")},
    "orders": {"state": {"item": "lamp"}, "context": _made_by("production", "Bank")},
    "paper": {"state": {"title": "one two three four", "captions": ["a b c d e", "f"]}},
    "payments": {"state": {"payee": "the plumber", "amount": 250}, "answers": {"Pay 250 to the plumber?": "yes"}},
    "polish": {"state": {"text": "one two three four five"}},
    "research-pipeline": {"state": {"topic": "moon bases"}},
    "reviews": {"state": {"books": ["Dune", "Emma", "Faust"]}},
    "sessions": {"state": {"visitor": "Ada"}},
    "stories": {"state": {"topic": "otters", "languages": ["French", "Dutch"]}},
    "web-orders": {"state": {"items": ["lamp", "chair"], "total": 900}, "answers": {"Sell for 900?": True}},
}
"""By graph: the fields of its input, and what else `explore` must be told, such as answers. Others need nothing."""


FAULTS: dict[str, tuple[Kind, Kind]] = {"asyncio": ("before", "landed"), "trio": ("after", "dropped")}
"""What befalls a process at an operation, by event loop: both together have every kind at every operation."""


@pytest.fixture(autouse=True)
def beside_examples() -> Iterator[None]:
    """Examples import each other as scripts in one folder do."""
    sys.path.insert(0, str(EXAMPLES))
    yield
    sys.path.remove(str(EXAMPLES))


def graphs_in(example: str) -> list[Graph[Any]]:
    """The graphs that an example declares, each once."""
    values = vars(import_module(example)).values()
    return list({id(value): value for value in values if isinstance(value, Graph)}.values())


@pytest.mark.parametrize("example", [path.stem for path in sorted(EXAMPLES.glob("*.py"))])
async def test_an_example_ends_the_same_wherever_it_is_killed(example: str, anyio_backend: str) -> None:
    """At each operation of its store: killed before or after it, or alive without its reply, whatever became of it."""
    for graph in graphs_in(example):
        how = dict(SCENES.get(graph.name, {}))
        try:
            state = graph.state_type(**how.pop("state", {}))
        except TypeError as error:
            pytest.fail(f"SCENES must say what a run of {graph.name!r} begins with: {error}")

        await assert_resumes_equal(graph, state, kinds=FAULTS[anyio_backend], **how)


def test_there_are_examples_to_explore() -> None:
    """The test above passes over no example that makes a graph; and what it is told is of a graph there is."""
    found = {path.stem: graphs_in(path.stem) for path in EXAMPLES.glob("*.py")}

    assert {stem for stem, graphs in found.items() if graphs} == {
        path.stem for path in EXAMPLES.glob("*.py") if "Graph(" in path.read_text("utf-8")
    }
    assert sorted(kind for kinds in FAULTS.values() for kind in kinds) == sorted(KINDS)
    assert set(SCENES) <= {graph.name for graphs in found.values() for graph in graphs}
