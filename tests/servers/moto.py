"""moto: S3 as AWS words it, errors included.

It emulates: it looks whether a key is free and then writes, so of two threads
both may win. One request at a time makes it exclusive; what must be exclusive
without such help is proved on a real server.
"""

from __future__ import annotations

import io
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any, Self

from tests.servers.place import S3Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType


class Moto(S3Server):
    """moto's server in threads of this process, on loopback. It checks no signatures."""

    key = secret = "test"

    def __enter__(self) -> Self:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would say every request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        inner: Any = self._server._server
        inner.app = one_at_a_time(inner.app)
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.make_bucket()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.stop()


def one_at_a_time(app: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """The application, answering one request after the other; a body that is slow to come holds up nobody."""
    answering = threading.Lock()

    def answer(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        sys.settrace(None)  # coverage of a server tells nothing, and takes as long as the server
        if length := environ.get("CONTENT_LENGTH"):
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(int(length)))
        with answering:
            return [b"".join(app(environ, start_response))]

    return answer
