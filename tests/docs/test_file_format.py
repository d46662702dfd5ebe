"""The page about the file format names what is in the files, in order, and nothing else."""

from __future__ import annotations

import hashlib
import hmac
import re
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from msgspec import Struct, msgpack

from actorflow.engine.operations import Operation
from actorflow.engine.records import Record
from actorflow.store.cache import Entry
from actorflow.store.dead_letters import DeadLetter
from actorflow.store.frames import FilePart, Header, Owner
from actorflow.store.messages import Message
from tests.docs.pages import ROOT
from tests.store import golden

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

PAGE = (ROOT / "docs/file-format.md").read_text("utf-8")


def named(text: str) -> list[str]:
    """The names in backquotes."""
    return re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", text))


@pytest.mark.parametrize(
    ("part", "struct"),
    [
        ("Frame part", Header),
        ("Owner", Owner),
        ("File part", FilePart),
        ("Message", Message),
        ("Dead letter", DeadLetter),
        ("Entry", Entry),
    ],
    ids=str,
)
def test_the_fields_of_a_header_are_listed(part: str, struct: type[Struct]) -> None:
    """Headers are arrays, so the order on the page is the order in the file."""
    paragraph = PAGE.split(f"**{part}**")[1].split("\n\n")[0]

    assert named(paragraph) == list(struct.__struct_fields__)


def test_the_records_are_listed_with_their_fields() -> None:
    """Each kind of record has its row in the table."""
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE.split("## Bodies")[1], re.MULTILINE))

    expected = {record.__struct_config__.tag: list(record.__struct_fields__) for record in Record.__args__}
    assert {name: named(fields) for name, fields in rows.items()} == expected


def test_the_operations_are_listed() -> None:
    """Each operation is named by its tag."""
    sentence = PAGE.split("**operation**")[1].split(". ")[0]

    assert named(sentence) == [operation.__struct_config__.tag for operation in Operation.__args__]


def body_of(data: bytes, keys: dict[str, bytes]) -> bytes:
    """The body of a file's first frame, by what the page says and nothing else."""
    flags = int.from_bytes(data[10:12])
    at = 28 + int.from_bytes(data[12:16])
    end = at + int.from_bytes(data[16:24])
    header, _ = msgpack.decode(data[28:at])
    fields = dict(zip(Header.__struct_fields__, header, strict=True))
    payload = data[at:end]
    if flags & 12:
        salt_at = at + 1 + data[at]
        key, salt = keys[data[at + 1 : salt_at].decode("ascii")], data[salt_at : salt_at + 16]
        info = b"actorflow-1 " + (b"sealed " if flags & 4 else b"mac ") + fields["file"]
        info += fields["epoch"].to_bytes(8)
        key = hmac.digest(hmac.digest(salt, key, "sha256"), info + b"\x01", "sha256")
        if flags & 4:
            begin = salt_at + 28
            payload = AESGCM(key).decrypt(data[salt_at + 16 : begin], data[begin:end], data[:begin])
        else:
            tag = hashlib.blake2b(data[: end - 32], key=key, digest_size=32, person=b"actorflow-1 mac").digest()
            assert tag == data[end - 32 : end]
            payload = data[salt_at + 16 : end - 32]
    body = zstd.decompress(payload) if flags & 2 else payload
    assert len(body) == fields["raw"]
    return body


@pytest.mark.parametrize("name", ["", *(f"-{name}" for name in golden.SEALINGS)])
def test_the_page_is_enough_to_read_each_kind_of_file(name: str) -> None:
    """Another reader, written after the page alone, opens the golden files of each way."""
    keys = {"golden-2": bytes(range(32)), "golden-1": bytes(range(32, 64))}
    data = Path(f"{golden.FOLDER}{name}", "00000000000000000003.ckpt").read_bytes()

    assert body_of(data, keys) == b"\x81\xa3seq\x03" + (golden.GROWN if name else b"")
