"""Messages: what is sent to a run, each in an envelope of its own, under the name of its letter.

The header is ``[store, length of the body, Message without its body]``. The
body is what the sender said, in the schema that the header names, stored as
the store's `Sealing` has it; the header stays readable without a key.
"""

from __future__ import annotations

from msgspec import Struct, msgpack, structs

from actorflow.errors import CorruptCheckpoint, CorruptMessage, MessageTooLarge, NotSealed, UnsupportedFormat
from actorflow.store.callers import content_digest
from actorflow.store.envelope import closed, decoded, opening, unwrapped
from actorflow.store.framing import MAX_BODY, MAX_HEADER
from actorflow.store.keys import Letter, caller_name, encode_id, inbox_key
from actorflow.store.sealing import PLAIN, Sealing

MAGIC = b"\x89AFM\r\n\x1a\n"


class Message(Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """What one sender says to one run: a sender that is a run and a number, or a caller's id."""

    run_id: str  # for whom
    sender: str | None  # the run that sent it
    generation: int
    number: int
    caller: str | None  # the id given by who sent it from outside of any run
    kind: str = "message"
    type: str  # schema of the body
    version: int | str | None
    fields: tuple[tuple[str, str, bool], ...] = ()  # as in a checkpoint's file part
    time: float  # seconds since 1970, for people: no rule depends on it
    reply_to: str | None = None  # the run that waits for an answer
    by: str | None = None  # who is behind it, for people
    tags: dict[str, str] = {}
    body: bytes

    def __post_init__(self) -> None:
        if (self.sender is None) == (self.caller is None):
            raise ValueError("a message is from a run, which numbers it, or from a caller, who gives it an id")
        if self.sender is not None and min(self.generation, self.number) < 1:
            raise ValueError(f"generations and numbers of a lane begin at 1, not at {self.generation}, {self.number}")

    @property
    def letter(self) -> Letter:
        """The name of it."""
        sender = caller_name(self.run_id, self.caller or "") if self.sender is None else encode_id(self.sender)
        return Letter(encode_id(self.run_id), sender, self.generation, self.number)

    @property
    def content(self) -> bytes:
        """Digest of what it says: two messages of one name with the same content are the same message."""
        said = (self.kind, self.type, self.version, self.reply_to, self.sender, self.caller, self.body)
        return content_digest(_encode(said))


class _Region(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    store: bytes
    raw: int
    message: Message


_encode = msgpack.Encoder().encode
# Made here and not at its first use, by two threads at once: msgspec would crash the process.
_decode_region = msgpack.Decoder(_Region).decode


def encode_message(message: Message, *, store: bytes, path: str, sealing: Sealing = PLAIN) -> bytes:
    """The bytes of a message's file.

    Raises:
        MessageTooLarge: its header is over 64 KiB, or its body over 64 MiB.
    """
    header = _encode(_Region(store, len(message.body), structs.replace(message, body=b"")))
    for size, limit in ((len(header), MAX_HEADER), (len(message.body), MAX_BODY)):
        if size > limit:
            raise MessageTooLarge(path, size, limit)
    packed = sealing.pack(message.body)
    before = opening(MAGIC, header, body=packed.size, flags=packed.flags)
    return closed(before + sealing.seal(packed, before=before, context=_context(store, message)))


def read_message(data: bytes, path: str, *, letter: Letter, store: bytes, sealing: Sealing = PLAIN) -> Message:
    """The message in a file's bytes, verified: digest, seal, whose it is, and that it bears its own name.

    Raises:
        CorruptMessage: damaged, foreign, or not where it belongs.
        UnsupportedFormat: whole, but written by a later version.
        NotSealed: protected less than required.
        MissingKey: sealed under a key that is not there.
        MissingExtra: it takes a library that is not installed.
    """
    envelope = unwrapped(data, path, magic=MAGIC)
    region = decoded(_decode_region, envelope.header, path)
    message = region.message
    if region.store != store:
        raise CorruptMessage(path, f"it belongs to another store, {region.store.hex()}")
    try:
        found = message.letter
    except ValueError as error:
        raise CorruptMessage(path, f"it is no possible message: {error}") from error
    if found != letter:
        raise CorruptMessage(path, f"it is another message, {inbox_key(found)}")
    if region.raw > MAX_BODY:
        raise CorruptMessage(path, f"its body says that it has {region.raw} bytes; {MAX_BODY} is the limit")
    sealing.check(envelope.flags, path)
    try:
        body = sealing.open(
            envelope.body,
            flags=envelope.flags,
            before=envelope.before,
            context=_context(store, message),
            raw=region.raw,
            path=path,
        )
    except (NotSealed, UnsupportedFormat):
        raise
    except CorruptCheckpoint as error:
        raise CorruptMessage(path, error.reason) from error
    return structs.replace(message, body=body)


def _context(store: bytes, message: Message) -> bytes:
    """Whose it is, for the key that is made for it."""
    return store + message.run_id.encode()
