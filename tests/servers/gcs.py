"""A Google Cloud Storage of our own: the few calls that our backend makes, and an honest 412.

The emulator that can be installed ignores ``ifGenerationMatch``, so nothing
that fences can be tested on it. This one keeps objects in a dict under a lock.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers.place import Place, folder_of_its_own

if TYPE_CHECKING:
    from types import TracebackType

_UPLOAD = re.compile(r"/upload/storage/v1/b/([^/]+)/o")
_LIST = re.compile(r"/storage/v1/b/([^/]+)/o/?")
_OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")
_PAGE = 1000


class Answer(NamedTuple):
    """One reply."""

    status: int
    body: bytes = b""
    kind: str = "application/json"


class Objects:
    """Every object by bucket and name, each with the generation it was written as. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._data: dict[tuple[str, str], tuple[int, bytes]] = {}
        self._generations = itertools.count(1)

    def insert(self, bucket: str, name: str, data: bytes, *, if_generation: str | None) -> Answer:
        """Store it, if the generation there is the one that was named; 0 stands for none."""
        with self._lock:
            current = self._data.get((bucket, name), (0, b""))[0]
            if if_generation is not None and int(if_generation) != current:
                return failed(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold.")
            generation = next(self._generations)
            self._data[bucket, name] = (generation, data)
        return Answer(200, json.dumps(resource(bucket, name, generation, data)).encode())

    def get(self, bucket: str, name: str) -> Answer:
        """Its bytes."""
        with self._lock:
            found = self._data.get((bucket, name))
        if found is None:
            return failed(404, "notFound", f"No such object: {bucket}/{name}")
        return Answer(200, found[1], "application/octet-stream")

    def delete(self, bucket: str, name: str) -> Answer:
        """Delete it."""
        with self._lock:
            found = self._data.pop((bucket, name), None)
        return failed(404, "notFound", f"No such object: {bucket}/{name}") if found is None else Answer(204)

    def list(self, bucket: str, query: dict[str, str]) -> Answer:
        """One page of names, ascending."""
        prefix, after = query.get("prefix", ""), base64.b64decode(query.get("pageToken", "")).decode()
        with self._lock:
            found = {
                name: at
                for (where, name), at in self._data.items()
                if where == bucket and name.startswith(prefix) and name > after
            }
        page = sorted(found)[:_PAGE]
        answer: dict[str, Any] = {
            "kind": "storage#objects",
            "items": [resource(bucket, name, *found[name]) for name in page],
        }
        if len(page) < len(found):
            answer["nextPageToken"] = base64.b64encode(page[-1].encode()).decode()
        return Answer(200, json.dumps(answer).encode())


def resource(bucket: str, name: str, generation: int, data: bytes) -> dict[str, Any]:
    """What the service says of an object."""
    when = "2026-01-01T00:00:00.000Z"
    return {
        "kind": "storage#object",
        "bucket": bucket,
        "name": name,
        "generation": str(generation),
        "size": str(len(data)),
        "timeCreated": when,
        "updated": when,
    }


def failed(status: int, reason: str, message: str) -> Answer:
    """An error in the service's words."""
    error = {"code": status, "message": message, "errors": [{"reason": reason, "message": message}]}
    return Answer(status, json.dumps({"error": error}).encode())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        """In a thread of its own: coverage learns nothing here."""
        sys.settrace(None)
        super().setup()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """A listing, or an object."""
        path, query = self._asked()
        if match := _LIST.fullmatch(path):
            return self._say(self.server.objects.list(unquote(match[1]), query))
        if (match := _OBJECT.fullmatch(path)) and query.get("alt") == "media":
            return self._say(self.server.objects.get(unquote(match[1]), unquote(match[2])))
        return self._say(failed(501, "notImplemented", f"GET {self.path}"))

    def do_POST(self) -> None:
        """An upload: the name in the query, the bytes in the body."""
        path, query = self._asked()
        data = self.rfile.read(int(self.headers["Content-Length"]))
        match = _UPLOAD.fullmatch(path)
        if match is None or query.get("uploadType") != "media":
            return self._say(failed(501, "notImplemented", f"POST {self.path}"))
        if_generation = query.get("ifGenerationMatch")
        return self._say(
            self.server.objects.insert(unquote(match[1]), query["name"], data, if_generation=if_generation)
        )

    def do_DELETE(self) -> None:
        """One deletion."""
        path, _ = self._asked()
        if match := _OBJECT.fullmatch(path):
            return self._say(self.server.objects.delete(unquote(match[1]), unquote(match[2])))
        return self._say(failed(501, "notImplemented", f"DELETE {path}"))

    def _asked(self) -> tuple[str, dict[str, str]]:
        url = urlsplit(self.path)
        return url.path, {name: values[-1] for name, values in parse_qs(url.query, keep_blank_values=True).items()}

    def _say(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects = Objects()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""


class Gcs:
    """The service in threads of this process, on loopback. Buckets need not be made."""

    endpoint: str
    objects: Objects

    def __enter__(self) -> Self:
        self._server = _Server()
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.objects = self._server.objects
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def place(self, *, through: str | None = None) -> Place:
        """A place of its own, reached at the server or at a proxy before it."""
        return Place(f"gs://{folder_of_its_own()}", {"endpoint_url": through or self.endpoint, "token": "anon"})
