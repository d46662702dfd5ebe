"""Damage: the file that is named is the one that is damaged, and what is said to be left is what counts."""

from __future__ import annotations

from actorflow.store.damage import Damage, find_damage
from tests.store.object_runs import Watched, WatchedStore, grow, log_of, names_of


def damaged_at_the_floor(bucket: Watched) -> tuple[str, Damage | None]:
    """A run that was claimed twice and let go of; then its oldest commit is damaged. Its key, and what is found."""
    grow(log_of(bucket), 70).close()
    grow(log_of(bucket), 60).close()
    tip = log_of(bucket).tip()
    assert tip is not None
    log_of(bucket).let_go(tip.header.snapshot)
    assert names_of(bucket).loose[:3] == (0, 71, tip.header.snapshot)
    key = log_of(bucket).key(tip.header.snapshot)
    data = bytearray(bucket.inner.get(key))
    data[-40] ^= 1
    bucket.inner.delete([key])
    bucket.inner.put_new(key, bytes(data))
    return key, find_damage(WatchedStore(bucket), "r")


def test_claims_that_stayed_below_the_floor_are_nothing_to_go_on_from() -> None:
    """What was let go of is over: to begin again with its claims would be to run the run anew."""
    key, found = damaged_at_the_floor(Watched())

    assert found is not None
    assert found.key == key
    assert found.good == ()
