"""The page of guarantees has all thirteen, and names tests that are there."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs/guarantees.md").read_text("utf-8")


def test_there_are_thirteen_each_with_its_tests() -> None:
    """Code and tests refer to a guarantee by its number."""
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    numbered = {int(section.split(".")[0]): section for section in sections if section[0].isdigit()}

    assert list(numbered) == list(range(1, 14))
    assert [number for number, section in numbered.items() if "*Tests:*" not in section] == []


def test_the_tests_that_are_named_exist() -> None:
    """A test that was renamed or taken away is missed here."""
    named = set(re.findall(r"`((?:tests|bench)/[^`]*)`", PAGE))

    assert len(named) > 10
    assert sorted(path for path in named if not (ROOT / path).exists()) == []
