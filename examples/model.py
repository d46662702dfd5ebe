"""A chat model that streams its words and calls tools: any OpenAI-compatible endpoint, or a script that says it is one.

To talk to a real one, set LLM_BASE_URL (such as https://api.example.com/v1), LLM_API_KEY and, if need be, LLM_MODEL.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

import msgspec
from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    Tool = Callable[..., str]

TIMEOUT = 60  # seconds without a word


class ToolCall(Struct, frozen=True):
    """A tool that the model wants to be used."""

    id: str
    tool: str
    arguments: dict[str, Any]


class Line(Struct, frozen=True):
    """What somebody said: text, the tools that the model wants, or what one of them returned."""

    role: Literal["system", "user", "assistant", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""  # the id of the call that this is the result of


def reply(lines: Sequence[Line], tools: Iterable[Tool], tell: Callable[[str], None]) -> Line:
    """The next line of a conversation; what it is made of is told as it comes. Blocks: call it from a sync node.

    Raises:
        OSError: the endpoint does not answer, or answers with an error status.
    """
    url, key = os.environ.get("LLM_BASE_URL"), os.environ.get("LLM_API_KEY")
    if not (url and key):
        return follow_script(lines, tell)
    text, calls = "", dict[int, dict[str, str]]()
    for delta in ask(lines, tools, url, key):
        if token := delta.get("content"):
            tell(token)
            text += token
        for part in delta.get("tool_calls") or ():
            call = calls.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
            call["id"] += part.get("id") or ""
            call["name"] += part["function"].get("name") or ""
            call["arguments"] += part["function"].get("arguments") or ""
    wanted = [ToolCall(call["id"], call["name"], json.loads(call["arguments"] or "{}")) for call in calls.values()]
    return Line("assistant", text, tuple(wanted))


def ask(lines: Sequence[Line], tools: Iterable[Tool], url: str, key: str) -> Iterator[dict[str, Any]]:
    """The pieces of an answer, over the chat completions API."""
    question = {
        "model": os.environ.get("LLM_MODEL", "gpt-4o-mini"),
        "messages": [as_sent(line) for line in lines],
        "tools": [described(tool) for tool in tools],
        "stream": True,
    }
    request = urllib.request.Request(
        f"{url.rstrip('/')}/chat/completions",
        data=json.dumps(question).encode(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        for event in response:
            data = event.decode().removeprefix("data:").strip()
            if data.startswith("{") and (choices := json.loads(data)["choices"]):
                yield choices[0]["delta"]


def as_sent(line: Line) -> dict[str, Any]:
    """A line as the API has it."""
    sent: dict[str, Any] = {"role": line.role, "content": line.text}
    if line.calls:
        sent["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.tool, "arguments": json.dumps(call.arguments)},
            }
            for call in line.calls
        ]
    if line.answers:
        sent["tool_call_id"] = line.answers
    return sent


def described(tool: Tool) -> dict[str, Any]:
    """A plain function as the API has a tool: its name, its docstring, and a JSON schema of its parameters."""
    hints = get_type_hints(tool)
    hints.pop("return", None)
    _, schemas = msgspec.json.schema_components([msgspec.defstruct(tool.__name__, list(hints.items()))])
    parameters = schemas[tool.__name__]
    return {
        "type": "function",
        "function": {"name": tool.__name__, "description": tool.__doc__, "parameters": parameters},
    }


def follow_script(lines: Sequence[Line], tell: Callable[[str], None]) -> Line:
    """What a model might say to somebody whose lamp came broken, without one."""
    results = [line.text for line in lines if line.role == "tool"]
    if not results:
        said = Line("assistant", "Let me look.", (ToolCall("call-1", "find_order", {"number": 17}),))
    elif len(results) == 1:
        said = Line("assistant", "I ask for it.", (ToolCall("call-2", "refund", {"number": 17, "euros": 40}),))
    else:
        said = Line("assistant", f"That is it: {results[-1]}.")
    for word in said.text.split():
        tell(f"{word} ")
    return said
