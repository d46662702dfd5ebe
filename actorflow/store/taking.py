"""Taking: which messages of its inbox a run takes next, read and judged; no more bytes at once than are wanted.

A part of `inbox`, which lists, and of which the run then deletes what it has taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from actorflow.errors import (
    ActorflowError,
    CorruptMessage,
    MissingExtra,
    MissingKey,
    NotSealed,
    UnsupportedFormat,
    WindowFull,
)
from actorflow.store.backend import Missing
from actorflow.store.lanes import Marks, Taking, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from actorflow.store.callers import Limits, Window
    from actorflow.store.keys import Letter
    from actorflow.store.messages import Message

UNREADABLE_HERE = (MissingKey, MissingExtra, NotSealed, UnsupportedFormat)
"""Why a message that is whole can't be read by this process: another one may."""


class Batch(NamedTuple):
    """What a run takes next, and what it commits together with it."""

    messages: tuple[Message, ...]
    marks: Marks
    window: Window
    deletable: tuple[Letter, ...]  # at once: an earlier commit holds what they did, or they are kept as dead letters
    taken: tuple[Letter, ...]  # deletable when marks and window are committed
    held: dict[Letter, ActorflowError]  # left as they are, with those behind them: not readable here, or no room
    cut: bool = False  # there are more, and these are as many bytes as were wanted


class Bury(Protocol):
    """See `Inbox.bury`."""

    def __call__(self, letter: Letter, *, reason: str, detail: str, now: float) -> None:
        """Make a dead letter of a message."""
        ...


class Taker:
    """One look at the inbox of a run. See `Inbox.take`."""

    def __init__(
        self,
        run_id: str,
        *,
        read: Callable[[Letter], Message],
        bury: Bury,
        now: float,
        limit: int | None,
        size: int | None,
        limits: Limits | None,
    ) -> None:
        """Begin with nothing. The arguments are those of `Inbox.take`, and how a message is read and buried."""
        self.held: dict[Letter, ActorflowError] = {}
        self.cut = False
        self._run_id = run_id
        self._read = read
        self._bury = bury
        self._now = now
        self._limit = limit
        self._size = size
        self._limits = limits

    def lanes(self, letters: list[Letter], marks: Marks) -> tuple[list[Message], Taking]:
        """What is taken of lanes, and what is to be done about all that stands in them."""
        read: dict[Letter, Message | CorruptMessage] = {}
        there: set[Letter] = set(letters)
        taking, size = take(marks, there, limit=self._limit), 0
        while unread := [letter for letter in taking.taken if letter not in read]:
            for letter in unread:
                if letter not in there:
                    continue
                if self._is_enough(size):
                    there = {one for one in there if one in read or not _is_ahead(marks, one)}
                    break
                try:
                    read[letter] = message = self._read(letter)
                    size += len(message.body)
                except CorruptMessage as error:
                    read[letter] = error
                except Missing:
                    there = _without(there, letter)
                except UNREADABLE_HERE as error:
                    self.held[letter] = error
                    there = _without(there, letter)
            taking = take(marks, there, limit=self._limit)
        messages: list[Message] = []
        for letter in taking.taken:
            found = read[letter]
            if isinstance(found, CorruptMessage):
                # Before the mark passes it: behind the mark, its file would be free to go.
                self._bury(letter, reason="damaged", detail=found.reason, now=self._now)
            else:
                messages.append(found)
        for letter in taking.dead:
            mark = marks.of(letter.sender)
            detail = f"generation {mark.generation} is taken up to {mark.number}; this may have been taken before that"
            self._bury(letter, reason="older generation", detail=detail, now=self._now)
        return messages, taking

    def callers(self, letters: list[Letter], window: Window) -> tuple[list[Message], Window, list[Letter]]:
        """What is taken of callers, the window then, and whose files may go at once."""
        called = sorted((letter for letter in letters if letter.from_caller), key=lambda letter: letter.number)
        present = {letter.sender for letter in called}
        messages: list[Message] = []
        done: list[Letter] = []
        full: WindowFull | None = None
        size = 0
        for letter in called:
            if self._limit is not None and len(messages) >= self._limit:
                break
            if full is not None and letter.sender not in window.ids:
                self.held[letter] = full
                continue
            if self._is_enough(size):
                break
            try:
                message = self._read(letter)
                verdict = window.verdict(letter.sender, message.content)
                if verdict == "new":
                    window = window.admitting(
                        letter.sender,
                        message.content,
                        run_id=self._run_id,
                        now=self._now,
                        present=present,
                        limits=self._limits,
                    )
                    messages.append(message)
                    size += len(message.body)
                    continue
            except Missing:
                continue
            except CorruptMessage as error:
                self._bury(letter, reason="damaged", detail=error.reason, now=self._now)
            except WindowFull as error:
                self.held[letter] = full = error
                continue
            except UNREADABLE_HERE as error:
                self.held[letter] = error
                continue
            else:
                if verdict == "conflict":
                    detail = f"id {message.caller!r} was used before for another content"
                    self._bury(letter, reason="conflict", detail=detail, now=self._now)
            done.append(letter)
        return messages, window, done

    def _is_enough(self, size: int) -> bool:
        """Whether no more is to be read, although there is more."""
        enough = self._size is not None and size >= self._size
        self.cut = self.cut or enough
        return enough


def _is_ahead(marks: Marks, letter: Letter) -> bool:
    return (letter.generation, letter.number) > marks.of(letter.sender)


def _without(letters: set[Letter], stop: Letter) -> set[Letter]:
    """What is left when a lane ends before this message: a newer generation must not overtake it either."""
    return {letter for letter in letters if letter.sender != stop.sender or letter < stop}
