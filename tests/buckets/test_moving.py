"""A new user's day: a run begun on a laptop, copied into a bucket, killed, and gone on with from the URL alone."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers.place import S3Server

APP = """
import os
import sys
from typing import Annotated

import anyio

from actorflow import Graph, State, Update, extend


class Trail(State, version=1):
    trace: Annotated[list[str], extend] = []


trail = Graph("trail", Trail)


@trail.node
async def first(state: Trail) -> Update:
    return {"trace": [f"first in {os.getpid()}"]}


@trail.node(after=first)
async def second(state: Trail) -> Update:
    if "HANG" in os.environ:
        print("in second", flush=True)
        await anyio.sleep_forever()
    return {"trace": [f"second in {os.getpid()}"]}
"""


@pytest.fixture
def laptop(tmp_path: Path, s3: S3Server) -> tuple[Path, dict[str, str]]:
    """A folder with app.py, and an environment with credentials as AWS's own tools read them."""
    (tmp_path / "app.py").write_text(APP)
    credentials = {
        "AWS_ENDPOINT_URL": s3.endpoint,
        "AWS_ACCESS_KEY_ID": s3.key,
        "AWS_SECRET_ACCESS_KEY": s3.secret,
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    return tmp_path, {**os.environ, **credentials}


def start(folder: Path, env: dict[str, str], *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """A command of a new user's."""
    command = [sys.executable, "-m", "actorflow.cli", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=folder, env=env, text=True, **{**pipes, **options})


def test_a_run_goes_from_a_local_disk_into_a_bucket(laptop: tuple[Path, dict[str, str]], s3: S3Server) -> None:
    """Exported while it ran, its process killed, its disk never looked at again; back again it is whole, too."""
    folder, env = laptop
    url = s3.place().url
    running = start(folder, {**env, "HANG": "1"}, "run", "app:trail", "--id", "r")
    try:
        assert running.stdout is not None
        assert select.select([running.stdout], [], [], 30)[0], "the run did not begin"
        assert running.stdout.readline() == "in second\n"
        exported = start(folder, env, "export", "r", "--to", url)
        assert exported.communicate()[1].startswith(f"run r is in {url}")
    finally:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    (folder / ".actorflow").rename(folder / "lost")

    resumed = start(folder, env, "resume", "--store", url, "r", "app:trail")
    out, err = resumed.communicate()
    assert resumed.returncode == 0, err
    back = start(folder, env, "import", "r", "--from", url, "--store", "back")
    _, err = back.communicate()
    assert back.returncode == 0, err
    verified = start(folder, env, "verify", "--store", "back")
    history = start(folder, env, "history", "r", "--store", "back", "--json")

    assert json.loads(out)["trace"] == [f"first in {running.pid}", f"second in {resumed.pid}"]
    assert verified.communicate()[1] == "everything is as it should be\n"
    told = [json.loads(line) for line in history.communicate()[0].splitlines()]
    assert [one["kind"] for one in told].count("imported") == 2
    assert [one["pid"] for one in told if one["node"] == "first"] == [running.pid]


def test_doctor_of_a_bucket_leaves_nothing_behind(laptop: tuple[Path, dict[str, str]], s3: S3Server) -> None:
    """What is tried there is tried under names of its own, and taken away."""
    from actorflow.store.buckets.resolve import bucket_backend

    folder, env = laptop
    place = s3.place()

    told = start(folder, env, "doctor", place.url, "--json")
    rows = [json.loads(line) for line in told.communicate()[0].splitlines()]

    assert told.returncode == 0
    assert {row["name"]: row["verdict"] for row in rows}["exclusive creation"] == "good"
    assert bucket_backend(place.url, place.storage_options).list("") == []
