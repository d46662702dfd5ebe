"""Sweeps: one scenario, again and again, in which the first call fails, then the second, until none is left."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import anyio

from actorflow import RestartPolicy, Runtime
from actorflow.errors import ActorflowError
from actorflow.store.log import RunLog
from actorflow.store.memory import MemoryBackend
from actorflow.store.ownership import Ownership
from actorflow.store.store import open_store
from actorflow.store.verify import verify_run
from actorflow.testing.faulty import FaultyBackend
from tests.runtime.graphs import Trail, counter

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import pytest

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.frames import Draft
    from actorflow.store.log import Tip
    from actorflow.testing.faulty import Fault

UNTIL = 4
Acknowledged = dict[int, bytes]


def listen(patch: pytest.MonkeyPatch) -> Acknowledged:
    """Number and nonce of each commit that the store acknowledges from now on."""
    heard: Acknowledged = {}
    committing, claiming = Ownership.committing, RunLog.claiming

    def told_commit(owned: Ownership, draft: Draft) -> Steps[None]:
        yield from committing(owned, draft)
        heard[owned.header.seq] = owned.header.nonce

    def told_claim(
        log: RunLog, draft_for: Callable[[Tip | None], Draft], *, actor: bytes, new: bool = False
    ) -> Steps[Ownership]:
        owned = yield from claiming(log, draft_for, actor=actor, new=new)
        heard[owned.header.seq] = owned.header.nonce
        return owned

    patch.setattr(Ownership, "committing", told_commit)
    patch.setattr(RunLog, "claiming", told_claim)
    return heard


async def scenario(backend: Backend) -> list[BaseException]:
    """Begin a run, leave it on its way, and take it up in another runtime; what was raised on the way."""
    raised: list[BaseException] = []
    for body in (_begin_and_leave, _go_on):
        try:
            policy = RestartPolicy(max_outage=0.0)  # a store that fails for good is not waited for
            async with Runtime(
                backend, drain="park", graphs=[counter(UNTIL)], recover="never", restarts=policy
            ) as runtime:
                await body(runtime)
        except* Exception as errors:  # noqa: BLE001 - untyped ones are what is looked for
            raised += _leaves(errors)
    return raised


async def _begin_and_leave(runtime: Runtime) -> None:
    await runtime.spawn(counter(UNTIL), Trail(), id="x", on_conflict="attach")
    await anyio.lowlevel.checkpoint()


async def _go_on(runtime: Runtime) -> None:
    await runtime.recover()
    await runtime.run(counter(UNTIL), Trail(), id="x")


def _leaves(group: BaseExceptionGroup[Any]) -> list[BaseException]:
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]


async def play(
    fault: Fault, nth: int, *, persistent: bool, patch: pytest.MonkeyPatch
) -> tuple[int, Backend, Acknowledged]:
    """The scenario with that fault: how often it fired, what is in the store then, and what it had acknowledged."""
    bucket = MemoryBackend()
    backend = FaultyBackend(bucket, fault, nth=nth, persistent=persistent, seconds=0.0)
    patch.setattr(time, "sleep", lambda seconds: None)  # jitter between attempts, of which there are many here
    heard = listen(patch)

    raised = await scenario(backend)

    untyped = [error for error in raised if not isinstance(error, ActorflowError)]
    assert untyped == []
    return backend.fired, bucket, heard


async def check_afterwards(bucket: Backend, heard: Acknowledged) -> None:
    """With the fault gone the run comes to its end, and has every commit that was acknowledged."""
    bucket.delete(bucket.list("hosts/"))  # as after a lease: who failed to release the run is dead
    async with Runtime(bucket) as runtime:
        result = await runtime.run(counter(UNTIL), Trail(), id="x")

    assert result.n == UNTIL
    log = open_store(bucket, readonly=True).log("x")
    kept = {frame.header.seq: frame.header.nonce for frame in log.read(first=0)}
    assert {seq: kept.get(seq) for seq in heard} == heard
    assert not any(finding.broken for finding in verify_run(log))
