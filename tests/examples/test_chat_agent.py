"""The agent that one can talk to: what it shows, what it asks a model, and what is not done again, whoever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.conftest import EXAMPLES
from tests.examples.test_examples import on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.examples.conftest import Start

CHAT = "chat_agent"

ASKED = ["user: My lamp came broken. It was order 17."]
LOOKED = [*ASKED, "assistant: Let me look.", "tool: order 17: a lamp for 40 euros"]
WAITS = [*LOOKED, "assistant: I ask for it."]
ANSWERED = [
    *WAITS,
    "tool: 40 euros of order 17 are on their way",
    "assistant: That is it: 40 euros of order 17 are on their way.",
]
GRANTED = "  refund {'number': 17, 'euros': 40}? granted"

COUNTED = """
import anyio, chat_agent

def counted(tool):
    def count(**arguments):
        with open("used", "a") as used:
            print(tool.__name__, file=used)
        return tool(**arguments)
    return count

chat_agent.TOOLS.update({name: counted(tool) for name, tool in chat_agent.TOOLS.items()})
"""
"""Runs what follows with tools that count how often they are used, in a file."""


def find_order(number: int, *, index: int = 0) -> dict[str, Any]:
    """A model's call of a tool, as its endpoint streams one: in two pieces."""
    return {
        "index": index,
        "id": f"find-{number}",
        "function": {"name": "find_order", "arguments": f'{{"number": {number}'},
    }


def refund(number: int, *, index: int = 0) -> dict[str, Any]:
    """The same of the other tool."""
    arguments = f'{{"number": {number}, "euros": 40'
    return {"index": index, "id": f"refund-{number}", "function": {"name": "refund", "arguments": arguments}}


def end_of(call: dict[str, Any]) -> dict[str, Any]:
    """The second piece."""
    return {"index": call["index"], "function": {"arguments": "}"}}


@dataclass
class Talker:
    """A server on loopback that streams one of these answers after the other, as an OpenAI-compatible endpoint does."""

    url: str
    answers: list[list[dict[str, Any]]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    kills: int | None = None  # the number of the question at which whoever asks dies
    victim: subprocess.Popen[str] | None = None

    def says(self, *words: str, calls: tuple[dict[str, Any], ...] = ()) -> None:
        """One more answer."""
        deltas = [{"content": word} for word in words]
        deltas += [{"tool_calls": [call]} for call in calls] + [{"tool_calls": [end_of(call)]} for call in calls]
        self.answers.append(deltas)


@pytest.fixture
def talker() -> Iterator[Talker]:
    """A model whose answers are given by the test."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            talker.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            if talker.kills == len(talker.asked):
                assert talker.victim is not None
                talker.victim.kill()
                talker.victim.wait()
                return
            self.send_response(200)
            self.end_headers()
            for delta in talker.answers.pop(0):
                self.wfile.write(f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode())
            self.wfile.write(b"data: [DONE]\n\n")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        talker = Talker(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield talker
        server.shutdown()
        thread.join()


def test_a_refund_is_made_after_a_manager_has_granted_it(start: Start, anyio_backend: str) -> None:
    """Tokens come as they are said; whoever looks later reads the same out of the files."""
    lines = start(*on(anyio_backend, "chat_agent"))

    live = [f"{line} " if line.startswith("assistant") else line for line in WAITS]  # the script's words have blanks
    assert lines == [
        "-- the customer asks",
        *live,
        "-- the manager looks",
        GRANTED,
        "-- the customer looks again",
        *ANSWERED,
    ]


def test_a_conversation_that_is_there_is_shown_and_not_held_again(start: Start) -> None:
    """Started again, the question counts once, and nobody has anything to grant."""
    start("-m", "chat_agent")

    again = start("-m", "chat_agent")

    assert again == [
        "-- the customer asks",
        *ANSWERED,
        "-- the manager looks",
        "-- the customer looks again",
        *ANSWERED,
    ]


def test_a_model_is_told_of_the_tools_and_of_what_they_returned(start: Start, talker: Talker) -> None:
    """Over the chat completions API, as a stream."""
    talker.says("One ", "moment.", calls=(find_order(17),))
    talker.says("A ", "lamp.")

    lines = start(*on("asyncio", "chat_agent", "customer"), LLM_BASE_URL=talker.url, LLM_API_KEY="secret")

    assert lines == [*ASKED, "assistant: One moment.", LOOKED[-1], "assistant: A lamp."]
    first, second = talker.asked
    assert [tool["function"]["name"] for tool in first["tools"]] == ["find_order", "refund"]
    assert first["tools"][1]["function"]["parameters"]["properties"] == {
        "number": {"type": "integer"},
        "euros": {"type": "integer"},
    }
    assert first["stream"] is True
    assert second["messages"][-2]["tool_calls"][0]["function"] == {"name": "find_order", "arguments": '{"number": 17}'}
    assert second["messages"][-1] == {
        "role": "tool",
        "content": "order 17: a lamp for 40 euros",
        "tool_call_id": "find-17",
    }


def test_an_agent_that_is_killed_while_it_thinks_goes_on_thinking(tmp_path: Path, start: Start, talker: Talker) -> None:
    """SIGKILL between two answers of the model: what the first led to is kept, and the second is asked for again."""
    talker.says("Let me look.", calls=(find_order(17),))
    talker.says("A lamp.")
    talker.kills = 2
    endpoint = {"LLM_BASE_URL": talker.url, "LLM_API_KEY": "secret"}
    talker.victim = subprocess.Popen(
        [sys.executable, "-c", COUNTED + "anyio.run(chat_agent.customer)"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(EXAMPLES), **endpoint},
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert talker.victim.wait() == -signal.SIGKILL

    lines = start("-c", COUNTED + "anyio.run(chat_agent.customer)", **endpoint)

    assert lines == [*LOOKED, "assistant: A lamp."]
    assert [len(question["messages"]) for question in talker.asked] == [1, 3, 3]
    assert (tmp_path / "used").read_text() == "find_order\n"


def test_a_tool_that_was_used_before_the_verdict_is_not_used_again_after_it(
    tmp_path: Path, start: Start, talker: Talker
) -> None:
    """The node runs again from its start when the verdict has come, in another process: its steps are remembered.

    Planted: a tool that is called without `ctx.step` is used twice.
    """
    talker.says(calls=(find_order(17), refund(17, index=1)))
    talker.says("Done.")
    endpoint = {"LLM_BASE_URL": talker.url, "LLM_API_KEY": "secret"}

    start("-c", COUNTED + "anyio.run(chat_agent.customer)", **endpoint)
    start("-c", COUNTED + "anyio.run(chat_agent.manager)", **endpoint)
    lines = start("-c", COUNTED + "anyio.run(chat_agent.customer)", **endpoint)

    assert lines[-3:] == [LOOKED[-1], ANSWERED[-2], "assistant: Done."]
    assert (tmp_path / "used").read_text() == "find_order\nrefund\n"


REFUSES = """
import anyio
from chat_agent import *
from actorflow.errors import MessageRejected

async def refuse():
    async with Runtime(graphs=[agent]) as rt:
        run = rt.get(CHAT_ID)
        try:
            await run.send(Question(text="Well?"))
        except MessageRejected as error:
            print(error.__cause__)
        await run.send(Verdict(call="another call", granted=True))
        await run.send(Verdict(call="call-2", granted=False, reason="too late"))
        await run.wait()
        print((await run.state()).lines[-2].text)
        print([letter.type for letter in await run.mailbox()])
        await run.send(Goodbye())
        await run.result()
        print([dead.reason for dead in await run.dead_letters()])

anyio.run(refuse)
"""


def test_a_refund_that_is_refused_is_not_made(start: Start) -> None:
    """The model is told why. A question meanwhile is refused; a verdict on another call dies with the run."""
    start(*on("asyncio", "chat_agent", "customer"))

    lines = start("-c", REFUSES)

    assert lines == ["wait for the answer", "not allowed: too late", "['Verdict']", "['ended']"]
