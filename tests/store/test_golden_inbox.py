"""The golden inbox of format 1: messages and a dead letter that every later version must read, byte for byte.

``python -m tests.store.test_golden_inbox`` writes it, once per format: a change that alters it is another format.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from msgspec import msgpack

from actorflow.store.callers import Window
from actorflow.store.dead_letters import DeadLetter, DeadLetters
from actorflow.store.inbox import Inbox
from actorflow.store.keys import dead_key, inbox_key
from actorflow.store.lanes import Mark, Marks, header_marks
from actorflow.store.memory import MemoryBackend
from actorflow.store.messages import Message

FOLDER = Path(__file__).parents[1] / "golden" / "inbox1"
STORE = bytes(range(16))
TIME = 1_764_000_000.5

FROM_RUN = Message(
    run_id="Ärtemis/1",
    sender="mission-control",
    generation=2,
    number=7,
    caller=None,
    type="Approve",
    version="2026-11",
    fields=(("by", "str", False), ("note", "str", True)),
    time=TIME,
    reply_to="mission-control",
    by="anna",
    tags={"trace": "00-1f"},
    body=b"\x81\xa2by\xa4anna",
)
FROM_CALLER = Message(
    run_id="artemis",
    sender=None,
    generation=0,
    number=7_225_344_000_002_048_123,
    caller="order 17 – é",
    type="Add",
    version=None,
    time=TIME,
    body=b"\x81\xa1n\x01",
)
DEAD = DeadLetter(
    store=STORE,
    letter=FROM_CALLER.letter,
    reason="conflict",
    detail="id 'order 17' was used before for another content",
    time=TIME,
    message=b"whatever was there",
)
MARKS = Marks({"b": Mark(1, 300), "~84": Mark(2, 7)})
LEFT = FROM_CALLER.letter


def written() -> dict[str, bytes]:
    """The files as this version writes them, by name; and what a header says of the marks."""
    backend = MemoryBackend()
    for message in (FROM_RUN, FROM_CALLER):
        Inbox(backend, store=STORE).send(message)
    DeadLetters(backend, store=STORE).keep(
        DEAD.letter, DEAD.message, reason=DEAD.reason, detail=DEAD.detail, now=DEAD.time
    )
    files = {key.replace("/", "+"): backend.get(key) for key in backend.list("")}
    return {**files, "marks": header_marks(MARKS, [LEFT])}


def golden() -> dict[str, bytes]:
    """The files as they were written when the format was made."""
    return {path.name: path.read_bytes() for path in sorted(FOLDER.iterdir())}


def test_what_is_written_is_what_was_written() -> None:
    """Names and bytes: a retry by a later version meets its own message."""
    assert written() == golden()


@pytest.mark.parametrize("message", [FROM_RUN, FROM_CALLER], ids=["run", "caller"])
def test_a_golden_message_is_read(message: Message) -> None:
    """By the inbox: sent again it is the same message, and nothing is written."""
    backend = MemoryBackend()
    for name, data in golden().items():
        backend.put_new(name.replace("+", "/"), data)
    inbox = Inbox(backend, store=STORE)
    before = backend.list("")

    batch = inbox.take(message.run_id, marks=Marks({"mission-control": Mark(2, 6)}), window=Window(), now=TIME)
    inbox.send(message)

    assert batch.messages == (message,)
    assert backend.list("") == before
    assert inbox.dead_letters.read(DEAD.letter) == DEAD


def test_a_message_is_read_by_who_knows_only_the_page() -> None:
    """With nothing of ours: names, prefix, header, digest, and the marks of a header."""
    data = golden()[inbox_key(FROM_RUN.letter).replace("/", "+")]
    dead = golden()[dead_key(DEAD.letter).replace("/", "+")]

    for file, magic in ((data, b"\x89AFM\r\n\x1a\n"), (dead, b"\x89AFD\r\n\x1a\n")):
        assert file[:8] == magic
        assert hashlib.blake2b(file[:-32], digest_size=32, person=b"actorflow-1").digest() == file[-32:]
    end = 28 + int.from_bytes(data[12:16])
    store, raw, (run_id, sender, generation, number, *_, body) = msgpack.decode(data[28:end])
    lanes, left = msgpack.decode(golden()["marks"])

    assert (store, run_id, sender, generation, number, body) == (STORE, "Ärtemis/1", "mission-control", 2, 7, b"")
    assert data[end:-32] == FROM_RUN.body
    assert raw == len(FROM_RUN.body)
    assert sorted(lanes) == sorted(
        [hashlib.blake2b(name, digest_size=16).digest(), *mark] for name, mark in ((b"b", [1, 300]), (b"~84", [2, 7]))
    )
    assert left == [FROM_CALLER.number]


if __name__ == "__main__":
    FOLDER.mkdir()
    for name, data in written().items():
        (FOLDER / name).write_bytes(data)
