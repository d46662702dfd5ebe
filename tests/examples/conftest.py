"""What the tests of examples share: starting one as its reader would, and a model to talk to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Start = Callable[..., list[str]]

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Runs Python in an empty folder beside the examples and returns the lines it printed."""

    def start(*arguments: str, exit_status: int = 0, **variables: str) -> list[str]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("LLM_")}
        child = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": str(EXAMPLES), **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert child.returncode == exit_status, child.stdout + child.stderr
        return child.stdout.splitlines()

    return start


@dataclass
class Model:
    """A server on loopback that answers as an OpenAI-compatible endpoint does."""

    url: str
    failures: int = 0  # so many requests get a 503 first
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def model() -> Iterator[Model]:
    """A model that answers each question with its number."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if model.failures:
                model.failures -= 1
                self.send_error(503)
                return
            model.asked.append({"path": self.path, **json.loads(body)})
            model.headers.append(dict(self.headers))
            answer = {"choices": [{"message": {"role": "assistant", "content": f" answer {len(model.asked)}\n"}}]}
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        model = Model(f"http://127.0.0.1:{server.server_port}/v1")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield model
        server.shutdown()
        thread.join()
