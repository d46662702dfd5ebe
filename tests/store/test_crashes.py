"""Kills at named points: whatever was acknowledged is there afterwards, and the run goes on at once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from actorflow.store.store import open_store
from tests.store.children import Child, run
from tests.store.drafts import ACTOR, claiming, draft, part

LIFE = """
store = open_store(url)
tip = store.log("r").tip()
say("try", 0 if tip is None else tip.header.seq + 1)
store.markers.put_active("r", 1)
owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
say("ack", owned.header.seq)
for turn in range(12):
    seq = owned.header.seq + 1
    say("try", seq)
    owned.commit(draft("commit", owned.header.epoch, part(store), b"%d" % seq * 50, snapshot=turn % 4 == 3))
    say("ack", seq)
say("try", owned.header.seq + 1)
owned.commit(draft("release", owned.header.epoch, part(store), status="finished"))
say("ack", owned.header.seq)
owned.close()
from actorflow.store.markers import Summary
store.markers.put_ended(Summary(run_id="r", graph="survey", status="finished", opening=1, seq=owned.header.seq,
                                node=None, ended=1.0))
store.markers.drop_active("r", 1)
store.close()
"""

POINTS = [
    ("marker.before", 1),
    ("marker.after", 1),
    ("temp.after_write", 2),  # the first is actorflow.json
    ("claim.before_sync", 1),
    ("claim.before_link", 1),
    ("claim.after_link", 1),
    ("append.before_write", 3),
    ("append.after_write", 3),
    ("append.after_sync", 3),
    ("append.before_write", 10),  # the release
    ("append.after_write", 10),
    ("rollover.before_sync", 2),
    ("rollover.before_link", 2),
    ("rollover.after_link", 2),
    ("put.after_link", 1),
    ("ended.before", 1),
    ("ended.after", 1),
]


def check_after(url: str, lines: list[str]) -> int:
    """What was acknowledged is there, what was not tried is not; the run is claimed at once and goes on."""
    acknowledged = max((int(line.split()[1]) for line in lines if line.startswith("ack")), default=-1)
    tried = max((int(line.split()[1]) for line in lines if line.startswith("try")), default=-1)
    store = open_store(url)
    frames = store.log("r").read(first=0)
    newest = len(frames) - 1
    assert acknowledged <= newest <= tried
    assert [frame.header.seq for frame in frames] == list(range(newest + 1))
    if frames and frames[-1].header.kind != "release":
        assert store.markers.active() == [("r", 1)]
    store.markers.put_active("r", 1)  # the one before may have come to its end, and taken it away
    owned = store.log("r").claim(claiming(part(store)), actor=ACTOR)
    owned.commit(draft("commit", owned.header.epoch, part(store), b"on"))
    assert [frame.header.seq for frame in store.log("r").read(first=0)] == list(range(newest + 3))
    store.close()
    assert [str(path) for path in Path(url).rglob(".tmp-*")] == []
    assert [str(path) for path in Path(url).rglob("*.lock")] == []
    return newest


@pytest.mark.parametrize(("point", "nth"), POINTS)
def test_a_kill_at_a_named_point_loses_nothing(store_url: str, point: str, nth: int) -> None:
    """SIGKILL exactly there; the point is really reached."""
    status, lines = run(LIFE, store_url, ACTORFLOW_CRASH=f"{point}:{nth}")

    assert status == -signal.SIGKILL
    check_after(store_url, lines)


def test_without_a_crash_point_nothing_is_killed(store_url: str) -> None:
    """The life above ends by itself, or the kills prove nothing."""
    status, lines = run(LIFE, store_url)

    assert status == 0
    assert lines[-1] == "ack 13"
    assert check_after(store_url, lines) == 13


def test_kills_at_random_moments_lose_nothing(store_url: str) -> None:
    """Twelve owners of one run, one after the other, each killed at some moment of its life."""
    rng = random.Random(20261122)
    everything: list[str] = []
    for _ in range(12):
        with Child(LIFE, store_url) as child:
            everything.extend(child.line() for _ in range(rng.randrange(1, 20)))
            child.signal(signal.SIGKILL)
            while line := child.line():
                everything.append(line)
        assert check_after(store_url, everything) >= 0
        store = open_store(store_url)
        everything.append(f"try {len(store.log('r').read(first=0)) - 1}")
        store.close()

    store = open_store(store_url)
    frames = store.log("r").read(first=0)
    assert len(frames) > 40
    assert len({frame.header.epoch for frame in frames}) >= 20
    store.close()
