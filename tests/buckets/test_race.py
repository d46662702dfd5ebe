"""Many claim one run at once, on every server: one of them owns it, and the others know."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import RunOwned
from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.object_log import ObjectLog
from tests.buckets.conftest import bare
from tests.servers.proxy import Lies, Proxy
from tests.store.drafts import ACTOR, claiming, draft, part

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.backend import Backend
    from actorflow.store.ownership import Ownership
    from tests.servers.moto import Moto

UUID = bytes(range(16))
FILE = part(UUID)
RACERS = 16


@pytest.fixture
def incarnations() -> Iterator[Callable[[], MemoryIncarnation]]:
    """Openings of the store that live until the end of the test."""
    made: list[MemoryIncarnation] = []

    def make() -> MemoryIncarnation:
        made.append(MemoryIncarnation("race"))
        return made[-1]

    yield make
    for incarnation in made:
        incarnation.close()


def log_of(backend: Backend, incarnation: MemoryIncarnation) -> ObjectLog:
    """Run r there."""
    return ObjectLog("r", "r", store=UUID, backend=backend, incarnation=incarnation)


def race(backend: Backend, incarnations: Callable[[], MemoryIncarnation]) -> list[Ownership]:
    """All who own the run afterwards, by their own account."""
    barrier = threading.Barrier(RACERS)

    def run(log: ObjectLog) -> Ownership | None:
        barrier.wait()
        try:
            return log.claim(claiming(FILE), actor=ACTOR)
        except RunOwned:
            return None

    with ThreadPoolExecutor(RACERS) as pool:
        owners = list(pool.map(run, [log_of(backend, incarnations()) for _ in range(RACERS)]))
    return [owner for owner in owners if owner is not None]


def test_of_sixteen_claims_one_owns_the_run(server: Any, incarnations: Callable[[], MemoryIncarnation]) -> None:
    """A new run, then one whose owner died; what the owner commits is what there is."""
    backend = bare(server.place())

    (first,) = race(backend, incarnations)
    first.commit(draft("commit", 1, FILE, b"first"))
    first._incarnation.close()  # it died
    (second,) = race(backend, incarnations)
    second.commit(draft("commit", second.header.epoch, FILE, b"second"))

    frames = log_of(backend, incarnations()).read(first=0)
    assert [frame.body for frame in frames] == [b"claim", b"first", b"claim", b"second"]
    assert second.header.epoch == 2
    assert frames[-1].header == second.header


def test_where_conditions_are_ignored_many_own_it(moto: Moto, incarnations: Callable[[], MemoryIncarnation]) -> None:
    """Planted: the race finds a store that lies."""
    with Proxy(moto.endpoint) as proxy:
        proxy.arm(Lies(), lambda request: request.method == "PUT", times=10_000)

        rounds = (race(bare(moto.place(through=proxy.endpoint)), incarnations) for _ in range(10))
        assert any(len(owners) > 1 for owners in rounds)
