"""Servers as fixtures: each is started when the first test asks for it, and skips with its reason where it can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.servers.azurite import Azurite
from tests.servers.ceph import Ceph
from tests.servers.gcs import Gcs
from tests.servers.moto import Moto

if TYPE_CHECKING:
    from collections.abc import Iterator

_HOW = "; as root, .ci/servers.sh installs it"


@pytest.fixture(scope="session")
def moto() -> Iterator[Moto]:
    """S3 in AWS's words, emulated."""
    pytest.importorskip("moto.server", reason="no moto: pip install 'moto[server,s3]'")
    with Moto() as server:
        yield server


@pytest.fixture(scope="session")
def ceph() -> Iterator[Ceph]:
    """A real S3 server, on a real object store."""
    if missing := Ceph.missing():
        pytest.skip(f"no Ceph here: {', '.join(missing)} not found{_HOW}")
    with Ceph() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Azure's blob service, emulated by Microsoft."""
    pytest.importorskip("azure.storage.blob", reason="no adlfs: pip install 'actorflow[azure]'")
    if Azurite.program() is None:
        pytest.skip(f"no azurite-blob found{_HOW}")
    with Azurite() as server:
        yield server


@pytest.fixture(scope="session")
def gcs() -> Iterator[Gcs]:
    """Google Cloud Storage, a fake of our own."""
    with Gcs() as server:
        yield server
