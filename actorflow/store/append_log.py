"""The append log: commits appended to one file per claim or snapshot, on local disks with working locks.

Fencing is the kernel's: nobody claims while the owner's process lock is held,
so a commit is one append and one fdatasync. A new file begins only with a
claim, a snapshot, another file part, or where a sync failed.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from actorflow.store.append_ownership import AppendOwnership, creating_file, inode_of
from actorflow.store.backend import Missing
from actorflow.store.chain import FileChain
from actorflow.store.faults import translated
from actorflow.store.framing import encode_file, encode_frame, is_frame
from actorflow.store.keys import log_prefix
from actorflow.store.log import RunLog, of_one_life, part_of, tip_of
from actorflow.store.ownership import NONCE, make_header
from actorflow.store.pruning import shrink_files, snapshots_of_files
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.transfer import IMPORTING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from actorflow.store.backend import Steps
    from actorflow.store.files import OpenFiles
    from actorflow.store.frames import Draft, Frame, Owner
    from actorflow.store.liveness import LocalIncarnation
    from actorflow.store.local import LocalBackend
    from actorflow.store.log import Tip
    from actorflow.store.ownership import Ownership
    from actorflow.store.retention import Freed, Snapshot
    from actorflow.store.stubs import Stub
    from actorflow.store.verify import Finding


class AppendLog(RunLog):
    """One run in a local folder."""

    appends = True

    def __init__(
        self,
        run_id: str,
        encoded: str,
        *,
        store: bytes,
        backend: LocalBackend,
        incarnation: LocalIncarnation,
        files: OpenFiles,
        sealing: Sealing = PLAIN,
    ) -> None:
        super().__init__(run_id, encoded, incarnation=incarnation)
        self._backend = backend
        self._local = incarnation
        self._files = files
        self._sealing = sealing
        self._chain = FileChain(backend, log_prefix(encoded), run_id=run_id, store=store, sealing=sealing)

    def tip(self, *, known: Tip | None = None) -> Tip | None:
        """The last frame of the newest file."""
        if known is not None and (later := self._chain.follow(known)) is not None:
            return later
        _, frames = self._chain.newest(keyless=True)
        return tip_of(frames[-1]) if frames else None

    def read(self, *, first: int | None = None, tip: Tip | None = None) -> list[Frame]:
        """The frames that count, from as few files as hold them."""
        return of_one_life(self._chain.read(first, tip))

    def page(self, first: int) -> list[Frame]:
        """The rest of the file that holds it."""
        return self._chain.page(first)

    def stubs(self) -> Iterator[Stub]:
        """One for each file that was let go of."""
        return self._chain.stubs()

    def snapshots(self, tip: Tip) -> Iterator[Snapshot]:
        """Each begins a file."""
        return snapshots_of_files(self._chain, tip)

    def let_go(self, below: int, *, dry_run: bool = False) -> Freed:
        """Make stubs of the files below."""
        return shrink_files(self._chain, below, dry_run=dry_run)

    def inspect(self) -> list[Finding]:
        """File by file."""
        return self._chain.inspect()

    def _backwards(self, *, keyless: bool) -> Iterator[list[Frame]]:
        return self._chain.backwards(keyless=keyless)

    def _publish(self, tip: Tip | None, draft: Draft, owner: Owner) -> Steps[Ownership | None]:
        part = part_of(tip, draft)
        copy = b""
        if tip is not None:
            newest = self._newest(tip)
            if newest is None:
                return None
            if part is tip.file:
                # Byte for byte: its owner may have died without its sync, and then it is durable nowhere else. (But
                # for a tombstone, on which a new life begins: it has a file of its own, synced before it had its name.)
                copy = newest
            self._local.sweep()
        file, file_digest = encode_file(part)
        seq = 0 if tip is None else tip.header.seq + 1
        header = make_header(
            draft,
            seq=seq,
            owner=owner,
            nonce=os.urandom(NONCE),
            parent=b"" if tip is None else tip.digest,
            snapshot=seq if tip is None or draft.snapshot else tip.header.snapshot,
            file=file_digest,
        )
        key = self._chain.key(seq)
        frame, digest = encode_frame(header, draft.body, path=self._backend.path(key), file=file, sealing=self._sealing)
        fd = yield from creating_file(self._backend, key, copy + frame, stage="claim")
        if fd is None:
            return None
        inode = inode_of(fd)
        self._files.keep(key, fd)
        return AppendOwnership(
            chain=self._chain,
            backend=self._backend,
            files=self._files,
            key=key,
            size=len(copy) + len(frame),
            inode=inode,
            encoded=self.encoded,
            incarnation=self._local,
            header=header,
            digest=digest,
            file=part,
            sealing=self._sealing,
        )

    def _newest(self, tip: Tip) -> bytes | None:
        """The frame that a claim is built on, as durable as the claim will be; None: it is not there any more.

        Nobody looks whether it is the newest still. Its owner is gone, or has released the run, so only a claim can
        follow; and a claim takes the next number, whose name never comes free: linking ours will tell.
        """
        with translated(tip.path):
            try:
                fd = self._backend.open(self._chain.key(self._chain.first_of(tip)), os.O_RDONLY)
            except Missing:
                return None
            try:
                newest = os.pread(fd, tip.end - tip.start, tip.start)
                if not is_frame(newest, tip.digest):
                    return None
                self._secure(fd, tip)
                return newest
            finally:
                os.close(fd)

    def _secure(self, fd: int, tip: Tip) -> None:
        self._backend.fdatasync(fd)
        if tip.header.seq > self._chain.first_of(tip) and tip.header.status != IMPORTING:
            # Nobody appends to a file before its name lasts. (A copy from elsewhere is put as a whole.)
            self._backend.note_lasting(self._chain.prefix)
        else:
            self._backend.sync_folder(self._chain.prefix)  # `creating` sees to those above
