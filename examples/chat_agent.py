"""An agent that one can talk to: tools as steps, tokens as they come, and a human's verdict by mailbox.

python examples/chat_agent.py
"""

from __future__ import annotations

from typing import Annotated, Literal

import anyio
from model import Line, ToolCall, reply

from actorflow import (
    END,
    Context,
    DataEvent,
    End,
    Goto,
    Graph,
    Message,
    Retry,
    Run,
    Runtime,
    State,
    Update,
    ValuesEvent,
    extend,
)

CHAT_ID = "a-broken-lamp"


class Chat(State, version=1):
    """All that was said."""

    lines: Annotated[list[Line], extend] = []


class Question(Message, version=1):
    """What the customer says."""

    text: str


class Verdict(Message, version=1):
    """What a manager says to the use of a tool."""

    call: str
    granted: bool
    reason: str = ""


class Goodbye(Message, version=1):
    """The conversation is over."""


# -- tools: plain functions ------------------------------------------------------------


def find_order(number: int) -> str:
    """What was ordered under a number, and for how much."""
    return f"order {number}: a lamp for 40 euros"


def refund(number: int, euros: int) -> str:
    """Give the customer money back."""
    return f"{euros} euros of order {number} are on their way"


TOOLS = {tool.__name__: tool for tool in (find_order, refund)}
NEEDS_A_VERDICT = {"refund"}

# -- the graph: a question → think → act → think → ... until the model wants no tool -------

agent = Graph("chat-agent", Chat, lifetime="actor", messages=[Verdict])


def is_its_turn(state: Chat, msg: Question) -> None:
    """One question at a time: whoever asks again meanwhile is told so, and nothing is kept."""
    if state.lines and (state.lines[-1].role != "assistant" or state.lines[-1].calls):
        raise ValueError("wait for the answer")


@agent.on(Question, goto="think", validate=is_its_turn)
async def hear(state: Chat, msg: Question) -> Goto:
    """The message is taken, and the model set to work, by one commit."""
    return Goto("think", update={"lines": [Line("user", msg.text)]})


@agent.on(Goodbye)
async def leave(state: Chat, msg: Goodbye) -> End:
    """Ends the run."""
    return END


@agent.node(retry=Retry(attempts=4))
def think(state: Chat, ctx: Context) -> Update:
    """The model goes on. Its tokens are for whoever watches now; the line is kept."""
    return {"lines": [reply(state.lines, TOOLS.values(), ctx.emit)]}


@agent.branch(after=think)
def what_next(state: Chat) -> Literal["act"] | End:
    """A line without tools is an answer: the actor waits for the next question."""
    return "act" if state.lines[-1].calls else END


@agent.node
async def act(state: Chat, ctx: Context) -> Update:
    """Use the tools. It runs again from here when a verdict has come, or after a crash; what a step did is done."""
    return {"lines": [Line("tool", await use(call, ctx), answers=call.id) for call in state.lines[-1].calls]}


async def use(call: ToolCall, ctx: Context) -> str:
    """The result of a tool, or why there is none, which the model should know as well."""
    if call.tool not in TOOLS:
        return f"there is no tool {call.tool!r}"
    if call.tool in NEEDS_A_VERDICT:
        verdict = await ctx.receive(Verdict, where=lambda verdict: verdict.call == call.id, key=call.id)
        if not verdict.granted:
            return f"not allowed: {verdict.reason}"
    try:
        return await ctx.step(call.tool, lambda: TOOLS[call.tool](**call.arguments), key=call.id)
    except TypeError as error:  # the model gave other arguments than the tool takes
        return str(error)


agent.edge(act, think)

# -- those who talk to it --------------------------------------------------------------


async def show(run: Run[Chat], there_is: int) -> None:
    """The conversation: what there is, then what comes, token by token, until somebody has to say something."""
    shown = spoken = 0
    async for event in run.events(["data", "values"]):
        if isinstance(event, DataEvent):
            print("" if spoken else "assistant: ", event.data, sep="", end="", flush=True)
            spoken += 1
        elif isinstance(event, ValuesEvent):
            lines = event.state.lines
            for line in lines[shown:]:
                print("" if spoken else f"{line.role}: {line.text}")
                spoken = 0
            shown = len(lines)
            if lines and shown >= there_is and is_to_wait(lines[-1]):
                return


def is_to_wait(line: Line) -> bool:
    """Whether nothing comes after this before somebody says something: it is an answer, or wants a verdict."""
    return line.role == "assistant" and (not line.calls or any(call.tool in NEEDS_A_VERDICT for call in line.calls))


async def customer() -> None:
    """Ask, and watch. Whoever was cut off just asks again: the message has an id, so it counts once."""
    async with Runtime() as rt, anyio.create_task_group() as tasks:
        run = await rt.spawn(agent, id=CHAT_ID, on_conflict="attach")
        tasks.start_soon(show, run, len((await run.state()).lines))
        await run.send(Question(text="My lamp came broken. It was order 17."), id="first question")


async def manager() -> None:
    """Another process, whenever it likes: what the agent wants to do, and a message that allows it."""
    async with Runtime(graphs=[agent]) as rt:
        run = rt.get(CHAT_ID)
        for call in (await run.state()).lines[-1].calls:
            print(f"  {call.tool} {call.arguments}? granted")
            await run.send(Verdict(call=call.id, granted=True), by="Grace")


async def main() -> None:
    """Three processes could do this on three days."""
    print("-- the customer asks")
    await customer()
    print("-- the manager looks")
    await manager()
    print("-- the customer looks again")
    await customer()


if __name__ == "__main__":
    anyio.run(main)
