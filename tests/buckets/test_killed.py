"""The whole way, on every server: a process is killed within a node, the next one is given nothing but the URL."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

SCRIPT = """
import json, os, signal, sys
from typing import Annotated
import anyio
from actorflow import Graph, Runtime, State, Update, extend

class Mission(State, version=1):
    trace: Annotated[list[str], extend] = []

mission = Graph("mission", Mission)

@mission.node
async def launch(state: Mission) -> Update:
    print("launch", flush=True)
    return {"trace": ["launch"]}

@mission.node(after=launch)
async def land(state: Mission) -> Update:
    if sys.argv[3] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"trace": ["land"]}

async def main() -> None:
    async with Runtime(sys.argv[1], storage_options=json.loads(sys.argv[2])) as rt:
        print(*(await rt.run(mission, Mission(), id="artemis")).trace)

anyio.run(main)
"""


def test_a_killed_run_goes_on_from_the_bucket(server: Any) -> None:
    """What was committed is not done again; the dead owner is not waited for, since its process is seen to be gone."""
    url, options = server.place()
    command = [sys.executable, "-W", "error", "-c", SCRIPT, url, json.dumps(options)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}

    first = subprocess.run([*command, "killed"], env=environment, capture_output=True, text=True, check=False)
    second = subprocess.run([*command, "lives"], env=environment, capture_output=True, text=True, check=False)

    assert (first.returncode, first.stdout) == (-signal.SIGKILL, "launch\n")
    assert (second.returncode, second.stdout) == (0, "launch land\n"), second.stderr
