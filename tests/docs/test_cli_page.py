"""The page about the command line names each command and each exit status."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import ROOT

pytest.importorskip("click", reason="the cli extra is not installed: pip install 'actorflow[cli]'")

PAGE = (ROOT / "docs/cli.md").read_text("utf-8")


def test_every_command_has_its_row() -> None:
    """The table of commands is complete, in the order of --help or not."""
    from actorflow.cli.app import app

    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)

    assert sorted(rows) == sorted(app.commands)


def test_every_exit_status_has_its_row() -> None:
    """The table of exit statuses says what --help says."""
    from actorflow.cli.exits import MEANINGS

    rows = re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE)

    assert [(int(status), meaning) for status, meaning in rows] == [
        (int(status), text) for status, text in MEANINGS.items()
    ]
