"""One measurement is one fresh process: it runs a workload by name and answers with a line of JSON.

Fresh, because memory, imports and caches of one workload must not become the next one's; by name and over
a pipe, because a peer may live in another virtual environment.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Answer = dict[str, Any]
UNSAVED = 10  # times that a graph without persistence is run in one process, since once takes a few ms
TIME_LIMIT = 300  # seconds a measurement may take; the longest takes two minutes


@dataclass
class Span:
    """Wall clock and CPU of this process over a stretch of code, in seconds."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def clocked() -> Iterator[Span]:
    """Time the block; the span is filled in at its end."""
    span = Span()
    wall, cpu = time.perf_counter(), time.process_time()
    yield span
    span.wall, span.cpu = time.perf_counter() - wall, time.process_time() - cpu


def median(answers: list[Answer]) -> Answer:
    """Of each figure the median."""
    return {key: statistics.median(one[key] for one in answers) for key in answers[0]}


def ask(script: str, workload: str, root: Path, *, python: str = sys.executable, **options: Any) -> Answer:
    """Run a workload of a script beside this one in its own process, in an empty folder of its own.

    Raises:
        RuntimeError: the process failed or did not end; the message ends with what it wrote to stderr.
    """
    call = [python, str(Path(__file__).with_name(script)), workload, str(root), json.dumps(options)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=TIME_LIMIT)
    except subprocess.TimeoutExpired as expired:
        raise RuntimeError(f"{script} {workload} did not end within {TIME_LIMIT} s") from expired
    if done.returncode != 0:
        raise RuntimeError(f"{script} {workload} ended with {done.returncode}\n{done.stderr[-3000:]}")
    reply: Answer = json.loads(done.stdout.splitlines()[-1])
    return reply


def answer(workloads: Mapping[str, Callable[..., Answer]]) -> None:
    """The other end of `ask`: what a script of workloads does as its main program."""
    name, root, options = sys.argv[1:]
    print(json.dumps(workloads[name](Path(root), **json.loads(options))))
