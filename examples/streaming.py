"""Watch a run: tokens as a model says them, results as they are committed; and later the same story out of the files.

python examples/streaming.py
"""

from __future__ import annotations

import anyio

from actorflow import Context, DataEvent, Graph, ProgressEvent, Runtime, State, Update, UpdateEvent


class Story(State, version=1):
    """A story in two languages."""

    topic: str
    text: str = ""
    languages: list[str] = []
    translations: list[str] = []


stories = Graph("stories", Story)


@stories.node
async def plan(state: Story) -> None:
    """Thinks, and says nothing."""


@stories.node(after=plan)
async def write(state: Story, ctx: Context) -> Update:
    """What it emits is for whoever watches now; what it returns is kept."""
    words = f"once upon a time there were {state.topic}".split()
    for word in words:
        ctx.emit(word)
    return {"text": " ".join(words)}


async def translate(language: str) -> str:
    """An item of a fan-out, whose progress is told by itself."""
    return f"({language})"


stories.map(translate, after=write, over="languages", into="translations", limit=1)


async def main() -> None:
    """Watch it live, then ask for the end of the story again."""
    async with Runtime() as rt:
        run = await rt.spawn(stories, Story(topic="otters", languages=["French", "Dutch"]))
        written = None
        async for event in run.events(["data", "updates", "progress"]):
            match event:
                case DataEvent():
                    print(f"  {event.data}")
                case UpdateEvent():
                    print(f"{event.node} wrote {', '.join(event.fields)}")
                    written = written or event.offset
                case ProgressEvent():
                    print(f"{event.node}: {event.done} of {event.total}")
                case _:  # there are more kinds, if you ask for them
                    pass

    async with Runtime(readonly=True, graphs=[stories]) as rt:  # any process, as long after as you like
        print("what came after that, as the files tell it:")
        async for event in rt.get(run.id).events("updates", after=written):
            if isinstance(event, UpdateEvent):
                print(f"{event.node} wrote {event.fields}")


if __name__ == "__main__":
    anyio.run(main)
