"""Blobs, as a model: files beside a run's log that its commits refer to; only the log says which are needed.

The log is reduced to its newest commit: its number, the epoch of its owner, the
blob that the run's one field holds, and all blobs that the commits from the
newest snapshot on refer to. A commit is the put-if-absent of the next number. All
values are equal, so a **name** is the epoch, the writer and its count.

What happens (everybody may stop for ever between any two steps):

- Claim: read the newest commit, take the next number with epoch + 1. A claim that
  is to hold a large value puts that before, in the epoch that it hopes for.
- Commit: put a new blob and wait for the reply, or take one that may be referred
  to; then commit the reference, perhaps with a snapshot. The reply to a commit
  comes later than its effect.
- Sweep: send the deletion of every blob of its own or an earlier epoch that no
  commit since the newest snapshot refers to, as far as this owner knows. One who
  was fenced does not know it yet, and sweeps like any owner.

A PUT or DELETE that was ever sent may arrive at any time, and again.

What must hold: all that the newest commit needs is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, kw_only=True)
class Rules:
    """The protocol's rules. The defaults are the protocol; each other value is a mistake."""

    blob_before_commit: bool = True
    refers_to_loaded: bool = True  # False: to any blob that is there, of whatever epoch
    snapshot_forgets: bool = True  # False: to all that it ever loaded or put
    names_epoch: bool = True  # False: the same names in every epoch
    counts_its_own: bool = True  # False: all who hope for an epoch count from 0
    counts_on: bool = True  # False: a name that was deleted is used again
    owner_sweeps: bool = True  # False: so does whoever has read the newest commit
    sweeps_idle: bool = True  # False: also while a blob or a commit is being written
    sweeps_own_or_earlier: bool = True  # False: also later epochs


class Commit(NamedTuple):
    """The newest commit."""

    number: int = -1
    epoch: int = 0
    held: int = 0  # the blob in the state, as a bit
    needed: int = 0  # all that the commits from the newest snapshot on refer to


class Writer(NamedTuple):
    """One who wants to own the run, or does, or believes so."""

    phase: str
    last: Commit = Commit()  # its own, or the one that it builds on
    known: int = 0  # the blobs that it may refer to
    count: int = 0  # of the blobs it made
    blob: int = 0  # the one that it is about to refer to
    looks: int = 0  # how often it may still begin


class State(NamedTuple):
    """The newest commit, the blobs (as bits), every PUT and DELETE ever sent, the writers."""

    newest: Commit
    there: int
    puts: int
    deletes: int
    writers: tuple[Writer, ...]


class Blobs:
    """The model, bounded by the commits of the run and the blobs that each owner makes."""

    def __init__(self, rules: Rules, *, writers: int, numbers: int, blobs: int, looks: int = 1) -> None:
        self.rules = rules
        self.writers = writers
        self.numbers = numbers
        self.blobs = blobs
        self.looks = looks

    def initial(self) -> State:
        return State(Commit(), 0, 0, 0, (Writer("fresh", looks=self.looks),) * self.writers)

    def violation(self, state: State) -> str | None:
        if state.newest.needed & ~state.there:
            return "a commit refers to a blob that is not there"
        return None

    def steps(self, state: State) -> Iterator[tuple[str, State]]:
        for bit in _bits(state.puts & ~state.there):
            yield f"the PUT of {self._say(bit)} arrives", state._replace(there=state.there | bit)
        for bit in _bits(state.deletes & state.there):
            yield f"the DELETE of {self._say(bit)} arrives", state._replace(there=state.there & ~bit)
        for index, writer in enumerate(state.writers):
            if index and state.writers[index - 1].phase == "fresh":
                break  # writers are alike: they begin in order
            for action, reached in self._writer(state, index, writer):
                yield f"writer {index} {action}", reached

    # -- names ------------------------------------------------------------------

    def _name(self, epoch: int, index: int, count: int) -> int:
        """The name of this writer's next blob, as a bit."""
        epoch = epoch - 1 if self.rules.names_epoch else 0
        index = index if self.rules.counts_its_own else 0
        return 1 << (epoch * self.writers + index) * self.blobs + count

    def _epoch(self, bit: int) -> int:
        return (bit.bit_length() - 1) // (self.blobs * self.writers) + 1

    def _say(self, bit: int) -> str:
        number = bit.bit_length() - 1
        return f"blob {self._epoch(bit)}.{number % (self.blobs * self.writers)}"

    # -- a writer ---------------------------------------------------------------

    def _writer(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Everything that this writer can do next."""
        match writer.phase:
            case "fresh" | "looking" if writer.looks and state.newest.number + 1 < self.numbers:
                loaded = Writer("claiming", state.newest, state.newest.needed, writer.count, 0, writer.looks - 1)
                yield f"reads commit {state.newest.number}", _with(state, index, loaded)
                yield from self._make(state, index, loaded, state.newest.epoch + 1, "claiming")
            case "claiming" if not writer.blob or writer.blob & state.there:
                yield self._claim(state, index, writer)
            case "owning" if writer.last.number + 1 < self.numbers:
                yield from self._refer(state, index, writer)
            case "committing" if writer.blob & state.there or not self.rules.blob_before_commit:
                yield from self._commit(state, index, writer)
            case "unanswered":
                yield "hears that it committed", _with(state, index, writer._replace(phase="owning"))
            case _:
                pass
        yield from self._sweep(state, index, writer)

    def _make(self, state: State, index: int, writer: Writer, epoch: int, phase: str) -> Iterator[tuple[str, State]]:
        """Send the PUT of a new blob."""
        if writer.count >= self.blobs and self.rules.counts_on:
            return
        bit = self._name(epoch, index, writer.count % self.blobs)
        made = writer._replace(phase=phase, blob=bit, count=writer.count + 1)
        sent = state.puts if phase == "committing" and not self.rules.blob_before_commit else state.puts | bit
        yield f"makes {self._say(bit)}", _with(state._replace(puts=sent), index, made)

    def _claim(self, state: State, index: int, writer: Writer) -> tuple[str, State]:
        last = writer.last
        if state.newest.number != last.number:
            again = Writer("looking", count=writer.count, looks=writer.looks)
            return "finds its number taken", _with(state, index, again)
        claim = Commit(last.number + 1, last.epoch + 1, writer.blob or last.held, last.needed | writer.blob)
        owning = writer._replace(phase="owning", last=claim, known=writer.known | writer.blob, blob=0)
        return f"claims number {claim.number}", _with(state._replace(newest=claim), index, owning)

    def _refer(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Choose what the next commit refers to."""
        for bit in _bits(writer.known if self.rules.refers_to_loaded else writer.known | state.there):
            chosen = writer._replace(phase="committing", blob=bit)
            yield f"will refer to {self._say(bit)}", _with(state, index, chosen)
        yield from self._make(state, index, writer, writer.last.epoch, "committing")

    def _commit(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        last, blob = writer.last, writer.blob
        if state.newest.number != last.number:
            yield "is fenced", _with(state, index, writer._replace(phase="fenced"))
            return
        after = state._replace(puts=state.puts | blob)
        for snapshot in (False, True):
            # a snapshot is the run before the records of its commit
            needed = (last.held if snapshot else last.needed) | blob
            commit = Commit(last.number + 1, last.epoch, blob, needed)
            forgets = snapshot and self.rules.snapshot_forgets
            known = needed if forgets else writer.known | blob
            committed = writer._replace(phase="unanswered", last=commit, known=known, blob=0)
            with_snapshot = ", with a snapshot" if snapshot else ""
            action = f"commits number {commit.number} with {self._say(blob)}{with_snapshot}"
            yield action, _with(after._replace(newest=commit), index, committed)

    def _sweep(self, state: State, index: int, writer: Writer) -> Iterator[tuple[str, State]]:
        """Send the deletions of what nobody needs, as far as this one knows."""
        allowed = writer.phase == "owning"
        allowed |= not self.rules.sweeps_idle and writer.phase in {"committing", "unanswered"}
        allowed |= not self.rules.owner_sweeps and writer.phase == "claiming"
        if not allowed:
            return
        limit = writer.last.epoch if self.rules.sweeps_own_or_earlier else self.numbers
        unneeded = [bit for bit in _bits(state.there & ~writer.last.needed) if self._epoch(bit) <= limit]
        if gone := sum(unneeded) & ~state.deletes:
            yield "sweeps", state._replace(deletes=state.deletes | gone)


def _bits(bits: int) -> Iterator[int]:
    while bits:
        bit = bits & -bits
        yield bit
        bits ^= bit


def _with(state: State, index: int, writer: Writer) -> State:
    """The state with this writer in place of the one that was there."""
    return state._replace(writers=(*state.writers[:index], writer, *state.writers[index + 1 :]))
