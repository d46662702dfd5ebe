"""Access: the store as those who live in a process reach it, without standing still for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from actorflow.errors import NoSuchRun
from actorflow.runtime.claiming import check_there, near_ids
from actorflow.runtime.conversion import MustMigrate
from actorflow.store.backend import whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.runtime.committer import Committer
    from actorflow.store.backend import Steps
    from actorflow.store.log import Tip
    from actorflow.store.store import Store

T = TypeVar("T")

FILES_OF_A_CLAIM = 4
"""Descriptors that beginning or claiming a run keeps open between two steps: its folders, the marker or the file."""


class StoreAccess:
    """Work of the store in worker threads, and what the store knows of a run."""

    def __init__(self, store: Store, committer: Committer, *, batches: Committer) -> None:
        self.store = store
        self._committer = committer
        self._batches = batches

    async def in_store(self, work: Callable[[], T]) -> T:
        """Blocking work of the store in a worker thread; not interrupted by a cancellation."""
        outcome: list[T] = []
        await self._committer.call(lambda: outcome.append(work()))
        return outcome[0]

    async def in_steps(self, steps: Steps[T]) -> T:
        """Brief work of the store that many runs may have at once; not interrupted by a cancellation."""
        return await self._committer.share(steps, files=FILES_OF_A_CLAIM)

    async def in_batches(self, steps: Callable[..., Steps[T]]) -> T:
        """As `in_steps`, but for what takes longer than commits: it shares hops with its like.

        What has to be migrated first has a thread of its own: a user's code may hang, and then nobody else waits.

        Args:
            steps: takes ``may_migrate``, and raises `MustMigrate` where it would have to and may not.
        """
        alone = self._batches.apart
        try:
            return await self._batches.share(steps(may_migrate=alone), files=FILES_OF_A_CLAIM)
        except MustMigrate:
            return await self.in_store(lambda: whole(steps(may_migrate=True)))

    async def find(self, run_id: str) -> Tip | None:
        """The newest commit of a run; None: there is no such run."""
        return await self.in_store(lambda: self.store.log(run_id).tip())

    async def tip(self, run_id: str) -> Tip:
        """The newest commit of a run.

        Raises:
            NoSuchRun: with ids that look alike.
            RunDeleted: it was deleted.
        """
        tip = await self.find(run_id)
        if tip is None:
            raise await self.unknown(run_id)
        check_there(tip)
        return tip

    async def unknown(self, run_id: str) -> NoSuchRun:
        """The error for an id that nobody knows, with those that look alike."""
        return NoSuchRun(run_id, await self.in_store(lambda: near_ids(self.store, run_id)))
