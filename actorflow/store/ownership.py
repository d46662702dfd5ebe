"""Ownership: the right to commit to one run, from its claim until it is closed."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

from actorflow.errors import CommitUnknown, Fenced
from actorflow.store.backend import whole
from actorflow.store.frames import Header

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft, FilePart, Frame, Owner
    from actorflow.store.liveness import Incarnation


NONCE = 16  # bytes


class State(Enum):
    """Whether an owner may commit, and if not, why."""

    OPEN = "it may"
    UNKNOWN = "it is unclear whether a commit took effect; close, and claim the run anew"
    FENCED = "another owner claimed this run; whether the last commit took effect before is unknown"
    RELEASED = "this owner released the run"
    CLOSED = "this owner has left the run"


class Ownership(ABC):
    """One commit at a time, from any thread. After `Fenced` or `CommitUnknown`: close, and claim anew."""

    __slots__ = (
        "_busy",
        "_digest",
        "_encoded",
        "_file",
        "_incarnation",
        "_leaving",
        "_mutex",
        "_nonce",
        "_state",
        "alone",
        "header",
    )  # there may be thousands

    snapshot_every: int | None = None
    """Commits after which a snapshot is due on this log, whatever they weigh; None: only their weight counts."""

    def __init__(
        self,
        *,
        encoded: str,
        incarnation: Incarnation,
        header: Header,
        digest: bytes,
        file: FilePart,
    ) -> None:
        self.header = header
        self._encoded = encoded
        self._incarnation = incarnation
        self._digest = digest
        self._file = file
        self._state = State.OPEN
        # Counted from the claim's, which is random: to ask the kernel for each would let go of the interpreter.
        self._nonce = int.from_bytes(header.nonce[1:])
        self._mutex = threading.Lock()
        self._busy = False
        self._leaving = False
        self.alone = False  # the next commits go to the disk by themselves: no use in starting a write before its sync

    @property
    def file(self) -> FilePart:
        """What the file of the newest commit says of the run."""
        return self._file

    @property
    def closed(self) -> bool:
        """Whether this owner has left."""
        return self._leaving

    @property
    @abstractmethod
    def path(self) -> str:
        """The file of the newest commit."""

    @abstractmethod
    def load(self) -> list[Frame]:
        """The verified chain from the newest snapshot to the newest commit, the claim included."""

    def commit(self, draft: Draft) -> Header:
        """Commit ``draft`` as the next number. When this returns, it survives power loss.

        Raises:
            Fenced: another owner claimed the run.
            CommitUnknown: it stayed unclear whether it took effect.
            StoreFull: no room. After this or another `StoreError` nothing was committed; it may be tried again.
            CommitTooLarge: nothing was written.
        """
        whole(self.committing(draft))
        return self.header

    def committing(self, draft: Draft) -> Steps[None]:
        """`commit` in steps. It is done, and durable, when there is none left; stop between two and it is unknown."""
        if draft.kind == "claim" or draft.epoch != self.header.epoch:
            raise ValueError(f"the owner of epoch {self.header.epoch} can't commit a {draft.kind} of {draft.epoch}")
        with self._incarnation.working():
            self._enter()
            try:
                self.header, self._digest = yield from self._put(draft)
                # Others may claim as soon as they see a release, so nothing may follow it.
                self._state = State.RELEASED if draft.kind == "release" else State.OPEN
            finally:
                self._leave()

    def tidying(self) -> Callable[[], None] | None:
        """What would make the log smaller just now without losing anything; None: nothing.

        It blocks, and is to be called once, beside commits. What it raises is a
        `StoreError`: then it did not work out, and the next one may.
        """
        return None

    def close(self) -> None:
        """Leave the run: this process may claim it again at once, others when they see its release.

        A commit that is still being written ends first. Idempotent.
        """
        with self._mutex:
            if self._leaving:
                return
            self._leaving = True
            if not self._busy:
                self._depart()

    @abstractmethod
    def _put(self, draft: Draft) -> Steps[tuple[Header, bytes]]:
        """Make the next frame durable; its header and digest.

        Sets the state to UNKNOWN before anything can take effect, and back to
        OPEN where it is certain that nothing did.
        """

    @abstractmethod
    def _let_go(self) -> None:
        """Give back what is held open."""

    def _header(self, draft: Draft, file_digest: bytes) -> Header:
        seq = self.header.seq + 1
        self._nonce += 1
        return make_header(
            draft,
            seq=seq,
            owner=self.header.owner,
            nonce=self._nonce.to_bytes(NONCE),
            parent=self._digest,
            snapshot=seq if draft.snapshot else self.header.snapshot,
            file=file_digest,
        )

    def _enter(self) -> None:
        with self._mutex:
            if self._busy:
                raise RuntimeError("one commit at a time")
            state = State.CLOSED if self._leaving else self._state
            if state is State.UNKNOWN:
                raise CommitUnknown(self.path, state.value)
            if state is not State.OPEN:
                raise Fenced(self.path, state.value)
            self._busy = True

    def _leave(self) -> None:
        with self._mutex:
            self._busy = False
            if self._leaving:
                self._depart()

    def _depart(self) -> None:
        self._let_go()
        self._incarnation.drop(self._encoded)


def make_header(
    draft: Draft, *, seq: int, owner: Owner, nonce: bytes, parent: bytes, snapshot: int, file: bytes
) -> Header:
    """The header of a draft at its place in the chain; its writer knows it again by the nonce, which no other has."""
    return Header(
        kind=draft.kind,
        seq=seq,
        epoch=draft.epoch,
        nonce=nonce,
        owner=owner,
        crashes=draft.crashes,
        opening=draft.opening,
        status=draft.status,
        due=draft.due,
        marks=draft.marks,
        node=draft.node,
        parent=parent,
        snapshot=snapshot,
        file=file,
        time=time.time(),
        tags=draft.tags,
        raw=len(draft.body),
    )
