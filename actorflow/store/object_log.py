"""The object log: one object per commit, for any backend that creates exclusively."""

from __future__ import annotations

import os
import random
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from actorflow.errors import (
    CommitUnknown,
    Fenced,
    StoreDenied,
    StoreError,
    StoreFull,
)
from actorflow.store.backend import Backend, Missing, Steps, whole
from actorflow.store.framing import encode_file, encode_frame
from actorflow.store.log import RunLog, of_one_life, part_of
from actorflow.store.merging import MERGE_AT, Recent, merge
from actorflow.store.object_chain import ObjectChain
from actorflow.store.object_names import is_ours
from actorflow.store.ownership import NONCE, Ownership, State, make_header
from actorflow.store.pruning import let_go_of_objects, snapshots_of_objects
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.verify import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.frames import Draft, FilePart, Frame, Header, Owner
    from actorflow.store.liveness import Incarnation
    from actorflow.store.log import Tip
    from actorflow.store.retention import Freed, Snapshot

_RESEND = 6

_BRIEF = 64 * 1024  # bytes of a body: what has more takes long to compress and to seal

SNAPSHOT_EVERY = 64
"""Commits, each an object to be read again, after which a snapshot is due here whatever they weigh."""


class ObjectLog(RunLog):
    """One run over a `Backend` whose listings ascend."""

    number_fences = True

    def __init__(
        self,
        run_id: str,
        encoded: str,
        *,
        store: bytes,
        backend: Backend,
        incarnation: Incarnation,
        sealing: Sealing = PLAIN,
    ) -> None:
        super().__init__(run_id, encoded, incarnation=incarnation)
        self._backend = backend
        self._sealing = sealing
        self.chain = ObjectChain(backend, encoded, run_id=run_id, store=store, sealing=sealing)

    def tip(self, *, known: Tip | None = None) -> Tip | None:
        """The commit with the highest number."""
        return self.chain.newest(known)

    def read(self, *, first: int | None = None, tip: Tip | None = None) -> list[Frame]:
        """Back from the newest commit, by parent digests."""
        return of_one_life(self.chain.read(first, tip if first is None else None))

    def page(self, first: int) -> list[Frame]:
        """What some objects hold."""
        return self.chain.page(first)

    def snapshots(self, tip: Tip) -> Iterator[Snapshot]:
        """From the newest one on, each found in the header of the commit before the one after it."""
        return snapshots_of_objects(self.chain, tip)

    def let_go(self, below: int, *, dry_run: bool = False) -> Freed:
        """Put the floor, then free numbers and delete merged files below it."""
        return let_go_of_objects(self.chain, below, dry_run=dry_run)

    def inspect(self) -> list[Finding]:
        """Objects that are no checkpoints: whatever else may be odd, `read` refuses."""
        names = [key for key in self._backend.list(self.chain.prefix) if not is_ours(key)]
        return [Finding(path=name, what="a file that is no checkpoint", remedy="remove it") for name in names]

    def _backwards(self, *, keyless: bool) -> Iterator[list[Frame]]:
        return self.chain.backwards(keyless=keyless)

    def _publish(self, tip: Tip | None, draft: Draft, owner: Owner) -> Steps[Ownership | None]:
        part = part_of(tip, draft)
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
        data, digest = encode_frame(header, draft.body, path=self.key(seq), file=file, sealing=self._sealing)
        yield None
        if not put_or_settle(self._backend, self.key(seq), data):
            return None
        if seq > 0 and not self._is_newest(seq):  # number 0 never comes free: whoever takes it is the first
            return None
        ownership = ObjectOwnership(
            self,
            self._backend,
            incarnation=self._incarnation,
            header=header,
            digest=digest,
            file=part,
            sealing=self._sealing,
        )
        ownership.recent.add(seq, data)
        return ownership

    def key(self, seq: int) -> str:
        """The key of that commit."""
        return self.chain.key(seq)

    def _is_newest(self, seq: int) -> bool:
        """The second listing: a claim that took a number which retention had freed is a stray below the chain."""
        return self.chain.names().loose[-1:] == (seq,)  # a listing that lags shows nothing of it: no proof either


class ObjectOwnership(Ownership):
    """Owns the next number."""

    __slots__ = ("_backend", "_log", "_sealing", "_unmerged", "recent")

    snapshot_every = SNAPSHOT_EVERY

    def __init__(
        self,
        log: ObjectLog,
        backend: Backend,
        *,
        incarnation: Incarnation,
        header: Header,
        digest: bytes,
        file: FilePart,
        sealing: Sealing,
    ) -> None:
        super().__init__(encoded=log.encoded, incarnation=incarnation, header=header, digest=digest, file=file)
        self._log = log
        self._sealing = sealing
        self._backend = backend
        self.recent = Recent()
        # The first number that is not merged; who takes a run over does not know it, and looks at the next snapshot.
        self._unmerged = header.snapshot + 1 - MERGE_AT if header.seq else 0

    @property
    def path(self) -> str:
        """The key of the newest commit."""
        return self._log.key(self.header.seq)

    def load(self) -> list[Frame]:
        """Read back what is there."""
        return self._log.read()

    def tidying(self) -> Callable[[], None] | None:
        """Merging, once a snapshot has left many small objects behind it."""
        snapshot = self.header.snapshot
        if snapshot - self._unmerged < MERGE_AT:
            return None
        self._unmerged = snapshot
        return partial(self._merge, snapshot)

    def _merge(self, snapshot: int) -> None:
        recent = self.recent.take(snapshot)
        with self._incarnation.working(), suppress(Missing):  # somebody was faster: retention, or a merger of before
            merge(self._log.chain, snapshot, recent=recent)

    def _put(self, draft: Draft) -> Steps[tuple[Header, bytes]]:
        file, file_digest = encode_file(draft.file)
        header = self._header(draft, file_digest)
        key = self._log.key(header.seq)
        if len(draft.body) > _BRIEF:
            yield None
        data, digest = encode_frame(header, draft.body, path=key, file=file, sealing=self._sealing)
        self._state = State.UNKNOWN
        try:
            ours = yield from putting_or_settling(self._backend, key, data)
        except (StoreDenied, StoreFull):
            self._state = State.OPEN  # refused outright: nothing took effect
            raise
        if not ours:
            self._state = State.FENCED
            raise Fenced(key, State.FENCED.value)
        self._file = draft.file
        self.recent.add(header.seq, data)
        return header, digest

    def _let_go(self) -> None:
        pass


def put_or_settle(backend: Backend, key: str, data: bytes) -> bool:
    """`put_new`, to a certain outcome: ours (True) or another's (False).

    A failed put may have taken effect, and a backend that tries again by
    itself may report our own object as a conflict. So the object is read
    back: the nonce in it makes our bytes like no other's.

    Raises:
        StoreDenied: the store refused it, and nothing was sent before: it took no effect.
        StoreFull: likewise.
        CommitUnknown: it stayed unclear, however often the same bytes were sent.
    """
    return whole(putting_or_settling(backend, key, data))


def putting_or_settling(backend: Backend, key: str, data: bytes) -> Steps[bool]:
    """`put_or_settle` in steps; for many at once."""
    failure: StoreError | None = None
    for attempt in range(_RESEND):
        try:
            taken = not (yield from backend.putting_new(key, data))
        except (StoreDenied, StoreFull) as error:
            if attempt == 0:
                raise
            failure = error  # what was sent before may be there, or still arrive
        except StoreError as error:
            failure = error
        else:
            if not taken:
                return True
        yield None
        try:
            return backend.get(key) == data
        except Missing:
            pass  # not there yet; or taken a moment ago, and gone
        except StoreError as error:
            failure = error
        time.sleep(random.uniform(0, 0.01 * 2**attempt))
    raise CommitUnknown(
        key, f"it stayed unclear whether this commit took effect: {failure or 'its number was taken and gone'}"
    ) from failure
