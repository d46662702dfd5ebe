"""The inbox: messages from elsewhere, each a file of its own until the run has taken it.

One listing finds what is undelivered in the whole store. What a listing shows
is never trusted to be new: the marks and the window of the run decide, and
they are committed together with what a message did. Then its file may go, late
or never, and may even come back.

The order of writes, for whoever takes: `Inbox.take` (dead letters are kept
before it returns) → commit marks, window and what the messages did → replies →
`Inbox.delete`. Whoever dies in between, the next one takes from where the
commit says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from actorflow.errors import CorruptMessage, IdempotencyConflict
from actorflow.store.backend import Missing, whole
from actorflow.store.dead_letters import DeadLetters
from actorflow.store.keys import INBOX, Letter, encode_id, inbox_key, inbox_prefix, parse_letter
from actorflow.store.lanes import Marks, switching
from actorflow.store.messages import Message, encode_message, read_message
from actorflow.store.object_log import putting_or_settling
from actorflow.store.sealing import PLAIN
from actorflow.store.taking import UNREADABLE_HERE, Batch, Taker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from actorflow.store.backend import Backend, Steps
    from actorflow.store.callers import Limits, Window
    from actorflow.store.sealing import Sealing

_READS = 3


class Inbox:
    """The inboxes of all runs of a store. Thread-safe; calls block."""

    def __init__(self, backend: Backend, *, store: bytes, sealing: Sealing = PLAIN) -> None:
        self._backend = backend
        self._store = store
        self._sealing = sealing
        self.dead_letters = DeadLetters(backend, store=store)

    # -- sending ----------------------------------------------------------------

    def send(self, message: Message) -> None:
        """Keep a message for its run, durably; it is taken later. Sent again, it is still one message.

        A run sends number n only when n - 1 has been sent. A caller's id is
        compared with what is still here; with what was taken, when it is taken.

        Raises:
            IdempotencyConflict: another message was sent under this id or number.
            CorruptMessage: one was sent under this number, and is damaged. It will be a dead letter.
            CommitUnknown: it stayed unclear whether it is kept. Send the same message again.
            MessageTooLarge: nothing was sent.
        """
        whole(self.sending(message))

    def sending(self, message: Message, *, there: Iterable[Letter] | None = None) -> Steps[None]:
        """`send` in steps; for many at once.

        Args:
            message: as above.
            there: what `letters` has shown since somebody wanted this message sent; none of it matters if nobody
                else has its id. By default it is asked.
        """
        letter = message.letter
        key = inbox_key(letter)
        data = encode_message(message, store=self._store, path=key, sealing=self._sealing)
        if letter.from_caller:
            there = self.letters(message.run_id) if there is None else there
            if self._is_there(message, there):
                return
        if not (yield from putting_or_settling(self._backend, key, data)):
            self._is_kept(letter, message)

    def dispatch(self, messages: Iterable[Message]) -> None:
        """Send one after the other, as a lane needs it: the first that fails is the last that is tried."""
        for message in messages:
            self.send(message)

    def _is_there(self, message: Message, there: Iterable[Letter]) -> bool:
        """Whether a caller's message is here already. What can't be read decides nothing: the receiver will."""
        sender = message.letter.sender
        for other in there:
            if other.sender == sender:
                try:
                    if self._is_kept(other, message):
                        return True
                except (CorruptMessage, *UNREADABLE_HERE):
                    continue
        return False

    def _is_kept(self, letter: Letter, message: Message) -> bool:
        """Whether this message is what is kept there. Compared by content: a seal makes other bytes of it each time."""
        try:
            kept = self.read(letter)
        except Missing:
            return False  # taken meanwhile, and deleted
        if kept.content != message.content:
            number = f"number {message.number} of generation {message.generation} from {message.sender!r}"
            raise IdempotencyConflict(message.run_id, number if message.caller is None else f"id {message.caller!r}")
        return True

    # -- looking ----------------------------------------------------------------

    def undelivered(self) -> dict[str, list[Letter]]:
        """What is there for each run (encoded id), by one listing. `lanes.news` says whether it is new."""
        found: dict[str, list[Letter]] = {}
        for key in self._backend.list(INBOX):
            if (letter := parse_letter(key)) is not None:
                found.setdefault(letter.run, []).append(letter)
        return found

    def letters(self, run_id: str) -> list[Letter]:
        """What is there for one run."""
        encoded = encode_id(run_id)
        folder = inbox_prefix(encoded)
        ours = f"{folder}{encoded}~"  # where many runs share a folder, their names are not worth reading
        found = (parse_letter(key) for key in self._backend.list(folder) if key.startswith(ours))
        return [letter for letter in found if letter is not None and letter.run == encoded]

    # -- taking -----------------------------------------------------------------

    def take(
        self,
        run_id: str,
        *,
        marks: Marks,
        window: Window,
        now: float,
        limit: int | None = None,
        size: int | None = None,
        limits: Limits | None = None,
    ) -> Batch:
        """What the run takes next. Only for its owner, and only with the marks and window of its newest commit.

        What is damaged, older than its lane, or another message under an id
        that was used, is a dead letter when this returns. A message that this
        process can't read, because it is of a later version or sealed under a
        key that is not here, is left, and its lane waits for somebody who can.

        Args:
            run_id: whose messages.
            marks: as committed.
            window: as committed.
            now: seconds since 1970.
            limit: at most so many from lanes, and as many from callers.
            size: no more once what was read of lanes has so many bytes; and of callers, as many.
            limits: of the window.
        """
        letters = self._listed(run_id, marks)
        taker = Taker(run_id, read=self.read, bury=self.bury, now=now, limit=limit, size=size, limits=limits)
        messages, taking = taker.lanes(letters, marks)
        called, window, done = taker.callers(letters, window)
        return Batch(
            messages=(*messages, *called),
            marks=taking.marks,
            window=window,
            deletable=(*taking.deletable, *taking.dead, *done),
            taken=(*taking.taken, *(message.letter for message in called)),
            held=taker.held,
            cut=taker.cut,
        )

    def delete(self, letters: Iterable[Letter]) -> None:
        """Delete files of messages: what `Batch` says is deletable, and what it took once that is committed."""
        self._backend.delete([inbox_key(letter) for letter in letters])

    def _listed(self, run_id: str, marks: Marks) -> list[Letter]:
        """A listing that was begun after every switch in it could be seen; see `lanes.switching`."""
        letters = self.letters(run_id)
        seen = switching(marks, letters)
        if not seen:
            return letters
        letters = self.letters(run_id)
        too_new = switching(marks, letters) - seen
        return [letter for letter in letters if letter not in too_new]

    def bury(self, letter: Letter, *, reason: str, detail: str, now: float) -> None:
        """Make a dead letter of a message; it also stays here until it is deleted. Idempotent.

        Whoever buries what stands next in a lane also commits the mark that
        passes it, or the lane stands still for ever.
        """
        try:
            found = self._backend.get(inbox_key(letter))
        except Missing:
            return  # taken or buried before, and deleted
        self.dead_letters.keep(letter, found, reason=reason, detail=detail, now=now)

    def read(self, letter: Letter) -> Message:
        """A message. Read again before it is called damaged: what comes over a network may be, once.

        Raises:
            Missing: it is not there, any more.
            CorruptMessage: it is damaged.
            StoreError: it is sealed, and can't be opened here.
        """
        key = inbox_key(letter)
        for attempt in range(_READS):
            try:
                return read_message(
                    self._backend.get(key), key, letter=letter, store=self._store, sealing=self._sealing
                )
            except CorruptMessage:
                if attempt == _READS - 1:
                    raise
        raise AssertionError  # pragma: no cover - the last attempt returns or raises
