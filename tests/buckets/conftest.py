"""Servers for the tests of buckets; one bad network before each server that is asked for through it."""

from __future__ import annotations

from copy import copy
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

    from actorflow.store.buckets.bucket import BucketBackend
    from tests.servers.place import Place

_KINDS = {"s3": S3Backend, "gs": GcsBackend, "az": AzureBackend}
_clients: dict[str, BucketBackend] = {}


def bare(place: Place) -> BucketBackend:
    """The backend alone: not proven first, and nothing tried again.

    Places with the same options share a client: to make one takes longer than most tests.
    """
    parsed = parse_place(place.url)
    options = f"{parsed.scheme} {place.storage_options}"
    if options not in _clients:
        _clients[options] = _KINDS[parsed.scheme](parsed, place.storage_options)
    backend = copy(_clients[options])
    backend.place, backend._root = parsed, parsed.folder
    return backend


@pytest.fixture(params=["moto", "ceph", "azurite", "gcs"])
def server(request: pytest.FixtureRequest) -> Any:
    """Each server in turn."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session", params=["moto", "ceph"])
def s3(request: pytest.FixtureRequest) -> Any:
    """Each server that speaks S3, in AWS's words and in others."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def network(s3: Any) -> Iterator[Proxy]:
    """The network before an S3 server."""
    with Proxy(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def proxy(network: Proxy) -> Iterator[Proxy]:
    """That network, as good as this test lets it be."""
    network.heal()
    yield network
    network.heal()
