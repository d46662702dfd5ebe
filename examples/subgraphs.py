"""A graph with a state of its own, used as a node of another one, and in another place once more for each of a list.

python examples/subgraphs.py
"""

from __future__ import annotations

from typing import Literal

import anyio

from actorflow import END, End, Graph, Runtime, State, Update


class Draft(State, version=1):
    """What is polished."""

    text: str
    rounds: int = 0


polish = Graph("polish", Draft)


@polish.node(entry=True)
async def shorten(state: Draft) -> Update:
    """Takes one word away."""
    return {"text": state.text.rsplit(" ", 1)[0], "rounds": state.rounds + 1}


@polish.branch(after=shorten)
def is_short(state: Draft) -> Literal["shorten"] | End:
    """A loop inside: nobody outside needs to know."""
    return END if len(state.text.split()) <= 3 else "shorten"


class Paper(State, version=1):
    """What is printed: a title, and the captions of its pictures."""

    title: str
    captions: list[str] = []
    page: str = ""


paper = Graph("paper", Paper)

# once, for the title: what goes in and what comes out, by name
title = paper.subgraph(polish, name="title", enter={"text": "title"}, leave={"title": "text"})

# for each caption, side by side: the item goes into the field `text`, and what that is in the end is its result
captions = paper.map(polish, name="captions", after=title, over="captions", enter="text", leave="text", into="captions")


@paper.node(after=captions)
async def lay_out(state: Paper) -> Update:
    """Only what was handed up is seen here: `rounds` stays inside."""
    return {"page": " / ".join([state.title, *state.captions])}


async def main() -> None:
    """Run it, and look at what happened where: it is all one run, with one history."""
    print(paper.draw("text", expand=False), end="")
    async with Runtime() as rt:
        texts = ["the long way home", "a cat asleep on a mat", "no fish today"]
        run = await rt.spawn(paper, Paper(title="graphs that survive everything and everybody", captions=texts))
        print((await run.result()).page)
        for path, tally in sorted((await run.progress()).nodes.items()):
            print(f"  {'/'.join(path)}: {tally.done} done")


if __name__ == "__main__":
    anyio.run(main)
