"""Letting go: a run is ended, deleted or set apart at somebody's wish, wherever it is: here, or with nobody."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from actorflow.engine.events import Stop
from actorflow.engine.records import ENDED
from actorflow.errors import ChildNotBegun
from actorflow.runtime.claiming import EndedMeanwhile, end_unowned
from actorflow.runtime.deletion import delete_run
from actorflow.runtime.large import Joiner
from actorflow.runtime.replay import reading, replay

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.runtime.lives import Lives

T = TypeVar("T")


async def stop_run(lives: Lives, run_id: str, stop: Stop) -> str:
    """End a run in this status, here or unowned in the store; the status it has then.

    Raises:
        NoSuchRun, RunOwned
        StoreError: this could not be recorded.
    """
    life = lives.get(run_id)
    if life is not None:
        life.stop(stop)
        await life.done.wait()
        if life.error is not None:
            raise life.error
    status = (await lives.tip(run_id)).header.status
    if status not in ENDED:  # nobody has it, or it was being let go of just now
        async with lives.claimants.one(run_id):
            if lives.get(run_id) is None:
                with suppress(EndedMeanwhile):
                    ended = await lives.in_store(lambda: end_unowned(lives.store, run_id, stop.status, stop.by))
                    lives.dispatcher.told(ended, tuple(ended.mail.outbox), over=True)
        return await stop_run(lives, run_id, stop)
    return status


async def cancel_and_delete(lives: Lives, run_id: str, *, by: str | None) -> None:
    """Delete a run, having cancelled it first if it lives here, or has yet to begin others.

    Raises:
        NoSuchRun, RunOwned, ChildNotBegun, CorruptCheckpoint, StoreError
    """
    if (life := lives.get(run_id)) is not None:
        life.stop(Stop("cancelled", by))
        await life.done.wait()
    try:
        await _delete(lives, run_id, by)
    except ChildNotBegun:
        await stop_run(lives, run_id, Stop("cancelled", by))
        await _carry_out(lives, run_id)
        await _delete(lives, run_id, by)
    lives.blocked.lift(run_id)


async def _delete(lives: Lives, run_id: str, by: str | None) -> None:
    async with lives.claimants.one(run_id):
        await lives.in_store(lambda: delete_run(lives.store, run_id, by=by))


async def _carry_out(lives: Lives, run_id: str) -> None:
    """Let others have what a run has sent that is over, as far as that is possible here and now."""
    store, log = lives.store, lives.store.log(run_id)
    _, run = await lives.in_store(lambda: reading(log, lambda frames: replay(frames, Joiner(store.blobs(run_id)))))
    lives.dispatcher.told(run, tuple(run.mail.outbox), over=True)
    await lives.dispatcher.tried(run_id)


async def set_apart(lives: Lives, run_id: str, work: Callable[[], T]) -> T:
    """Work of the store on a run that is let go of here first: what runs of it ends, and nothing begins.

    Raises:
        StoreError: it could not be let go of.
    """
    async with lives.claimants.one(run_id):
        if (life := lives.get(run_id)) is not None:
            life.park()
            await life.done.wait()
            if life.error is not None:
                raise life.error
        return await lives.in_store(work)
