"""A race of claims for one run: what a test of ownership begins with."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from actorflow.errors import RunOwned
from actorflow.store.object_log import ObjectLog
from tests.store.drafts import ACTOR, claiming, part

if TYPE_CHECKING:
    from collections.abc import Sequence

    from actorflow.store.backend import Backend
    from actorflow.store.liveness import MemoryIncarnation
    from actorflow.store.ownership import Ownership

UUID = bytes(range(16))
FILE = part(UUID)


def race(backend: Backend, incarnations: Sequence[MemoryIncarnation]) -> list[Ownership]:
    """Each of them claims run r at once; all who own it afterwards, by their own account."""
    barrier = threading.Barrier(len(incarnations))

    def run(incarnation: MemoryIncarnation) -> Ownership | None:
        log = ObjectLog("r", "r", store=UUID, backend=backend, incarnation=incarnation)
        barrier.wait()
        try:
            return log.claim(claiming(FILE), actor=ACTOR)
        except RunOwned:
            return None

    with ThreadPoolExecutor(len(incarnations)) as pool:
        return [owner for owner in pool.map(run, incarnations) if owner is not None]
