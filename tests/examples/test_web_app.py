"""The web service, asked over HTTP as a real server process, which is killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.conftest import EXAMPLES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from http.client import HTTPResponse
    from pathlib import Path

WEB_APP = "web_app"
LAMP = {"items": ["lamp"], "total": 20}
EXPENSIVE = {"items": ["lamp", "chair"], "total": 900}
MANY: dict[str, Any] = {"items": [f"thing {number}" for number in range(40)], "total": 20}


LOCKED = "locked"
SHELF = f"""
from pathlib import Path
import anyio
import web_app

fetch = web_app.fetch

async def fetch_when_it_is_open(item):
    while Path({LOCKED!r}).exists():
        await anyio.sleep(0.01)
    return await fetch(item)

web_app.fetch, app = fetch_when_it_is_open, web_app.app
"""
"""The service, but that nothing is fetched while there is a file of that name: what is told live is told to nobody
who comes later, and orders end."""


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """Whatever is picked here waits until this is unlinked."""
    (tmp_path / "shelf.py").write_text(SHELF)
    (tmp_path / LOCKED).touch()
    return tmp_path / LOCKED


class Server:
    """A server process on a free port of loopback."""

    def __init__(self, folder: Path) -> None:
        app = "shelf:app" if (folder / "shelf.py").exists() else f"{WEB_APP}:app"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "uvicorn", app, "--port", "0", "--no-access-log", "--no-use-colors"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(EXAMPLES)},
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stderr is not None
        self.said: list[str] = []
        for line in self.process.stderr:
            self.said.append(line)
            if "running on " in line:
                self.url = line.split("running on ")[1].split()[0]
                break
        else:
            pytest.fail("".join(self.said))

    def open(self, method: str, path: str, body: Any = None, **headers: str) -> HTTPResponse:
        """The response, whose body is not read yet."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        response: HTTPResponse = urllib.request.urlopen(request, timeout=30)
        return response

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """The status of the response, and what it says."""
        try:
            with self.open(method, path, body, **headers) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def stop(self, *, hard: bool) -> None:
        """SIGKILL, or ask it to stop and wait until it has."""
        self.process.kill() if hard else self.process.terminate()
        assert self.process.stderr is not None
        with self.process.stderr as printed:
            self.said += printed
        self.process.wait()


@contextmanager
def serving(folder: Path, *, hard: bool = False) -> Iterator[Server]:
    """A server, for as long as the block; with ``hard`` it is killed at its end."""
    server = Server(folder)
    try:
        yield server
    finally:
        server.stop(hard=hard)


def told(response: HTTPResponse) -> Iterator[dict[str, str]]:
    """The events of a stream, as their fields, as they come."""
    event: dict[str, str] = {}
    for line in response:
        if text := line.decode().rstrip("\n"):
            name, _, value = text.partition(": ")
            event[name] = value
        else:
            yield event
            event = {}


def test_a_request_begins_an_order_and_others_watch_ask_and_answer_it(tmp_path: Path, shelf: Path) -> None:
    """What the head of the example shows, from the first request to the end of the stream."""
    with serving(tmp_path) as server:
        begun = server.ask("PUT", "/orders/7", EXPENSIVE)
        stream = server.open("GET", "/orders/7/events")
        shelf.unlink()
        events = told(stream)
        first = [next(events) for _ in range(4)]
        moved = server.ask("POST", "/orders/7/address", {"address": "Oslo"}, **{"Idempotency-Key": "m1"})
        again = server.ask("POST", "/orders/7/address", {"address": "Oslo"}, **{"Idempotency-Key": "m1"})
        asked = server.ask("GET", "/orders/7")
        answered = server.ask("POST", "/orders/7/answer", True)
        rest = list(events)
        stream.close()
        over = server.ask("GET", "/orders/7")

    assert begun == (202, {"events": "/orders/7/events"})
    assert [(event["event"], json.loads(event["data"])) for event in first] == [
        ("progress", "1 of 2"),
        ("progress", "2 of 2"),
        ("wrote", {"log": ["fetched the lamp", "fetched the chair"]}),
        ("asked", "Sell for 900?"),
    ]
    assert moved == again == (200, "Oslo instead of the shop")
    assert asked[1]["questions"] == ["Sell for 900?"]
    assert asked[1]["status"] == "waiting"
    assert answered[0] == 202
    assert rest[-1] == {"event": "end", "data": '"finished"'}
    assert over[1]["order"]["log"][-2:] == ["approved", "shipped to Oslo"]


def test_what_a_killed_server_had_begun_the_next_one_goes_on_with(tmp_path: Path, shelf: Path) -> None:
    """SIGKILL while an order is picked: it is picked and shipped once, and a stream goes on where it was cut off.

    Planted: a server with ``recover="never"`` leaves the order as it was.
    """
    with serving(tmp_path, hard=True) as server:
        server.ask("PUT", "/orders/7", MANY)
        with server.open("GET", "/orders/7/events") as stream:
            shelf.unlink()
            seen = next(told(stream))

    with serving(tmp_path) as server, server.open("GET", "/orders/7/events") as stream:
        wrote = [event for event in told(stream) if event["event"] == "wrote"]
        with server.open("GET", "/orders/7/events", **{"Last-Event-ID": wrote[0]["id"]}) as stream_of_the_rest:
            rest = [event for event in told(stream_of_the_rest) if event["event"] == "wrote"]

    assert seen["data"].endswith(' of 40"')
    fetched = [f"fetched the {item}" for item in MANY["items"]]
    assert [json.loads(event["data"])["log"] for event in wrote] == [fetched, ["approved"], ["shipped to the shop"]]
    assert rest == wrote[1:]


def test_a_question_outlives_the_server_that_it_was_asked_by(tmp_path: Path) -> None:
    """The order waits in the store; whoever runs then takes the answer."""
    with serving(tmp_path, hard=True) as server:
        server.ask("PUT", "/orders/7", EXPENSIVE)
        with server.open("GET", "/orders/7/events") as stream:
            next(event for event in told(stream) if event["event"] == "asked")

    with serving(tmp_path) as server:
        before = server.ask("GET", "/orders/7")
        server.ask("POST", "/orders/7/answer", False)
        with server.open("GET", "/orders/7/events") as stream:
            end = list(told(stream))[-1]
        after = server.ask("GET", "/orders/7")

    assert before[1]["questions"] == ["Sell for 900?"]
    assert end == {"event": "end", "data": '"finished"'}
    assert after[1]["order"]["log"][-2:] == ["refused", "put back"]


def test_a_server_that_is_asked_to_stop_does_not_wait_for_people(tmp_path: Path) -> None:
    """SIGTERM: an order that waits for an answer holds up nobody, and no traceback is printed."""
    with serving(tmp_path) as server:
        server.ask("PUT", "/orders/7", EXPENSIVE)

    assert "Traceback" not in "".join(server.said)
    assert "Application shutdown complete" in server.said[-2]


def test_what_is_wrong_with_a_request_is_said_with_a_status_of_its_own(tmp_path: Path, shelf: Path) -> None:
    """The library's errors are the service's."""
    shelf.unlink()
    with serving(tmp_path, hard=True) as server:
        server.ask("PUT", "/orders/8", LAMP)
        with server.open("GET", "/orders/8/events") as stream:
            list(told(stream))
        shelf.touch()
        server.ask("PUT", "/orders/7", MANY)
        statuses = {
            "the same again": server.ask("PUT", "/orders/8", LAMP)[0],
            "no such order": server.ask("GET", "/orders/9")[0],
            "no such stream": server.ask("GET", "/orders/9/events")[0],
            "no order at all": server.ask("PUT", "/orders/9", {"items": "lamp"})[0],
            "nothing asked": server.ask("POST", "/orders/7/answer", True)[0],
            "answered after the end": server.ask("POST", "/orders/8/answer", True)[0],
            "shipped already": server.ask("POST", "/orders/8/address", {"address": "Oslo"})[0],
        }

    assert statuses == {
        "the same again": 202,
        "no such order": 404,
        "no such stream": 404,
        "no order at all": 422,
        "nothing asked": 409,
        "answered after the end": 410,
        "shipped already": 410,
    }
