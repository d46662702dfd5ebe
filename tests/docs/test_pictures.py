"""The pictures in the docs are those that their page makes.

``python -m tests.docs.test_pictures`` draws them anew.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.docs.pages import ROOT, run_page

PAGE = ROOT / "docs/pictures.md"
KEPT = ROOT / "docs/pictures"


def drawn(folder: Path) -> dict[str, str]:
    """The pictures that the page makes, by the names of their files."""
    run_page(PAGE, folder)
    return {path.name: path.read_text("utf-8") for path in folder.glob("*.svg")}


def test_the_pictures_of_the_page_are_up_to_date(tmp_path: Path) -> None:
    """Each one is, byte for byte, what its code draws now; none is left over, and each is shown."""
    kept = {path.name: path.read_text("utf-8") for path in KEPT.iterdir()}

    assert drawn(tmp_path) == kept, "draw them anew: python -m tests.docs.test_pictures"
    assert all(f"](pictures/{name})" in PAGE.read_text("utf-8") for name in kept)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        for name, text in drawn(Path(scratch)).items():
            (KEPT / name).write_text(text, "utf-8")
