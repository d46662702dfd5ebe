"""The table of what each durability mode survives, with real processes on both event loops."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TRIP = Path(__file__).with_name("trip.py")
MODES = ["sync", "async", "exit"]


def travel(folder: Path, accident: str, durability: str, backend: str, *, exit_status: int = 0) -> str:
    """The stops that one process made, as a word, and how many the run has in the end."""
    child = subprocess.run(
        [sys.executable, str(TRIP), accident, durability, backend],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == exit_status, child.stdout + child.stderr
    return "".join(child.stdout.split())


@pytest.mark.parametrize("durability", MODES)
def test_a_node_that_raises_costs_only_itself(tmp_path: Path, durability: str, anyio_backend: str) -> None:
    """Restarted within its process, the run repeats only the activation that raised."""
    assert travel(tmp_path, "raise", durability, anyio_backend) == "abccd4"


@pytest.mark.parametrize("durability", MODES)
def test_ctrl_c_costs_only_what_was_running(tmp_path: Path, durability: str, anyio_backend: str) -> None:
    """What had finished is committed before the process ends, and anybody may claim the run at once."""
    first = travel(tmp_path, "interrupt", durability, anyio_backend, exit_status=130)

    second = travel(tmp_path, "none", durability, anyio_backend)

    assert (first, second) == ("abc", "cd4")


@pytest.mark.parametrize(
    ("durability", "again"), [("sync", {"cd4"}), ("async", {"cd4", "bcd4"}), ("exit", {"abcd4"})], ids=MODES
)
def test_sigkill_costs_what_the_mode_says(tmp_path: Path, durability: str, again: set[str], anyio_backend: str) -> None:
    """Under sync nothing that finished runs again, under async at most what was in flight, under exit all of it."""
    travel(tmp_path, "kill", durability, anyio_backend, exit_status=-signal.SIGKILL)

    assert travel(tmp_path, "none", durability, anyio_backend) in again
