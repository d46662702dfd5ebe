"""Dead letters: messages that no run will take, kept byte for byte, with the reason. Never lost, never taken.

One is kept *before* the mark of its lane passes it and before its file in the
inbox goes, under the same name below ``dead/``. So whoever dies in between
loses nothing: the next one finds the message where it was, and keeps it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, msgpack, structs

from actorflow.errors import CorruptMessage
from actorflow.store.envelope import closed, decoded, opening, unwrapped
from actorflow.store.keys import DEAD, Letter, dead_key, dead_prefix, encode_id, parse_letter
from actorflow.store.object_log import put_or_settle

if TYPE_CHECKING:
    from actorflow.store.backend import Backend

MAGIC = b"\x89AFD\r\n\x1a\n"


class DeadLetter(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A message that no run will take, and why."""

    store: bytes
    letter: Letter
    reason: str  # damaged, older generation, conflict; more may come
    detail: str
    time: float  # when it was set aside, in seconds since 1970
    message: bytes  # as it was found


_encode = msgpack.Encoder().encode
_decode = msgpack.Decoder(DeadLetter).decode  # made here and not at its first use, by two threads at once


class DeadLetters:
    """The dead letters of a store. Thread-safe; calls block."""

    def __init__(self, backend: Backend, *, store: bytes) -> None:
        self._backend = backend
        self._store = store

    def keep(self, letter: Letter, message: bytes, *, reason: str, detail: str, now: float) -> None:
        """Keep it, durably. Kept again, it stays as it was kept first. Nothing is too large to be kept."""
        dead = DeadLetter(store=self._store, letter=letter, reason=reason, detail=detail, time=now, message=b"")
        data = closed(opening(MAGIC, _encode(dead), body=len(message)) + message)
        put_or_settle(self._backend, dead_key(letter), data)

    def list(self, run_id: str | None = None) -> list[Letter]:
        """Those of one run, or of all."""
        encoded = None if run_id is None else encode_id(run_id)
        found = (parse_letter(key) for key in self._backend.list(DEAD if encoded is None else dead_prefix(encoded)))
        return [letter for letter in found if letter is not None and encoded in (None, letter.run)]

    def read(self, letter: Letter) -> DeadLetter:
        """One of them, verified. Not so the message in it.

        Raises:
            CorruptMessage: damaged, foreign, or not where it belongs.
            UnsupportedFormat: whole, but written by a later version.
            Missing: there is none of this name.
        """
        key = dead_key(letter)
        envelope = unwrapped(self._backend.get(key), key, magic=MAGIC)
        dead = decoded(_decode, envelope.header, key)
        if dead.store != self._store:
            raise CorruptMessage(key, f"it belongs to another store, {dead.store.hex()}")
        if dead.letter != letter:
            raise CorruptMessage(key, "it is another dead letter")
        return structs.replace(dead, message=envelope.body)
