"""Markers: found where they are looked for, and harmless where they are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow.store.backend import whole
from actorflow.store.keys import Sleeper, encode_id, ended_key
from actorflow.store.markers import Summary
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from actorflow.store.store import Store


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store of each kind."""
    store = open_store(tmp_path / "store" if request.param == "local" else "memory://")
    yield store
    store.close()


def summary(run_id: str, ended: float, status: str = "finished") -> Summary:
    """A summary of that run."""
    return Summary(
        run_id=run_id,
        graph="survey",
        status=status,
        opening=1,
        seq=7,
        node="report",
        ended=ended,
        tags={"team": "blue"},
    )


def test_an_active_run_is_listed_until_its_marker_is_dropped(store: Store) -> None:
    """By encoded id and opening; putting it twice is putting it once."""
    for run_id, opening in (("a", 1), ("A", 1), ("a.1", 1), ("b", 3), ("b", 3)):
        store.markers.put_active(run_id, opening)

    assert sorted(store.markers.active()) == sorted([("a", 1), (encode_id("A"), 1), ("a.1", 1), ("b", 3)])
    store.markers.drop_active("a", 1)
    store.markers.drop_active("a", 1)
    assert ("a", 1) not in store.markers.active()
    assert ("a.1", 1) in store.markers.active()


def test_dropping_an_old_opening_leaves_the_new_one(store: Store) -> None:
    """A deletion that comes late hits nothing that lives."""
    store.markers.put_active("r", 1)
    store.markers.put_active("r", 2)

    store.markers.drop_active("r", 1)

    assert store.markers.active() == [("r", 2)]


def test_a_marker_names_its_run(store: Store) -> None:
    """A hashed one as soon as the run has files; before that it is a marker without a commit."""
    store.markers.put_active("Ä", 1)
    store.markers.put_active("x" * 200, 1)

    assert sorted(store.run_id(encoded) or "" for encoded, _ in store.markers.active()) == ["", "Ä"]


def test_what_is_no_marker_is_skipped(store: Store) -> None:
    """Strangers in the folder are no runs."""
    store.markers.put_active("r", 1)
    for key in ("active/README", "active/zz/r.1", "active/00/r.x", "active/00/deep/r.1"):
        store.backend.put_new(key, b"")

    assert store.markers.active() == [("r", 1)]


def test_the_newest_summary_of_each_run_is_listed(store: Store) -> None:
    """Newest first; a run that was reopened and ended again shows its last end."""
    store.markers.put_ended(summary("a", 10.0, "failed"))
    store.markers.put_ended(summary("b", 11.0))
    store.markers.put_ended(summary("a", 12.5))

    assert [(found.run_id, found.status, found.ended) for found in store.markers.ended()] == [
        ("a", "finished", 12.5),
        ("b", "finished", 11.0),
    ]
    assert store.markers.ended()[0] == summary("a", 12.5)


def test_a_damaged_summary_costs_only_itself(store: Store) -> None:
    """The index is part of no guarantee: an older summary shows instead, or none."""
    store.markers.put_ended(summary("a", 10.0))
    store.markers.put_ended(summary("b", 10.5))
    store.backend.put_new(ended_key("a", 11.0), b"", durable=False)
    store.backend.put_new(ended_key("b", 12.0), b"\x93\x01", durable=False)
    store.backend.put_new("ended/README", b"?", durable=False)
    foreign = store.backend.get(ended_key("a", 10.0))
    store.backend.put_new(ended_key("c", 13.0), foreign, durable=False)

    assert [(found.run_id, found.ended) for found in store.markers.ended()] == [("b", 10.5), ("a", 10.0)]


def test_a_sleeper_is_listed_by_when_it_is_due(store: Store) -> None:
    """By encoded id, number and time; putting it twice is putting it once, and each sleep has a marker of its own."""
    noon = 1_800_000_000
    sleepers = [Sleeper("a", 3, noon), Sleeper("a.1", 3, noon + 60), Sleeper(encode_id("A"), 3, noon + 7 * 86_400)]
    for sleeper in (*sleepers, sleepers[0], Sleeper("b", 9, None)):
        whole(store.markers.putting_asleep(sleeper))

    assert sorted(store.markers.due(noon)) == sorted(sleepers[:2])
    assert sorted(store.markers.due(noon + 7 * 86_400)) == sorted(sleepers)
    assert store.markers.due(noon + 7 * 86_400, since=noon + 86_400) == [sleepers[2]]
    assert {sleeper.run for sleeper in store.markers.asleep()} == {"a", "a.1", encode_id("A"), "b"}
    store.markers.drop_asleep([sleepers[0], sleepers[0]])
    assert store.markers.due(noon) == [sleepers[1]]


def test_what_is_no_asleep_marker_is_skipped(store: Store) -> None:
    """Strangers in the folders are no sleepers; nor is a day that there is not."""
    for key in ("README", "2027/01/15/08/r.1", "2027/02/30/08/0000-r.1", "never/zz/r.1", "2027/01/15/08/0000-r.x"):
        store.backend.put_new(f"asleep/{key}", b"")

    assert store.markers.asleep() == []


def test_every_unfinished_run_is_found_once(store: Store) -> None:
    """Whether it is to be recovered, or sleeps, or both, since somebody died in between."""
    store.markers.put_active("a", 1)
    store.markers.put_active("b", 2)
    whole(store.markers.putting_asleep(Sleeper("b", 4, None)))
    whole(store.markers.putting_asleep(Sleeper("c", 4, 1_800_000_000)))

    assert sorted(store.markers.unfinished()) == ["a", "b", "c"]
