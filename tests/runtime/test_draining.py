"""SIGTERM to a real process: what runs is finished and committed, runs are let go of; a second one does not wait."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from actorflow import Context, Graph, Runtime, Update
from actorflow.errors import RuntimeClosed
from actorflow.runtime.draining import drain
from tests.runtime.graphs import Trail, chain

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import signal, sys
import anyio
from actorflow import Graph, Runtime, State
from actorflow.errors import RuntimeClosed

class Job(State):
    n: int = 0

job = Graph("job", Job)

@job.node
async def first(state: Job):
    print("works", flush=True)
    await anyio.wait_readable(0)
    return {"n": 1}

@job.node(after=first)
async def second(state: Job):
    print("must not begin", flush=True)

async def main():
    async with Runtime(sys.argv[2], drain_on=[signal.SIGTERM]) as rt:
        run = await rt.spawn(job, id="x")
        try:
            await run.result()
        except BaseException as error:
            print(type(error).__name__, flush=True)
            raise
    print("must not be reached", flush=True)

try:
    anyio.run(main, backend=sys.argv[1])
finally:
    print("left", flush=True)
"""


def begin(tmp_path: Path, backend: str) -> subprocess.Popen[str]:
    """A process whose run is in the middle of its first node."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM, "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(program), backend, str(tmp_path / "store")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "works\n"
    return process


def until_it_drains(process: subprocess.Popen[str]) -> None:
    """Wait until the process says that it heard the signal."""
    assert process.stderr is not None
    assert process.stderr.readline().startswith("SIGTERM: runs finish what runs just now")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_sigterm_finishes_what_runs_and_lets_go(tmp_path: Path, backend: str) -> None:
    """The node that runs is finished and committed, its successor does not begin, the run can be claimed at once."""
    process = begin(tmp_path, backend)
    process.send_signal(signal.SIGTERM)
    until_it_drains(process)

    out, err = process.communicate("go on\n", timeout=20)

    assert process.returncode == 128 + signal.SIGTERM, err
    assert "must not" not in out
    assert out.endswith("left\n")
    kind, status, n = anyio.run(_newest, str(tmp_path / "store"))
    assert (kind, status, n) == ("release", "running", 1)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_second_sigterm_does_not_wait(tmp_path: Path, backend: str) -> None:
    """The node is cancelled, unrecorded; the run is let go of all the same."""
    process = begin(tmp_path, backend)
    process.send_signal(signal.SIGTERM)
    until_it_drains(process)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)  # before its input ends, which would let the node go on

    out, err = process.communicate()

    assert process.returncode == 128 + signal.SIGTERM, err
    assert "must not" not in out
    assert out.endswith("left\n")
    kind, status, n = anyio.run(_newest, str(tmp_path / "store"))
    assert (kind, status, n) == ("release", "running", 0)


async def _newest(store: str) -> tuple[str, str, int]:
    async with Runtime(store, readonly=True) as rt:
        frame, run = await rt.load("x")
        return frame.header.kind, frame.header.status, run.root.values.get("n", 0)


async def test_nothing_begins_in_a_process_that_drains(store_url: str) -> None:
    """Whoever asks for a run is told that the runtime is closed."""
    with pytest.raises(SystemExit) as caught:  # noqa: PT012 - leaving is what is tested
        async with Runtime(store_url, recover="never") as rt:
            drain(rt.living(), SystemExit(143))
            with pytest.raises(RuntimeClosed):
                await rt.spawn(chain("a"), Trail(), id="x")
            await anyio.sleep_forever()

    assert caught.value.code == 143


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_signals_that_can_not_be_received_are_refused(store_url: str, backend: str) -> None:
    """In a thread, say: at once, naming the option, and nothing stays open."""
    refused: list[RuntimeError] = []

    async def enter() -> None:
        with pytest.raises(RuntimeError, match="drain_on=: only the main thread") as caught:
            async with Runtime(store_url, recover="never", drain_on=[signal.SIGTERM]):
                pytest.fail("it was entered")
        refused.append(caught.value)

    thread = threading.Thread(target=lambda: anyio.run(enter, backend=backend))
    thread.start()
    thread.join()

    assert len(refused) == 1


async def test_a_supervisor_drains_with_its_runtime(store_url: str) -> None:
    """A permanent child that finishes meanwhile is not opened again, and its siblings are let go of."""
    begun, gate = list[str](), anyio.Event()
    graph = Graph("two", Trail)

    @graph.node
    async def first(state: Trail, ctx: Context) -> Update:
        begun.append(ctx.run_id)
        await gate.wait()
        return {"n": 1}

    with pytest.raises(SystemExit):  # noqa: PT012 - leaving is what is tested
        async with (
            Runtime(store_url, recover="never") as rt,
            rt.supervise("group", restart="permanent", strategy="one_for_all") as group,
        ):
            await group.spawn(graph, Trail(), id="a")
            await group.spawn(chain("x", "y"), Trail(), id="b", restart="transient")
            while "a" not in begun:
                await anyio.lowlevel.checkpoint()
            drain(rt.living(), SystemExit(143))
            gate.set()
            await anyio.sleep_forever()

    assert begun == ["a"]
    async with Runtime(store_url, readonly=True) as rt:
        headers = [(await rt.tip(name)).header for name in "ab"]
        assert headers[0].status == "finished"
        assert [header.kind for header in headers] == ["release", "release"]
