"""Sweeps: every call of a scenario fails, in each way, once and for good; nothing acknowledged is ever lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from actorflow.errors import CorruptCheckpoint, ForeignStore, StoreError
from actorflow.store import object_log
from actorflow.store.object_log import ObjectLog
from actorflow.store.store import open_store
from actorflow.testing.faulty import FAULTS
from tests.faults.sweep import check_afterwards, play
from tests.simulation.planted import in_steps

if TYPE_CHECKING:
    from actorflow.store.backend import Backend
    from actorflow.testing.faulty import Fault

MOST = 200
HARMLESS: list[Fault] = [fault for fault in FAULTS if fault != "short write"]
"""What leaves the store as the contract of backends promises it."""


async def sweep(fault: Fault, *, persistent: bool) -> int:
    """Let the 1st call fail, then the 2nd ... until no fault fires; how many did."""
    for nth in range(1, MOST):
        with pytest.MonkeyPatch.context() as patch:
            fired, bucket, heard = await play(fault, nth, persistent=persistent, patch=patch)
        await check_afterwards(bucket, heard)
        if not fired:
            return nth - 1
    raise AssertionError(f"after {MOST} calls there is still one that fails")


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("fault", HARMLESS)
async def test_whichever_call_fails_nothing_acknowledged_is_lost(fault: Fault, persistent: bool) -> None:
    """A result or a typed error each time; and with the fault gone the run comes to its end."""
    assert await sweep(fault, persistent=persistent) >= 5


async def test_damage_that_a_bad_backend_leaves_is_found_and_not_built_on() -> None:
    """Half an object under a commit's name: the error names it, nothing is written after it, what came before stays."""
    named: list[str] = []
    lost: list[int] = []
    for nth in range(1, MOST):
        with pytest.MonkeyPatch.context() as patch:
            fired, bucket, heard = await play("short write", nth, persistent=False, patch=patch)
        if not fired:
            break
        try:
            await check_afterwards(bucket, heard)
        except (CorruptCheckpoint, ForeignStore) as error:
            named.append(error.path)
            lost += [seq for seq in heard if not readable(bucket, seq)]

    assert len(named) >= 5
    assert all(path.endswith((".ckpt", "actorflow.json")) for path in named)
    assert lost == []


def readable(bucket: Backend, seq: int) -> bool:
    """Whether that commit of run x is whole."""
    log = open_store(bucket, readonly=True).log("x")
    assert isinstance(log, ObjectLog)
    return bool(log.chain.frames(seq))


async def test_a_failure_taken_for_a_success_is_found() -> None:
    """Planted: a put that failed counts as done."""

    def optimistic(backend: Backend, key: str, data: bytes) -> bool:
        try:
            return backend.put_new(key, data)
        except StoreError:
            return True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_log, "putting_or_settling", in_steps(optimistic))

        with pytest.raises((AssertionError, CorruptCheckpoint)):
            await sweep("unavailable", persistent=False)


async def test_an_own_object_taken_for_anothers_is_found() -> None:
    """Planted: who gets no reply does not read back, and takes its own commit for a claim that fences it."""

    def hasty(backend: Backend, key: str, data: bytes) -> bool:
        try:
            return backend.put_new(key, data)
        except StoreError:
            return backend.put_new(key, data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_log, "putting_or_settling", in_steps(hasty))
        _, bucket, heard = await play("lost reply", 10_000, persistent=False, patch=patch)
        whole = len(heard)
        _, bucket, heard = await play("lost reply", 6, persistent=False, patch=patch)

    assert len(heard) < whole
    await check_afterwards(bucket, heard)
