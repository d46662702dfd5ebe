"""Two conversations at once, each a run of its own, of two turns each. Start it again: both go on where they were.

python examples/threads.py
"""

from __future__ import annotations

from typing import Annotated

import anyio

from actorflow import Graph, Runtime, State, Update, extend


class Chat(State, version=1):
    """All that was said so far."""

    messages: Annotated[list[str], extend] = []


chat = Graph("chat", Chat)


@chat.node
async def reply(state: Chat) -> Update:
    """A bot that remembers: what was said in earlier turns is in its state."""
    name = state.messages[0].removeprefix("I am ")
    turn = 1 + sum(message.startswith("bot: ") for message in state.messages)
    return {"messages": [f"bot: {name}, this is turn {turn}"]}


async def talk(rt: Runtime, name: str) -> None:
    """Two turns: the first one begins the run, the second one opens its entry again."""
    await rt.run(chat, Chat(messages=[f"I am {name}"]), id=name.lower())  # begun before: nothing runs
    run = rt.get(name.lower())
    await run.input({"messages": ["Who am I?"]})
    await run.result()


async def main() -> None:
    """Talk to both of them, then show what each conversation has."""
    async with Runtime() as rt:  # the files are in ./.actorflow
        async with anyio.create_task_group() as talks:
            for name in ("Ada", "Grace"):
                talks.start_soon(talk, rt, name)
        for name in ("ada", "grace"):
            print(f"{name}:", *(await rt.get(name).state()).messages, sep="\n  ")


if __name__ == "__main__":
    anyio.run(main)
