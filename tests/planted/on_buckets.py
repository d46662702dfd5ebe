"""Bugs on buckets: outcomes that are guessed, claims that are believed, numbers that come free, heartbeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import CorruptCheckpoint, StoreError, UnsafeStore
from actorflow.store import object_log
from actorflow.store.backend import Missing
from actorflow.store.buckets.probe import _Trial
from actorflow.store.heartbeat import HeartbeatIncarnation
from actorflow.store.log import tip_of
from actorflow.store.object_chain import ObjectChain
from actorflow.store.object_log import ObjectOwnership
from actorflow.store.object_names import Names
from actorflow.store.ownership import State
from tests.planted.registry import everywhere, found_by
from tests.simulation import planted as simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.frames import Draft, Frame, Owner
    from actorflow.store.log import Tip
    from actorflow.store.object_names import Span

# -- the outcome of a put ----------------------------------------------------------------


@found_by(
    "store/test_object_log.py::TestObjectLog::test_commits_are_a_chain",
    "store/test_object_log.py::test_a_stalled_owner_is_fenced_by_the_claim",
)
def a_commit_is_acknowledged_before_its_put(patch: pytest.MonkeyPatch) -> None:
    """It is on its way, and what is on its way may never arrive."""
    simulated.BUGS["acknowledges before the put"](patch)


@found_by("store/test_object_log.py::test_a_number_of_another_is_not_ours_because_the_reply_was_lost")
def what_is_found_after_a_lost_reply_is_taken_for_ones_own(patch: pytest.MonkeyPatch) -> None:
    """The nonce in it is not looked at, and two owners believe in one commit."""
    simulated.BUGS["skips the nonce check after an unknown outcome"](patch)


@found_by(
    "store/test_object_log.py::test_a_commit_without_a_reply_is_settled",
    "store/test_object_log.py::test_a_claim_without_a_reply_is_settled",
)
def ones_own_commit_is_taken_for_anothers(patch: pytest.MonkeyPatch) -> None:
    """The reply was lost, the second put finds the first, and an owner fences itself."""

    def hasty(backend: Backend, key: str, data: bytes) -> bool:
        try:
            return backend.put_new(key, data)
        except StoreError:
            return backend.put_new(key, data)

    everywhere(patch, object_log.putting_or_settling, simulated.in_steps(hasty))


@found_by(
    "store/test_object_log.py::test_a_commit_that_stays_unclear_is_unknown",
    "store/test_object_log.py::test_a_refusal_says_nothing_of_what_was_sent_before",
)
def a_timeout_is_taken_for_a_failure(patch: pytest.MonkeyPatch) -> None:
    """The owner says that nothing happened and commits something else; the late packet arrives."""
    put = ObjectOwnership._put

    def failed(backend: Backend, key: str, data: bytes) -> bool:
        return backend.put_new(key, data) or backend.get(key) == data

    def goes_on(self: ObjectOwnership, draft: Draft) -> Steps[object]:
        try:
            return (yield from put(self, draft))
        except StoreError:
            self._state = State.OPEN
            raise

    everywhere(patch, object_log.putting_or_settling, simulated.in_steps(failed))
    patch.setattr(ObjectOwnership, "_put", goes_on)


@found_by("faults/test_sweeps.py::test_whichever_call_fails_nothing_acknowledged_is_lost[asyncio-unavailable-once]")
def a_failed_put_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    """An error while committing is swallowed."""
    simulated.BUGS["takes a failure for a success"](patch)


@found_by(
    "store/test_object_log.py::test_a_stalled_owner_is_fenced_by_the_claim",
    "faults/test_sweeps.py::test_whichever_call_fails_nothing_acknowledged_is_lost[asyncio-stale listing-for good]",
)
def a_number_that_is_taken_counts_as_committed(patch: pytest.MonkeyPatch) -> None:
    """Whoever stalled goes on beside the one who took over."""
    simulated.BUGS["goes on when fenced"](patch)


# -- claims and numbers ---------------------------------------------------------------------


@found_by(
    "store/test_object_log.py::test_a_claim_below_a_higher_number_is_a_stray",
    "store/test_retention.py::test_a_claimer_that_stalled_starts_over",
)
def a_claim_is_believed_without_a_second_listing(patch: pytest.MonkeyPatch) -> None:
    """Who gets a number that retention freed owns the run, beside the one far above it."""
    simulated.RETENTION_BUGS["no second listing"](patch)


@found_by(
    "store/test_retention.py::test_numbers_come_free_but_not_those_of_claims",
    "store/test_retention.py::test_a_stalled_owner_does_not_get_back_in",
    "store/test_merging.py::test_a_stalled_owner_finds_its_number_taken_for_ever",
)
def the_number_of_a_claim_comes_free(patch: pytest.MonkeyPatch) -> None:
    """A stalled owner always aims at the number of the claim that fenced it, and gets in."""
    simulated.RETENTION_BUGS["frees the number of a claim"](patch)


@found_by("store/test_object_log.py::test_damage_is_not_absence")
def the_commit_before_a_damaged_one_takes_its_place(patch: pytest.MonkeyPatch) -> None:
    """An acknowledged commit is given up without a word."""

    def newest_whole(self: ObjectChain, known: Tip | None = None) -> Tip | None:
        del known
        for seq in reversed(self.names().loose):
            try:
                return tip_of(self.frames(seq, keyless=True)[0])
            except (CorruptCheckpoint, Missing):
                continue
        return None

    patch.setattr(ObjectChain, "newest", newest_whole)


@found_by("faults/test_sweeps.py::test_whichever_call_fails_nothing_acknowledged_is_lost[asyncio-torn read-once]")
def what_is_read_in_part_is_removed(patch: pytest.MonkeyPatch) -> None:
    """A commit of which half came back is taken for rubbish; the next read would have had all of it."""
    parse = ObjectChain.parse

    def tidy(self: ObjectChain, data: bytes, place: int | Span, *, keyless: bool = False) -> list[Frame]:
        try:
            return parse(self, data, place, keyless=keyless)
        except CorruptCheckpoint:
            self.backend.delete([self.key(place)])
            raise

    patch.setattr(ObjectChain, "parse", tidy)


@found_by("store/test_object_log.py::test_a_commit_built_on_something_else_is_noticed")
def a_chain_is_followed_by_its_numbers(patch: pytest.MonkeyPatch) -> None:
    """Whatever lies under the number before is taken for the commit before."""

    def by_numbers(self: ObjectChain, newest: Frame, first: int, names: Names) -> list[Frame]:
        floor = max(first, names.floor)
        older = [frame for place in names.cover(floor, newest.header.seq - 1) for frame in self.frames(place)]
        return [*sorted(older, key=lambda frame: frame.header.seq), newest]

    patch.setattr(ObjectChain, "back_from", by_numbers)


@found_by("store/test_merging.py::test_a_stray_on_a_number_that_came_free_is_not_read")
def a_loose_commit_counts_before_a_merged_one(patch: pytest.MonkeyPatch) -> None:
    """Below the newest snapshot it may be a stray of somebody who stalled."""
    cover = Names.cover

    def loose_first(self: Names, first: int, last: int) -> Iterator[int | Span]:
        yield from (seq for seq in reversed(self.loose) if first <= seq <= last)
        yield from (span for span in cover(self, first, last) if not isinstance(span, int))

    patch.setattr(Names, "cover", loose_first)


# -- who lives -----------------------------------------------------------------------------


@found_by(
    "store/test_heartbeat.py::test_who_stopped_beating_is_dead_a_lease_after_it_was_first_looked_at",
    "store/test_heartbeat.py::test_who_beats_lives_however_long",
)
def who_was_never_seen_is_given_no_lease(patch: pytest.MonkeyPatch) -> None:
    """At the first look everybody seems to have been silent for ever."""
    look = HeartbeatIncarnation._look

    def impatient(self: HeartbeatIncarnation) -> None:
        known = set(self._seen)
        look(self)
        for who, seen in self._seen.items():
            if who not in known:
                seen.since = float("-inf")

    patch.setattr(HeartbeatIncarnation, "_look", impatient)


@found_by("store/test_heartbeat.py::test_who_began_after_the_last_look_lives")
def who_is_not_in_an_old_listing_is_dead(patch: pytest.MonkeyPatch) -> None:
    """It may have begun since: it beat before the claim that the observer has seen."""
    is_dead = HeartbeatIncarnation._is_dead

    def from_memory(self: HeartbeatIncarnation, owner: Owner) -> bool:
        if self._seen and (owner.machine, owner.incarnation) not in self._seen:
            return True
        return is_dead(self, owner)

    patch.setattr(HeartbeatIncarnation, "_is_dead", from_memory)


@found_by("store/test_heartbeat.py::test_what_a_listing_took_is_no_silence")
def what_a_listing_took_counts_as_silence(patch: pytest.MonkeyPatch) -> None:
    """The store was slow, and everybody seems to have died."""
    patch.setattr(HeartbeatIncarnation, "_stood_still", lambda self, seen: self._clock() - seen.since)


@found_by("store/test_heartbeat.py::test_the_lease_is_the_owners")
def the_lease_is_the_observers(patch: pytest.MonkeyPatch) -> None:
    """Who beats slowly, and said so, is taken for dead by who beats fast."""
    look = HeartbeatIncarnation._look

    def by_own_measure(self: HeartbeatIncarnation) -> None:
        look(self)
        for seen in self._seen.values():
            seen.lease = self.lease

    patch.setattr(HeartbeatIncarnation, "_look", by_own_measure)


# -- what a store is ------------------------------------------------------------------------


@found_by("buckets/test_probe.py::test_every_lie_is_found")
def a_store_that_ignores_the_condition_passes(patch: pytest.MonkeyPatch) -> None:
    """A key that was created twice is no reason to refuse the place."""
    create_twice = _Trial.create_twice

    def trusting(self: _Trial) -> None:
        try:
            create_twice(self)
        except UnsafeStore:
            self._there[self._keys[-1]] = self._read(self._keys[-1])

    patch.setattr(_Trial, "create_twice", trusting)
