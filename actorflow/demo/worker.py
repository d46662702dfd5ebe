"""Worker: the process that the demo kills. It runs one survey, or goes on with it; it is told nothing else.

    python -m actorflow.demo.worker STORE RUN FOLDER WORKLOG --schema 2

Its own worker processes, which parse the files, end with it.
It says on its standard output, as lines of JSON, what it found (`Began`) and
what came out (`Done`).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import time
from typing import Any

import anyio
import msgspec
from msgspec import Struct

from actorflow import Graph, Run, Runtime
from actorflow.demo.survey import SurveyV1, survey, survey_v1
from actorflow.demo.worklog import PLACE
from actorflow.errors import NoSuchRun

GRAPHS: dict[int, Graph[Any]] = {1: survey_v1, 2: survey}


class Began(Struct, frozen=True, tag=True):
    """What there was of the run before this process took it up; ``commit`` is None for a run that is new."""

    pid: int
    commit: int | None = None
    files: int = 0
    status: str = ""
    before: int = 0  # the process that owned it
    let_go: bool = False
    version: int | str | None = None


class Done(Struct, frozen=True, tag=True):
    """The run's result, and what this process spent on it."""

    digest: str
    report: list[str]
    files: int
    commits: int
    seconds: float


Message = Began | Done


def digest_of(state: SurveyV1) -> str:
    """A digest of the whole final state, so that nothing can differ unseen."""
    return hashlib.blake2b(msgspec.json.encode(state, order="deterministic"), digest_size=16).hexdigest()


async def work(store: str, run_id: str, state: SurveyV1, graph: Graph[Any], processes: int) -> None:
    """Begin the run or go on with it; in both cases the same call."""
    async with Runtime(store, graphs=[graph], recover="never", processes=processes) as rt:
        try:
            _say(await _found(rt.get(run_id)))
        except NoSuchRun:
            _say(Began(os.getpid()))
        begin = time.perf_counter()
        run = await rt.spawn(graph, state, id=run_id, on_conflict="attach")
        result = await run.result()
        seconds = time.perf_counter() - begin
        _say(Done(digest_of(result), result.report, len(result.files), (await run.at()).seq, seconds))


async def _found(run: Run[SurveyV1]) -> Began:
    """What a run is like that was begun before; its files are in the state, or still in the open fan-out."""
    view = await run.at()
    return Began(
        os.getpid(),
        commit=view.seq,
        files=(await run.progress()).tally(("parse",)).items or len(view.values["files"]),
        status=view.status,
        before=view.owner.pid,
        let_go=view.kind == "released",
        version=view.version,
    )


def _say(message: Message) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


def main() -> None:
    """Parse the arguments and work."""
    parser = argparse.ArgumentParser(prog="actorflow.demo.worker", description=__doc__)
    parser.add_argument("store")
    parser.add_argument("run")
    parser.add_argument("folder")
    parser.add_argument("worklog")
    parser.add_argument("--schema", type=int, choices=sorted(GRAPHS), default=max(GRAPHS))
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=2000)
    given = parser.parse_args()
    graph = GRAPHS[given.schema]
    state = graph.state_type(root=given.folder, limit=given.limit)
    os.environ[PLACE] = given.worklog  # of this process, and so of its worker processes
    anyio.run(work, given.store, given.run, state, graph, given.processes)


if __name__ == "__main__":
    main()
