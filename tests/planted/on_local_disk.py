"""Bugs on local disk: syncs that are left out, files that are not what their owner takes them for, locks let go of."""

from __future__ import annotations

import os
import stat
from contextlib import nullcontext
from typing import TYPE_CHECKING

from actorflow.errors import CorruptCheckpoint
from actorflow.store import append_log, framing
from actorflow.store.append_log import AppendLog
from actorflow.store.append_ownership import AppendOwnership
from actorflow.store.keys import checkpoint_seq
from actorflow.store.liveness import Incarnation, LocalIncarnation
from actorflow.store.local import LocalBackend
from actorflow.store.ownership import State
from actorflow.store.syncing import FolderSyncs
from tests.planted.registry import found_by

if TYPE_CHECKING:
    import pytest

    from actorflow.store.backend import Steps
    from actorflow.store.log import Tip

# -- syncs ------------------------------------------------------------------------------


@found_by(
    "store/test_power_loss.py::test_nothing_is_acknowledged_before_it_is_synced",
    "store/test_append_log.py::test_a_commit_whose_sync_failed_is_made_durable_in_a_new_file",
)
def a_commit_is_acknowledged_before_its_sync(patch: pytest.MonkeyPatch) -> None:
    """It is written, and that is all: whatever the kernel still holds is gone with the power."""

    def append(self: AppendOwnership, data: bytes) -> Steps[bool]:
        with self._files.use(self._key) as fd:
            self._find_end(fd)
            self._write(fd, data)
            yield
        self._size += len(data)
        return True

    patch.setattr(AppendOwnership, "_append", append)


@found_by(
    "store/test_power_loss.py::test_nothing_is_acknowledged_before_it_is_synced",
    "store/test_power_loss.py::test_a_claim_syncs_what_it_is_built_on_before_it_has_a_name",
)
def no_folder_is_synced(patch: pytest.MonkeyPatch) -> None:
    """The bytes of a new file are durable, and its name is not."""
    fsync = LocalBackend.fsync

    def only_files(self: LocalBackend, fd: int) -> None:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            fsync(self, fd)

    patch.setattr(LocalBackend, "fsync", only_files)


@found_by("store/test_backends.py::TestLocalBackend::test_folders_are_settled_once_and_also_if_they_were_there")
def folders_that_were_there_are_not_synced(patch: pytest.MonkeyPatch) -> None:
    """Whoever made them may have died before its own sync."""
    patch.setattr(LocalBackend, "_settle", lambda *args: None)


@found_by(
    "store/test_syncing.py::test_a_name_that_was_made_after_a_sync_began_needs_another",
    "store/test_syncing.py::test_a_sync_that_began_before_serves_nobody",
)
def a_folder_is_synced_once_for_all_times(patch: pytest.MonkeyPatch) -> None:
    """What was made in it since then is taken for durable, and is not."""
    patch.setattr(FolderSyncs, "survives", lambda self, folder, made: folder in self._synced)


@found_by("store/test_syncing.py::test_after_a_failed_sync_nobody_relies_on_another_one")
def a_failed_sync_of_a_folder_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The next one succeeds, since the kernel has told its error already."""
    patch.setattr(FolderSyncs, "survives", lambda self, folder, made: made < self._synced.get(folder, 0))


@found_by(
    "store/test_power_loss.py::test_a_claim_syncs_what_it_is_built_on_before_it_has_a_name",
    "store/test_append_log.py::test_a_claim_on_what_can_not_be_synced_is_not_made",
)
def a_claim_is_built_on_what_nobody_synced(patch: pytest.MonkeyPatch) -> None:
    """Its predecessor died between its write and its sync; the claim outlives the commit under it."""
    patch.setattr(AppendLog, "_secure", lambda *args: None)


@found_by("store/test_power_loss.py::test_a_claim_syncs_what_it_is_built_on_before_it_has_a_name")
def a_claim_takes_every_folder_for_synced(patch: pytest.MonkeyPatch) -> None:
    """Its predecessor died between the link of its file and the sync of the folder."""

    def secure(self: AppendLog, fd: int, tip: Tip) -> None:
        self._backend.fdatasync(fd)
        self._backend.note_lasting(self._chain.prefix)

    patch.setattr(AppendLog, "_secure", secure)


@found_by("store/test_append_log.py::test_a_commit_whose_sync_failed_is_made_durable_in_a_new_file")
def a_failed_sync_is_tried_again(patch: pytest.MonkeyPatch) -> None:
    """The second one succeeds, since the kernel has dropped what it could not write."""
    fdatasync = LocalBackend.fdatasync

    def append(self: AppendOwnership, data: bytes) -> Steps[bool]:
        with self._files.use(self._key) as fd:
            self._find_end(fd)
            self._write(fd, data)
            yield
            try:
                self._backend.fdatasync(fd)
            except OSError:
                fdatasync(self._backend, fd)
        self._size += len(data)
        return True

    patch.setattr(AppendOwnership, "_append", append)


@found_by("store/test_append_log.py::test_a_copy_stands_in_for_what_the_dead_owner_never_synced")
def a_claim_brings_no_copy(patch: pytest.MonkeyPatch) -> None:
    """The newest frame of the owner before may be durable nowhere."""
    creating_file = append_log.creating_file

    def without_copy(backend: LocalBackend, key: str, data: bytes, *, stage: str) -> Steps[int | None]:
        first = checkpoint_seq(key.rpartition("/")[2])
        frames, _ = framing.read_frames(data, key, first=first, keyless=True) if first is not None else ([], None)
        return creating_file(backend, key, data[frames[0].size :] if len(frames) > 1 else data, stage=stage)

    patch.setattr(append_log, "creating_file", without_copy)


# -- what is there -------------------------------------------------------------------------


@found_by("store/test_append_log.py::test_an_owner_never_appends_to_a_file_that_took_the_place_of_its_own")
def an_owner_does_not_know_its_file_by_the_inode(patch: pytest.MonkeyPatch) -> None:
    """Restored from a copy, or led elsewhere by a link: it is of the right length."""

    def find_end(self: AppendOwnership, fd: int) -> None:
        if self._ragged:
            self._cut(fd)
        elif os.fstat(fd).st_size != self._size:
            raise CorruptCheckpoint(self.path, f"it does not end at byte {self._size}, where its owner left it")

    patch.setattr(AppendOwnership, "_find_end", find_end)


@found_by(
    "store/test_append_log.py::test_a_short_write_is_cut_back_and_may_be_tried_again",
    "store/test_append_log.py::test_a_real_full_disk_is_survived",
)
def an_owner_appends_behind_a_torn_write(patch: pytest.MonkeyPatch) -> None:
    """The disk was full for a moment; what it acknowledges afterwards nobody can read."""
    patch.setattr(AppendOwnership, "_cut", lambda self, fd: setattr(self, "_ragged", False))
    patch.setattr(AppendOwnership, "_find_end", lambda self, fd: setattr(self, "_size", os.fstat(fd).st_size))


@found_by(
    "store/test_framing.py::test_a_cut_is_torn_or_damage_and_never_another_history",
    "store/test_append_log.py::test_a_tail_torn_anywhere_costs_only_itself",
)
def a_torn_tail_counts(patch: pytest.MonkeyPatch) -> None:
    """Its header is whole, and so it is taken for a commit."""
    piece = framing._piece

    def generous(data: bytes, offset: int, path: str) -> framing._Piece | None:
        found = piece(data, offset, path)
        if found is not None or len(data) - offset < framing.PREFIX:
            return found
        fields = data[offset : offset + framing._FIELDS.size]
        if not any(fields):
            return None
        flags, header_size, body_size = framing._lengths(fields, offset, path)
        body = offset + framing.PREFIX + header_size
        if len(data) < body:
            return None
        header, file = framing._region(data[offset + framing.PREFIX : body], offset, path)
        return framing._Piece(header, file, flags, b"", offset, body, body + body_size + framing.DIGEST)

    patch.setattr(framing, "_piece", generous)


@found_by(
    "store/test_framing.py::test_any_changed_byte_is_detected",
    "store/test_framing.py::test_a_last_frame_with_a_sector_of_zeros_is_unclear",
    "store/test_append_log.py::test_damage_quarantines_and_nothing_is_written_after_it",
)
def damage_at_the_end_counts_as_torn(patch: pytest.MonkeyPatch) -> None:
    """A flipped bit in an acknowledged commit, and the run steps back behind it."""
    piece = framing._piece

    def lenient(data: bytes, offset: int, path: str) -> framing._Piece | None:
        try:
            return piece(data, offset, path)
        except CorruptCheckpoint:
            return None

    patch.setattr(framing, "_piece", lenient)


@found_by("store/test_append_log.py::test_a_number_that_is_taken_fences")
def an_owner_goes_on_when_its_number_is_taken(patch: pytest.MonkeyPatch) -> None:
    """Somebody claimed the run; the owner says that nothing happened, and tries again behind its own last frame."""
    roll_over = AppendOwnership._roll_over

    def brazen(self: AppendOwnership, *args: object, **options: object) -> Steps[bytes]:
        try:
            return (yield from roll_over(self, *args, **options))  # type: ignore[arg-type]
        finally:
            self._state = State.OPEN

    patch.setattr(AppendOwnership, "_roll_over", brazen)


# -- owners ----------------------------------------------------------------------------------


@found_by("store/test_append_log.py::test_what_was_read_before_the_owner_was_gone_does_not_count")
def what_was_read_before_the_owner_was_gone_counts(patch: pytest.MonkeyPatch) -> None:
    """The claim is built on the commit before the owner's last one."""
    unowned_tip = AppendLog._unowned_tip

    def read_once(self: AppendLog) -> Tip | None:
        newest = self._chain.newest(keyless=True)
        self._chain.newest = lambda *, keyless: newest  # type: ignore[method-assign]
        return unowned_tip(self)

    patch.setattr(AppendLog, "_unowned_tip", read_once)


@found_by("store/test_append_log.py::test_what_was_read_before_another_found_the_owner_gone_does_not_count")
def what_was_read_before_another_found_the_owner_gone_counts(patch: pytest.MonkeyPatch) -> None:
    """Who is gone is looked up too late: it has committed between the reading and its death."""
    unowned_tip = AppendLog._unowned_tip

    def late(self: AppendLog) -> Tip | None:
        tip = self.tip()
        is_gone = tip is not None and tip.header.owner.incarnation in self._incarnation.gone
        return tip if is_gone else unowned_tip(self)

    patch.setattr(AppendLog, "_unowned_tip", late)


@found_by("store/test_append_log.py::test_a_run_is_not_claimed_while_a_commit_of_it_is_being_written")
def the_lock_is_released_while_a_commit_is_written(patch: pytest.MonkeyPatch) -> None:
    """The kernel's lock does not fence inside one process: another claims, and what is acknowledged is on no chain."""
    patch.setattr(Incarnation, "working", lambda self: nullcontext())


@found_by("store/test_liveness.py::test_a_forked_child_does_not_hold_a_dead_owner_s_lock")
def a_forked_child_keeps_the_lock(patch: pytest.MonkeyPatch) -> None:
    """A dead owner seems to live, for as long as a child that it forked does."""
    patch.setattr(LocalIncarnation, "_abandon", lambda self: None)


@found_by(
    "store/test_append_log.py::test_a_stopped_owner_is_alive",
    "runtime/test_bad_input_owners.py::test_the_scan_leaves_alone_what_another_process_owns[asyncio]",
)
def what_a_living_process_owns_is_claimed(patch: pytest.MonkeyPatch) -> None:
    """No lock is ever found taken."""
    patch.setattr(LocalIncarnation, "_is_free", lambda self, key: True)
