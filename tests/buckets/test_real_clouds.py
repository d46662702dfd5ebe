"""The clouds themselves: run by whoever names a folder that may be written to, with the credentials for it.

    ACTORFLOW_TEST_S3_URL=s3://bucket/folder       ACTORFLOW_TEST_GCS_URL=gs://bucket/folder
    ACTORFLOW_TEST_AZURE_URL=az://container/folder

Each test works in a new folder below, and removes what it made.
"""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from actorflow.store.buckets.resolve import bucket_backend
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.object_log import ObjectLog
from actorflow.testing.backend_contract import BackendContract
from tests.buckets.conftest import bare
from tests.buckets.race import FILE, UUID, race
from tests.servers.place import Place
from tests.store.drafts import draft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.backend import Backend

VARIABLES = ("ACTORFLOW_TEST_S3_URL", "ACTORFLOW_TEST_GCS_URL", "ACTORFLOW_TEST_AZURE_URL")
ROUNDS = 20
RACERS = 16


CLOUDS = [name for name in VARIABLES if os.environ.get(name)]
if not CLOUDS:
    pytest.skip(f"none of {', '.join(VARIABLES)} names a folder to test in", allow_module_level=True)


@pytest.fixture(params=CLOUDS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A folder of its own in each cloud that was named."""
    url = f"{os.environ[request.param].rstrip('/')}/{os.urandom(6).hex()}"
    yield url
    made = bare(Place(url, {}))
    made.delete(made.list(""))


@pytest.fixture
def backend(url: str) -> Backend:
    """What users get there."""
    return bucket_backend(url, {})


class TestClouds(BackendContract):
    """The contract."""

    @pytest.fixture
    def backend(self, url: str) -> Backend:
        """Alone: a server that must prove itself would keep its verdict beside the keys of the tests."""
        return bare(Place(url, {}))


def test_of_racing_puts_one_wins_each_round(backend: Backend) -> None:
    """The one thing that all rests on, tried as often as is cheap."""
    barrier = threading.Barrier(RACERS)

    def put(number: int, racer: int) -> bool:
        barrier.wait()
        return backend.put_new(f"k/{number}", b"%d" % racer)

    with ThreadPoolExecutor(RACERS) as pool:
        for number in range(ROUNDS):
            won = list(pool.map(put, [number] * RACERS, range(RACERS)))

            assert won.count(True) == 1
            assert backend.get(f"k/{number}") == b"%d" % won.index(True)


def test_one_of_many_owns_a_run_and_commits(backend: Backend) -> None:
    """Claims, commits and their history, as on the servers that the other tests start."""
    incarnations = [MemoryIncarnation("clouds") for _ in range(RACERS)]

    (owner,) = race(backend, incarnations)
    for number in range(20):
        owner.commit(draft("commit", 1, FILE, b"%d" % number))

    log = ObjectLog("r", "r", store=UUID, backend=backend, incarnation=incarnations[0])
    assert [frame.body for frame in log.read(first=0)] == [b"claim", *(b"%d" % number for number in range(20))]
    for incarnation in incarnations:
        incarnation.close()
