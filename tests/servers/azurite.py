"""Azurite: Azure's blob service as Microsoft emulates it, from npm."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.servers.place import BUCKET, Place, dying_with_us, folder_of_its_own

if TYPE_CHECKING:
    from types import TracebackType

ACCOUNT = "devstoreaccount1"
# Printed in the emulator's manual: every Azurite has it.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

_LISTENS = re.compile(r"listen\w+ (?:at|on) (http://127\.0\.0\.1:[0-9]+)")


class Azurite:
    """One blob service on loopback that keeps everything in memory."""

    endpoint: str

    @staticmethod
    def program() -> str | None:
        """Where it is installed: beside the virtual environment's Python, or on the path; None: nowhere."""
        beside = Path(sys.prefix) / "azurite" / "node_modules" / ".bin" / "azurite-blob"
        return str(beside) if os.access(beside, os.X_OK) else shutil.which("azurite-blob")

    def __enter__(self) -> Self:
        program = self.program()
        assert program is not None
        arguments = ["--blobHost", "127.0.0.1", "--blobPort", "0", "--inMemoryPersistence"]
        # The client library is always newer than the API versions it knows; and it would phone home.
        arguments += ["--skipApiVersionCheck", "--disableTelemetry"]
        self._process = subprocess.Popen(
            dying_with_us([program, *arguments]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            self.endpoint = self._endpoint()
            self._make_container()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def place(self, *, through: str | None = None) -> Place:
        """A place of its own, reached at the server or at a proxy before it."""
        return Place(f"az://{folder_of_its_own()}", {"connection_string": self.connection(through)})

    def connection(self, through: str | None = None) -> str:
        """Azure's connection string."""
        endpoint = f"{through or self.endpoint}/{ACCOUNT}"
        return f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={endpoint};"

    def _endpoint(self) -> str:
        assert self._process.stdout is not None
        said: list[str] = []
        patience = threading.Timer(30, self._process.kill)
        patience.start()
        try:
            for line in self._process.stdout:
                if (match := _LISTENS.search(line)) is not None:
                    return match[1]
                said.append(line)
        finally:
            patience.cancel()
        raise RuntimeError("azurite ended before it listened:\n" + "".join(said))

    def _make_container(self) -> None:
        from azure.storage.blob import BlobServiceClient

        with BlobServiceClient.from_connection_string(self.connection()) as client:
            client.create_container(BUCKET)

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
