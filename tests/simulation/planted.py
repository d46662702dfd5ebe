"""Bugs to be planted in a simulated world, by name. The simulation must find each, or it would prove nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from actorflow.errors import Fenced, StoreError
from actorflow.runtime import recovery
from actorflow.runtime.actor import Actor
from actorflow.store import merging, object_log, pruning
from actorflow.store.backend import Missing
from actorflow.store.markers import Markers
from actorflow.store.object_log import ObjectLog, ObjectOwnership

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.frames import Draft
    from actorflow.store.log import RunLog
    from actorflow.store.store import Store


def in_steps(put: Callable[[Backend, str, bytes], bool]) -> Callable[[Backend, str, bytes], Steps[bool]]:
    """What puts so, in place of `putting_or_settling`."""

    def putting(backend: Backend, key: str, data: bytes) -> Steps[bool]:
        yield None
        return put(backend, key, data)

    return putting


def _acknowledges_before_the_put(patch: pytest.MonkeyPatch) -> None:
    """The owner is told at once; each commit is written when the next one comes."""
    put, putting_or_settling = ObjectOwnership._put, object_log.putting_or_settling
    kept: dict[int, tuple[Backend, str, bytes]] = {}

    def late_put(self: ObjectOwnership, draft: Draft) -> Steps[Any]:
        if (before := kept.pop(id(self), None)) is not None:
            yield from putting_or_settling(*before)
        if draft.kind == "release":
            return (yield from put(self, draft))

        def keep(backend: Backend, key: str, data: bytes) -> Steps[bool]:
            kept[id(self)] = (backend, key, data)
            yield from ()
            return True

        with pytest.MonkeyPatch.context() as now:
            now.setattr(object_log, "putting_or_settling", keep)
            return (yield from put(self, draft))

    patch.setattr(ObjectOwnership, "_put", late_put)


def _skips_the_nonce_check(patch: pytest.MonkeyPatch) -> None:
    """After an unknown outcome, whatever is found under the number is taken for one's own."""

    def trusting(backend: Backend, key: str, data: bytes) -> bool:
        for _ in range(6):
            try:
                return backend.put_new(key, data)
            except StoreError:
                pass
            try:
                backend.get(key)
            except (Missing, StoreError):
                continue
            return True
        raise Fenced(key, "unclear")

    patch.setattr(object_log, "putting_or_settling", in_steps(trusting))


def _takes_a_failure_for_a_success(patch: pytest.MonkeyPatch) -> None:
    """An error while claiming or committing is swallowed, and the run goes on."""

    def optimistic(backend: Backend, key: str, data: bytes) -> bool:
        try:
            return backend.put_new(key, data)
        except StoreError:
            return True

    patch.setattr(object_log, "putting_or_settling", in_steps(optimistic))


def _goes_on_when_fenced(patch: pytest.MonkeyPatch) -> None:
    """A number that is taken counts as committed."""

    def brazen(backend: Backend, key: str, data: bytes) -> bool:
        backend.put_new(key, data)
        return True

    patch.setattr(object_log, "putting_or_settling", in_steps(brazen))


def _swallows_an_error_in_recovery(patch: pytest.MonkeyPatch) -> None:
    """An error while looking for orphans is taken for the end of the run."""
    log_of = recovery.log_of

    def forgetful(store: Store, encoded: str) -> RunLog | None:
        log = log_of(store, encoded)
        try:
            if log is not None:
                log.tip()
        except StoreError:
            store.markers.drop_active(encoded, 1)
        return log

    patch.setattr(recovery, "log_of", forgetful)


def _starts_successors_before_their_commit(patch: pytest.MonkeyPatch) -> None:
    """What should be ``sync`` is ``async``."""
    settle = Actor._settle

    async def hasty(self: Actor, tasks: Any) -> None:
        self.run.durability = "async"
        await settle(self, tasks)

    patch.setattr(Actor, "_settle", hasty)


def _marks_nothing(patch: pytest.MonkeyPatch) -> None:
    """No marker leads to a new run."""

    def unmarked(self: Markers, run_id: str, opening: int) -> Steps[None]:
        yield

    patch.setattr(Markers, "putting_active", unmarked)


BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "acknowledges before the put": _acknowledges_before_the_put,
    "skips the nonce check after an unknown outcome": _skips_the_nonce_check,
    "takes a failure for a success": _takes_a_failure_for_a_success,
    "goes on when fenced": _goes_on_when_fenced,
    "swallows an error in recovery": _swallows_an_error_in_recovery,
    "starts successors before their commit": _starts_successors_before_their_commit,
    "marks nothing": _marks_nothing,
}


def _frees_the_number_of_a_claim(patch: pytest.MonkeyPatch) -> None:
    """Every number below the newest snapshot comes free."""
    for module in (merging, pruning):
        patch.setattr(module, "freeable", lambda frame, releases: frame.header.seq > 0)


def _lists_once(patch: pytest.MonkeyPatch) -> None:
    """Who gets the number owns the run, whatever lies above it."""
    patch.setattr(ObjectLog, "_is_newest", lambda self, seq: True)


RETENTION_BUGS: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "frees the number of a claim": _frees_the_number_of_a_claim,
    "no second listing": _lists_once,
}
