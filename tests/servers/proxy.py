"""A bad network: a proxy before a server, that does to chosen requests what networks and overloaded services do."""

from __future__ import annotations

import http.client
import socket
import struct
import sys
import threading
from abc import ABC, abstractmethod
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_AWS = '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{text}</Message>{more}</Error>'


class Request(NamedTuple):
    """What a client asked, before its body is read."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]


class Reply(NamedTuple):
    """What the server answered."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class Gone(Exception):
    """The connection to the client ends here, by a reset: nothing more reaches it."""


class Exchange:
    """One request on its way: a fault reads its body, passes it on or not, and says what comes back."""

    def __init__(self, request: Request, handler: _Handler) -> None:
        self.request = request
        self._handler = handler
        self._body: bytes | None = None

    def body(self) -> bytes:
        """The whole body, read from the client once."""
        if self._body is None:
            self._body = self._handler.read_body()
        return self._body

    def forward(self, *, without: str = "") -> Reply:
        """Have the server do it, without one of the headers perhaps."""
        headers = tuple(item for item in self.request.headers if item[0].lower() != without)
        return self._handler.server.proxy.ask(self.request._replace(headers=headers), self.body())

    def wait(self, seconds: float) -> None:
        """Let that much time pass, or less if the proxy is closed meanwhile."""
        self._handler.server.proxy.closing.wait(seconds)


class Fault(ABC):
    """What happens to one request."""

    @abstractmethod
    def meet(self, exchange: Exchange) -> Reply:
        """Answer it.

        Raises:
            Gone: with a reset.
        """


class ReplyLost(Fault):
    """The server does it; the connection breaks before the reply."""

    def meet(self, exchange: Exchange) -> Reply:
        """Done, and not said."""
        exchange.forward()
        raise Gone


class ResetBeforeBody(Fault):
    """The connection breaks when the head of the request was read."""

    def meet(self, exchange: Exchange) -> Reply:
        """Neither read nor done."""
        raise Gone


class ResetAfterBody(Fault):
    """The connection breaks when all of the request was read, and the server never sees it."""

    def meet(self, exchange: Exchange) -> Reply:
        """Read, not done."""
        exchange.body()
        raise Gone


class BlackHole(Fault):
    """Nothing comes back, for so many seconds; then the connection breaks. The server does it, or never sees it."""

    def __init__(self, seconds: float, *, done: bool) -> None:
        self._seconds = seconds
        self._done = done

    def meet(self, exchange: Exchange) -> Reply:
        """Silence."""
        exchange.body()
        if self._done:
            exchange.forward()
        exchange.wait(self._seconds)
        raise Gone


class Slow(Fault):
    """The request takes so many seconds to the server, which then does it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def meet(self, exchange: Exchange) -> Reply:
        """In the end."""
        exchange.wait(self._seconds)
        return exchange.forward()


class Says(Fault):
    """An error in S3's words instead of the server's answer; the server did it all the same, or never saw it."""

    def __init__(self, status: int, code: str, *, done: bool = False) -> None:
        self._status = status
        self._code = code
        self._done = done

    def meet(self, exchange: Exchange) -> Reply:
        """An error, whatever happened."""
        exchange.body()
        if self._done:
            exchange.forward()
        more = "<Condition>If-None-Match</Condition>" if self._status == 412 else ""
        text = _AWS.format(code=self._code, text="said by the proxy", more=more)
        return Reply(self._status, (("Content-Type", "application/xml"),), text.encode())


class Late(Fault):
    """The connection breaks, and the server sees the request when `arrive` is called: a packet that was on its way."""

    def __init__(self) -> None:
        self._waiting: list[Exchange] = []

    def meet(self, exchange: Exchange) -> Reply:
        """Not done yet."""
        exchange.body()
        self._waiting.append(exchange)
        raise Gone

    def arrive(self) -> list[int]:
        """Now; how the server answered, to nobody."""
        waiting, self._waiting = self._waiting, []
        return [exchange.forward().status for exchange in waiting]


class Lies(Fault):
    """A store that ignores conditions: the header that asks for put-if-absent never arrives."""

    def meet(self, exchange: Exchange) -> Reply:
        """As if it had not been asked."""
        return exchange.forward(without="if-none-match")


class _Armed(NamedTuple):
    fault: Fault
    when: Callable[[Request], bool]


class Proxy:
    """Before one server, on loopback. Everything passes unless a fault was armed for it."""

    def __init__(self, endpoint: str) -> None:
        address = urlsplit(endpoint)
        self._upstream = (str(address.hostname), int(address.port or 80))
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self.closing = threading.Event()
        self.seen: list[Request] = []
        self.met: list[Fault] = []

    def __enter__(self) -> Self:
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def arm(self, fault: Fault, when: Callable[[Request], bool], *, times: int = 1) -> None:
        """The next ``times`` requests for which ``when`` is true meet this fault, each armed one in its turn."""
        with self._lock:
            self._armed += [_Armed(fault, when)] * times

    def heal(self) -> None:
        """No more faults; what was seen is forgotten."""
        with self._lock:
            self._armed.clear()
            self.seen.clear()
            self.met.clear()

    def take(self, request: Request) -> Fault | None:
        """The fault that this request meets."""
        with self._lock:
            self.seen.append(request)
            for place, armed in enumerate(self._armed):
                if armed.when(request):
                    del self._armed[place]
                    self.met.append(armed.fault)
                    return armed.fault
        return None

    def ask(self, request: Request, body: bytes) -> Reply:
        """The server's own answer."""
        connection = http.client.HTTPConnection(*self._upstream, timeout=60)
        try:
            connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
            for name, value in request.headers:
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            # Read raw: the client gets the lengths and encodings that the server chose.
            return Reply(answer.status, tuple(answer.getheaders()), answer.read())
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        """In a thread of its own: coverage learns nothing here."""
        sys.settrace(None)
        super().setup()

    def handle_expect_100(self) -> bool:
        """The client is told to go on only when its body is wanted: a reset may come before."""
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def read_body(self) -> bytes:
        """The body, whether its length was announced or it comes in chunks."""
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        chunks: list[bytes] = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def exchange(self) -> None:
        """One request, and what becomes of it."""
        dropped = ("expect", "transfer-encoding", "connection")
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in dropped]
        exchange = Exchange(Request(self.command, self.path, tuple(headers)), self)
        fault = self.server.proxy.take(exchange.request)
        try:
            reply = exchange.forward() if fault is None else fault.meet(exchange)
        except (Gone, OSError):
            self._reset()
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        length = dict(reply.headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(reply.body))
        if reply.status != 204:
            self.send_header("Content-Length", length)
        self.end_headers()
        self.wfile.write(reply.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = exchange  # noqa: N815 - http.server calls them so

    def _reset(self) -> None:
        # Closing with this option sends a reset instead of an orderly end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, proxy: Proxy) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.proxy = proxy

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        """Close; an orderly shutdown before it would hide the reset."""
        self.close_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news."""
