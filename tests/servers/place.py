"""Where a test keeps its store: a server gives each test a place of its own."""

from __future__ import annotations

import os
import shutil
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator

BUCKET = "actorflow-tests"


class Place(NamedTuple):
    """What a user would write: a URL, and what the library behind it must be told."""

    url: str
    storage_options: dict[str, Any]


def folder_of_its_own() -> str:
    """A path in a bucket that no other test uses: cheaper than a bucket for each."""
    return f"{BUCKET}/{os.urandom(6).hex()}"


def free_port() -> int:
    """A TCP port on loopback that was free a moment ago."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def dying_with_us(command: list[str]) -> list[str]:
    """The command, killed by the kernel should this process be killed before it can stop it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL", *command] if setpriv else command


@contextmanager
def buckets_of(endpoint: str, key: str, secret: str) -> Generator[Any]:
    """A plain S3 client, for what tests do behind the store's back."""
    import boto3
    from botocore.config import Config

    client = boto3.client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )
    try:
        yield client
    finally:
        client.close()


class S3Server:
    """What is common to servers that speak S3."""

    endpoint: str
    key: str
    secret: str

    def place(self, *, through: str | None = None) -> Place:
        """A place of its own, reached at the server or at a proxy before it."""
        return Place(
            f"s3://{folder_of_its_own()}",
            {
                "key": self.key,
                "secret": self.secret,
                "endpoint_url": through or self.endpoint,
                "client_kwargs": {"region_name": "us-east-1"},
            },
        )

    def make_bucket(self) -> None:
        """Make the bucket that holds every place."""
        with buckets_of(self.endpoint, self.key, self.secret) as client:
            client.create_bucket(Bucket=BUCKET)
