"""The object log: one object per commit, for any backend that creates exclusively."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

from actorflow.errors import (
    CommitUnknown,
    CorruptCheckpoint,
    Fenced,
    StoreDenied,
    StoreError,
    StoreFull,
    StoreUnavailable,
)
from actorflow.store.backend import Backend, Missing, Steps
from actorflow.store.framing import encode_file, encode_frame, read_frames
from actorflow.store.keys import checkpoint_name, checkpoint_seq, log_prefix
from actorflow.store.log import RunLog, tip_of
from actorflow.store.ownership import NONCE, Ownership, State, make_header
from actorflow.store.sealing import PLAIN, Sealing
from actorflow.store.verify import Finding

if TYPE_CHECKING:
    from actorflow.store.frames import Draft, FilePart, Frame, Header, Owner
    from actorflow.store.liveness import Incarnation
    from actorflow.store.log import Tip

_RELIST = 20
_RESEND = 6


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
        self._store = store
        self._sealing = sealing
        self._prefix = log_prefix(encoded)

    def tip(self) -> Tip | None:
        """The commit with the highest number."""
        for _ in range(_RELIST):
            numbers = self._numbers()
            if not numbers:
                return None
            try:
                return tip_of(self._frame(numbers[-1], keyless=True))
            except Missing:
                continue
        raise self._vanishing()

    def read(self, *, first: int | None = None) -> list[Frame]:
        """Back from the newest commit, by parent digests."""
        for _ in range(_RELIST):
            numbers = self._numbers()
            if not numbers:
                return []
            try:
                newest = self._frame(numbers[-1])
                return self._back_from(newest, newest.header.snapshot if first is None else first)
            except Missing:
                continue
        raise self._vanishing()

    def inspect(self) -> list[Finding]:
        """Objects that are no checkpoints: whatever else may be odd, `read` refuses."""
        names = [key for key in self._backend.list(self._prefix) if checkpoint_seq(key.rpartition("/")[2]) is None]
        return [Finding(path=name, what="a file that is no checkpoint", remedy="remove it") for name in names]

    def _publish(self, tip: Tip | None, draft: Draft, owner: Owner) -> Steps[Ownership | None]:
        part = draft.file if tip is None else tip.file
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
        yield
        if not put_or_settle(self._backend, self.key(seq), data):
            return None
        if not self._is_newest(seq):
            return None
        return ObjectOwnership(
            self,
            self._backend,
            incarnation=self._incarnation,
            header=header,
            digest=digest,
            file=part,
            sealing=self._sealing,
        )

    def key(self, seq: int) -> str:
        """The key of that commit."""
        return self._prefix + checkpoint_name(seq)

    def _is_newest(self, seq: int) -> bool:
        """The second listing: a claim that took a number which retention had freed is a stray below the chain."""
        return self._numbers()[-1] == seq

    def _numbers(self) -> list[int]:
        names = (checkpoint_seq(key.rpartition("/")[2]) for key in self._backend.list(self._prefix))
        return [number for number in names if number is not None]

    def _frame(self, seq: int, *, keyless: bool = False) -> Frame:
        key = self.key(seq)
        data = self._backend.get(key)
        frames, tail = read_frames(
            data,
            key,
            first=seq,
            run_id=self.run_id,
            store=self._store,
            sealing=self._sealing,
            keyless=keyless,
        )
        if tail.torn or len(frames) != 1:
            raise CorruptCheckpoint(key, "it holds more than one frame")
        return frames[0]

    def _back_from(self, newest: Frame, first: int) -> list[Frame]:
        chain = [newest]
        while (head := chain[-1].header).seq > first:
            before = self._frame(head.seq - 1)
            if before.digest != head.parent:
                raise CorruptCheckpoint(before.path, f"commit {head.seq} was not built on it")
            chain.append(before)
        return chain[::-1]

    def _vanishing(self) -> StoreUnavailable:
        return StoreUnavailable(self._prefix, "commits were listed, but are not there when read")


class ObjectOwnership(Ownership):
    """Owns the next number."""

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

    @property
    def path(self) -> str:
        """The key of the newest commit."""
        return self._log.key(self.header.seq)

    def load(self) -> list[Frame]:
        """Read back what is there."""
        return self._log.read()

    def _put(self, draft: Draft) -> Steps[tuple[Header, bytes]]:
        file, file_digest = encode_file(draft.file)
        header = self._header(draft, file_digest)
        key = self._log.key(header.seq)
        data, digest = encode_frame(header, draft.body, path=key, file=file, sealing=self._sealing)
        yield
        self._state = State.UNKNOWN
        try:
            ours = put_or_settle(self._backend, key, data)
        except (StoreDenied, StoreFull):
            self._state = State.OPEN  # refused outright: nothing took effect
            raise
        if not ours:
            self._state = State.FENCED
            raise Fenced(key, State.FENCED.value)
        self._file = draft.file
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
    failure: StoreError | None = None
    for attempt in range(_RESEND):
        try:
            taken = not backend.put_new(key, data)
        except (StoreDenied, StoreFull) as error:
            if attempt == 0:
                raise
            failure = error  # what was sent before may be there, or still arrive
        except StoreError as error:
            failure = error
        else:
            if not taken:
                return True
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
