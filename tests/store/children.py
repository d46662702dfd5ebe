"""Child processes that the tests of the store start, talk to by lines, stop and kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType

ROOT = Path(__file__).parents[2]

_PRELUDE = """
import os, signal, sys, time
from actorflow.errors import *
from actorflow.store.store import open_store
from tests.store.drafts import ACTOR, claiming, draft, part

def say(*words):
    sys.stdout.write(" ".join(map(str, words)) + "\\n")  # in one: a kill between two words would leave half a line
    sys.stdout.flush()

url = sys.argv[1]
"""


class Child:
    """A Python process that runs ``code`` (with ``url``, ``say``, and the store at hand) and prints lines."""

    def __init__(self, code: str, url: str, *args: str, wrap: list[str] | None = None, **environment: str) -> None:
        self.process: subprocess.Popen[str] = subprocess.Popen(
            [*(wrap or []), sys.executable, "-c", _PRELUDE + textwrap.dedent(code), url, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def line(self) -> str:
        """The next line it says; empty when it has ended."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Let it pass its next ``sys.stdin.readline()``."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, and for SIGKILL and SIGSTOP wait until it took effect."""
        self.process.send_signal(number)
        if number is signal.SIGKILL:
            self.process.wait()
        elif number is signal.SIGSTOP:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def wait(self) -> int:
        """Its exit status, negative for a signal."""
        return self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


def run(code: str, url: str, *args: str, **options: Any) -> tuple[int, list[str]]:
    """Run a child to its end: exit status and lines."""
    with Child(code, url, *args, **options) as child:
        lines: list[str] = []
        while line := child.line():
            lines.append(line)
        return child.wait(), lines
