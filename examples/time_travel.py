"""Look at a run as it was, then go back and let it go on from there with another idea. No history is lost by it.

python examples/time_travel.py
"""

from __future__ import annotations

import anyio

from actorflow import Graph, Runtime, State, Update


class Joke(State, version=1):
    """A joke in the making."""

    topic: str = ""
    joke: str = ""
    laughs: int = 0


jokes = Graph("jokes", Joke)


@jokes.node
async def pick_topic(state: Joke) -> Update:
    """The first idea."""
    return {"topic": "chickens"}


@jokes.node(after=pick_topic)
async def write_joke(state: Joke) -> Update:
    """Runs again whenever the run goes back to before it."""
    return {"joke": f"Why did the {state.topic} cross the road?"}


@jokes.node(after=write_joke)
async def tell(state: Joke) -> Update:
    """The audience is hard to please."""
    return {"laughs": 0 if "chickens" in state.joke else 7}


async def main() -> None:
    """Run it, look back, go back."""
    async with Runtime() as rt:
        run = await rt.spawn(jokes)
        print(f"first:    {await run.result()}")

        picked = await run.at(node="pick_topic")
        print(f"then:     {picked.state}, next: {', '.join(picked.frontier)}")

        await run.rewind(picked.seq, update={"topic": "programmer"})
        print(f"again:    {await run.result()}")

        print("history:")
        async for view in run.views():  # newest first; what was undone is still there
            print(
                f"  commit {view.seq}: {view.node or view.kind:10}  {view.state.topic:10}  {view.state.laughs} laughs"
            )


if __name__ == "__main__":
    anyio.run(main)
