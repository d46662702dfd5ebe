"""A process dies in the middle of a job. Started again with the same run id, it does only what was left to do.

python examples/research_pipeline.py
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Annotated

import anyio
from text import write

from actorflow import Context, Graph, Runtime, State, Update, extend

RUN_ID = "moon-bases"


class Research(State, version=1):
    """A report and what leads to it."""

    topic: str
    sources: Annotated[list[str], extend] = []
    outline: list[str] = []
    draft: str = ""
    report: str = ""


pipeline = Graph("research-pipeline", Research)


@pipeline.node
def gather_sources(state: Research) -> Update:
    """The expensive part: nobody wants to pay for it twice."""
    say("gather_sources")
    return {"sources": [write(f"Source {number} on {state.topic}, in one sentence") for number in (1, 2, 3)]}


@pipeline.node(after=gather_sources)
async def build_outline(state: Research) -> Update:
    """Once it has returned, its result is committed before anything else starts."""
    say("build_outline")
    return {"outline": [f"{number}. {source}" for number, source in enumerate(state.sources, 1)]}


@pipeline.node(after=build_outline)
def write_draft(state: Research, ctx: Context) -> Update:
    """On the first start the process dies here: no except, no finally, no atexit sees it."""
    if ctx.context == "accident":
        say("write_draft ... SIGKILL")
        os.kill(os.getpid(), signal.SIGKILL)
    say("write_draft")
    return {"draft": write(f"Put into one sentence: {' '.join(state.outline)}")}


@pipeline.node(after=write_draft)
async def finalize_report(state: Research) -> Update:
    """The end of the job."""
    say("finalize_report")
    return {"report": f"{state.topic}: {state.draft}"}


def say(text: str) -> None:
    """Print at once: what is in a buffer dies with its process."""
    print(f"  {text}", flush=True)


async def work(accident: str | None = None) -> None:
    """The job. Every start is this same call."""
    async with Runtime() as rt:
        await rt.run(pipeline, Research(topic="moon bases"), id=RUN_ID, context=accident)


async def look_around() -> None:
    """What the store knows afterwards, from this or any other process."""
    async with Runtime(graphs=[pipeline]) as rt:
        run = rt.get(RUN_ID)
        print("checkpoints, newest first:")
        async for checkpoint in run.views():
            filled = [name for name, value in checkpoint.values.items() if value]
            say(f"commit {checkpoint.seq}  {checkpoint.node or checkpoint.kind:15}  {', '.join(filled)}")
        outlined = await run.at(node="build_outline")
        say(f"as of build_outline: {len(outlined.state.outline)} headings, draft {outlined.state.draft!r}")
        print("runs in the store:")
        for info in await rt.runs():
            say(f"{info.id}  last node {info.node}, {info.status}")


def main() -> None:
    """Start the job in a process that dies, start it again in this one, look around."""
    print("first start:", flush=True)
    first = subprocess.run([sys.executable, __file__, "accident"], check=False)
    say(f"(exit status {first.returncode})")
    print("second start, same id:")
    anyio.run(work)
    anyio.run(look_around)


if __name__ == "__main__":
    if sys.argv[1:] == ["accident"]:
        anyio.run(work, "accident")
    else:
        main()
