"""moto: S3 as AWS words it, errors included. It emulates: what must be exclusive is proved on a real server."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from tests.servers.place import S3Server

if TYPE_CHECKING:
    from types import TracebackType


class Moto(S3Server):
    """moto's server in threads of this process, on loopback. It checks no signatures."""

    key = secret = "test"

    def __enter__(self) -> Self:
        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would say every request
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self._server.start()
        host, port = self._server.get_host_and_port()
        self.endpoint = f"http://{host}:{port}"
        self.make_bucket()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.stop()
