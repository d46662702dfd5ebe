"""Many claim one run at once, on every server: one of them owns it, and the others know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.store.liveness import MemoryIncarnation
from actorflow.store.object_log import ObjectLog
from tests.buckets.conftest import bare
from tests.buckets.race import FILE, UUID, race
from tests.servers.proxy import Lies, Proxy
from tests.store.drafts import draft

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.moto import Moto

RACERS = 16


@pytest.fixture
def racers() -> Iterator[list[MemoryIncarnation]]:
    """Openings of the store that live until the end of the test, unless they die before."""
    racers = [MemoryIncarnation("race") for _ in range(RACERS)]
    yield racers
    for racer in racers:
        racer.close()


def test_of_sixteen_claims_one_owns_the_run(server: Any, racers: list[MemoryIncarnation]) -> None:
    """A new run, then one whose owner died; what the owner commits is what there is."""
    backend = bare(server.place())

    (first,) = race(backend, racers)
    first.commit(draft("commit", 1, FILE, b"first"))
    (dead,) = [racer for racer in racers if racer.name == first.header.owner.incarnation]
    dead.close()
    racers.remove(dead)
    (second,) = race(backend, racers)
    second.commit(draft("commit", second.header.epoch, FILE, b"second"))

    log = ObjectLog("r", "r", store=UUID, backend=backend, incarnation=racers[0])
    frames = log.read(first=0)
    assert [frame.body for frame in frames] == [b"claim", b"first", b"claim", b"second"]
    assert second.header.epoch == 2
    assert frames[-1].header == second.header


def test_where_conditions_are_ignored_many_own_it(moto: Moto, racers: list[MemoryIncarnation]) -> None:
    """Planted: the race finds a store that lies."""
    with Proxy(moto.endpoint) as proxy:
        proxy.arm(Lies(), lambda request: request.method == "PUT", times=10_000)
        for _ in range(10):
            owners = race(bare(moto.place(through=proxy.endpoint)), racers)
            if len(owners) > 1:
                return
            for racer in racers:
                racer.drop("r")
    pytest.fail("ten races, and each had one winner")
