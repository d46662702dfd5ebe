"""The page about the file format names what is in the files, in order, and nothing else."""

from __future__ import annotations

import re

import pytest

from actorflow.engine.operations import Operation
from actorflow.engine.records import Record
from actorflow.store.frames import FilePart, Header, Owner
from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/file-format.md").read_text("utf-8")


def named(text: str) -> list[str]:
    """The names in backquotes."""
    return re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", text))


@pytest.mark.parametrize(
    ("part", "struct"),
    [("Frame part", Header), ("Owner", Owner), ("File part", FilePart)],
    ids=str,
)
def test_the_fields_of_a_header_are_listed(part: str, struct: type[Header | Owner | FilePart]) -> None:
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
