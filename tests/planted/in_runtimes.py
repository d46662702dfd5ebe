"""Bugs in runtimes: what starts, ends or is taken up at the wrong moment."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
from msgspec import structs

from actorflow.runtime import claiming, pending, recovery
from actorflow.runtime.pending import Pending
from actorflow.runtime.writer import Sealed, Writer
from actorflow.store.log import RunLog
from actorflow.store.markers import Markers
from tests.planted.registry import everywhere, found_by
from tests.simulation import planted as simulated

if TYPE_CHECKING:
    import pytest

    from actorflow.engine.run import RunState
    from actorflow.runtime.claiming import Adopted
    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft
    from actorflow.store.store import Store


@found_by("runtime/test_durability.py::test_sync_commits_each_activation_and_exit_only_the_end")
def successors_start_before_their_commit(patch: pytest.MonkeyPatch) -> None:
    """What should be ``sync`` is ``async``."""
    simulated.BUGS["starts successors before their commit"](patch)


@found_by("runtime/test_failed_commits.py::test_nothing_follows_a_failed_commit_when_the_runtime_is_left")
def a_release_jumps_the_gap_of_a_failed_commit(patch: pytest.MonkeyPatch) -> None:
    """The run goes on from a state in which what failed never happened."""
    settled = Writer.settled

    async def forgiving(self: Writer) -> None:
        self.failure = None
        await settled(self)
        self.failure = None

    patch.setattr(Writer, "settled", forgiving)


@found_by(
    "runtime/test_large_values.py::test_a_kill_between_blob_and_commit_leaves_only_what_a_sweep_takes[blobs.before_put:3]"
)
def a_commit_goes_before_its_blobs(patch: pytest.MonkeyPatch) -> None:
    """Whoever dies between the two leaves a commit that nobody can read."""
    carry = Writer._carry

    async def turned(self: Writer, run: RunState, sealed: Sealed) -> None:
        await carry(self, run, sealed._replace(blobs=()))
        self.large.blobs.put(sealed.blobs)

    patch.setattr(Writer, "_carry", turned)


@found_by("runtime/test_hooks.py::test_a_hook_is_called_after_the_commit")
def commits_are_told_before_they_are_made(patch: pytest.MonkeyPatch) -> None:
    """Whoever watches hears of what a kill may still take back."""
    carry = Writer._carry

    async def hasty(self: Writer, run: RunState, sealed: Sealed) -> None:
        header = structs.replace(self.header, seq=self.header.seq + 1, node=sealed.draft.node)
        ahead: Any = SimpleNamespace(header=header, path="")
        self._observers.committed(sealed.draft, ahead, short=sealed.short)
        await anyio.sleep(0.02)
        await carry(self, run, sealed)

    patch.setattr(Writer, "_carry", hasty)


@found_by("runtime/test_events.py::test_what_is_told_live_says_what_the_log_says_of_it")
def who_watches_is_told_of_a_commit_without_what_is_beside_it(patch: pytest.MonkeyPatch) -> None:
    """Of a commit with a snapshot or large values, its records are not all that there is to tell."""
    seal = Pending.seal

    def short(self: Pending) -> pending.Sealed:
        sealed = seal(self)
        return structs.replace(sealed, short=True)

    patch.setattr(Pending, "seal", short)


@found_by("runtime/test_resume.py::test_an_open_run_has_its_marker_wherever_its_opener_died")
def a_run_is_marked_after_its_first_commit(patch: pytest.MonkeyPatch) -> None:
    """Whoever dies between the two leaves a run that nobody recovers."""
    putting_active, claim = Markers.putting_active, RunLog.claiming
    waiting: dict[str, tuple[Markers, int]] = {}

    def later(self: Markers, run_id: str, opening: int) -> Steps[None]:
        waiting[run_id] = self, opening
        yield

    def then_marked(self: RunLog, *args: Any, **options: Any) -> Steps[Any]:
        owned = yield from claim(self, *args, **options)
        if (marker := waiting.pop(self.run_id, None)) is not None:
            yield from putting_active(marker[0], self.run_id, marker[1])
        return owned

    patch.setattr(Markers, "putting_active", later)
    patch.setattr(RunLog, "claiming", then_marked)


@found_by("runtime/test_failed_commits.py::test_a_failed_commit_stops_the_run_and_leaves_no_gap[asyncio-1-exit]")
def the_marker_of_a_run_goes_before_its_last_commit(patch: pytest.MonkeyPatch) -> None:
    """Whoever dies between the two leaves an unfinished run that nobody recovers."""
    write_end = Writer._write_end

    def hasty(self: Writer, run: RunState, draft: Draft) -> Steps[None]:
        self._on_end(run, self.header)
        yield from write_end(self, run, draft)

    patch.setattr(Writer, "_write_end", hasty)


# -- recovery -------------------------------------------------------------------------------


@found_by(
    "runtime/test_isolation.py::test_a_run_behind_a_symbolic_link_stops_no_recovery_and_no_listing[asyncio]",
    "runtime/test_bad_input_files.py::test_a_damaged_run_is_set_aside_and_no_other[asyncio-emptied]",
)
def an_error_in_recovery_is_taken_for_an_end(patch: pytest.MonkeyPatch) -> None:
    """The marker of a run that could not be read a moment ago goes, and nobody looks for it again."""
    simulated.BUGS["swallows an error in recovery"](patch)


@found_by("runtime/test_isolation.py::test_a_run_behind_a_symbolic_link_stops_no_recovery_and_no_listing[asyncio]")
def one_bad_run_stops_the_recovery_of_all(patch: pytest.MonkeyPatch) -> None:
    """The first error ends the look, and each look begins at a run like that."""
    orphans = recovery.orphans

    def strict(store: Store, *args: Any, **options: Any) -> list[tuple[str, str]]:
        for encoded, _ in store.markers.active():
            log = recovery.log_of(store, encoded)
            if log is not None:
                log.tip()
        return orphans(store, *args, **options)

    patch.setattr(recovery, "orphans", strict)


@found_by("runtime/test_buckets.py::test_a_run_whose_owner_lives_is_left_alone[asyncio]")
def what_has_an_owner_is_taken_for_an_orphan(patch: pytest.MonkeyPatch) -> None:
    """Every unfinished run is up for grabs."""
    patch.setattr(RunLog, "is_owned", lambda self, header: False)


@found_by("runtime/test_bad_input_owners.py::test_progress_resets_the_count_of_crashes[asyncio]")
def nobody_counts_the_processes_that_died_with_a_run(patch: pytest.MonkeyPatch) -> None:
    """A run that kills every process takes one after the other with it."""
    claim_draft = claiming._claim_draft

    def forgetful(*args: Any, **options: Any) -> Draft:
        return structs.replace(claim_draft(*args, **options), crashes=0)

    patch.setattr(claiming, "_claim_draft", forgetful)


@found_by("runtime/test_resume.py::test_what_can_not_be_migrated_is_blocked_and_nothing_is_written")
def a_run_is_claimed_before_it_is_known_to_run_here(patch: pytest.MonkeyPatch) -> None:
    """A process with old code fences the one that could have gone on."""
    claiming_run = claiming.claiming_run

    def eager(store: Store, graph: Any, run_id: str, *args: Any, **options: Any) -> Steps[Adopted]:
        def blind(tip: Any) -> Draft:
            return claiming._claim_draft(store, tip, reopen=options.get("reopen"))

        store.log(run_id).claim(blind, actor=os.urandom(16)).close()
        return (yield from claiming_run(store, graph, run_id, *args, **options))

    everywhere(patch, claiming_run, eager)
