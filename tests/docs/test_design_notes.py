"""The design notes speak of files that are there: who parts or renames one finds here where it is named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import NOTES, ROOT

if TYPE_CHECKING:
    from pathlib import Path

_FILE = re.compile(r"`((?:actorflow|graph|engine|store|runtime|testing|tests|bench)/[\w/]+(?:\.py|/))`")


def missing(text: str) -> list[str]:
    """The files and folders that a text names, of the project or of its package, and that are not there."""
    named = _FILE.findall(text)
    return [name for name in named if not any((root / name).exists() for root in (ROOT, ROOT / "actorflow"))]


@pytest.mark.parametrize("page", NOTES, ids=lambda page: page.name)
def test_the_files_that_a_design_note_names_are_there(page: Path) -> None:
    """A map with a place that is not there leads strangers astray."""
    assert missing(page.read_text("utf-8")) == []


def test_a_file_that_is_not_there_is_found() -> None:
    """The check can fail: a planted name is found, beside one that is right."""
    assert missing("See `runtime/lives.py`, `runtime/livess.py` and `tests/modelling/`.") == [
        "runtime/livess.py",
        "tests/modelling/",
    ]
