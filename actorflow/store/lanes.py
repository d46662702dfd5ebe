"""Lanes: which messages a run takes next, so that each changes its state once, for ever (guarantee 5).

A **lane** is what one sender sends to one run, numbered from 1 without gaps.
A sender puts number n only when n - 1 is known to be kept, and the receiver
takes only the number after its **mark**, the last one it has taken. Marks are
part of the run's state: the commit that holds what a message did holds its
mark too. They outlive the message's file, a rewind and the deletion of the
run; so it does not matter how late, or how often, a file comes or goes.

A sender that lost count begins a new **generation**, from 1. Before the
receiver follows it, it takes what is contiguous in the old one. What then is
left there, or comes later, is a dead letter *before* its file is deleted.

Pure: names in, decisions out. `inbox` does the reading and writing. What
stands in no lane, because no run sent it, is for `callers`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec import Struct, msgpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.store.keys import Letter


class Mark(NamedTuple):
    """The last number taken from a lane, and the generation it was of."""

    generation: int = 1
    number: int = 0


class Marks(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The marks of a run by sender (their encoded ids). Part of the run's state; that of a child goes with it."""

    lanes: dict[str, Mark] = {}

    def of(self, sender: str) -> Mark:
        """The mark of a lane; of one that nothing was taken from, the mark before its first message."""
        return self.lanes.get(sender, _FIRST)

    def expects(self, letter: Letter) -> bool:
        """Whether this is the one to take next: the number after the mark, or the first of a later generation."""
        return _follows(self.of(letter.sender), letter)

    def passed(self, letter: Letter) -> Marks:
        """The marks when this message is taken, or set aside under its number.

        Raises:
            ValueError: another one comes first.
        """
        if not self.expects(letter):
            mark = self.of(letter.sender)
            raise ValueError(
                f"message {letter.number} of generation {letter.generation} from {letter.sender} can't be taken "
                f"after message {mark.number} of generation {mark.generation}"
            )
        return Marks({**self.lanes, letter.sender: Mark(letter.generation, letter.number)})

    def digest(self) -> bytes:
        """BLAKE2b-256 of all marks: equal marks, equal digest."""
        return hashlib.blake2b(_encode(self), digest_size=32, person=b"actorflow-1").digest()


class Taking(NamedTuple):
    """What to do about the messages that are there."""

    taken: tuple[Letter, ...]  # in this order; each lane's are in order
    marks: Marks  # when they are taken; to be committed together with what they do
    dead: tuple[Letter, ...]  # of an older generation than the mark's: to be kept as dead letters, then deleted
    deletable: tuple[Letter, ...]  # behind their mark: a commit holds what they did


def take(marks: Marks, listing: Iterable[Letter], *, limit: int | None = None) -> Taking:
    """Decide about all messages of one run that a listing shows.

    ``marks`` are those of the newest commit: only what a commit holds sets a
    file free. So what a switch to a newer generation leaves behind becomes
    dead with the next taking, when the switch itself is committed.

    Lanes get their turns in rotation; a busy sender does not keep another waiting.

    Args:
        marks: as committed.
        listing: letters in any order; those from callers are passed over. It must have been begun when all that
            are `switching` in it had been seen.
        limit: take at most so many. What was cut off is taken next time.
    """
    waiting: list[tuple[int, Letter]] = []
    dead: list[Letter] = []
    deletable: list[Letter] = []
    reached: dict[str, tuple[Mark, int]] = {}
    for letter in sorted(set(listing)):
        if letter.from_caller:
            continue
        committed = marks.of(letter.sender)
        if letter.generation < committed.generation:
            dead.append(letter)
            continue
        if letter.generation == committed.generation and letter.number <= committed.number:
            deletable.append(letter)
            continue
        mark, turn = reached.get(letter.sender, (committed, 0))
        if _follows(mark, letter):
            waiting.append((turn, letter))
            reached[letter.sender] = Mark(letter.generation, letter.number), turn + 1
    taken = tuple(letter for _, letter in sorted(waiting)[:limit])
    lanes = {letter.sender: Mark(letter.generation, letter.number) for letter in taken}
    return Taking(taken, Marks({**marks.lanes, **lanes}) if lanes else marks, tuple(dead), tuple(deletable))


def switching(marks: Marks, listing: Iterable[Letter]) -> frozenset[Letter]:
    """The first messages of newer generations: a lane may go on with them only after a second listing.

    A listing is not of one moment: it may have passed the place of an older
    message before that was put, and still show a newer generation that was
    begun after it. Then the older one would be left behind although it was
    kept. A listing that was begun when the newer generation was there shows it.
    """
    return frozenset(
        letter
        for letter in listing
        if letter.number == 1 and not letter.from_caller and letter.generation > marks.of(letter.sender).generation
    )


def past(marks: Marks, listing: Iterable[Letter]) -> Marks:
    """The marks of a run that is deleted with all messages that are there: they count as taken, up to the last.

    Who sent them was told that they are kept, and goes on with the number after them. Were they deleted and not
    passed, the next life of the id would wait for them for ever.
    """
    lanes = dict(marks.lanes)
    for letter in listing:
        if not letter.from_caller:
            lanes[letter.sender] = max(lanes.get(letter.sender, _FIRST), Mark(letter.generation, letter.number))
    return Marks(lanes)


def header_marks(marks: Marks, left: Iterable[Letter] = ()) -> bytes:
    """What a commit's header says of the marks, so that nobody reads a body to see that there is nothing new.

    Lanes by a hash of their sender, and the numbers of messages from callers
    that were done with when the commit was made, but not deleted. Where that
    is over 12 KiB, only a digest: then a sleeper is woken to look for itself.
    """
    lanes = sorted((_hashed(sender), *mark) for sender, mark in marks.lanes.items())
    said = _encode((lanes, sorted(letter.number for letter in left if letter.from_caller)))
    return said if len(said) <= _MOST_SAID else _encode(marks.digest())


def news(said: bytes, listing: Iterable[Letter]) -> bool:
    """Whether a run whose newest header says this must be woken for what is there: if in doubt, yes.

    Not for what it has taken already, however long that stays undeleted or
    whenever it comes back; not for numbers that wait for the one before them;
    nor for what is of an older generation: dead letters are in no hurry.
    """
    letters = list(listing)
    if not letters:
        return False
    if (stated := _stated(said)) is None:
        return True
    marks, callers = stated
    for letter in letters:
        if letter.from_caller:
            if letter.number not in callers:
                return True
            continue
        mark = marks.get(_hashed(letter.sender), _FIRST)
        if _follows(mark, letter):
            return True
    return False


def passed(said: bytes, listing: Iterable[Letter]) -> list[Letter]:
    """Those of its lanes that a run whose newest header says this will never take: if in doubt, none."""
    if (stated := _stated(said)) is None:
        return []
    marks, _ = stated
    return [
        letter
        for letter in listing
        if not letter.from_caller and (letter.generation, letter.number) <= marks.get(_hashed(letter.sender), _FIRST)
    ]


_FIRST = Mark()
_MOST_SAID = 12 * 1024
_Lane = tuple[bytes, int, int]

_encode = msgpack.Encoder(order="deterministic").encode
# Made here and not at its first use, by two threads at once: msgspec would crash the process.
_decode_said = msgpack.Decoder(bytes | tuple[list[_Lane], list[int]]).decode


def _stated(said: bytes) -> tuple[dict[bytes, Mark], set[int]] | None:
    """The marks by a hash of their sender, and the numbers from callers, in a header; None: it only has a digest."""
    try:
        stated = _decode_said(said)
    except msgspec.MsgspecError:
        return None
    if isinstance(stated, bytes):
        return None
    lanes, left = stated
    return {sender: Mark(generation, number) for sender, generation, number in lanes}, set(left)


def _follows(mark: Mark, letter: Letter) -> bool:
    if letter.generation == mark.generation:
        return letter.number == mark.number + 1
    return letter.generation > mark.generation and letter.number == 1


def _hashed(sender: str) -> bytes:
    return hashlib.blake2b(sender.encode(), digest_size=16).digest()
