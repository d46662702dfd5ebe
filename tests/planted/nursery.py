"""The nursery: a pytest that has imported everything, and is forked for each run; to start one takes longer than most.

`Nursery` is this side of it; over there this file is a plugin, and stands where a session would begin.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Self

import pytest

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]

# No module of a test: pytest rewrites the asserts of those, and a bug is planted before they are imported.
_NEEDED_BY_MOST = ("actorflow.runtime.runtime", "actorflow.store.buckets.resolve", "actorflow.testing", "trio")


class Nursery:
    """One such pytest, started when it is first asked for a run. It does one run at a time, for one thread."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, tests: list[str], folder: Path, *, seconds: float, **environment: str) -> str:
        """Run these tests in a process of their own, with a report and all files in this folder; what it says.

        Raises:
            TimeoutError: it took too long, and was killed.
        """
        said = folder / "said"
        order = {"tests": tests, "folder": str(folder), "said": str(said), "environment": environment}
        if self._process is None:
            self._process = self._start()
        to, back = self._process.stdin, self._process.stdout
        assert to is not None
        assert back is not None
        to.write(json.dumps(order) + "\n")
        to.flush()
        patience = threading.Timer(seconds, os.kill, (int(back.readline()), signal.SIGKILL))
        patience.start()
        try:
            status = int(back.readline())
        finally:
            patience.cancel()
        if status == -signal.SIGKILL:
            raise TimeoutError(f"{tests} with {environment} took more than {seconds} s\n{said.read_text()}")
        return said.read_text()

    def _start(self) -> subprocess.Popen[str]:
        options = ["-q", "-s", "--tb=short", "-p", "no:cacheprovider", "-p", "no:cov", "-p", "tests.planted.plugin"]
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *options, "-p", __name__, "tests"],
            cwd=ROOT,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""},  # what one run compiles the next ones need not
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._process is not None:
            self._process.communicate()  # it ends when nothing more can come


def report_in(folder: Path) -> Path:
    """Where a run leaves its verdicts, as JUnit has them."""
    return folder / "report.xml"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> int | None:
    """Fork for each order that comes, and say the child's id and exit status. The child goes on to its session."""
    for module in _NEEDED_BY_MOST:
        import_module(module)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _begin(config, json.loads(line))
            return None
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return 0


def _begin(config: pytest.Config, order: dict) -> None:
    said = os.open(order["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for ours, theirs in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(ours, theirs)
    os.environ.update(order["environment"])
    folder = Path(order["folder"])
    config.args = order["tests"]
    config.option.basetemp = folder / "tmp"
    config.option.xmlpath = str(report_in(folder))
