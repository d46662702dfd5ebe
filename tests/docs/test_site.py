"""The documentation site builds without a warning, and needs nothing from the network."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.docs.pages import ROOT

if TYPE_CHECKING:
    from pathlib import Path

for needed in ("sphinx", "furo", "myst_parser"):
    pytest.importorskip(needed, reason="the docs extra is not installed: pip install 'actorflow[docs]'")


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Every reference leads somewhere, every page can be found, and no page loads anything from elsewhere."""
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", str(tmp_path / "cache")]

    child = subprocess.run(
        [*build, str(ROOT / "docs"), str(tmp_path / "site")], capture_output=True, text=True, check=False
    )

    assert child.returncode == 0, child.stderr
    pages = [page.read_text("utf-8") for page in (tmp_path / "site").glob("*.html")]
    assert len(pages) >= 7
    assert [
        found for page in pages for found in re.findall(r'<(?:script|link|img)[^>]+(?:src|href)="(http[^"]+)', page)
    ] == []
