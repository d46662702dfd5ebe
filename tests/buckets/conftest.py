"""Servers for the tests of buckets; one bad network before each server that is asked for through it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.store.buckets.azure import AzureBackend
from actorflow.store.buckets.gcs import GcsBackend
from actorflow.store.buckets.place import parse_place
from actorflow.store.buckets.s3 import S3Backend
from tests.servers.fixtures import azurite, ceph, gcs, moto  # noqa: F401 - pytest finds them here
from tests.servers.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.backend import Backend
    from tests.servers.place import Place

_KINDS = {"s3": S3Backend, "gs": GcsBackend, "az": AzureBackend}


def bare(place: Place) -> Backend:
    """The backend alone: not proven first, and nothing tried again."""
    parsed = parse_place(place.url)
    return _KINDS[parsed.scheme](parsed, place.storage_options)


@pytest.fixture(params=["moto", "ceph", "azurite", "gcs"])
def server(request: pytest.FixtureRequest) -> Any:
    """Each server in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["moto", "ceph"])
def s3(request: pytest.FixtureRequest) -> Any:
    """Each server that speaks S3, in AWS's words and in others."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def proxy(s3: Any) -> Iterator[Proxy]:
    """A network before an S3 server, that is as good as the tests let it be."""
    with Proxy(s3.endpoint) as proxy:
        yield proxy
