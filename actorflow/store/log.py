"""The log of one run: what every kind of log promises, and the rules of claiming that they share.

A claim is a commit, so fencing needs no clock (guarantee 3): find the owner
gone, *then* read to the end, then take the next number exclusively. What was
read before the owner was found gone counts for nothing.
"""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from msgspec import Struct

from actorflow.errors import RunOwned, StoreUnavailable
from actorflow.store.backend import whole
from actorflow.store.frames import FilePart, Header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from actorflow.store.backend import Steps
    from actorflow.store.frames import Draft, Frame, Owner
    from actorflow.store.liveness import Incarnation
    from actorflow.store.ownership import Ownership
    from actorflow.store.retention import Freed, Snapshot
    from actorflow.store.stubs import Stub
    from actorflow.store.verify import Finding

_CLAIM_ATTEMPTS = 50


class Tip(Struct, frozen=True, kw_only=True):
    """The newest commit of a run, without its body."""

    header: Header
    file: FilePart
    digest: bytes
    path: str
    start: int = 0  # where it is in that file
    end: int = 0


def tip_of(frame: Frame) -> Tip:
    """The tip that a run has when ``frame`` is its newest."""
    start, end = frame.offset, frame.offset + frame.size
    return Tip(header=frame.header, file=frame.file, digest=frame.digest, path=frame.path, start=start, end=end)


class RunLog(ABC):
    """The commits of one run, in order. Thread-safe; calls block."""

    appends = False
    """Whether a file of this log takes more than one commit."""

    number_fences = False
    """Whether an owner that was wrongly found gone can't commit beside a claim, since both need the same number.

    Otherwise nothing that was read before its owner was found gone may be built on.
    """

    def __init__(self, run_id: str, encoded: str, *, incarnation: Incarnation) -> None:
        self.run_id = run_id
        self.encoded = encoded
        self._incarnation = incarnation

    @abstractmethod
    def tip(self, *, known: Tip | None = None) -> Tip | None:
        """The newest commit, verified; None: there is no such run.

        Args:
            known: What an earlier call said: only what was committed since is read, and if that is nothing,
                it is not looked again whether this one is still as it was.

        Raises:
            CorruptCheckpoint: there is one, and it can't be read.
        """

    @abstractmethod
    def read(self, *, first: int | None = None, tip: Tip | None = None) -> list[Frame]:
        """The verified chain, ascending, to the newest commit; empty if there is no such run.

        Args:
            first: The number to start at; by default the newest snapshot. If retention let go of that
                commit, it starts at the oldest one that is kept; so 0 is the whole history that there is.
            tip: The newest commit, if the caller has just read it: saves looking for it again.

        Raises:
            CorruptCheckpoint: a commit in that range is damaged or missing.
        """

    def backwards(self, *, keyless: bool = False) -> Iterator[list[Frame]]:
        """The chain of this life from its newest commit back, piece by piece, each verified when it is asked for.

        A piece is ascending. Retention may let go of what has not been read yet: then it ends there.

        Args:
            keyless: Only headers are wanted: see `read_frames`.

        Raises:
            CorruptCheckpoint: the next piece is damaged or missing. What came before it was whole.
        """
        life: int | None = None
        for frames in self._backwards(keyless=keyless):
            life = frames[-1].file.life if life is None else life
            ours = [frame for frame in frames if frame.file.life == life]
            if ours:
                yield ours
            if len(ours) < len(frames):
                return

    @abstractmethod
    def page(self, first: int) -> list[Frame]:
        """The next commits of the chain from ``first`` on, ascending: as many as are read at once.

        Where retention let go of that one, from the oldest that is kept on; empty if ``first`` is yet to come. Of
        all lives; each page is verified in itself and against the commit after it.

        Raises:
            CorruptCheckpoint: one of them is damaged or missing.
        """

    def stubs(self) -> Iterator[Stub]:
        """What is left of files that retention let go of, newest first; of all lives. Nothing on an object log."""
        yield from ()

    @abstractmethod
    def snapshots(self, tip: Tip) -> Iterator[Snapshot]:
        """The snapshots of the run, the newest first, each with the commit before it."""

    @abstractmethod
    def let_go(self, below: int, *, dry_run: bool = False) -> Freed:
        """Let go of every commit below a snapshot of this chain. Idempotent; needs no claim, and harms no owner.

        Args:
            below: The number of a snapshot, at most the newest one's.
            dry_run: Only say what would become of it.
        """

    @abstractmethod
    def inspect(self) -> list[Finding]:
        """What is odd about the files although `read` can do without: torn tails, strays, damaged originals."""

    def is_owned(self, header: Header) -> bool | None:
        """Whether the writer of the newest commit still owns the run; None: it can't be known from here."""
        if header.kind == "release":
            return False
        dead = self._incarnation.is_dead(header.owner, self.encoded)
        return None if dead is None else not dead

    def claim(self, draft_for: Callable[[Tip | None], Draft], *, actor: bytes) -> Ownership:
        """Become the owner of the run, or its creator.

        Args:
            draft_for: Makes the claim from the newest commit (None: the run is
                new). It is called after the owner was found gone, and again
                if somebody was faster. What it raises ends the claim, with nothing written.
            actor: The nonce of the actor that will own it.

        Raises:
            RunOwned: somebody owns it who lives, or may live.
        """
        return whole(self.claiming(draft_for, actor=actor))

    def claiming(
        self, draft_for: Callable[[Tip | None], Draft], *, actor: bytes, new: bool = False
    ) -> Steps[Ownership]:
        """`claim` in steps.

        ``new``: the caller has just looked, and there was no such run; no need to look again, since commit 0 never
        goes away, and so its number is free only while there is none.
        """
        if not self._incarnation.hold(self.encoded):
            raise self._owned(self._incarnation.owner(actor), here=True)
        try:
            with self._incarnation.working():
                self._incarnation.take()
                return (yield from self._claim(draft_for, self._incarnation.owner(actor), new=new))
        except BaseException:
            self._incarnation.drop(self.encoded)
            raise

    def _claim(self, draft_for: Callable[[Tip | None], Draft], owner: Owner, *, new: bool) -> Steps[Ownership]:
        for attempt in range(_CLAIM_ATTEMPTS):
            tip = None if new and attempt == 0 else self._unowned_tip()
            draft = draft_for(tip)
            _check_claim(draft, tip)
            ownership = yield from self._publish(tip, draft, owner)
            if ownership is not None:
                return ownership
            time.sleep(random.uniform(0, min(0.001 * 2**attempt, 0.1)))
        raise StoreUnavailable(self._incarnation.url, f"run {self.run_id!r} was claimed by others again and again")

    def _unowned_tip(self) -> Tip | None:
        """The newest commit as it stands after its owner was found gone."""
        gone = self._incarnation.gone  # as of now: who is found gone only after we have read may have committed since
        while True:
            tip = self.tip()
            if tip is None or tip.header.kind == "release":
                return tip
            owner = tip.header.owner
            if owner.incarnation == self._incarnation.name:
                return tip  # an actor of this store that has left: no other can hold the run while we do
            if owner.incarnation in gone:
                return tip
            owned = self.is_owned(tip.header)
            if owned is not False:
                raise self._owned(owner, here=owned is True)
            if self.number_fences:
                return tip
            gone |= {owner.incarnation}

    def _owned(self, owner: Owner, *, here: bool) -> RunOwned:
        return RunOwned(self.run_id, owner.host, owner.pid, here=here)

    @abstractmethod
    def _backwards(self, *, keyless: bool) -> Iterator[list[Frame]]:
        """`backwards`, through all lives."""

    @abstractmethod
    def _publish(self, tip: Tip | None, draft: Draft, owner: Owner) -> Steps[Ownership | None]:
        """Take the number after ``tip``, and nothing less will do; None: somebody else has it."""


def part_of(tip: Tip | None, draft: Draft) -> FilePart:
    """The file part of a claim: that of the run so far, unless a new life of its id begins."""
    return draft.file if tip is None or draft.file.life > tip.file.life else tip.file


def of_one_life(frames: list[Frame]) -> list[Frame]:
    """The frames of the life that the last one belongs to."""
    return [frame for frame in frames if frame.file.life == frames[-1].file.life]


def _check_claim(draft: Draft, tip: Tip | None) -> None:
    epoch = 1 if tip is None else tip.header.epoch + 1
    if draft.kind != "claim" or draft.epoch != epoch:
        raise ValueError(f"this claim must be of kind 'claim' and epoch {epoch}, not {draft.kind!r} and {draft.epoch}")
    if tip is not None and draft.snapshot and part_of(tip, draft) != draft.file:
        raise ValueError("a claim continues the run's file part; a snapshot under another one is the next commit")
