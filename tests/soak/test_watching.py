"""What a soak sees: a turned bit is refused until it is turned back; a claim of what its code can't run is told of."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from actorflow.errors import CorruptCheckpoint
from actorflow.store.deletion import DELETED
from actorflow.store.log import RunLog
from actorflow.store.ownership import Ownership
from actorflow.store.store import open_store
from tests.soak.damage import damage_file
from tests.soak.oracle import Oracle
from tests.soak.told import SideLog
from tests.soak.worker import Job, watch_the_store
from tests.store.drafts import ACTOR, claiming, draft, part


@pytest.mark.parametrize("seed", range(8))
def test_a_turned_bit_is_refused_until_it_is_turned_back(store_url: str, seed: int) -> None:
    """Wherever it is, the run is not read; afterwards it is what it was (guarantee 7)."""
    store = open_store(store_url)
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", 1, part(store)))
    before = [frame.digest for frame in store.log("r").read(first=0)]

    damage = damage_file(Path(store_url), "r", random.Random(seed))

    assert damage is not None
    with pytest.raises(CorruptCheckpoint):
        store.log("r").read(first=0)
    damage.restore()
    assert [frame.digest for frame in store.log("r").read(first=0)] == before
    owned.close()
    store.close()


@pytest.mark.parametrize(("version", "status", "problems"), [(1, "running", 1), (2, "running", 0), (1, DELETED, 0)])
def test_old_code_that_claims_a_newer_run_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, status: str, problems: int
) -> None:
    """Planted: a claim that did not look whether this code can run what is there (guarantee 9). A deletion need not."""
    monkeypatch.setattr(Ownership, "committing", Ownership.committing)  # given back when the test is over
    monkeypatch.setattr(RunLog, "claiming", RunLog.claiming)
    store_url = str(tmp_path / "store")
    store = open_store(store_url)
    store.log("r").claim(claiming(part(store, version=2)), actor=ACTOR).close()
    log = SideLog(tmp_path / "log", who=1)
    oracle = Oracle(store_url, None, tmp_path / "log")

    watch_the_store(Job(store_url, None, tmp_path, tmp_path, time.monotonic(), 1, version=version), log)
    store.log("r").claim(claiming(part(store), status=status), actor=ACTOR).close()

    assert len([one for one in oracle.listen() if "trespass" in one]) == problems
    assert oracle.told["acknowledged"] == 1
    log.close()
    store.close()
