"""Upkeep: what a runtime does to the runs of its store from outside: checks, repairs, moves, clears away."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from actorflow.errors import BadStoreUrl
from actorflow.runtime.archive import Archived, archive_run
from actorflow.runtime.care import Collected, collect
from actorflow.runtime.claiming import check_graph, nodes_to_start, preview_run
from actorflow.runtime.dryrun import Verdict, dry_run
from actorflow.runtime.inspection import verify_store
from actorflow.runtime.letting_go import cancel_and_delete, set_apart
from actorflow.runtime.opened import OpenRuntime
from actorflow.runtime.options import check_texts
from actorflow.runtime.rekeying import Rekeyed, rekey_run, rekey_store
from actorflow.runtime.repair import repair_run
from actorflow.runtime.transfer import export_run, import_run
from actorflow.store.backend import Backend
from actorflow.store.store import open_store

if TYPE_CHECKING:
    from collections.abc import Mapping

    from actorflow.graph.graph import Graph
    from actorflow.store.retention import Retention
    from actorflow.store.sealing import Sealing
    from actorflow.store.verify import Finding


class Upkeep(OpenRuntime):
    """The verbs of a runtime that look after a store."""

    async def preview(self, graph: Graph[Any], id: str) -> tuple[str, ...]:
        """The nodes that `resume` would start, were this graph to go on with the run; it is read and left as it is.

        Ask before a deployment what the new code would do with the runs there are.

        Raises:
            NoSuchRun, CorruptCheckpoint, GraphError
            WrongGraph: it is a run of another graph.
            Blocked: this code can't run it; the message says why.
        """
        _ = graph.plan
        lives = self._open()
        tip = await lives.tip(id)
        log = lives.store.log(id)
        check_graph(graph, log, tip)
        preview = await lives.in_store(lambda: preview_run(lives.store, graph, log, tip, self._limits))
        return nodes_to_start(graph, preview)

    async def dry_run(self, graph: Graph[Any], *, ended: bool = False) -> list[Verdict]:
        """What this graph could do with each of its unfinished runs; they are read and left as they are.

        Ask before a deployment: it tells for each run whether it would load,
        from which version it would migrate, and which nodes would start.

        Args:
            graph: the code that is to be deployed.
            ended: also ask of runs that have ended, which a resume may reopen.

        Raises:
            GraphError: the graph can't run.
        """
        _ = graph.plan
        lives = self._open()
        return await lives.in_store(lambda: dry_run(lives.store, graph, self._limits, ended=ended))

    async def verify(self, id: str | None = None, *, repair: bool = False) -> list[Finding]:
        """What is wrong or odd about a run, or about the whole store; every finding says what to do.

        Every commit and every large value is read. With ``repair`` the index
        that leads to runs is put right from their commits, and what the dead
        have left is taken away; damage is never repaired by this: see `repair`.

        Raises:
            NoSuchRun: with ids that look alike.
        """
        lives = self._writable() if repair else self._open()
        return await lives.in_store(lambda: verify_store(lives.store, id, repair=repair))

    async def repair(self, id: str, *, skip: str, by: str | None = None) -> int:
        """Let a run whose files are damaged go on from its last commit before the damage; the number of a new commit.

        What was committed after that is given up, acknowledged or not: a copy
        of the file from a backup is the better remedy. The damaged file stays.

        Args:
            id: which run.
            skip: the digest of the damaged file, as `verify` shows it: so nobody gives up what they have not seen.
            by: who decided; kept in the history.

        Raises:
            NoSuchRun: with ids that look alike.
            RunError: nothing keeps the run from being read, or ``skip`` names something else.
            RunOwned: a live actor owns it.
        """
        lives = self._writable()
        return await lives.in_store(lambda: repair_run(lives.store, id, skip=skip, by=by))

    # -- other stores -------------------------------------------------------------------

    async def export(
        self,
        id: str,
        to: str | os.PathLike[str] | Backend,
        *,
        history: bool = True,
        move: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        sealing: Sealing | None = None,
    ) -> int:
        """Copy a run, as of its newest commit, into another store; the number of the commit that ends the copy.

        The copy is a run like any other there: whoever opens that store can go
        on with it. So can the owner of this one, unless it is moved. A copy
        that was cut off is finished by the same call.

        Args:
            id: which run.
            to: the other store; it is made if it is not there.
            history: all commits that are kept, or else those from the newest snapshot, numbered from 0.
            move: claim the run first and end it here, as cancelled, once all is copied. One that has ended is only
                copied.
            storage_options: of the other store.
            sealing: of the other store.

        Raises:
            NoSuchRun: with ids that look alike.
            RunExists: the id is taken in the other store.
            RunOwned: it is to be moved, and a live actor owns it.
            CorruptCheckpoint: it is damaged; nothing was written.
        """
        lives = self._writable() if move else self._open()
        other = partial(open_store, to, storage_options=storage_options, sealing=sealing)
        return await lives.in_store(lambda: export_run(lives.store, id, other, history=history, move=move))

    async def import_run(
        self,
        id: str,
        source: str | os.PathLike[str] | Backend,
        *,
        history: bool = True,
        move: bool = False,
        storage_options: Mapping[str, Any] | None = None,
        sealing: Sealing | None = None,
    ) -> int:
        """`export`, from the other end: copy a run of another store into this one."""
        lives = self._writable()
        other = partial(open_store, source, storage_options=storage_options, sealing=sealing, readonly=not move)
        return await lives.in_store(lambda: import_run(lives.store, id, other, history=history, move=move))

    async def archive(
        self,
        id: str,
        to: str | os.PathLike[str] | Backend | None = None,
        *,
        storage_options: Mapping[str, Any] | None = None,
        sealing: Sealing | None = None,
        by: str | None = None,
    ) -> Archived:
        """Take a run out of this store, whole, into one for what is over; where it is, and all its checkpoints.

        There it is called ``<id>@<life>``, and its id is free here for a next
        life (``spawn(..., reuse=True)``). It is copied, history and large values
        and all, read back, and then deleted. One that lives here ends what runs
        just now and is let go of first. An archiving that was cut off is finished
        by the same call.

        The archive is a store like any other: open it with a `Runtime` to look,
        `import_run` brings a run back, and whoever resumes one there goes on with it.

        Args:
            id: which run. It need not be over.
            to: the archive; made if it is not there. By default the folder ``archive`` of this store.
            storage_options: of the archive; for the default those of this store.
            sealing: of the archive; by default that of this store.
            by: who asked for it; kept in the tombstone.

        Raises:
            NoSuchRun: with ids that look alike.
            RunDeleted: it was deleted, and not by archiving it there.
            RunOwned: a live actor in another process owns it.
            BadStoreUrl: this store has no folders of its own; say where ``to``.
            ChildNotBegun: as for `delete`.
            CorruptCheckpoint: it is damaged: nothing was deleted.
        """
        if by is not None:
            check_texts("by", [by])
        lives = self._writable()
        opening = partial(
            open_store,
            self._archive() if to is None else to,
            storage_options=self._storage_options if to is None else storage_options,
            sealing=lives.store.sealing if sealing is None else sealing,
        )
        return await set_apart(lives, id, lambda: archive_run(lives.store, id, opening, by=by))

    def _archive(self) -> str:
        """Where the archive of this store is."""
        url = "" if isinstance(self._store, Backend) else os.fspath(self._store)
        if not url or url == "memory://":
            raise BadStoreUrl(url or str(self._store), "it has no folder for an archive; say archive(to=...)")
        return f"{url.rstrip('/')}/archive"

    async def rekey(self, id: str | None = None) -> Rekeyed:
        """Write a run, or every run of the store, anew under the key and in the mode that this runtime writes in.

        From then on nobody needs the old key to go on with these runs. What was
        committed before stays as it was, readable with the old key, until `gc`
        lets go of it. Runs that a live actor owns are left as they are, and named.

        Args:
            id: which run; by default all.

        Raises:
            NoSuchRun: with ids that look alike.
            RunOwned: a live actor owns this one.
            MissingKey, NotSealed: this one can't be read; nothing was written.
        """
        lives = self._writable()
        if id is None:
            return await lives.in_store(lambda: rekey_store(lives.store))
        await lives.in_store(lambda: rekey_run(lives.store, id))
        return Rekeyed((id,), (), {})

    async def gc(self, policy: Retention, *, dry_run: bool = False) -> Collected:
        """Let go of old commits, and of runs that ended long ago; what was done.

        Safe at any moment, from any process, whoever runs or claims the runs
        meanwhile. What is kept of a run can be read from its first commit on, and
        a run goes on as if nothing had happened. Runs that can't be read are left
        as they are, and named.

        Args:
            policy: what to keep.
            dry_run: only say what would be done.
        """
        lives = self._open() if dry_run else self._writable()
        return await lives.in_store(lambda: collect(lives.store, policy, set(lives), dry_run=dry_run))

    async def delete(self, id: str, *, by: str | None = None) -> None:
        """Delete a run: its state, history, large values and messages. Deleting a deleted run finishes the deletion.

        A run that lives here is cancelled first. The id stays taken: a tombstone
        keeps what a later life must go on from, so that nothing late (a stalled
        process, a message) is taken for a part of it.

        Raises:
            NoSuchRun: with ids that look alike.
            RunOwned: a live actor in another process owns it.
            ChildNotBegun: it has spawned another run, which has to begin first, and can't in this process.
            CorruptCheckpoint: it is damaged: nothing is written after a damaged commit.
        """
        if by is not None:
            check_texts("by", [by])
        await cancel_and_delete(self._writable(), id, by=by)
