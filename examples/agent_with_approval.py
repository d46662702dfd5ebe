"""An agent: a model that calls tools in a loop, where booking needs a human's approval. The model here is a script.

python examples/agent_with_approval.py
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Protocol

import anyio
from msgspec import Struct

from actorflow import END, Context, End, Graph, Runtime, State, Update, extend
from actorflow.errors import RunWaiting

RUN_ID = "trip-to-oslo"

# -- what is said ----------------------------------------------------------------------


class ToolCall(Struct, frozen=True):
    """A tool that the model wants to be used."""

    id: str
    tool: str
    arguments: dict[str, Any]


class Message(Struct, frozen=True):
    """What somebody said: text, or the tools that the model wants, or what one of them returned."""

    role: Literal["user", "model", "tool"]
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    answers: str = ""  # the id of the call that this is the result of


class Conversation(State, version=1):
    """All of it. A turn of the model adds to it, and so do tools."""

    messages: Annotated[list[Message], extend] = []


class Model(Protocol):
    """Anything that goes on with a conversation."""

    async def reply(self, messages: list[Message]) -> Message:
        """The next message."""
        ...


# -- tools -----------------------------------------------------------------------------


def find_hotels(city: str) -> str:
    """Harmless: used without asking."""
    return f"in {city} there are the Grand and the Harbour"


def book_hotel(name: str, nights: int) -> str:
    """Costs money."""
    return f"booked the {name} for {nights} nights"


TOOLS: dict[str, Any] = {"find_hotels": find_hotels, "book_hotel": book_hotel}
NEEDS_APPROVAL = {"book_hotel"}


class Verdict(Struct, frozen=True):
    """What a human says to a call: yes, yes with other arguments, or no and why."""

    approved: bool
    arguments: dict[str, Any] | None = None
    reason: str = ""


# -- the graph: think → use_tool for each call → think → ... → END ------------------------

agent = Graph("agent", Conversation)


@agent.node(entry=True)
async def think(state: Conversation, ctx: Context) -> Update:
    """A turn of the model, which is a client like any other: in the context, and never stored."""
    model: Model = ctx.context
    return {"messages": [await model.reply(state.messages)]}


@agent.branch(after=think)
def what_next(state: Conversation) -> Literal["use_tool"] | End:
    """The model is done when it wants no tool."""
    return "use_tool" if state.messages[-1].calls else END


def wanted(state: Conversation) -> list[ToolCall]:
    """The items of the fan-out: tools are used side by side."""
    return list(state.messages[-1].calls)


async def use_tool(call: ToolCall, ctx: Context) -> Message:
    """Use one tool. Asking keeps neither the other tools waiting nor the process."""
    arguments = call.arguments
    if call.tool in NEEDS_APPROVAL:
        verdict: Verdict = await ctx.interrupt(f"Use {call.tool}?", call, type=Verdict)
        if not verdict.approved:
            return Message("tool", f"not allowed: {verdict.reason}", answers=call.id)
        arguments = verdict.arguments or arguments
    return Message("tool", TOOLS[call.tool](**arguments), answers=call.id)


tools = agent.map(use_tool, over=wanted, into="messages")
agent.edge(tools, think)


# -- what happens ----------------------------------------------------------------------


class Script:
    """A model that looks up hotels in two cities, books the first, and says what came of it."""

    async def reply(self, messages: list[Message]) -> Message:
        """By how far the conversation is."""
        results = [message.text for message in messages if message.role == "tool"]
        if not results:
            cities = ("Oslo", "Bergen")
            return Message("model", calls=tuple(ToolCall(city, "find_hotels", {"city": city}) for city in cities))
        if len(results) == 2:
            booking = ToolCall("booking", "book_hotel", {"name": "Grand", "nights": 2})
            return Message("model", "The Grand it is.", calls=(booking,))
        return Message("model", f"Done: {results[-1]}.")


async def ask_agent() -> None:
    """Begin the conversation. The process need not stay for the human."""
    asked = Conversation(messages=[Message("user", "Book me a hotel in Oslo or Bergen.")])
    async with Runtime() as rt:
        try:
            await rt.run(agent, asked, id=RUN_ID, context=Script())
        except RunWaiting as waiting:
            print(f"-- {waiting.run_id} waits, and nothing of it runs")


async def be_asked() -> None:
    """Somebody who looks what waits, and approves it with a change."""
    async with Runtime() as rt:
        rt.register(agent, context=Script())
        run = rt.get(RUN_ID)
        for question in await run.interrupts():
            print(f"-- {question.question} {question.payload['arguments']}")
            await run.answer({"approved": True, "arguments": {"name": "Harbour", "nights": 3}}, by="the traveller")
        for message in (await run.result()).messages:
            wants = ", ".join(f"{call.tool}{tuple(call.arguments.values())}" for call in message.calls)
            print(f"{message.role:6} {' -> '.join(part for part in (message.text, wants) if part)}")


if __name__ == "__main__":
    anyio.run(ask_agent)
    anyio.run(be_asked)
