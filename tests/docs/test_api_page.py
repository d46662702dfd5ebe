"""The reference has every public name, once."""

from __future__ import annotations

import re
from collections import Counter

import actorflow
from tests.docs.pages import ROOT

ELSEWHERE = {"ActorflowError"}
"""What the page about errors describes."""


def test_every_public_name_is_on_the_page() -> None:
    """A name that may be imported and is described nowhere would be a secret."""
    page = (ROOT / "docs/api.md").read_text("utf-8").split("## Test")[0]

    described = Counter(re.findall(r"^\.\. (?:auto\w+|py:\w+):: (\w+)(?:\(.*\))?$", page, re.MULTILINE))

    assert [name for name, times in described.items() if times > 1] == []
    assert set(described) == set(actorflow.__all__) - ELSEWHERE
