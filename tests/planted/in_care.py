"""Bugs in the care of runs, and in what is kept beside their logs: retention, deletion, blobs, seals."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from msgspec import structs

from actorflow.runtime.claiming import commit_release
from actorflow.store import deletion, merging, pruning, retention, sealing
from actorflow.store.blobs import Blobs
from actorflow.store.retention import freeable
from actorflow.store.sealing import Sealing
from tests.planted.registry import everywhere, found_by

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import pytest

    from actorflow.engine.records import Body
    from actorflow.store.frames import Frame, Header
    from actorflow.store.log import Tip
    from actorflow.store.object_chain import ObjectChain
    from actorflow.store.object_names import Names
    from actorflow.store.ownership import Ownership
    from actorflow.store.retention import Retention, Snapshot
    from actorflow.store.store import Store

# -- retention -------------------------------------------------------------------------------


@found_by("store/test_retention.py::test_what_is_kept_begins_with_a_snapshot")
def the_newest_snapshot_is_let_go_of(patch: pytest.MonkeyPatch) -> None:
    """What is kept begins where the policy says, whether or not it can be read from there."""
    floor_of = retention.floor_of

    def exact(policy: Retention, tip: Tip, snapshots: Iterable[Snapshot], *, now: float) -> int:
        if policy.last is None:
            return floor_of(policy, tip, snapshots, now=now)
        return max(0, tip.header.seq - policy.last + 1)

    everywhere(patch, floor_of, exact)


@found_by(
    "store/test_retention.py::test_retention_may_die_at_any_call",
    "store/test_retention.py::test_of_two_at_once_the_one_that_keeps_less_counts",
)
def commits_are_deleted_before_it_is_said_that_they_are_gone(patch: pytest.MonkeyPatch) -> None:
    """Without a floor nobody can tell them from lost ones."""
    patch.setattr(pruning, "floor_name", lambda seq: "nothing")


@found_by("store/test_merging.py::test_what_came_under_the_name_after_the_listing_is_what_counts_too")
def a_merge_does_not_look_at_what_is_there(patch: pytest.MonkeyPatch) -> None:
    """The name is taken, so somebody has merged the same: the loose commits come free."""

    def believing(chain: ObjectChain, group: list[tuple[Frame, bytes]], names: Names) -> None:
        frames = [frame for frame, _ in reversed(group)]
        span = frames[0].header.seq, frames[-1].header.seq
        chain.backend.put_new(chain.key(span), b"".join(data for _, data in reversed(group)))
        merging._free(chain, frames, names)

    patch.setattr(merging, "_merge_group", believing)


# -- deletion ----------------------------------------------------------------------------------


@found_by("store/test_deletion.py::test_marks_outlive_the_run")
def marks_are_forgotten_at_deletion(patch: pytest.MonkeyPatch) -> None:
    """A message that comes back is applied in the id's next life, too."""

    def clean(ownership: Ownership, body: Body, *, snapshot: bool = False) -> Header:
        ownership.header = structs.replace(ownership.header, marks=b"")
        return commit_release(ownership, body, snapshot=snapshot)

    everywhere(patch, commit_release, clean)


@found_by("store/test_deletion.py::test_a_deleter_may_die_at_any_call")
def the_marker_of_a_deletion_goes_first(patch: pytest.MonkeyPatch) -> None:
    """A deleter that dies after it leaves what nobody ever finds."""
    clear_away = deletion.clear_away

    def hasty(store: Store, run_id: str) -> bool:
        tip = store.log(run_id).tip()
        if tip is not None and deletion.is_tombstone(tip.header):
            store.markers.drop_active(run_id, tip.header.opening)
        return clear_away(store, run_id)

    everywhere(patch, clear_away, hasty)


@found_by("store/test_deletion.py::test_a_deleter_that_stalls_does_not_reach_into_the_next_life[2]")
def a_deleter_looks_before_it_lists(patch: pytest.MonkeyPatch) -> None:
    """What it lists afterwards may belong to the next life of the id."""
    clear_away = deletion.clear_away

    def early(store: Store, run_id: str) -> bool:
        log = store.log(run_id)
        seen = log.tip()
        with patch.context() as once:
            once.setattr(log, "tip", lambda: seen)
            once.setattr(store, "log", lambda run_id: log)
            return clear_away(store, run_id)

    everywhere(patch, clear_away, early)


@found_by("store/test_deletion.py::test_the_numbers_of_a_deletion_never_come_free")
def tombstones_come_free(patch: pytest.MonkeyPatch) -> None:
    """The id's numbers begin again at 0."""

    def forgetful(frame: Frame, releases: Collection[bytes]) -> bool:
        return frame.header.status == deletion.DELETED or freeable(frame, releases)

    everywhere(patch, freeable, forgetful)


# -- blobs ---------------------------------------------------------------------------------------


@found_by(
    "store/test_blobs.py::test_a_sweep_takes_what_nobody_refers_to",
    "store/test_deletion.py::test_a_deleter_that_stalls_does_not_reach_into_the_next_life[5]",
)
def a_sweep_takes_what_later_owners_put(patch: pytest.MonkeyPatch) -> None:
    """They are about to refer to it."""

    def sweep(self: Blobs, keep: Collection[str], *, epoch: int) -> list[str]:
        gone = [name for name in self.names() if name not in keep]
        self._backend.delete([self._prefix + name for name in gone])
        return gone

    patch.setattr(Blobs, "sweep", sweep)


@found_by("store/test_blobs.py::test_every_changed_byte_is_noticed")
def blobs_are_believed(patch: pytest.MonkeyPatch) -> None:
    """A value of the right length is the right value."""
    patch.setattr(Blobs, "_check", lambda self, ref, data: None)


# -- seals ---------------------------------------------------------------------------------------


@found_by("store/test_sealing.py::test_nobody_without_the_key_changes_a_bit")
def the_header_is_not_under_the_seal(patch: pytest.MonkeyPatch) -> None:
    """The additional data is dropped, and who can write to the store changes a status or a number."""
    seal, open_ = Sealing.seal, Sealing.open

    def sealed(self: Sealing, packed: sealing.Packed, *, before: bytes, context: bytes) -> bytes:
        return seal(self, packed, before=b"", context=context)

    def opened(self: Sealing, stored: bytes, **known: object) -> bytes:
        return open_(self, stored, **{**known, "before": b""})  # type: ignore[arg-type]

    patch.setattr(Sealing, "seal", sealed)
    patch.setattr(Sealing, "open", opened)


@found_by("store/test_sealing.py::test_clearing_the_flags_gets_nobody_in")
def what_is_weaker_than_required_is_read(patch: pytest.MonkeyPatch) -> None:
    """Whoever clears a flag makes up a state."""
    patch.setattr(Sealing, "check", lambda self, flags, path: None)


@found_by("store/test_sealing.py::test_the_same_body_is_never_stored_alike")
def every_seal_has_the_same_salt_and_nonce(patch: pytest.MonkeyPatch) -> None:
    """Two commits under one key and nonce, and who has both knows what is in them."""
    patch.setattr(sealing, "os", SimpleNamespace(urandom=bytes))
